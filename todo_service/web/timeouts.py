"""The time in which every answer begins, whatever the store does."""

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

_LOOK_SECONDS: Final = 0.25


class TimeoutSweeper:
    """Looks now and then at all requests whose answers have not begun: a timer for each of them costs more.

    Args:
        seconds: How long an answer may take to begin.
        interval: Seconds between two looks.
    """

    def __init__(self, seconds: float = RESPONSE_SECONDS, interval: float = _LOOK_SECONDS) -> None:
        self.seconds = seconds
        self._interval = interval
        self._waiting: set[_Answer] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, answer: _Answer) -> None:
        """Look at an answer from now on."""
        self._waiting.add(answer)
        if self._timer is None:
            self._timer = answer.loop.call_later(self._interval, self._look)

    def discard(self, answer: _Answer) -> None:
        """Look at an answer no longer."""
        self._waiting.discard(answer)

    def _look(self) -> None:
        for answer in list(self._waiting):
            answer.sweep()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._interval, self._look) if self._waiting else None


class TimeoutMiddleware:
    """Breaks off a request whose answer does not begin in time, with a 503.

    What the client takes to send its request is not counted, and an answer that has begun takes as long as it has to
    say. Of a write that is broken off it is not known whether it was carried out.

    Args:
        app: What comes next.
        sweeper: Looks at the time.
    """

    def __init__(self, app: ASGIApp, sweeper: TimeoutSweeper) -> None:
        self._app = app
        self._watch = sweeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["route_handler"].opt.get(NO_TIMEOUT):
            await self._app(scope, receive, send)
            return
        answer = _Answer(receive, send, self._watch)
        self._watch.add(answer)
        try:
            await self._app(scope, answer.receive, answer.send)
        except asyncio.CancelledError:
            if not answer.is_late_alone():
                raise
            raise ProblemError(
                "unavailable",
                "the answer took too long and was broken off",
                headers={"Retry-After": str(STORE_RETRY_SECONDS)},
            ) from None
        finally:
            answer.end()


class _Answer:
    """An answer that is to begin in time."""

    __slots__ = ("_cancelling", "_late", "_left", "_receive", "_send", "_since", "_task", "_watch", "loop")

    def __init__(self, receive: Receive, send: Send, sweeper: TimeoutSweeper) -> None:
        task = asyncio.current_task()
        assert task is not None  # a server runs each request in one
        self.loop = asyncio.get_running_loop()
        self._receive = receive
        self._send = send
        self._watch = sweeper
        self._task = task
        self._cancelling = task.cancelling()
        self._late = False
        self._left = sweeper.seconds
        self._since: float | None = self.loop.time()

    async def receive(self) -> ReceiveMessage:
        """Receive what the client sends; the time stands still meanwhile."""
        if self._since is None:
            return await self._receive()
        self._left -= self.loop.time() - self._since
        self._since = None
        message = await self._receive()
        self._since = self.loop.time()
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer, which has begun."""
        self._watch.discard(self)
        await self._send(message)

    def sweep(self) -> None:
        """Break off what is late."""
        if not self._late and self._since is not None and self.loop.time() - self._since >= self._left:
            self._late = True
            self._task.cancel()

    def is_late_alone(self) -> bool:
        """Tell whether the request was cancelled for its answer was late, and for no other reason; asked once."""
        late, self._late = self._late, False
        return late and self._task.uncancel() <= self._cancelling

    def end(self) -> None:
        """Leave nothing behind."""
        self._watch.discard(self)
        if self._late:
            # whoever was cancelled has raised something else
            self._task.uncancel()
