"""A quota on the number of documents of an account."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Self

from bson import Timestamp
from odmantic import ObjectId

from todo_service.errors import QuotaExceeded
from todo_service.store.base import DocumentStore
from todo_service.todos.account_lease import Purpose
from todo_service.todos.quota_queue import QuotaQueue, Request, Usage
from todo_service.todos.usage_cache import UsageCache

_MAX_RECENT_CHANGES: Final = 2000
"""With at most this many changes since the last count, only the changes are counted."""
_FULL_SECONDS: Final = 2.0
"""How long a process caches that a quota is full. Used only where deleted documents still count."""


class DocumentUsage(Usage[Request]):
    """How much of a quota of documents an account uses.

    Attributes:
        counted: At least the number of documents that have not been written since `since`.
        since: A stamp up to which the last full count saw every write; None before the first count.
        full_until: Until when there is no room, by the monotonic clock.
    """

    __slots__ = ("counted", "full_until", "since")

    def __init__(self) -> None:
        super().__init__()
        self.counted = 0
        self.since: Timestamp | None = None
        self.full_until = 0.0


class DocumentQuota(QuotaQueue[DocumentUsage, Request]):
    """A quota on the number of documents of one kind.

    Args:
        store: The store.
        kind: The plural name of the documents.
        limit: The quota.
        count: Counts the documents of an account.
        count_since: Counts the documents written after a stamp, up to a limit; None to always count all of them.
        keeps_deleted: Whether a deleted document counts too. Room then comes back only when tombstones expire.
    """

    def __init__(
        self,
        store: DocumentStore,
        kind: Purpose,
        limit: int,
        count: Callable[[ObjectId], Awaitable[int]],
        count_since: Callable[[ObjectId, Timestamp, int], Awaitable[int]] | None = None,
        *,
        keeps_deleted: bool = False,
    ) -> None:
        super().__init__(store, kind, limit, leases=False)
        self._count_documents = count
        self._count_since = count_since
        self._full_seconds = _FULL_SECONDS if keeps_deleted else 0.0
        self._usages = UsageCache(DocumentUsage)

    def reserve_one(self, account: ObjectId) -> DocumentReservation:
        """Return an async context manager that reserves room for one document.

        Entering it raises `QuotaExceeded` if there is no room.
        """
        return DocumentReservation(self, account, self._usages.get(account), 1, required=True)

    def reserve_up_to(self, account: ObjectId, wanted: int) -> DocumentReservation:
        """Return an async context manager that reserves room for at most `wanted` documents.

        Entering it returns how many may be written: possibly fewer than fit, but 0 only if none fits. Write those,
        then ask for the others.
        """
        return DocumentReservation(self, account, self._usages.get(account), wanted, required=False)

    def reserve_for_batch(self, account: ObjectId, number: int) -> BatchReservation:
        """Return an async context manager in which a batch writes about `number` documents, one after the other."""
        return BatchReservation(self, account, number)

    async def acquire(self, account: ObjectId, usage: DocumentUsage, wanted: int) -> int:
        """Reserve room for at most `wanted` documents, and return how many may be written; 0 only if none fits.

        The caller returns the room with `usage.release`.

        Raises:
            Busy: Too many writes are waiting, or other processes write near the quota for too long.
        """
        if usage.take(wanted):
            return wanted
        if usage.full_until and time.monotonic() < usage.full_until:
            return 0
        return await self._wait_for_room(account, usage, Request(wanted, partial=True))

    async def _count(self, account: ObjectId, usage: DocumentUsage, wanted: int) -> bool:
        writing, later, stamp = usage.writing, None, usage.since
        if self._count_since is not None and not self.leases:
            if stamp is not None:
                # a change of an old document counts as a new document here
                later = await self._count_since(account, stamp, _MAX_RECENT_CHANGES + 1)
                if later > _MAX_RECENT_CHANGES:
                    later = None
                elif self.limit - usage.counted - later - writing >= wanted:
                    usage.room = self.limit - usage.counted - later - writing
                    return False
            if later is None:
                stamp = await self._store.resolved_stamp()
        counted = await self._count_documents(account)
        usage.counted, usage.since = counted - (later or 0), stamp
        usage.room = self.limit - counted - writing
        return True

    def _measure(self, usage: DocumentUsage, request: Request) -> int:
        return request.wanted

    def _record(self, usage: DocumentUsage, request: Request, number: int) -> None:
        if request.refused and self._full_seconds:
            usage.full_until = time.monotonic() + self._full_seconds


class DocumentReservation:
    """Room for documents, reserved for the duration of an `async with` block.

    A class, because entering it costs a fraction of what `asynccontextmanager` costs.

    Args:
        quota: The quota.
        account: The account.
        usage: The usage of the account.
        wanted: The number of documents.
        required: Whether to raise `QuotaExceeded` if none fits.
    """

    __slots__ = ("_account", "_granted", "_quota", "_required", "_usage", "_wanted")

    def __init__(
        self, quota: DocumentQuota, account: ObjectId, usage: DocumentUsage, wanted: int, *, required: bool
    ) -> None:
        self._quota = quota
        self._account = account
        self._usage = usage
        self._wanted = wanted
        self._required = required
        self._granted = 0

    async def __aenter__(self) -> int:
        self._granted = await self._quota.acquire(self._account, self._usage, self._wanted)
        if self._required and not self._granted:
            raise QuotaExceeded(self._quota.kind, self._quota.limit)
        return self._granted

    async def __aexit__(self, *error: object) -> None:
        self._usage.release(self._granted)


class BatchReservation:
    """Room for the documents that a batch writes one after the other.

    Where writes may need the lease, the batch reserves room for all of its documents at once, and keeps it until they
    are written or its block ends. Otherwise each document reserves its own room, usually from the allowance.

    Args:
        quota: The quota.
        account: The account.
        number: How many documents the batch probably writes.

    Attributes:
        only_creates_since: The monotonic time since when the batch has only created documents.
    """

    def __init__(self, quota: DocumentQuota, account: ObjectId, number: int) -> None:
        self._quota = quota
        self._account = account
        self.only_creates_since = time.monotonic()
        self._left = number
        self._room = 0
        self._held: DocumentReservation | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._release()

    def record_change(self) -> None:
        """Record that the batch has changed a todo, which may have removed tags."""
        self.only_creates_since = time.monotonic()

    def reserve_one(self) -> AbstractAsyncContextManager[object]:
        """Return an async context manager like `DocumentQuota.reserve_one`."""
        return self._reserve_one() if self._quota.leases else self._quota.reserve_one(self._account)

    @asynccontextmanager
    async def _reserve_one(self) -> AsyncIterator[None]:
        if not self._room:
            await self._release()
            held = self._quota.reserve_up_to(self._account, max(1, self._left))
            self._room = await held.__aenter__()
            if not self._room:
                raise QuotaExceeded(self._quota.kind, self._quota.limit)
            self._held = held
        self._room -= 1
        self._left -= 1
        try:
            yield
        finally:
            if self._left <= 0:
                await self._release()

    async def _release(self) -> None:
        """Return the room. What was written in it is stored."""
        if self._held is not None:
            held, self._held, self._room = self._held, None, 0
            await held.__aexit__(None, None, None)
