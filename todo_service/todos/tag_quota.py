"""A quota on the number of distinct tags of an account."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final, Self

from odmantic import ObjectId

from todo_service.bounds.todos import DOCUMENT_WAITERS
from todo_service.errors import Busy, QuotaExceeded
from todo_service.locks import KeyedLocks
from todo_service.sync.counting import TodoCounter
from todo_service.sync.counts import digest_tag
from todo_service.timestamps import now
from todo_service.todos.usage_cache import LONG_SECONDS, SHORT_SECONDS, UsageCache

_MAX_KNOWN_TAGS: Final = 100_000
"""How many tags of all accounts together the cache holds."""
_COUNT_SECONDS: Final = 1.0
"""How long a write with new tags waits for the account to be counted."""


class TagUsage:
    """The tags of an account that are known to be in use.

    Attributes:
        known: The digests of all tags in use, and possibly of some that no longer are.
        expires: When `known` expires, by the monotonic clock, because other processes may have added tags.
        unchecked: How many tags were added while the account could not be counted.
        writing: The tags of each write in flight.
    """

    __slots__ = ("expires", "known", "unchecked", "writing")

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.expires = 0.0
        self.unchecked = 0
        self.writing: list[set[str]] = []

    @property
    def idle(self) -> bool:
        """Whether the account has no write in flight."""
        return not self.writing


class TagQuota:
    """A quota on the number of distinct tags of an account's todos.

    Args:
        limit: The quota.
        counter: Counts the tags of an account.

    Attributes:
        limit: The quota.
    """

    def __init__(self, limit: int, counter: TodoCounter) -> None:
        self.limit = limit
        self._counter = counter
        self._usages = UsageCache(TagUsage, self._subtract_evicted)
        self._locks = KeyedLocks(DOCUMENT_WAITERS)
        self._cached_tags = 0

    def reserve(self, account: ObjectId, *, wait_for_count: bool = False) -> TagReservation:
        """Return a context manager that reserves room for tags while its block writes todos.

        Args:
            account: The account.
            wait_for_count: Whether to wait without a timeout if the account has to be counted.
        """
        return TagReservation(self, account, self._usages.get(account), None if wait_for_count else _COUNT_SECONDS)

    async def find_used(self, account: ObjectId) -> set[str]:
        """Return the digests of the tags that an account uses. It waits without a timeout for the account's count."""
        return set((await self._counter.count(account, now(), None)).tags)

    async def admit(self, account: ObjectId, usage: TagUsage, unknown: set[str], seconds: float | None) -> None:
        """Add tags to the known ones.

        Args:
            account: The account.
            usage: The usage of the account.
            unknown: The digests of the tags.
            seconds: The timeout of a count; None for no timeout.

        Raises:
            QuotaExceeded: There is no room for the tags.
            Busy: The account is still being counted.
        """
        async with self._locks.hold(account):
            if time.monotonic() >= usage.expires or len(usage.known | unknown) > self.limit:
                try:
                    await self._recount(account, usage, seconds)
                except Busy:
                    usage.unchecked += len(unknown)
                    if usage.unchecked > max(1, self.limit // 100):
                        raise
            if len(usage.known | unknown) > self.limit:
                raise QuotaExceeded("tags", self.limit)
            self._set_known(account, usage, usage.known | unknown)

    async def _recount(self, account: ObjectId, usage: TagUsage, seconds: float | None) -> None:
        writing: set[str] = set().union(*usage.writing)
        counts = await self._counter.count(account, now(), seconds)
        known = {*counts.tags, *writing}
        self._set_known(account, usage, known)
        usage.unchecked = 0
        few = len(known) < self.limit / 2
        usage.expires = time.monotonic() + (LONG_SECONDS if few else SHORT_SECONDS)

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

    def __enter__(self) -> Self:
        self._usage.writing.append(self._reserved)
        return self

    def __exit__(self, *error: object) -> None:
        # by identity: another write may have reserved an equal set
        self._usage.writing[:] = [tags for tags in self._usage.writing if tags is not self._reserved]

    async def add(self, tags: Iterable[str]) -> None:
        """Reserve room for the tags that are not in use yet.

        Raises:
            QuotaExceeded: There is no room for them.
            Busy: The account is still being counted.
        """
        digests = set(map(digest_tag, tags))
        if unknown := digests - self._usage.known:
            await self._quota.admit(self._account, self._usage, unknown, self._seconds)
        self._reserved |= digests
