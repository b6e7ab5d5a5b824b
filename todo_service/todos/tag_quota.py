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
from todo_service.todos.usage_cache import SHORT_SECONDS, UsageCache

_MAX_KNOWN_TAGS: Final = 100_000
"""How many tags of all accounts together the cache holds."""
_ALLOWANCE_SHARE_OF_ROOM: Final = 64
"""An allowance is at most this fraction (1/n) of the room left."""
_TURN_SHARE_OF_ROOM: Final = 16
"""A write with the turn may add this fraction (1/n) of the room left without counting again."""
_MIN_TURN_SHARE_OF_QUOTA: Final = 500
"""It may always add this fraction (1/n) of the quota, and at least one tag."""
_COUNT_SECONDS: Final = 1.0
"""How long a write with new tags waits for the account to be counted."""


class TagUsage:
    """The tags of an account that are known to be in use.

    Attributes:
        known: The digests of all tags in use, and possibly of some that no longer are.
        allowance: How many tags may be added without counting.
        expires: When both expire, by the monotonic clock, because other processes may have added and removed tags.
        unchecked: How many tags were added while the account could not be counted.
        writing: The tags of each write in flight.
    """

    __slots__ = ("allowance", "expires", "known", "unchecked", "writing")

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.allowance = 0
        self.expires = 0.0
        self.unchecked = 0
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

    A write takes new tags from the allowance of its account. If that is too small, the write waits for its turn, counts
    the account, and keeps the turn until its todos are stored, so that near the quota each process has only one write
    of new tags in flight.

    Args:
        limit: The quota.
        counter: Counts the tags of an account.

    Attributes:
        limit: The quota.
        turns: A lock for each account: its holder has the turn.
    """

    def __init__(self, limit: int, counter: TodoCounter) -> None:
        self.limit = limit
        self._counter = counter
        self._usages = UsageCache(TagUsage, self._subtract_evicted)
        self.turns = KeyedLocks(DOCUMENT_WAITERS)
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

    def take(self, account: ObjectId, usage: TagUsage, tags: set[str]) -> bool:
        """Add tags within the allowance of an account. Return whether it was large enough."""
        number = len(tags - usage.known)
        if number > usage.allowance or usage.is_expired:
            return False
        usage.allowance -= number
        self._set_known(account, usage, usage.known | tags)
        return True

    async def take_in_turn(
        self, account: ObjectId, usage: TagUsage, tags: set[str], room: int, seconds: float | None
    ) -> int:
        """Add tags for a write that has the turn.

        Args:
            account: The account.
            usage: The usage of the account.
            tags: The digests of the tags.
            room: How many tags the write may add without counting.
            seconds: The timeout of a count; None for no timeout.

        Returns:
            How many tags the write may add from now on without counting.

        Raises:
            QuotaExceeded: There is no room for the tags.
            Busy: The account is still being counted.
        """
        number = len(tags - usage.known)
        if usage.is_expired or number > room or len(usage.known | tags) > self.limit:
            try:
                room = await self._recount(account, usage, seconds)
            except Busy:
                usage.unchecked += number
                if usage.unchecked > max(1, self.limit // 100) or len(usage.known | tags) > self.limit:
                    raise
            number = len(tags - usage.known)
        if len(usage.known | tags) > self.limit:
            raise QuotaExceeded("tags", self.limit)
        self._set_known(account, usage, usage.known | tags)
        return max(0, room - number)

    async def _recount(self, account: ObjectId, usage: TagUsage, seconds: float | None) -> int:
        """Count the tags of an account, and return how many a write with the turn may add without counting again."""
        # grant nothing else until the count ends
        usage.allowance = 0
        writing: set[str] = set().union(*usage.writing)
        counts = await self._counter.count(account, now(), seconds)
        known = {*counts.tags, *writing}
        self._set_known(account, usage, known)
        usage.unchecked = 0
        left = max(0, self.limit - len(known))
        usage.allowance = left // _ALLOWANCE_SHARE_OF_ROOM
        usage.expires = time.monotonic() + SHORT_SECONDS
        return max(left // _TURN_SHARE_OF_ROOM, self.limit // _MIN_TURN_SHARE_OF_QUOTA, 1)

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
        self._has_turn = False
        self._room = 0

    def __enter__(self) -> Self:
        self._usage.writing.append(self._reserved)
        return self

    def __exit__(self, *error: object) -> None:
        # by identity: another write may have reserved an equal set
        self._usage.writing[:] = [tags for tags in self._usage.writing if tags is not self._reserved]
        if self._has_turn:
            self._quota.turns.release(self._account)

    @property
    def is_exhausted(self) -> bool:
        """Whether the next new tag needs a count, which should see the tags that are reserved now."""
        return self._has_turn and self._room == 0

    async def add(self, tags: Iterable[str]) -> None:
        """Reserve room for the tags that are not in use yet.

        Raises:
            QuotaExceeded: There is no room for them.
            Busy: The account is still being counted, or too many writes of new tags are waiting.
        """
        digests = set(map(digest_tag, tags))
        if digests and not self._quota.take(self._account, self._usage, digests):
            if not self._has_turn:
                await self._quota.turns.acquire(self._account)
                self._has_turn = True
            self._room = await self._quota.take_in_turn(self._account, self._usage, digests, self._room, self._seconds)
        self._reserved |= digests
