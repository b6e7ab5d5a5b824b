"""The headers of every response: security, caching and the request id."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from litestar.types import Scope

    from todo_service.web.in_flight import InFlightRequests

API_POLICY: Final = b"default-src 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of every response without its own."""
SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class ResponseHeaders:
    """Completes the headers of responses.

    Args:
        in_flight: Tells whether the service is shutting down.
        extra: Further headers of every response.
    """

    def __init__(self, in_flight: InFlightRequests, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._in_flight = in_flight
        self._extra = extra

    def complete(self, scope: Scope, headers: Collection[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return the headers of a response, followed by those that every response has."""
        state = scope["state"]
        if prefix := state["prefix"]:
            headers = [(name, _add_prefix(name, value, prefix.encode())) for name, value in headers]
        names = {name.lower() for name, _ in headers}
        found = [*headers, (b"x-request-id", state["request_id"].encode()), *SECURITY_HEADERS]
        found += [(name.lower().encode(), text.encode()) for name, text in state["headers"].items()]
        found += [pair for pair in self._extra if pair not in headers]
        if b"content-security-policy" not in names:
            found.append((b"content-security-policy", API_POLICY))
        if b"cache-control" not in names and scope["path"].startswith("/v1"):
            # an account's data is never cached without revalidation
            found.append((b"cache-control", b"private, no-cache" if b"etag" in names else b"no-store"))
        if self._in_flight.draining:
            found.append((b"connection", b"close"))
        return found


def _add_prefix(name: bytes, value: bytes, prefix: bytes) -> bytes:
    """Return the value of a header with the prefix before its absolute paths."""
    match name.lower():
        case b"location" if value.startswith(b"/"):
            return prefix + value
        case b"link":
            return value.replace(b"</", b"<" + prefix + b"/")
    return value
