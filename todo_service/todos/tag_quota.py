"""A quota on the number of distinct tags of an account."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Final, Self

from odmantic import ObjectId

from todo_service.bounds.todos import COUNTING_SECONDS
from todo_service.errors import Busy, QuotaExceeded
from todo_service.store.base import DocumentStore
from todo_service.sync.counting import TodoCounter
from todo_service.sync.counts import digest_tag
from todo_service.timestamps import now
from todo_service.todos.account_lease import RELIANCE_SECONDS, find_last_holder
from todo_service.todos.quota_queue import QuotaQueue
from todo_service.todos.tag_usage import LeaseRead, TagRequest, TagUsage
from todo_service.todos.usage_cache import UsageCache

_MAX_KNOWN_TAGS: Final = 100_000
"""How many tags of all accounts together the cache holds."""
_KNOWN_SECONDS: Final = 30.0
"""How long a process relies on its count of the tags in use, unless another process takes a turn."""
_NEAR_QUARTERS: Final = 3
"""Adding a tag requires the lease once a quarter of the quota is in use. Below that, it does not matter if other
processes replace all tags unnoticed: four disjoint sets of that size still fit into the quota."""
_SPARE_SHARE_OF_ROOM: Final = 64
"""Far from the quota, a process may add this fraction (1/n) of the room left without a further count."""
_RETENTION: Final = timedelta(minutes=1)
"""How long the document of the lease is kept: more than `_KNOWN_SECONDS` plus the clock skew between processes."""
_COUNT_SECONDS: Final = 1.0
"""How long a write waits for the count of an account that was far from the quota at the previous one."""


class TagQuota(QuotaQueue[TagUsage, TagRequest]):
    """A quota on the number of distinct tags of an account's todos.

    The document of the lease tells whether another process has been near the quota since this one counted the tags in
    use. If none has, a write whose tags are in use needs no further count. A few new tags need none if the document is
    no longer kept. More new tags need a count, and near the quota the lease.

    A write can reuse the room of a tag if it removes that tag from the only todo that has it. Such a write may fail, so
    no other write gets room while it runs. Until the next count, no other write relies on its old or new tags.

    Args:
        store: The store.
        limit: The quota.
        counter: Counts the tags of an account.
    """

    def __init__(self, store: DocumentStore, limit: int, counter: TodoCounter) -> None:
        super().__init__(store, "tags", limit, leases=True, near=limit * _NEAR_QUARTERS // 4, retention=_RETENTION)
        self._counter = counter
        self._usages = UsageCache(TagUsage, self._subtract_evicted)
        self._cached_tags = 0

    def reserve(
        self, account: ObjectId, tags: Iterable[str], since: float | None = None, removed: Iterable[str] = ()
    ) -> TagReservation:
        """Return an async context manager that reserves room for the tags of a todo while its block writes it.

        Entering it raises `QuotaExceeded` if there is no room for them, and `Busy` if the account is still being
        counted or too many writes are waiting.

        Args:
            account: The account.
            tags: The tags.
            since: The monotonic time since when the caller has removed no tags. If a count that began later found no
                room, the tags are not counted again. None to count before tags are refused.
            removed: The tags that the block removes from the todo. They make room if no other todo has them.
        """
        usage = self._usages.get(account)
        return TagReservation(self, account, usage, tags, removed, for_many=False, since=since)

    def reserve_up_to(self, account: ObjectId, tags: Iterable[str]) -> TagReservation:
        """Return an async context manager that reserves room for as many tags of several todos as fit.

        Call `TagReservation.add` with the tags of each todo. It waits without a timeout if the account has to be
        counted.
        """
        return TagReservation(self, account, self._usages.get(account), tags, for_many=True)

    async def find_used(self, account: ObjectId) -> set[str]:
        """Return the digests of the tags that an account uses. It waits without a timeout for the account's count."""
        return set((await self._counter.count(account, now(), None)).tags)

    async def acquire(self, account: ObjectId, usage: TagUsage, request: TagRequest, since: float | None = None) -> int:
        """Reserve room for the tags of a write, and return how many of them may be new.

        Afterwards, the caller calls `release`.
        """
        if since is not None and usage.exact is not None:
            began, known, room = usage.exact
            if began >= since and len(request.tags - known) > room:
                request.refused = True
                return 0
        if time.monotonic() < usage.known_until:
            number = self._measure(usage, request)
            if usage.take(number):
                self._record(usage, request, number)
                return number
            is_few = number <= usage.spare and usage.last_holder is None and not request.partial
            if (not number or is_few) and await self._take_without_count(account, usage, request, number):
                return number
        try:
            return await self._wait_for_room(account, usage, request)
        except BaseException:
            usage.forget(request)
            raise

    async def _take_without_count(self, account: ObjectId, usage: TagUsage, request: TagRequest, number: int) -> bool:
        """Grant a write its tags without a count, unless another process may have been near the quota since the last.

        Returns:
            Whether they were granted.
        """
        usage.spare -= number
        usage.writing += number
        request.known = usage.known
        usage.begin(request, request.tags)  # before the read: another process may count and take its turn after it
        is_known = False
        try:
            is_known = time.monotonic() < usage.checked_until or await self._check_last_holder(account, usage)
        finally:
            if not is_known:
                self.release(usage, request, number, failed=True)
                request.written = set()
        if is_known and number:
            self._set_known(account, usage, usage.known | request.tags)
        return is_known

    async def _check_last_holder(self, account: ObjectId, usage: TagUsage) -> bool:
        """Return whether no other process has held the lease since the last count. Concurrent calls share a read."""
        began, counted_after = time.monotonic(), usage.last_holder
        read = usage.read
        if read is not None and began < read.began + RELIANCE_SECONDS:
            await read.ended.wait()
            if usage.last_holder == counted_after and began < usage.checked_until:
                return True
            # the read has failed, or another process was near the quota
        if time.monotonic() >= usage.known_until:
            return False
        usage.read = read = LeaseRead(began)
        try:
            last_holder = await find_last_holder(self._store, account, "tags")
        finally:
            read.ended.set()
        if last_holder != usage.last_holder:
            usage.known_until = 0.0
            return False
        usage.checked_until = began + RELIANCE_SECONDS
        return last_holder == counted_after

    def add(self, account: ObjectId, usage: TagUsage, request: TagRequest, tags: set[str]) -> None:
        """Record further tags of a write that was granted room for them."""
        usage.add(request, tags)
        self._set_known(account, usage, usage.known | tags)

    def release(self, usage: TagUsage, request: TagRequest, number: int, *, failed: bool) -> None:
        """Record that a write has ended.

        Args:
            usage: The usage of the account.
            request: The write.
            number: What `acquire` returned.
            failed: Whether its tags may not be in use.
        """
        usage.forget(request)
        if not failed:
            usage.unconfirmed -= request.written
        elif not usage.unconfirmed.isdisjoint(request.written):
            usage.known_until = 0.0
        usage.release(number)

    async def _count(self, account: ObjectId, usage: TagUsage, wanted: int) -> bool:
        writing = usage.writing
        began = time.monotonic()
        last_holder = usage.turn or await find_last_holder(self._store, account, "tags")
        is_current = usage.turn is None and began < usage.known_until and last_holder == usage.last_holder
        if is_current and not any(self._measure(usage, request) for request in usage.waiting):
            return False  # these writes arrived during the last count, and add no tags
        is_far = usage.counted and last_holder is None and self._bound_unseen(self.limit - len(usage.known)) > 0
        patient = any(request.patient for request in usage.waiting)
        usage.uncounted = uncounted = set[str]().union(*usage.written)
        try:
            counts = await self._counter.count(
                account, now(), None if patient else _COUNT_SECONDS if is_far else COUNTING_SECONDS
            )
        except Busy:
            if not is_far:
                raise
            # the count continues in the background; until it ends, what was known suffices
            known = usage.known
        else:
            known = {*counts.tags, *uncounted}
            usage.unconfirmed = uncounted - counts.tags.keys()
            usage.counted = True
            usage.known_until = began + _KNOWN_SECONDS
            usage.last_holder = last_holder
            usage.checked_until = began + RELIANCE_SECONDS
            usage.freed = {
                digest
                for request in usage.waiting
                for digest in request.removed - uncounted
                if digest in counts.tags and counts.tags[digest][1] == 1
            }
            if not writing:
                usage.exact = began, known, self.limit - len(known)
        finally:
            usage.uncounted = None
        self._set_known(account, usage, known)
        usage.room = self.limit - len(known) - writing
        usage.spare = 0 if usage.takes_lease or usage.room < self._near else usage.room // _SPARE_SHARE_OF_ROOM
        return True

    def _measure(self, usage: TagUsage, request: TagRequest) -> int:
        return len(request.tags - usage.known)

    def _measure_freed(self, usage: TagUsage, request: TagRequest) -> int:
        return len(request.removed & usage.freed) if request.removed else 0

    def _grant_replacement(self, usage: TagUsage, waiting: Iterable[TagRequest]) -> None:
        if usage.writing:
            return
        for request in waiting:
            freed = (request.removed & usage.freed).difference(*usage.written)
            number = self._measure(usage, request)
            if not request.granted.done() and freed and number <= usage.room + len(freed):
                usage.room -= number
                usage.writing += number
                request.known = usage.known
                usage.begin(request, request.tags)
                self._cached_tags -= len(usage.known & freed)
                usage.known = usage.known - freed
                request.granted.set_result(number)
                return

    def _record(self, usage: TagUsage, request: TagRequest, number: int) -> None:
        request.known = usage.known
        if request.partial:
            usage.begin(request, request.tags & usage.known)
        elif not request.refused:
            usage.begin(request, request.tags)
            usage.known = usage.known | request.tags
            self._cached_tags += number

    def _set_known(self, account: ObjectId, usage: TagUsage, known: set[str]) -> None:
        self._cached_tags += len(known) - len(usage.known)
        usage.known = known
        while self._cached_tags > _MAX_KNOWN_TAGS and self._usages.evict_oldest(account):
            pass

    def _subtract_evicted(self, usage: TagUsage) -> None:
        self._cached_tags -= len(usage.known)


