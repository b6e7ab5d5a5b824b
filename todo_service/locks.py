"""Locks by key within a process, so that concurrent changes of one document wait in line instead of retrying."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from todo_service.errors import Busy


class KeyedLocks:
    """A lock for each key, which exists only while it is held or awaited.

    Args:
        waiting: The maximum number of waiters for each key.
    """

    def __init__(self, waiting: int) -> None:
        self._max_users = waiting + 1
        self._locks: dict[Hashable, _Lock] = {}

    def hold(self, key: Hashable) -> _LockContext:
        """Return an async context manager that holds the lock of a key. Waiters are served in order.

        Entering it raises `Busy` if the lock has too many waiters.
        """
        return _LockContext(self, key)

    async def acquire(self, key: Hashable) -> None:
        """Acquire the lock of a key. The caller must call `release`.

        Raises:
            Busy: The lock has too many waiters.
        """
        entry = self._locks.get(key)
        if entry is None:
            entry = self._locks[key] = _Lock()
        if entry.users >= self._max_users:
            raise Busy("too many concurrent requests to change this resource")
        entry.users += 1
        try:
            await entry.lock.acquire()
        except BaseException:
            self._forget(key, entry)
            raise

    def release(self, key: Hashable) -> None:
        """Release the lock of a key."""
        entry = self._locks[key]
        entry.lock.release()
        self._forget(key, entry)

    def _forget(self, key: Hashable, entry: _Lock) -> None:
        entry.users -= 1
        if not entry.users:
            del self._locks[key]


class _Lock:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class _LockContext:
    """An async context manager that holds a lock. As a class, it is several times faster than `asynccontextmanager`."""

    __slots__ = ("_key", "_locks")

    def __init__(self, locks: KeyedLocks, key: Hashable) -> None:
        self._locks = locks
        self._key = key

    async def __aenter__(self) -> None:
        await self._locks.acquire(self._key)

    async def __aexit__(self, *error: object) -> None:
        self._locks.release(self._key)
