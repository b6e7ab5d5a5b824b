"""Connections to receivers, which may send anything."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any, Final

import anyio._backends._asyncio  # noqa: F401  # else the first connection would import it, and block the event loop
import httpcore

_READ_BYTES: Final = 1024
"""The parser handles everything that a read returns before the event loop runs again."""


class Allowance:
    """How much of a response may still be read.

    Attributes:
        left: The number of bytes.
    """

    def __init__(self, size: int) -> None:
        self.left = size


class BoundedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections from which a limited number of bytes can be read, a few at a time.

    Args:
        allowance: How much may be read, from all connections together.
    """

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the interface of httpcore
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Open a connection. See `httpcore.AsyncNetworkBackend`."""
        stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _BoundedStream(stream, self._allowance)


class _BoundedStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, allowance: Allowance) -> None:
        self._stream = stream
        self._allowance = allowance

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # as above
        if self._allowance.left <= 0:
            raise httpcore.RemoteProtocolError("the response is too large")
        await asyncio.sleep(0)  # data that has already arrived is returned without waiting
        data = await self._stream.read(min(max_bytes, _READ_BYTES, self._allowance.left), timeout)
        self._allowance.left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as above
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
    ) -> httpcore.AsyncNetworkStream:
        return _BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._allowance)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
