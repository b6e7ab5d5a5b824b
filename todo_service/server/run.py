"""The server: uvicorn with uvloop and httptools, one process or several, and a graceful stop."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import resource
import signal
import socket
from contextlib import suppress
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from todo_service.bounds.connections import IDLE_SECONDS
from todo_service.observability.metrics import FOLDER
from todo_service.server.protocol import LimitedHttpProtocol
from todo_service.settings import Settings
from todo_service.web.in_flight import InFlightRequests

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

DRAIN_SECONDS: Final = 20.0
_BACKLOG: Final = 2048
_KERNEL_UNSENT_BYTES: Final = 128 * 1024
"""What the kernel takes of a response before it can send it: what it takes tells how fast a client reads."""
_M_MMAP_THRESHOLD: Final = -3
_LARGE_BLOCK_BYTES: Final = 128 * 1024
_APPLICATION: Final = "todo_service.app:create_app_from_environment"
_MEMORY: Final = "/dev/shm"  # noqa: S108  # only the folder that TemporaryDirectory makes within it is used
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


class ServerError(Exception):
    """The server cannot start. The message is one line for the operator."""


class GracefulShutdown:
    """An application that drains before its server stops.

    Uvicorn closes its listener as soon as it is told to stop. Here the signal is held back from it until the requests
    in flight are answered, so that readiness is seen to fail meanwhile; a second signal is passed on at once.

    Args:
        app: The application.
        in_flight: Its requests in flight.
    """

    def __init__(self, app: ASGIApp, in_flight: InFlightRequests) -> None:
        self._app = app
        self._in_flight = in_flight
        self._draining: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # type: ignore[comparison-overlap]  # Litestar types requests only
            self._hold_signals()
        await self._app(scope, receive, send)

    def _hold_signals(self) -> None:
        loop = asyncio.get_running_loop()

        def hold(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._stop, number, server_handlers[number])

        server_handlers: dict[int, Any] = {number: signal.signal(number, hold) for number in _STOPPING}

    def _stop(self, number: int, server_handler: Any) -> None:
        async def drain() -> None:
            await self._in_flight.drain(DRAIN_SECONDS)
            server_handler(number, None)

        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(drain())
        else:
            server_handler(number, None)


class Workers(Multiprocess):
    """The parent of several workers. Where one has died, the gauges that it kept are no longer counted."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], figures: str) -> None:
        super().__init__(config, sockets)
        self._figures = figures

    def keep_subprocess_alive(self) -> None:
        """Start another worker for each that has died."""
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            mark_process_dead(pid, self._figures)  # type: ignore[no-untyped-call]  # it has no annotations


def run(settings: Settings, listener: socket.socket) -> int:
    """Serve until a signal says to stop. Uvicorn then raises it once more, for the handler that was there before.

    Args:
        settings: Checked settings. Workers load theirs from the environment, so it must say the same.
        listener: The listening socket.

    Returns:
        The exit status: 0 after a stop that was asked for, 1 if the application could not start.
    """
    config = uvicorn.Config(
        _APPLICATION,
        factory=True,
        loop="uvloop",
        http=LimitedHttpProtocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=5,
        backlog=_BACKLOG,
    )
    _raise_file_limit()
    if settings.workers > 1:
        # in memory where there is such a folder: the figures change with every request, and need not outlive a stop
        place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
        with TemporaryDirectory(prefix=f"todo-service-{os.getpid()}-", dir=place) as figures:
            os.environ[FOLDER] = figures
            supervisor = Workers(config, [listener], figures)
            supervisor.run()
        return int(any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes))
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    return int(not server.started)


def return_large_memory() -> None:
    """Let every large block of memory go back to the system when it is freed; does nothing without glibc.

    By itself, glibc raises its threshold to the largest block that was freed: after one large request, the blocks of
    the next ones lie among small ones on the heap, and what one of those keeps there is never given back.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def return_free_memory() -> None:
    """Give memory that is free between blocks in use back to the system; does nothing without glibc."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _raise_file_limit() -> None:
    """Let this process and its workers have as many open files, and so connections, as they may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # where the system does not allow what it says is allowed, as macOS may not, all stays as it is
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ServerError: the port is in use, the address is not of this machine, or this user may not listen there.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise ServerError(f"HOST: {host!r} is no address of this machine") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # the connections that it accepts inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_UNSENT_BYTES)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reasons = {
            errno.EADDRINUSE: "another program listens there already",
            errno.EACCES: "this user may not listen there",
            errno.EADDRNOTAVAIL: "this is no address of this machine",
        }
        number = error.errno or 0
        raise ServerError(f"cannot listen on {host} port {port}: {reasons.get(number, os.strerror(number))}") from None
    listener.set_inheritable(True)
    return listener
