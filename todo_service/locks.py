"""Locks by key, within one process: what many ask of one document at once is done in turn instead of by retries."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from todo_service.errors import Busy


class KeyedLocks:
    """A lock for each key, there only while somebody holds it or waits for it.

    Args:
        waiting: How many may wait for one key.
    """

    def __init__(self, waiting: int) -> None:
        self._most = waiting + 1
        self._locks: dict[Hashable, _Lock] = {}

    def hold(self, key: Hashable) -> _Holding:
        """Hold the lock of a key while an `async with` block runs; first come, first served.

        Entering it raises `Busy` where too many are waiting for the lock.
        """
        return _Holding(self, key)

    async def acquire(self, key: Hashable) -> None:
        """Wait for the lock of a key; call `release` afterwards.

        Raises:
            Busy: too many are waiting for it.
        """
        found = self._locks.get(key)
        if found is None:
            found = self._locks[key] = _Lock()
        if found.users >= self._most:
            raise Busy("too many requests change this at once")
        found.users += 1
        try:
            await found.lock.acquire()
        except BaseException:
            self._forget(key, found)
            raise

    def release(self, key: Hashable) -> None:
        """Let go of the lock of a key."""
        found = self._locks[key]
        found.lock.release()
        self._forget(key, found)

    def _forget(self, key: Hashable, found: _Lock) -> None:
        found.users -= 1
        if not found.users:
            del self._locks[key]


class _Lock:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class _Holding:
    """A block that holds a lock. A class, for entering one costs a fraction of what `asynccontextmanager` does."""

    __slots__ = ("_key", "_locks")

    def __init__(self, locks: KeyedLocks, key: Hashable) -> None:
        self._locks = locks
        self._key = key

    async def __aenter__(self) -> None:
        await self._locks.acquire(self._key)

    async def __aexit__(self, *error: object) -> None:
        self._locks.release(self._key)
