"""A quota on the number of documents of an account."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from bson import Timestamp
from odmantic import ObjectId

from todo_service.bounds.todos import DOCUMENT_WAITERS
from todo_service.errors import QuotaExceeded
from todo_service.locks import KeyedLocks
from todo_service.todos.usage_cache import LONG_SECONDS, SHORT_SECONDS, UsageCache

_ALLOWANCE_SHARE_OF_ROOM: Final = 64
_ALLOWANCE_SHARE_OF_QUOTA: Final = 1000
"""An allowance is at most this fraction (1/n) of the room left, and of the quota."""
_WRITING_SHARE_OF_ROOM: Final = 16
"""A process writes at most this fraction (1/n) of the room left at a time, because other processes do not see it."""
_MIN_WRITING_SHARE_OF_QUOTA: Final = 500
"""A process may always write this fraction (1/n) of the quota at a time, and always one document."""
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
        kind: The plural name of the documents.
        limit: The quota.
        count: Counts the documents of an account.
        count_since: Counts the documents written after a stamp, up to a limit; None to always count all of them.
        resolve_stamp: Returns the stamp up to which every write is visible.

    Attributes:
        kind: The plural name of the documents.
        limit: The quota.
        usages: The usage of each account.
    """

    def __init__(
        self,
        kind: str,
        limit: int,
        count: Callable[[ObjectId], Awaitable[int]],
        count_since: Callable[[ObjectId, Timestamp, int], Awaitable[int]] | None,
        resolve_stamp: Callable[[], Awaitable[Timestamp]],
    ) -> None:
        self.kind = kind
        self.limit = limit
        self._count = count
        self._count_since = count_since
        self._resolve_stamp = resolve_stamp
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

    async def acquire(self, account: ObjectId, usage: DocumentUsage, wanted: int) -> int:
        """Reserve room for at most `wanted` documents, and return how many may be written.

        The caller returns the room with `usage.release`.
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
                return await self._count_and_grant(account, usage, wanted)
            finally:
                usage.counting.set()
                usage.counting = None

    async def _count_and_grant(self, account: ObjectId, usage: DocumentUsage, wanted: int) -> int:
        """Count the documents of an account, and return how many of `wanted` may be written now."""
        # grant nothing else until the count ends
        usage.allowance = 0
        left = await self._count_left(account, usage, wanted)
        if usage.writing and (left < wanted or usage.writing + wanted > self._max_writing(left + usage.writing)):
            await usage.wait_until_idle()
            left = await self._count_left(account, usage, wanted)
        granted = max(0, min(wanted, left, self._max_writing(left)))
        usage.allowance = max(
            0, min((left - granted) // _ALLOWANCE_SHARE_OF_ROOM, self.limit // _ALLOWANCE_SHARE_OF_QUOTA)
        )
        usage.expires = time.monotonic() + (LONG_SECONDS if left >= self.limit / 2 else SHORT_SECONDS)
        usage.writing += granted
        return granted

    def _max_writing(self, room: int) -> int:
        """Return how many documents this process may write at a time while there is room for `room` more."""
        return max(room // _WRITING_SHARE_OF_ROOM, self.limit // _MIN_WRITING_SHARE_OF_QUOTA, 1)

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
        stamp = await self._resolve_stamp() if self._count_since is not None else None
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

    __slots__ = ("_account", "_granted", "_quota", "_required", "_usage", "_wanted")

    def __init__(self, quota: DocumentQuota, account: ObjectId, wanted: int, *, required: bool) -> None:
        self._quota = quota
        self._account = account
        self._wanted = wanted
        self._required = required
        self._usage = quota.usages.get(account)
        self._granted = 0

    async def __aenter__(self) -> int:
        self._granted = await self._quota.acquire(self._account, self._usage, self._wanted)
        if self._required and self._granted < self._wanted:
            self._usage.release(self._granted)
            raise QuotaExceeded(self._quota.kind, self._quota.limit)
        return self._granted

    async def __aexit__(self, *error: object) -> None:
        self._usage.release(self._granted)