class TagReservation:
    """Room for tags, reserved for the duration of an `async with` block. See `TagQuota`.

    Attributes:
        added: For how many todos `add` found room.
        may_be_incomplete: Set it in the block if some of the todos were not stored.
    """

    def __init__(
        self,
        quota: TagQuota,
        account: ObjectId,
        usage: TagUsage,
        tags: Iterable[str],
        removed: Iterable[str] = (),
        *,
        for_many: bool,
        since: float | None = None,
    ) -> None:
        self._quota = quota
        self._account = account
        self._usage = usage
        self._digests = set(map(digest_tag, tags))
        self._removed = set(map(digest_tag, removed)) - self._digests
        self._for_many = for_many
        self._since = since
        self.added = 0
        self.may_be_incomplete = False
        self._request: TagRequest | None = None
        self._granted = 0

    async def __aenter__(self) -> Self:
        if self._digests:
            request = TagRequest(self._digests, self._removed, partial=self._for_many, patient=self._for_many)
            self._granted = await self._quota.acquire(self._account, self._usage, request, self._since)
            self._request = request
            if request.refused and not self._for_many:
                self._release(failed=False)
                raise QuotaExceeded("tags", self._quota.limit)
        return self

    async def __aexit__(self, kind: object, *error: object) -> None:
        self._release(failed=kind is not None or self.may_be_incomplete)

    @property
    def has_new_tags(self) -> bool:
        """Whether some of the tags that were added are new."""
        return self._request is not None and not self._request.written <= self._request.known

    def has_room(self, tags: Iterable[str]) -> bool:
        """Return whether there is room for the tags of a todo."""
        return self._request is None or self._fits(self._request, set(map(digest_tag, tags)))

    def add(self, tags: Iterable[str]) -> bool:
        """Add the tags of a todo to those that are written. Return whether there is room for them."""
        if self._request is not None:
            digests = set(map(digest_tag, tags))
            if not self._fits(self._request, digests):
                return False
            self._quota.add(self._account, self._usage, self._request, digests)
        self.added += 1
        return True

    def _fits(self, request: TagRequest, digests: set[str]) -> bool:
        return len((request.written | digests) - request.known) <= self._granted

    def _release(self, *, failed: bool) -> None:
        if self._request is not None:
            self._quota.release(self._usage, self._request, self._granted, failed=failed)
            self._request = None
