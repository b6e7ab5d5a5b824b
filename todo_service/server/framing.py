"""Request framing (RFC 9112): where each request on a connection begins and ends, and limits on framing bytes.

The parser accepts heads, chunk extensions and trailers of any size, and parses all requests in its input.
`RequestFraming` splits received data into parts that belong to a single request, and limits the size of everything
outside the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from todo_service.bounds.requests import (
    BLANK_BYTES,
    CHUNK_FRAMING_BYTES,
    CHUNK_FRAMING_SHARE,
    HEAD_BYTES,
    REQUEST_BYTES,
    TRAILER_BYTES,
)
from todo_service.web.error_fallback import render_problem

_PART_BYTES: Final = 16 * 1024
_BLANK_LINE: Final = b"\r\n\r\n"
_OVERLAP: Final = len(_BLANK_LINE) - 1
_HOST: Final = re.compile(rb"(?:\[[0-9A-Za-z:.%_~-]+\]|[0-9A-Za-z._~%!$&'()*+;=-]*)(?::[0-9]{0,5})?")
"""A host and port (RFC 3986, section 3.2) without commas, which separate the hosts of combined headers."""


class RequestRejected(Exception):
    """The server rejects a request before the application sees it.

    Args:
        problem: A key of `PROBLEMS`.
        detail: The reason, for the client.
        retry_seconds: When the client may retry, if retrying can help.
    """

    def __init__(self, problem: str, detail: str, retry_seconds: int | None = None) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.retry_seconds = retry_seconds

    def render(self, target: bytes, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Return the status, the headers and the body of the response. See `render_problem`."""
        return render_problem(self.problem, self.detail, target, request_id, self.retry_seconds)


class RequestFraming:
    """The parsing state of a connection: which part of a request comes next.

    Attributes:
        in_head: Whether a request has begun and its head is incomplete.
        in_body: Whether the head of a request is complete and its body is incomplete.
        body_bytes: The number of received body bytes of the current request.
    """

    def __init__(self) -> None:
        self.in_head = False
        self.in_body = False
        self.body_bytes = 0
        self._left: int | None = 0
        self._parsing_body = False
        self._body_bytes_before = 0
        self._head_bytes = 0
        self._blank_bytes = 0
        self._framing_bytes = 0
        self._trailer_bytes = 0
        self._last = b""

    @property
    def between_requests(self) -> bool:
        """Whether the next byte begins a new request."""
        return not self.in_head and not self.in_body

    def skip_blank_lines(self, data: bytes, start: int) -> int:
        """Return the start of the next request, after any empty lines (RFC 9112, 2.2).

        Raises:
            RequestRejected: There are too many empty lines.
        """
        end = start
        while end < len(data) and data[end] in b"\r\n":
            end += 1
            self._blank_bytes += 1
            if self._blank_bytes > BLANK_BYTES:
                raise RequestRejected("malformed-request", "there are too many empty lines before the request")
        return end

    def find_part_end(self, data: bytes, start: int) -> int:
        """Return the end of the next part, which never extends beyond the end of a head or of a request."""
        if self.in_body and self._left is not None:
            return min(len(data), start + self._left)
        end = min(len(data), start + _PART_BYTES)
        if self._last:
            across = (self._last + data[start : start + _OVERLAP]).find(_BLANK_LINE)
            if across >= 0:
                return start + across + len(_BLANK_LINE) - len(self._last)
        found = data.find(_BLANK_LINE, start, end)
        return end if found < 0 else found + len(_BLANK_LINE)

    def begin_part(self, part: bytes) -> None:
        """Count a part before the parser receives it.

        Raises:
            RequestRejected: The head is too large.
        """
        self._parsing_body, self._body_bytes_before = self.in_body, self.body_bytes
        if not self.in_body:
            self._head_bytes += len(part)
            if self._head_bytes > HEAD_BYTES:
                raise RequestRejected("headers-too-large", "the request line and headers are too large")

    def end_part(self, part: bytes) -> None:
        """Count the chunk framing and trailers in a part after the parser has received it.

        Raises:
            RequestRejected: They are too large.
        """
        if self.in_head or self.in_body:
            self._last = (self._last + part[-_OVERLAP:])[-_OVERLAP:]
        if not self._parsing_body or self._left is not None:
            return
        received = self.body_bytes - self._body_bytes_before
        self._framing_bytes += len(part) - received
        self._trailer_bytes = 0 if received else self._trailer_bytes + len(part)
        if (
            self._framing_bytes > CHUNK_FRAMING_BYTES + self.body_bytes // CHUNK_FRAMING_SHARE
            or self._trailer_bytes > TRAILER_BYTES
        ):
            raise RequestRejected(
                "malformed-request",
                "the chunks of the body are too small, or its chunk extensions or trailers are too large",
            )

    def begin_request(self) -> None:
        """Begin a request."""
        self.in_head = True
        self._blank_bytes = 0

    def end_head(self, length: int | None) -> None:
        """End the head. The body has `length` bytes, or is chunked if `length` is None."""
        self.in_head, self.in_body = False, True
        self._left = length
        self.body_bytes = self._framing_bytes = self._trailer_bytes = 0
        self._last = b""

    def receive_body(self, size: int) -> None:
        """Count a part of the body.

        Raises:
            RequestRejected: The body is larger than any endpoint accepts.
        """
        self.body_bytes += size
        if self._left is not None:
            self._left -= size
        if self.body_bytes > REQUEST_BYTES:
            raise RequestRejected("body-too-large", "the request body is too large")

    def end_request(self) -> None:
        """End the request."""
        self.in_body = False
        self._head_bytes = 0
        self._last = b""


