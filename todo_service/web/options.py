"""Responses to OPTIONS requests that Litestar does not handle as RFC 9110 and the Fetch standard describe them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from litestar.config.cors import CORSConfig
from litestar.enums import HttpMethod, ScopeType

from todo_service.web.problems import build_allow_header

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

_METHODS: Final = ("GET", "POST", "PATCH", "DELETE")
"""The methods of all paths together."""


class OptionsMiddleware:
    """Responds to `OPTIONS *`, and passes other OPTIONS requests on that are not preflights.

    Litestar responds to every OPTIONS request with an `Origin` as to a CORS preflight, even if it lacks
    `Access-Control-Request-Method`. It therefore gets such a request without the `Origin`, and this middleware adds the
    CORS headers to the response.

    Args:
        app: The next ASGI application.
        cors: The CORS configuration, or None if CORS is off.
    """

    def __init__(self, app: ASGIApp, cors: CORSConfig | None) -> None:
        self._app = app
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != HttpMethod.OPTIONS:
            await self._app(scope, receive, send)
            return
        headers = list(scope["headers"])
        origin = next((value for name, value in headers if name == b"origin"), None)
        is_preflight = any(name == b"access-control-request-method" for name, _ in headers)
        if self._cors is not None and origin is not None and not is_preflight:
            scope["headers"] = [pair for pair in headers if pair[0] != b"origin"]
            send = _add_cors_headers(send, self._cors, origin)
        if scope["path"] == "*":
            allow = (b"allow", build_allow_header(_METHODS).encode())
            await send({"type": "http.response.start", "status": 204, "headers": [allow]})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._app(scope, receive, send)


def _add_cors_headers(send: Send, cors: CORSConfig, origin: bytes) -> Send:
    added = [(name.lower().encode(), value.encode()) for name, value in cors.simple_headers.items()]
    if cors.is_origin_allowed(origin.decode("latin-1")):
        added.append((b"access-control-allow-origin", origin))

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *added]
        await send(message)

    return send_with_headers
