"""Response timeouts: every response begins within a bounded time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from litestar.enums import ScopeType

from todo_service.bounds.requests import RESPONSE_SECONDS
from todo_service.web.problems import STORE_RETRY_SECONDS, ProblemError
from todo_service.web.route_options import NO_TIMEOUT

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send
    from litestar.types.asgi_types import ReceiveMessage

_SWEEP_SECONDS: Final = 0.25


class TimeoutSweeper:
    """Cancels late requests by sweeping over all pending ones, which is cheaper than a timer for each request.

    Args:
        seconds: The timeout of a response, in seconds.
        interval: The interval between two sweeps, in seconds.
    """

    def __init__(self, seconds: float = RESPONSE_SECONDS, interval: float = _SWEEP_SECONDS) -> None:
        self.seconds = seconds
        self._interval = interval
        self._pending: set[_PendingResponse] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, response: _PendingResponse) -> None:
        """Start watching a response."""
        self._pending.add(response)
        if self._timer is None:
            self._timer = response.loop.call_later(self._interval, self._sweep)

    def discard(self, response: _PendingResponse) -> None:
        """Stop watching a response."""
        self._pending.discard(response)

    def _sweep(self) -> None:
        for response in list(self._pending):
            response.cancel_if_late()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._interval, self._sweep) if self._pending else None


class TimeoutMiddleware:
    """Cancels a request whose response does not begin in time, and responds with 503.

    Time spent waiting for the client's body does not count, and a response that has begun has no timeout. A cancelled
    write may or may not have taken effect.

    Args:
        app: The next ASGI application.
        sweeper: Finds late responses.
    """

    def __init__(self, app: ASGIApp, sweeper: TimeoutSweeper) -> None:
        self._app = app
        self._sweeper = sweeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["route_handler"].opt.get(NO_TIMEOUT):
            await self._app(scope, receive, send)
            return
        response = _PendingResponse(receive, send, self._sweeper)
        self._sweeper.add(response)
        try:
            await self._app(scope, response.receive, response.send)
        except asyncio.CancelledError:
            if not response.take_timeout():
                raise
            raise ProblemError(
                "unavailable",
                "the response took too long and was cancelled",
                headers={"Retry-After": str(STORE_RETRY_SECONDS)},
            ) from None
        finally:
            response.end()


class _PendingResponse:
    """A response that must begin before its timeout."""

    __slots__ = ("_cancelling", "_late", "_left", "_receive", "_send", "_since", "_sweeper", "_task", "loop")

    def __init__(self, receive: Receive, send: Send, sweeper: TimeoutSweeper) -> None:
        task = asyncio.current_task()
        assert task is not None  # a server runs each request in a task
        self.loop = asyncio.get_running_loop()
        self._receive = receive
        self._send = send
        self._sweeper = sweeper
        self._task = task
        self._cancelling = task.cancelling()
        self._late = False
        self._left = sweeper.seconds
        self._since: float | None = self.loop.time()

    async def receive(self) -> ReceiveMessage:
        """Receive a message from the client. The timeout is paused meanwhile."""
        if self._since is None:
            return await self._receive()
        self._left -= self.loop.time() - self._since
        self._since = None
        message = await self._receive()
        self._since = self.loop.time()
        return message

    async def send(self, message: Message) -> None:
        """Send a message. The response has begun, so stop watching it."""
        self._sweeper.discard(self)
        await self._send(message)

    def cancel_if_late(self) -> None:
        """Cancel the request if its response is late."""
        if not self._late and self._since is not None and self.loop.time() - self._since >= self._left:
            self._late = True
            self._task.cancel()

    def take_timeout(self) -> bool:
        """Return whether a late response is the only reason for the cancellation, and reset it. Call this once."""
        late, self._late = self._late, False
        return late and self._task.uncancel() <= self._cancelling

    def end(self) -> None:
        """Stop watching the response, and undo a cancellation that has not been taken."""
        self._sweeper.discard(self)
        if self._late:
            # the cancelled task has raised another error
            self._task.uncancel()
