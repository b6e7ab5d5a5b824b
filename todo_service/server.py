"""The server: uvicorn with uvloop and httptools, one process or several, and a graceful stop."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from todo_service.settings import Settings
from todo_service.web.boundary import Boundary, unreadable_request

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

DRAIN_SECONDS: Final = 20.0
_BACKLOG: Final = 2048
_APPLICATION: Final = "todo_service.app:create_app_from_environment"
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


class ServerError(Exception):
    """The server cannot start. The message is one line for the operator."""


class Draining:
    """An application that drains before its server stops.

    Uvicorn closes its listener as soon as it is told to stop. Here the signal is held back from it until the requests
    in flight are answered, so that readiness is seen to fail meanwhile; a second signal is passed on at once.

    Args:
        app: The application.
        boundary: Its outermost layer, which knows what is in flight.
    """

    def __init__(self, app: ASGIApp, boundary: Boundary) -> None:
        self._app = app
        self._boundary = boundary
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
            await self._boundary.drain(DRAIN_SECONDS)
            server_handler(number, None)

        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(drain())
        else:
            server_handler(number, None)


class Protocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, but that what is no HTTP request is answered with a problem too."""

    def send_400_response(self, msg: str) -> None:
        """Answer and hang up. Uvicorn's own text says nothing that ours does not."""
        body, headers = unreadable_request()
        lines = b"".join(b"%s: %s\r\n" % pair for pair in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + lines + b"\r\n" + body)
        self.transport.close()


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
        http=Protocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
        backlog=_BACKLOG,
    )
    if settings.workers > 1:
        supervisor = Multiprocess(config, sockets=[listener])
        supervisor.run()
        return int(any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes))
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    return int(not server.started)


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
