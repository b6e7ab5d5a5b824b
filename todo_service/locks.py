"""Locks by key, within one process: what many ask of one document at once is done in turn instead of by retries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from todo_service.errors import Busy


class _Lock:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class KeyedLocks:
    """A lock for each key, there only while somebody holds it or waits for it.

    Args:
        waiting: How many may wait for one key.
    """

    def __init__(self, waiting: int) -> None:
        self._most = waiting + 1
        self._locks: dict[Hashable, _Lock] = {}

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Hold the lock of a key while the block runs; first come, first served.

        Raises:
            Busy: too many are waiting for it.
        """
        found = self._locks.setdefault(key, _Lock())
        if found.users >= self._most:
            raise Busy("too many requests change this at once")
        found.users += 1
        try:
            async with found.lock:
                yield
        finally:
            found.users -= 1
            if not found.users:
                del self._locks[key]
