"""How many requests of one client are served at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from todo_service.bounds import CONCURRENT_REQUESTS, WAITING_REQUESTS, WAITING_SECONDS
from todo_service.web.problems import ProblemError


class ConcurrencyLimit:
    """Serves a bounded number of requests of each client at a time, and lets a bounded number wait in order of arrival.

    A request that streams its answer counts until the answer has ended.

    Args:
        running: How many requests of one client are served at a time.
        waiting: How many more may wait.
        seconds: How long each may wait.
    """

    def __init__(
        self,
        running: int = CONCURRENT_REQUESTS,
        waiting: int = WAITING_REQUESTS,
        seconds: float = WAITING_SECONDS,
    ) -> None:
        self._running = running
        self._capacity = running + waiting
        self._seconds = seconds
        self._clients: dict[str, _Client] = {}

    def __len__(self) -> int:
        """Return how many clients have a request that is served or waits."""
        return len(self._clients)

    @asynccontextmanager
    async def slot(self, key: str) -> AsyncIterator[None]:
        """Serve a request when it is its turn.

        Args:
            key: The client, as the rate limits count it.

        Raises:
            ProblemError: 429, too many requests of the client wait already, or this one has waited too long.
        """
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = _Client(self._running)
        if client.admitted >= self._capacity:
            raise _too_many()
        client.admitted += 1
        try:
            await self._wait(client.turn)
            try:
                yield
            finally:
                client.turn.release()
        finally:
            client.admitted -= 1
            if not client.admitted:
                del self._clients[key]

    async def _wait(self, turn: asyncio.Semaphore) -> None:
        if not turn.locked():
            await turn.acquire()
            return
        try:
            async with asyncio.timeout(self._seconds):
                await turn.acquire()
        except TimeoutError:
            raise _too_many() from None


class _Client:
    """One client's requests."""

    __slots__ = ("admitted", "turn")

    def __init__(self, running: int) -> None:
        self.admitted = 0
        self.turn = asyncio.Semaphore(running)


def _too_many() -> ProblemError:
    return ProblemError(
        "rate-limited", "too many requests are under way at the same time", headers={"Retry-After": "1"}
    )
