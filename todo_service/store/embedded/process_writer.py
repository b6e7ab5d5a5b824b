"""The service's end of the writer process: it starts the process, and sends requests to it."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import threading
from collections import deque
from typing import Any, Final, cast

import structlog

from todo_service.bounds.store import PENDING_WRITE_BYTES
from todo_service.store.embedded.frames import decode_reply, split_frames
from todo_service.store.embedded.modules import describe_module_process
from todo_service.store.errors import StoreError, StoreUnavailable

_PROGRAM: Final = "todo_service.store.embedded.writer_process"
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""A terminal or a service manager sends them to all processes, but the service drains its requests first."""
_SEND_BUFFER_BYTES: Final = 2**20
"""The size that the service requests for the buffer. It exceeds most systems' default, so that a commit can hold
several documents of 100 kB each. The system may grant less."""
_SENT_AT_ONCE: Final = 8
"""How many unsent requests are sent before the end of the event loop's iteration. Otherwise, the process would be idle
during a long iteration, and the event loop during the commit that follows."""
RETRY_SECONDS: Final = 0.5
"""The pause before another process is started after one that could not be started or could not open the store."""
logger = structlog.get_logger(__name__)


class ProcessWriter:
    """Sends write operations to a writer process. Starts it at the first one, and again after it has died.

    Args:
        opening: The first request to a process.
    """

    def __init__(self, opening: bytes) -> None:
        self._opening = opening
        self._process: _Process | None = None
        self._closed = False

    async def submit(self, request: bytes) -> Any:
        """Execute an operation, and return its result once it is on disk.

        Args:
            request: The operation (`operations`), as BSON.

        Raises:
            StoreError: The operation raised it.
            StoreUnavailable: The operation was not executed: the disk is full, the store is closed, or
                `PENDING_WRITE_BYTES` would be exceeded. Or the process could not be started, or died; in the latter
                case, the operation may have been executed.
            WriteFailed: The operation raised an unexpected exception.
        """
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._process is None or self._process.ended:
            self._process = _Process(self._opening, self._process)
        return decode_reply(await self._process.request(request))

    async def close(self) -> None:
        """Wait for the pending requests, then end the process."""
        self._closed = True
        if self._process is not None:
            await self._process.close()


class _Process(asyncio.Protocol):
    """A writer process, and the connection to it.

    Args:
        opening: The first request.
        predecessor: A process that has ended, and that this one replaces.

    Attributes:
        ended: Whether the process has closed the connection, or could not be started.
        usable: Whether the process has opened the store.
    """

    def __init__(self, opening: bytes, predecessor: _Process | None) -> None:
        self.ended = False
        self.usable = False
        self._failure: StoreError = StoreUnavailable("the writer process has ended")
        self._closing = False
        self._transport: asyncio.WriteTransport | None = None
        self._unsent = [opening]
        self._pending: deque[tuple[asyncio.Future[bytes], int]] = deque()
        self._pending_bytes = 0
        self._received = bytearray()
        self._lost = asyncio.Event()
        self._running = asyncio.create_task(self._run(predecessor))

    def request(self, request: bytes) -> asyncio.Future[bytes]:
        """Send a request, together with others of this iteration of the event loop. Return the future reply.

        A request that its client has abandoned remains pending until the process has replied.

        Raises:
            StoreUnavailable: The pending requests and this one exceed `PENDING_WRITE_BYTES`.
        """
        size = len(request)
        if self._pending and self._pending_bytes + size > PENDING_WRITE_BYTES:
            raise StoreUnavailable("too many writes wait for the disk")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self._unsent:
            # runs after all callbacks that are ready now
            loop.call_soon(self._send)
        self._unsent.append(request)
        self._pending.append((future, size))
        self._pending_bytes += size
        if len(self._unsent) >= _SENT_AT_ONCE:
            self._send()
        return future

    async def close(self) -> None:
        """Wait until the process has executed the pending requests, and has ended."""
        self._closing = True
        self._send()
        await self._running

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the requests that wait for the connection."""
        # uvloop's transports have no base class
        self._transport = cast(asyncio.WriteTransport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Resolve the futures of replies."""
        self._received += data
        replies = split_frames(self._received)
        if replies and not self.usable:
            try:
                decode_reply(replies.pop(0))
                self.usable = True
            except StoreError as error:
                self._failure = error
        for reply in replies:
            future, size = self._pending.popleft()
            self._pending_bytes -= size
            if not future.done():
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the requests without a reply."""
        self.ended = True
        for future, _ in self._pending:
            if not future.done():
                future.set_exception(self._failure)
        self._pending.clear()
        self._pending_bytes = 0
        self._lost.set()

    def _send(self) -> None:
        """Send the requests that have not been sent, unless there is no connection yet, or no longer."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._unsent:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()
        if self._closing:
            self._transport.write_eof()

    async def _run(self, predecessor: _Process | None) -> None:
        """Run the process until it ends. Whatever goes wrong, no request waits forever."""
        try:
            if predecessor is not None:
                await asyncio.wait([predecessor._running])
                logger.warning("the writer process has ended and is started again", reason=str(predecessor._failure))
                if not predecessor.usable:
                    await asyncio.sleep(RETRY_SECONDS)
            await self._run_until_exit()
        except (OSError, RuntimeError) as error:  # the system allows no further process, thread or open file
            reason = error.strerror if isinstance(error, OSError) else error
            self._failure = StoreUnavailable(f"the writer process cannot be started: {reason}")
        finally:
            self.connection_lost(None)

    async def _run_until_exit(self) -> None:
        """Start the process, connect to it, and wait until it has exited."""
        own, other = socket.socketpair()
        try:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            reaper = await asyncio.to_thread(_start, other)
        except BaseException:
            own.close()  # the process, if it has been started, ends
            raise
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=own)
        try:
            await self._lost.wait()
            await asyncio.to_thread(reaper.join)
        finally:
            # uvloop cannot be closed while a connection is open, even if the store has not been closed
            transport.abort()


def _start(connection: socket.socket) -> threading.Thread:
    """Start a process with its end of the connection. Return a thread that reaps it without an event loop."""
    command, environment = describe_module_process(_PROGRAM)
    # the process inherits the mask, and a signal to all processes cannot end it even while it starts
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        with connection:
            process = subprocess.Popen(  # noqa: S603  # a fixed command
                command, env=environment, stdin=connection.fileno(), stdout=subprocess.DEVNULL
            )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    reaper = threading.Thread(target=process.wait, name="writer-reaper", daemon=True)
    reaper.start()
    return reaper
