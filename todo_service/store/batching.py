"""Calls that are made together: what is asked for at the same time goes to the store at once.

A call costs a driver about as much for twenty documents as for one, most of it time of the interpreter. So what an
event loop has to ask at once is asked together, and while enough calls are under way the next gather: the more there
are, the less each costs. One that comes alone waits for nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

MAX_BATCH_SIZE: Final = 100
"""How much is asked for in one call."""
MAX_IN_FLIGHT: Final = 4
"""How many calls there are at a time: with fewer a slow one holds up the rest, with more each carries less."""
AskedT = TypeVar("AskedT")


class Outcome(NamedTuple):
    """What became of an operation: its result, or what it raised."""

    result: Any
    error: BaseException | None

    def resolve(self, future: asyncio.Future[Any]) -> None:
        """Give it to whoever waits, unless they do not any more."""
        if future.done():
            return
        if self.error is None:
            future.set_result(self.result)
        else:
            future.set_exception(self.error)


class Batcher(Generic[AskedT]):
    """Carries out what is asked for on one event loop, several at a time.

    Args:
        carry_out: Executes a batch of up to `MAX_BATCH_SIZE` and returns the outcome of each call, in order. An
            exception is the outcome of all of them. Up to `MAX_IN_FLIGHT` batches are executed at a time.
    """

    def __init__(self, carry_out: Callable[[Sequence[AskedT]], Awaitable[Sequence[Outcome]]]) -> None:
        self._carry_out = carry_out
        self._waiting: deque[tuple[AskedT, asyncio.Future[Any]]] = deque()
        self._under_way: set[asyncio.Task[None]] = set()

    async def submit(self, asked: AskedT) -> Any:
        """Return the result. Whoever is cancelled before the call is made asks for nothing."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((asked, future))
        if len(self._waiting) == 1:
            # comes after all that is ready to run now
            loop.call_soon(self._send)
        return await future

    def _send(self) -> None:
        while self._waiting and len(self._under_way) < MAX_IN_FLIGHT:
            together = [self._waiting.popleft() for _ in range(min(MAX_BATCH_SIZE, len(self._waiting)))]
            wanted = [(asked, future) for asked, future in together if not future.done()]
            if wanted:
                # what one of them knows of its request is not the others'
                task = asyncio.create_task(self._call(wanted), context=contextvars.Context())
                self._under_way.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._send()

    async def _call(self, together: list[tuple[AskedT, asyncio.Future[Any]]]) -> None:
        try:
            outcomes = await self._carry_out([asked for asked, _ in together])
        except Exception as error:  # whatever it is, it belongs to those who asked
            outcomes = [Outcome(None, error)] * len(together)
        for (_, future), outcome in zip(together, outcomes, strict=True):
            outcome.resolve(future)
