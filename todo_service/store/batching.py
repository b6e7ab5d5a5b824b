"""Batching of concurrent calls to a store, like a DataLoader.

A driver spends about as much time on a call for twenty documents as on a call for one. A `Batcher` therefore collects
the requests that one pass of the event loop makes, and sends them in one call. While enough calls are in flight, new
requests collect for the next call, so that batches grow with the load. A single request is not delayed.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

MAX_BATCH_SIZE: Final = 100
"""The maximum number of requests in a call."""
MAX_IN_FLIGHT: Final = 2
"""The default limit on concurrent calls. A lower limit lets a slow call delay others; a higher one shrinks batches."""
RequestT = TypeVar("RequestT")


class Outcome(NamedTuple):
    """The result of a request, or the exception that it raised."""

    result: Any
    error: BaseException | None

    def resolve(self, future: asyncio.Future[Any]) -> None:
        """Set the outcome on a future, unless the future is already done or cancelled."""
        if future.done():
            return
        if self.error is None:
            future.set_result(self.result)
        else:
            future.set_exception(self.error)


class Batcher(Generic[RequestT]):
    """Batches the requests of one event loop.

    Args:
        execute: Executes a batch of up to `MAX_BATCH_SIZE` requests and returns the outcome of each, in order. If it
            raises, the exception is the outcome of all of them.
        max_in_flight: How many batches execute concurrently at most.
    """

    def __init__(
        self,
        execute: Callable[[Sequence[RequestT]], Awaitable[Sequence[Outcome]]],
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        self._execute = execute
        self._max_in_flight = max_in_flight
        self._waiting: deque[tuple[RequestT, asyncio.Future[Any]]] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()

    async def submit(self, request: RequestT) -> Any:
        """Submit a request and return its result. A request that is cancelled before its batch is sent is dropped."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((request, future))
        if len(self._waiting) == 1:
            # runs after all callbacks that are ready now
            loop.call_soon(self._send)
        return await future

    def _send(self) -> None:
        while self._waiting and len(self._in_flight) < self._max_in_flight:
            popped = [self._waiting.popleft() for _ in range(min(MAX_BATCH_SIZE, len(self._waiting)))]
            batch = [(request, future) for request, future in popped if not future.done()]
            if batch:
                # an empty context: the batch must not inherit the context variables of one of its requests
                task = asyncio.create_task(self._run(batch), context=contextvars.Context())
                self._in_flight.add(task)
                task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._send()

    async def _run(self, batch: list[tuple[RequestT, asyncio.Future[Any]]]) -> None:
        try:
            outcomes = await self._execute([request for request, _ in batch])
        except Exception as error:  # any exception is raised to the callers
            outcomes = [Outcome(None, error)] * len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            outcome.resolve(future)
