"""A quota on the number of distinct tags of an account.

A process caches which tags an account uses, so that a write of a todo needs no count. Other processes do not see what
it writes from its cache, and the cache does not see what they remove. So a process may use its cache only for a moment,
and only while no document of a lease on the quota exists. The document is kept for a while after the lease has been
released. A write that creates it waits until all caches have expired and what was written from them is visible. From
then on, every write with tags takes the lease and counts the account, and the quota is exact.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from odmantic import ObjectId

from todo_service.bounds.todos import COUNTING_SECONDS, DOCUMENT_WAITERS
from todo_service.errors import QuotaExceeded
from todo_service.locks import KeyedLocks
from todo_service.store.base import DocumentStore
from todo_service.sync.counting import TodoCounter
from todo_service.sync.counts import digest_tag
from todo_service.timestamps import now
from todo_service.todos.account_lease import HeldLease, derive_lease_id, hold_quota
from todo_service.todos.documents import QuotaLease
from todo_service.todos.usage_cache import UsageCache

_MAX_KNOWN_TAGS: Final = 100_000
"""How many tags of all accounts together the cache holds."""
_SHARE_OF_ROOM: Final = 16
"""From its cache, a process may add this fraction (1/n) of the room left."""
_SHARE_NEAR_QUOTA: Final = 10
"""With less room than this fraction (1/n) of the quota, each write with tags takes the lease."""
_CACHE_SECONDS: Final = 0.5
"""How long a process may use its cache after it has looked for a lease."""
_SETTLE_SECONDS: Final = _CACHE_SECONDS + 1.0
"""How long a write waits for the caches to expire, and for what was written from them."""
_KEPT: Final = timedelta(minutes=1)
"""How long the document of a lease is kept after the last write near the quota."""
_KIND: Final = "tags"


class TagUsage:
    """The tags of an account that are known to be in use.

    Attributes:
        known: The digests of all tags in use, and possibly of some that no longer are.
        allowance: How many tags may be added without counting.
        expires: When both expire, by the monotonic clock, because other processes may have added and removed tags.
        writing: The tags of each write in flight.
    """

    __slots__ = ("allowance", "expires", "known", "writing")

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.allowance = 0
        self.expires = 0.0
        self.writing: list[set[str]] = []

    @property
    def idle(self) -> bool:
        """Whether the account has no write in flight."""
        return not self.writing

    @property
    def is_expired(self) -> bool:
        """Whether the account must be counted before the next write with tags."""
        return time.monotonic() >= self.expires


class TagQuota:
    """A quota on the number of distinct tags of an account's todos.

    Args:
        store: The store.
        limit: The quota.
        counter: Counts the tags of an account.

    Attributes:
        limit: The quota.
    """

    def __init__(self, store: DocumentStore, limit: int, counter: TodoCounter) -> None:
        self.limit = limit
        self._store = store
        self._counter = counter
        self._near = max(limit // _SHARE_NEAR_QUOTA, _SHARE_OF_ROOM)
        self._usages = UsageCache(TagUsage, self._subtract_evicted)
        self._locks = KeyedLocks(DOCUMENT_WAITERS)
        self._cached_tags = 0

    def reserve(self, account: ObjectId, *, wait_for_count: bool = False) -> TagReservation:
        """Return an async context manager that reserves room for tags while its block writes todos.

        Args:
            account: The account.
            wait_for_count: Whether to wait without a timeout if the account has to be counted.
        """
        return TagReservation(self, account, self._usages.get(account), None if wait_for_count else COUNTING_SECONDS)

    async def find_used(self, account: ObjectId) -> set[str]:
        """Return the digests of the tags that an account uses. It waits without a timeout for the account's count."""
        return set((await self._counter.count(account, now(), None)).tags)

    async def take(self, account: ObjectId, usage: TagUsage, tags: set[str], seconds: float | None) -> bool:
        """Add tags from the cache, which is filled if it has expired. Return whether that was possible.

        Args:
            account: The account.
            usage: The usage of the account.
            tags: The digests of the tags.
            seconds: The timeout of a count; None for no timeout.

        Raises:
            Busy: The account is still being counted.
        """
        if not usage.is_expired:
            return self._take_cached(account, usage, tags)
        async with self._locks.hold(account):
            if usage.is_expired and not await self._fill_cache(account, usage, seconds):
                return False
        return self._take_cached(account, usage, tags)

    async def take_with_lease(
        self, account: ObjectId, usage: TagUsage, tags: set[str], seconds: float | None, *, count: bool
    ) -> bool:
        """Add tags while the caller holds the lease.

        Args:
            account: The account.
            usage: The usage of the account.
            tags: The digests of the tags.
            seconds: The timeout of a count; None for no timeout.
            count: Whether to count the account first. It is counted in any case before tags are refused.

        Returns:
            Whether the account is near the quota.

        Raises:
            QuotaExceeded: There is no room for the tags.
            Busy: The account is still being counted.
        """
        if count or len(usage.known | tags) > self.limit:
            await self._count(account, usage, seconds)
        if len(usage.known | tags) > self.limit:
            raise QuotaExceeded(_KIND, self.limit)
        self._set_known(account, usage, usage.known | tags)
        return self.limit - len(usage.known) < self._near

    async def take_lease(self, account: ObjectId, stack: AsyncExitStack[bool | None]) -> HeldLease:
        """Hold the lease on the quota of an account until the stack is closed."""
        lease = await stack.enter_async_context(hold_quota(self._store, self._locks, account, _KIND))
        if lease.inherited is None:
            await asyncio.sleep(_SETTLE_SECONDS)
            lease.keep_until = now() + _KEPT
        return lease

    def _take_cached(self, account: ObjectId, usage: TagUsage, tags: set[str]) -> bool:
        number = len(tags - usage.known)
        if number > usage.allowance or usage.is_expired:
            return False
        usage.allowance -= number
        self._set_known(account, usage, usage.known | tags)
        return True

    async def _fill_cache(self, account: ObjectId, usage: TagUsage, seconds: float | None) -> bool:
        """Count the tags of an account. Return whether they may be cached."""
        started = time.monotonic()
        lease_id = derive_lease_id(account, _KIND)
        if await self._store.get(QuotaLease, QuotaLease.id == lease_id) is not None:
            return False
        await self._count(account, usage, seconds)
        left = self.limit - len(usage.known)
        if left < self._near:
            return False
        usage.allowance = left // _SHARE_OF_ROOM
        usage.expires = started + _CACHE_SECONDS
        return True

    async def _count(self, account: ObjectId, usage: TagUsage, seconds: float | None) -> None:
        usage.expires = 0.0
        writing: set[str] = set().union(*usage.writing)
        counts = await self._counter.count(account, now(), seconds)
        self._set_known(account, usage, {*counts.tags, *writing})

    def _set_known(self, account: ObjectId, usage: TagUsage, known: set[str]) -> None:
        self._cached_tags += len(known) - len(usage.known)
        usage.known = known
        while self._cached_tags > _MAX_KNOWN_TAGS and self._usages.evict_oldest(account):
            pass

    def _subtract_evicted(self, usage: TagUsage) -> None:
        self._cached_tags -= len(usage.known)


