"""Graceful shutdown: load balancers see readiness fail before the listener closes, and requests in flight complete."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import structlog

from todo_service.web.in_flight import InFlightRequests

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
END_DELAY: Final = signal.SIGUSR1
"""The signal by which the main process ends the delay of its workers."""
logger = structlog.get_logger(__name__)


class GracefulShutdown:
    """ASGI middleware that delays the shutdown of its server.

    Readiness fails as soon as a stop signal arrives. Uvicorn gets the signal after the delay: it then closes its
    listener and waits for the requests in flight. Event streams are told to end. A second signal ends the delay, and
    further ones are forwarded at once.

    A worker may get the same signal twice: from a supervisor or a terminal, which signals the whole process group, and
    from the main process, which forwards its own. Only `END_DELAY` therefore ends the delay of a worker.

    Args:
        app: The application.
        in_flight: Tells the application that the shutdown has begun.
        end_streams: Ends the event streams.
        delay: The delay, in seconds.
        is_worker: Whether this process is a worker of a main process.
    """

    def __init__(
        self,
        app: ASGIApp,
        in_flight: InFlightRequests,
        end_streams: Callable[[], None],
        delay: float,
        *,
        is_worker: bool,
    ) -> None:
        self._app = app
        self._in_flight = in_flight
        self._end_streams = end_streams
        self._delay = delay
        self._is_worker = is_worker
        self._pending: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # type: ignore[comparison-overlap]  # Litestar types requests only
            self._intercept_signals()
        await self._app(scope, receive, send)

    def _intercept_signals(self) -> None:
        loop = asyncio.get_running_loop()

        def intercept(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._stop, number, server_handlers[number])

        server_handlers: dict[int, Any] = {number: signal.signal(number, intercept) for number in _STOP_SIGNALS}
        if self._is_worker:
            finish = partial(self._end_delay, signal.SIGTERM, server_handlers[signal.SIGTERM])
            signal.signal(END_DELAY, lambda *_: loop.call_soon_threadsafe(finish))

    def _stop(self, number: int, server_handler: Any) -> None:
        if self._in_flight.draining:
            if not self._is_worker:
                self._end_delay(number, server_handler)
            return
        self._in_flight.draining = True
        if self._delay:
            logger.info("shutting down", delay=self._delay)
        self._pending = asyncio.get_running_loop().call_later(self._delay, self._finish, number, server_handler)

    def _end_delay(self, number: int, server_handler: Any) -> None:
        self._in_flight.draining = True
        if self._pending is not None:
            self._pending.cancel()
        self._finish(number, server_handler)

    def _finish(self, number: int, server_handler: Any) -> None:
        server_handler(number, None)  # first, so that clients of ended streams reconnect elsewhere
        self._end_streams()
