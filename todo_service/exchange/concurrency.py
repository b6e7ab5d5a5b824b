"""Limits of how many operations of one kind run at the same time, in all and for each account."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager

from todo_service.errors import TooManyRequests


class ConcurrencyLimit:
    """Limits operations that take seconds or minutes. Use it on one event loop only.

    Args:
        name: What the operations are, in the plural, for messages.
        per_key: How many a key may have at a time, waiting ones included.
        total: How many run at a time.
        wait_seconds: How long one waits for its turn.
    """

    def __init__(self, name: str, *, per_key: int, total: int, wait_seconds: float) -> None:
        self._name = name
        self._per_key = per_key
        self._wait_seconds = wait_seconds
        self._held: Counter[Hashable] = Counter()
        self._turns = asyncio.Semaphore(total)

    @contextmanager
    def hold(self, key: Hashable) -> Iterator[None]:
        """Count an operation for a key until the block ends.

        Raises:
            TooManyRequests: the key has as many as it may have.
        """
        if self._held[key] >= self._per_key:
            raise TooManyRequests(f"this account has {self._per_key} {self._name} under way already")
        self._held[key] += 1
        try:
            yield
        finally:
            self._held[key] -= 1
            if self._held[key] <= 0:
                del self._held[key]

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, first come, first served, and keep it until the block ends.

        Raises:
            TooManyRequests: the turn did not come in time.
        """
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise TooManyRequests(f"too many {self._name} are under way") from None
        try:
            yield
        finally:
            self._turns.release()