def check_head(version: str, headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Validate a request's HTTP version, host and body framing (RFC 9112, 3.2, 6.1 and 6.3).

    The parser has already validated the syntax, and rejected repeated Content-Length headers and a Content-Length
    combined with Transfer-Encoding.

    Args:
        version: The HTTP version, such as `1.1`.
        headers: The names, in lower case, and the values.

    Returns:
        The length of the body in bytes, or None for a chunked body.

    Raises:
        RequestRejected: The request is malformed, or uses a transfer coding other than chunked.
    """
    hosts: list[bytes] = []
    length: int | None = 0
    codings: list[bytes] = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            codings += [coding.strip().lower() for coding in value.split(b",")]
    if version not in ("1.0", "1.1"):
        raise RequestRejected("malformed-request", "only HTTP/1.0 and HTTP/1.1 are supported")
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise RequestRejected("malformed-request", "a request must have exactly one Host header")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise RequestRejected(
            "malformed-request", "the Host header is not a host name or address with an optional port"
        )
    if codings:
        if any(coding not in (b"", b"chunked") for coding in codings):
            raise RequestRejected("transfer-coding-unknown", "the only supported transfer coding is chunked")
        if codings != [b"chunked"] or version == "1.0":
            raise RequestRejected("malformed-request", "the Transfer-Encoding header is invalid")
        length = None
    return length


def build_head_without_upgrade(
    method: bytes, target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """Return a head without its offer to upgrade the protocol, which a server may ignore (RFC 9110, section 7.8).

    Java's client and curl offer HTTP/2 with every request. With the offer, the parser would not read the body, because
    it expects the other protocol to follow the head.

    Raises:
        RequestRejected: The head has no such offer: its method is CONNECT, which changes the protocol too.
    """
    kept = [(name, value) for name, value in headers if name not in (b"upgrade", b"http2-settings")]
    if len(kept) == len(headers):
        raise RequestRejected("malformed-request", "a CONNECT request must not have a body")
    lines = [b"%s %s HTTP/%s" % (method, target, version.encode()), *(b"%s: %s" % pair for pair in kept)]
    return b"\r\n".join(lines) + _BLANK_LINE
