"""A minimal HTTP/1.1 client for attackers: raw bytes on a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

RESPONSE_SECONDS: Final = 20.0
_LIMIT: Final = 2**20


class Target(NamedTuple):
    """A service under attack.

    Attributes:
        host: The address.
        port: The port.
        tokens: The access tokens of the attackers' accounts.
        users: The usernames of those accounts.
        todo_ids: A todo of each account, in the same order.
    """

    host: str
    port: int
    tokens: list[str]
    users: list[str]
    todo_ids: list[str]


class Connection:
    """A connection to the service.

    Args:
        reader: The incoming stream.
        writer: The outgoing stream.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def receive_response(self) -> tuple[int, bytes]:
        """Return the status and the body of the next response."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
        if length is not None:
            body = await self.reader.readexactly(length)
        elif b"transfer-encoding: chunked" in lines:
            body = await self._receive_chunks()
        else:
            body = b""
        return int(head.split(b" ", 2)[1]), body

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return its response."""
        await self.send(request)
        return await self.receive_response()

    async def _receive_chunks(self) -> bytes:
        body = b""
        while True:
            size = int(await self.reader.readline(), 16)
            body += (await self.reader.readexactly(size + 2))[:-2]
            if size == 0:
                return body


@asynccontextmanager
async def connected(target: Target, receive_bytes: int = _LIMIT) -> AsyncIterator[Connection]:
    """Connect, and abort the connection at the end of the block.

    Args:
        target: The service.
        receive_bytes: The maximum number of unread bytes to buffer.
    """
    reader, writer = await asyncio.open_connection(target.host, target.port, limit=receive_bytes)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()


def build_request(
    method: str, path: str, token: str | None = None, body: bytes | None = None, *headers: str, media: str = "json"
) -> bytes:
    """Return a request as bytes.

    Args:
        method: The method.
        path: The target.
        token: The bearer token, or None.
        body: The body, or None.
        *headers: Further header lines.
        media: The media type of the body: `json`, `form`, `csv` or `calendar`.
    """
    types = {
        "json": "application/json",
        "form": "application/x-www-form-urlencoded",
        "csv": "text/csv",
        "calendar": "text/calendar",
    }
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines += [f"Content-Type: {types[media]}", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def encode(value: Any) -> bytes:
    """Return a value as JSON."""
    return json.dumps(value).encode()
