"""Where requests begin and end on a connection (RFC 9112), and how many of their bytes are neither head nor body.

The parser has no limits: it takes heads, chunk extensions and trailers of any size, and parses every request that one
read holds. `RequestFraming` cuts what was read into parts, each of one request only, and counts what no limit of the
service counts otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from todo_service.bounds.requests import (
    BLANK_BYTES,
    CHUNK_FRAMING_BYTES,
    CHUNK_FRAMING_SHARE,
    HEAD_BYTES,
    REQUEST_BYTES,
    TRAILER_BYTES,
)

_PART_BYTES: Final = 16 * 1024
_BLANK_LINE: Final = b"\r\n\r\n"
_OVERLAP: Final = len(_BLANK_LINE) - 1


class Refusal(Exception):
    """A request that is not served.

    Args:
        problem: A key of `PROBLEMS`.
        detail: What is wrong, for the client.
        retry_seconds: When the client may try again, if it makes sense to.
    """

    def __init__(self, problem: str, detail: str, retry_seconds: int | None = None) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.retry_seconds = retry_seconds


class RequestFraming:
    """The position of a connection in the request that it receives.

    Attributes:
        in_head: Whether the head of a request has begun and is not complete.
        in_body: Whether the head of a request is complete and its body is not.
        body_bytes: How much of the body of the present request has come in.
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
        """Whether no request has begun that is not complete."""
        return not self.in_head and not self.in_body

    def skip_blank_lines(self, data: bytes, start: int) -> int:
        """Return where the next request begins, after the empty lines before it (RFC 9112, 2.2).

        Raises:
            Refusal: there are too many.
        """
        end = start
        while end < len(data) and data[end] in b"\r\n":
            end += 1
            self._blank_bytes += 1
            if self._blank_bytes > BLANK_BYTES:
                raise Refusal("malformed-request", "there are too many empty lines before the request")
        return end

    def part_end(self, data: bytes, start: int) -> int:
        """Return where the next part ends: at the end of a head or of a request at the latest."""
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
        """Count a part of a head before it is parsed.

        Raises:
            Refusal: the head is too large.
        """
        self._parsing_body, self._body_bytes_before = self.in_body, self.body_bytes
        if not self.in_body:
            self._head_bytes += len(part)
            if self._head_bytes > HEAD_BYTES:
                raise Refusal("headers-too-large", "the head of the request is larger than this service accepts")

    def end_part(self, part: bytes) -> None:
        """Count what was not body in a part of a chunked body after it has been parsed.

        Raises:
            Refusal: there is too much of it.
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
            raise Refusal("malformed-request", "the chunks of the body are too small, or have too much beside them")

    def begin(self) -> None:
        """Begin a request."""
        self.in_head = True
        self._blank_bytes = 0

    def end_head(self, length: int | None) -> None:
        """Begin the body, of `length` bytes, or chunked where that is None."""
        self.in_head, self.in_body = False, True
        self._left = length
        self.body_bytes = self._framing_bytes = self._trailer_bytes = 0
        self._last = b""

    def receive(self, size: int) -> None:
        """Count a piece of the body.

        Raises:
            Refusal: the body is larger than any request may have.
        """
        self.body_bytes += size
        if self._left is not None:
            self._left -= size
        if self.body_bytes > REQUEST_BYTES:
            raise Refusal("body-too-large", "the body is larger than this service accepts")

    def end(self) -> None:
        """End the request."""
        self.in_body = False
        self._head_bytes = 0
        self._last = b""


def check_head(version: str, headers: Iterable[tuple[bytes, bytes]], *, upgrades: bool) -> int | None:
    """Check what decides where a request ends and which service it is for.

    The parser has checked the syntax, that there is one Content-Length at most, and none beside a Transfer-Encoding.

    Args:
        version: The version of HTTP, such as `1.1`.
        headers: The names, in lower case, and the values.
        upgrades: Whether the parser takes what follows the head for another protocol.

    Returns:
        The number of bytes of the body, or None for a chunked body.

    Raises:
        Refusal: the request is malformed, or has a transfer coding other than chunked (RFC 9112, 3.2, 6.1 and 6.3).
    """
    hosts = 0
    length: int | None = 0
    codings: list[bytes] = []
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            codings += [coding.strip().lower() for coding in value.split(b",")]
    if version not in ("1.0", "1.1"):
        raise Refusal("malformed-request", "this service speaks HTTP/1.0 and HTTP/1.1")
    if hosts > 1 or (version == "1.1" and not hosts):
        raise Refusal("malformed-request", "a request must have exactly one Host header")
    if codings:
        if any(coding != b"chunked" for coding in codings):
            raise Refusal("transfer-coding-unknown", "this service knows no transfer coding but chunked")
        if len(codings) > 1 or version == "1.0":
            raise Refusal("malformed-request", "the Transfer-Encoding header is not valid here")
        length = None
    if upgrades and length != 0:
        raise Refusal("malformed-request", "a request that asks for another protocol must not have a body")
    return length
