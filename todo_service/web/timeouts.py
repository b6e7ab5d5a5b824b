"""Response timeouts: every response begins within a bounded time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from litestar.enums import ScopeType

from todo_service.bounds.requests import RESPONSE_SECONDS
from todo_service.web.problems import STORE_RETRY_SECONDS, ProblemError
from todo_service.web.route_options import NO_TIMEOUT

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send
    from litestar.types.asgi_types import ReceiveMessage


class TimeoutMiddleware:
    """Cancels a request whose response does not begin in time, and responds with 503.

    Time spent waiting for the client's body does not count, and a response that has begun has no timeout. A cancelled
    write may or may not have taken effect.

    Args:
        app: The next ASGI application.
        seconds: The timeout, in seconds.
    """

    def __init__(self, app: ASGIApp, seconds: float = RESPONSE_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["route_handler"].opt.get(NO_TIMEOUT):
            await self._app(scope, receive, send)
            return
        timeout = asyncio.timeout(self._seconds)
        try:
            async with timeout:
                response = _PendingResponse(receive, send, timeout)
                await self._app(scope, response.receive, response.send)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise ProblemError(
                "unavailable",
                "the response took too long and was cancelled",
                headers={"Retry-After": str(STORE_RETRY_SECONDS)},
            ) from None


class _PendingResponse:
    """A response that must begin before its timeout."""

    __slots__ = ("_begun", "_loop", "_receive", "_send", "_timeout")

    def __init__(self, receive: Receive, send: Send, timeout: asyncio.Timeout) -> None:
        self._receive = receive
        self._send = send
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._begun = False

    async def receive(self) -> ReceiveMessage:
        """Receive a message from the client. The timeout is paused meanwhile."""
        deadline = self._timeout.when()
        if self._begun or deadline is None or self._timeout.expired():
            return await self._receive()
        left = deadline - self._loop.time()
        self._timeout.reschedule(None)
        message = await self._receive()
        if not self._begun:
            self._timeout.reschedule(self._loop.time() + left)
        return message

    async def send(self, message: Message) -> None:
        """Send a message. The response has begun, so it has no timeout any more."""
        if not self._begun:
            self._begun = True
            if not self._timeout.expired():
                self._timeout.reschedule(None)
        await self._send(message)
