"""How many requests of one client are served at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from todo_service.bounds.requests import CONCURRENT_REQUESTS, WAITING_REQUESTS, WAITING_SECONDS
from todo_service.web.problems import ProblemError


class ConcurrentRequestLimit:
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
        self._waiting = waiting
        self._seconds = seconds
        self._clients: dict[str, _Client] = {}

    def __len__(self) -> int:
        """Return how many clients have a request that is served or waits."""
        return len(self._clients)

    async def enter(self, key: str) -> None:
        """Return when it is a request's turn to be served; call `leave` when it has been.

        Args:
            key: The client, as the rate limits count it.

        Raises:
            ProblemError: 429, too many requests of the client wait already, or this one has waited too long.
        """
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = _Client()
        if client.running < self._running:
            client.running += 1  # nobody waits, for a turn that ends goes to who waits
        elif len(client.waiting) < self._waiting:
            await self._wait(key, client)
        else:
            raise _too_many()

    def leave(self, key: str) -> None:
        """Hand the turn of a request that has been served to the first that waits."""
        client = self._clients[key]
        while client.waiting:
            turn = client.waiting.popleft()
            if not turn.done():  # else the request was cancelled just now
                turn.set_result(None)
                return
        client.running -= 1
        if not client.running:
            del self._clients[key]

    @asynccontextmanager
    async def slot(self, key: str) -> AsyncIterator[None]:
        """Hold a turn while a block runs. Arguments and errors as in `enter`, which costs less."""
        await self.enter(key)
        try:
            yield
        finally:
            self.leave(key)

    async def _wait(self, key: str, client: _Client) -> None:
        turn = asyncio.get_running_loop().create_future()
        client.waiting.append(turn)
        try:
            async with asyncio.timeout(self._seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.leave(key)  # the turn came in the same moment
            elif turn in client.waiting:
                client.waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise _too_many() from None
            raise


class _Client:
    """One client's requests: how many are served, and the turns of those that wait."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()


def _too_many() -> ProblemError:
    return ProblemError(
        "rate-limited", "too many requests are under way at the same time", headers={"Retry-After": "1"}
    )
