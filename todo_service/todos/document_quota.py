"""A quota on the number of documents of an account."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Final

from bson import Timestamp
from odmantic import ObjectId

from todo_service.bounds.todos import DOCUMENT_WAITERS
from todo_service.errors import QuotaExceeded
from todo_service.locks import KeyedLocks
from todo_service.store.base import DocumentStore
from todo_service.todos.account_lease import HeldLease, hold_quota
from todo_service.todos.usage_cache import UsageCache

_SHARE_OF_ROOM: Final = 64
"""Without the lease, a process writes at most this fraction (1/n) of the room left at a time."""
_SHARE_NEAR_QUOTA: Final = 10
"""With less room than this fraction (1/n) of the quota, each write takes the lease."""
_ALLOWANCE_SHARE_OF_QUOTA: Final = 2000
"""An allowance is at most this fraction (1/n) of the quota."""
_LONG_SECONDS: Final = 600.0
"""How long an allowance stays valid if the account uses less than half of the quota."""
_SHORT_SECONDS: Final = 5.0
"""How long it stays valid otherwise."""
_MAX_RECENT_CHANGES: Final = 2000
"""With at most this many changes since the last count, only the changes are counted."""


class DocumentUsage:
    """How much of a quota an account uses.

    Attributes:
        counted: The number of documents at the last count.
        since: The stamp up to which the last count saw every write; None before the first count.
        allowance: How many more documents may be written without counting.
        expires: When the allowance expires, by the monotonic clock.
        writing: How many documents are being written.
        counting: Set when the count in flight ends; None if there is none.
    """

    __slots__ = ("_waiting", "allowance", "counted", "counting", "expires", "since", "writing")

    def __init__(self) -> None:
        self.counted = 0
        self.since: Timestamp | None = None
        self.allowance = 0
        self.expires = 0.0
        self.writing = 0
        self.counting: asyncio.Event | None = None
        self._waiting: asyncio.Event | None = None

    @property
    def idle(self) -> bool:
        """Whether the account has no write in flight."""
        return not self.writing

    def take(self, number: int) -> bool:
        """Take documents from the allowance. Return whether it was large enough."""
        if self.allowance < number or time.monotonic() >= self.expires:
            return False
        self.allowance -= number
        self.writing += number
        return True

    def release(self, number: int) -> None:
        """Record that the writes of this many documents have ended."""
        self.writing -= number
        if not self.writing and self._waiting is not None:
            self._waiting.set()
            self._waiting = None

    async def wait_until_idle(self) -> None:
        """Wait until the account has no write in flight."""
        if self.writing:
            self._waiting = self._waiting or asyncio.Event()
            await self._waiting.wait()


class DocumentQuota:
    """A quota on the number of documents of one kind.

    Args:
        store: The store.
        kind: The plural name of the documents.
        limit: The quota.
        count: Counts the documents of an account.
        count_since: Counts the documents written after a stamp, up to a limit; None to always count all of them.

    Attributes:
        kind: The plural name of the documents.
        limit: The quota.
        usages: The usage of each account.
    """

    def __init__(
        self,
        store: DocumentStore,
        kind: str,
        limit: int,
        count: Callable[[ObjectId], Awaitable[int]],
        count_since: Callable[[ObjectId, Timestamp, int], Awaitable[int]] | None,
    ) -> None:
        self.kind = kind
        self.limit = limit
        self._store = store
        self._count = count
        self._count_since = count_since
        self._near = max(limit // _SHARE_NEAR_QUOTA, _SHARE_OF_ROOM)
        self.usages = UsageCache(DocumentUsage)
        self._locks = KeyedLocks(DOCUMENT_WAITERS)

    def reserve_one(self, account: ObjectId) -> DocumentReservation:
        """Return an async context manager that reserves room for one document.

        Entering it raises `QuotaExceeded` if there is no room.
        """
        return DocumentReservation(self, account, 1, required=True)

    def reserve_up_to(self, account: ObjectId, wanted: int) -> DocumentReservation:
        """Return an async context manager that reserves room for at most `wanted` documents.

        Entering it returns how many may be written: possibly fewer than fit, but 0 only if none fits. Write those,
        then ask for the others.
        """
        return DocumentReservation(self, account, wanted, required=False)

    async def take(self, account: ObjectId, usage: DocumentUsage, wanted: int) -> int | None:
        """Reserve room for documents without the lease.

        The caller returns the room with `usage.release`.

        Returns:
            How many may be written: all, or 0 if the account has reached the quota. None if the lease is necessary.
        """
        if usage.take(wanted):
            return wanted
        if usage.counting is not None:
            # wake all waiters together, so that a store can batch their writes
            await usage.counting.wait()
            if usage.take(wanted):
                return wanted
        async with self._locks.hold(account):
            if usage.take(wanted):
                return wanted
            usage.counting = asyncio.Event()
            try:
                return await self._count_and_take(account, usage, wanted)
            finally:
                usage.counting.set()
                usage.counting = None

    def hold_lease(self, account: ObjectId) -> AbstractAsyncContextManager[HeldLease]:
        """Hold the lease on the quota of an account for the duration of a block."""
        return hold_quota(self._store, self._locks, account, self.kind)

    async def take_with_lease(self, account: ObjectId, usage: DocumentUsage, wanted: int) -> int:
        """Reserve room for at most `wanted` documents while the caller holds the lease.

        The caller returns the room with `usage.release`.

        Returns:
            How many may be written; 0 if the account has reached the quota.
        """
        usage.allowance = 0
        await usage.wait_until_idle()
        left = await self._count_left(account, usage, max(wanted, self._near))
        # until the account is near the quota, leave room for writes without the lease
        granted = max(0, min(wanted, left if left < self._near else left // 2))
        usage.writing += granted
        return granted

    async def _count_and_take(self, account: ObjectId, usage: DocumentUsage, wanted: int) -> int | None:
        # grant nothing else until the count ends
        usage.allowance = 0
        required = max(self._near, (usage.writing + wanted) * _SHARE_OF_ROOM)
        left = await self._count_left(account, usage, required)
        if left < required and usage.writing:
            await usage.wait_until_idle()
            required = max(self._near, wanted * _SHARE_OF_ROOM)
            left = await self._count_left(account, usage, required)
        if left < required:
            return None if left > 0 else 0
        usage.allowance = min((left - wanted) // _SHARE_OF_ROOM, self.limit // _ALLOWANCE_SHARE_OF_QUOTA)
        usage.expires = time.monotonic() + (_LONG_SECONDS if left >= self.limit / 2 else _SHORT_SECONDS)
        usage.writing += wanted
        return wanted

    async def _count_left(self, account: ObjectId, usage: DocumentUsage, wanted: int) -> int:
        """Return how many documents fit: a lower bound if that is at least `wanted`, else the exact number.

        Writes in flight count as written. Those that are already visible count twice.
        """
        writing = usage.writing
        if usage.since is not None and self._count_since is not None:
            # a change of an old document counts as a new document here
            later = await self._count_since(account, usage.since, _MAX_RECENT_CHANGES + 1)
            if later <= _MAX_RECENT_CHANGES and self.limit - usage.counted - later - writing >= wanted:
                return self.limit - usage.counted - later - writing
        stamp = await self._store.resolved_stamp() if self._count_since is not None else None
        usage.counted = await self._count(account)
        usage.since = stamp
        return self.limit - usage.counted - writing


class DocumentReservation:
    """Room for documents, reserved for the duration of an `async with` block.

    A class, because entering it costs a fraction of what `asynccontextmanager` costs.

    Args:
        quota: The quota.
        account: The account.
        wanted: The number of documents.
        required: Whether to raise `QuotaExceeded` if fewer documents fit.
    """

    __slots__ = ("_account", "_granted", "_lease", "_quota", "_required", "_usage", "_wanted")

    def __init__(self, quota: DocumentQuota, account: ObjectId, wanted: int, *, required: bool) -> None:
        self._quota = quota
        self._account = account
        self._wanted = wanted
        self._required = required
        self._usage = quota.usages.get(account)
        self._granted = 0
        self._lease: AsyncExitStack[bool | None] | None = None

    async def __aenter__(self) -> int:
        granted = await self._quota.take(self._account, self._usage, self._wanted)
        if granted is None:
            granted = await self._take_with_lease()
        else:
            self._check(granted)
        self._granted = granted
        return granted

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._usage.release(self._granted)
        return None if self._lease is None else await self._lease.__aexit__(kind, error, traceback)

    async def _take_with_lease(self) -> int:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._quota.hold_lease(self._account))
            granted = await self._quota.take_with_lease(self._account, self._usage, self._wanted)
            self._check(granted)
            self._lease = stack.pop_all()
        return granted

    def _check(self, granted: int) -> None:
        if self._required and granted < self._wanted:
            self._usage.release(granted)
            raise QuotaExceeded(self._quota.kind, self._quota.limit)
