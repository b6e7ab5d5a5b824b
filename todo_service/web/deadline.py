"""The time in which every answer begins, whatever the store does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from litestar.enums import ScopeType

from todo_service.web.problems import STORE_RETRY_SECONDS, ProblemError

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send
    from litestar.types.asgi_types import ReceiveMessage

ANSWER_SECONDS: Final = 4.0
UNHURRIED: Final = "unhurried"
"""The handler option of what takes as long as it has to do, as long as the store answers each call in time."""


class Deadline:
    """Breaks off a request whose answer does not begin in time, with a 503.

    What the client takes to send its request is not counted, and an answer that has begun takes as long as it has to
    say. Of a write that is broken off it is not known whether it was carried out.

    Args:
        app: What comes next.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["route_handler"].opt.get(UNHURRIED):
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        begun = False
        try:
            async with asyncio.timeout(ANSWER_SECONDS) as timeout:

                async def receive_unhurried() -> ReceiveMessage:
                    ends = timeout.when()
                    if ends is None:
                        return await receive()
                    asked = loop.time()
                    timeout.reschedule(None)
                    message = await receive()
                    if not begun:
                        timeout.reschedule(ends + loop.time() - asked)
                    return message

                async def send_unhurried(message: Message) -> None:
                    nonlocal begun
                    if not begun:
                        begun = True
                        timeout.reschedule(None)
                    await send(message)

                await self._app(scope, receive_unhurried, send_unhurried)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise ProblemError(
                "unavailable",
                "the answer took too long and was broken off",
                headers={"Retry-After": str(STORE_RETRY_SECONDS)},
            ) from None