class TagReservation:
    """Room for the tags that one call writes. See `TagQuota.reserve`."""

    def __init__(self, quota: TagQuota, account: ObjectId, usage: TagUsage, seconds: float | None) -> None:
        self._quota = quota
        self._account = account
        self._usage = usage
        self._reserved: set[str] = set()
        self._seconds = seconds
        self._stack: AsyncExitStack[bool | None] | None = None
        self._lease: HeldLease | None = None

    async def __aenter__(self) -> Self:
        self._usage.writing.append(self._reserved)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        # by identity: another write may have reserved an equal set
        self._usage.writing[:] = [tags for tags in self._usage.writing if tags is not self._reserved]
        return None if self._stack is None else await self._stack.__aexit__(kind, error, traceback)

    async def add(self, tags: Iterable[str]) -> None:
        """Reserve room for the tags that are not in use yet.

        Raises:
            QuotaExceeded: There is no room for them.
            Busy: The account is still being counted, or too many writes of new tags are waiting.
        """
        digests = set(map(digest_tag, tags))
        if not digests:
            return
        if self._lease is None and await self._quota.take(self._account, self._usage, digests, self._seconds):
            self._reserved |= digests
            return
        is_first = self._lease is None
        if self._lease is None:
            self._stack = AsyncExitStack()
            self._lease = await self._quota.take_lease(self._account, self._stack)
        is_near = await self._quota.take_with_lease(self._account, self._usage, digests, self._seconds, count=is_first)
        if is_near:
            self._lease.keep_until = now() + _KEPT
        self._reserved |= digests
