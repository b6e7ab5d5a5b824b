"""A TCP proxy that injects network faults."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Final

_RESET: Final = struct.pack("ii", 1, 0)
_PART: Final = 65536


class Proxy:
    """Forwards connections to a local port.

    Attributes:
        port: The port to connect to.
        delay: The delay of each part that the server sends, in seconds.
        swallowing: Whether to hold back all data in both directions, as a network that drops packets does.
        cut_after: The number of further bytes from the server after which to close the connection; None for never.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0
        self.delay = 0.0
        self.cut_after: int | None = None

    @property
    def swallowing(self) -> bool:
        return not self._open.is_set()

    @swallowing.setter
    def swallowing(self, value: bool) -> None:
        (self._open.clear if value else self._open.set)()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        """Listen on a free port until the block ends."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self.reset()

    def reset(self) -> None:
        """Reset every connection."""
        for writer in list(self._writers):
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(far_writer)
        tasks = [
            asyncio.create_task(self._forward(reader, far_writer, from_server=False)),
            asyncio.create_task(self._forward(far_reader, writer, from_server=True)),
        ]
        self._tasks.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.difference_update(tasks)
        for each in (writer, far_writer):
            each.transport.abort()
            self._writers.discard(each)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool) -> None:
        with contextlib.suppress(OSError):
            while part := await reader.read(_PART):
                await self._open.wait()
                if from_server and self.delay:
                    await asyncio.sleep(self.delay)
                if from_server and self.cut_after is not None:
                    part = part[: self.cut_after]
                    self.cut_after -= len(part)
                    if self.cut_after == 0:
                        writer.write(part)
                        await writer.drain()
                        self.cut_after = None
                        return
                writer.write(part)
                await writer.drain()
