"""Limits on the imports or exports that run at the same time, in total and for each account."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager

from todo_service.errors import TooManyRequests


class TransferLimit:
    """Limits imports or exports, which take seconds or minutes. Use it on one event loop only.

    Args:
        name: The plural name of the operations, for messages.
        per_key: The maximum number of operations for each key, including those that wait for a slot.
        total: The maximum number of operations that run at the same time.
        wait_seconds: How long an operation waits for a slot.
    """

    def __init__(self, name: str, *, per_key: int, total: int, wait_seconds: float) -> None:
        self._name = name
        self._per_key = per_key
        self._wait_seconds = wait_seconds
        self._in_use: Counter[Hashable] = Counter()
        self._slots = asyncio.Semaphore(total)

    @contextmanager
    def admit(self, key: Hashable) -> Iterator[None]:
        """Count an operation for a key until the block ends.

        Raises:
            TooManyRequests: The key has reached its limit.
        """
        if self._in_use[key] >= self._per_key:
            raise TooManyRequests(f"this account already has {self._per_key} {self._name} in progress")
        self._in_use[key] += 1
        try:
            yield
        finally:
            self._in_use[key] -= 1
            if self._in_use[key] <= 0:
                del self._in_use[key]

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """Wait for a slot, first come, first served, and hold it until the block ends.

        Raises:
            TooManyRequests: No slot became free in time.
        """
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise TooManyRequests(f"too many {self._name} are in progress") from None
        try:
            yield
        finally:
            self._slots.release()
