"""Graceful shutdown: in-flight requests complete before the server stops."""

from __future__ import annotations

import asyncio
import signal
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from todo_service.web.in_flight import InFlightRequests

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

DRAIN_SECONDS: Final = 20.0
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class GracefulShutdown:
    """ASGI middleware that drains the application before its server stops.

    Uvicorn closes its listener as soon as it handles a stop signal. This middleware delays the signal until all
    in-flight requests are complete, so that load balancers can see readiness fail. A second signal is forwarded at
    once.

    Args:
        app: The application.
        in_flight: The count of its in-flight requests.
    """

    def __init__(self, app: ASGIApp, in_flight: InFlightRequests) -> None:
        self._app = app
        self._in_flight = in_flight
        self._draining: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # type: ignore[comparison-overlap]  # Litestar types requests only
            self._intercept_signals()
        await self._app(scope, receive, send)

    def _intercept_signals(self) -> None:
        loop = asyncio.get_running_loop()

        def intercept(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._stop, number, server_handlers[number])

        server_handlers: dict[int, Any] = {number: signal.signal(number, intercept) for number in _STOP_SIGNALS}

    def _stop(self, number: int, server_handler: Any) -> None:
        async def drain() -> None:
            await self._in_flight.drain(DRAIN_SECONDS)
            server_handler(number, None)

        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(drain())
        else:
            server_handler(number, None)
