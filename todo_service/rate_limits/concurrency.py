"""A limit on the concurrent requests of each client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from todo_service.bounds.requests import CONCURRENT_REQUESTS, WAITING_REQUESTS, WAITING_SECONDS
from todo_service.web.problems import ProblemError


class ConcurrencyLimiter:
    """A bounded semaphore for each client, with a bounded queue served in order of arrival.

    A streamed response holds its slot until it has ended. Routes with `LONG_LIVED` take no slot.

    Args:
        max_running: The number of requests of a client that run concurrently.
        max_waiting: The number of further requests that may wait.
        seconds: How long a request may wait.
    """

    def __init__(
        self,
        max_running: int = CONCURRENT_REQUESTS,
        max_waiting: int = WAITING_REQUESTS,
        seconds: float = WAITING_SECONDS,
    ) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._seconds = seconds
        self._clients: dict[str, _Client] = {}

    def __len__(self) -> int:
        """Return the number of clients with a request that is running or waiting."""
        return len(self._clients)

    async def acquire(self, key: str) -> None:
        """Wait for a slot. Call `release` to return it.

        Args:
            key: The client, by the key that the rate limits use.

        Raises:
            ProblemError: 429, the client's queue is full, or the request has waited too long.
        """
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = _Client()
        if client.running < self._max_running:
            client.running += 1  # the queue is empty, because `release` passes its slot on
        elif len(client.waiting) < self._max_waiting:
            await self._wait(key, client)
        else:
            raise _create_problem()

    def release(self, key: str) -> None:
        """Return a slot. It passes to the first request that waits."""
        client = self._clients[key]
        while client.waiting:
            turn = client.waiting.popleft()
            if not turn.done():  # it is done if the request was just cancelled
                turn.set_result(None)
                return
        client.running -= 1
        if not client.running:
            del self._clients[key]

    @asynccontextmanager
    async def slot(self, key: str) -> AsyncIterator[None]:
        """Hold a slot for the duration of a block. `acquire` and `release` have less overhead.

        Args:
            key: As in `acquire`.

        Raises:
            ProblemError: As in `acquire`.
        """
        await self.acquire(key)
        try:
            yield
        finally:
            self.release(key)

    async def _wait(self, key: str, client: _Client) -> None:
        turn = asyncio.get_running_loop().create_future()
        client.waiting.append(turn)
        try:
            async with asyncio.timeout(self._seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.release(key)  # the slot arrived at the same moment
            elif turn in client.waiting:
                client.waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise _create_problem() from None
            raise


class _Client:
    """The number of running requests of a client, and a future for each waiting one."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()


def _create_problem() -> ProblemError:
    return ProblemError("rate-limited", "too many concurrent requests", headers={"Retry-After": "1"})
