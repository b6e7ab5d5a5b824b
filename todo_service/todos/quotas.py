"""Quotas: how many todos, different tags and lists an account may have.

A process counts in the store, and may then let an account write a little more without counting again (its allowance),
so that a create costs no further call. The allowance is a small part of what is left, and good for a short time where
little is left; near the quota every write is preceded by a count, and waits for the one before it.

Within one process a quota is exact: it is never exceeded, and nothing is refused before it is reached. Of several
processes each may let in one more than is left, or, where one of them fills the account within seconds, its allowance:
below 1 % of a quota of 1 000 or more for up to four processes.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Generic, NamedTuple, Protocol, Self, TypeVar

from bson import Timestamp
from odmantic import ObjectId

from todo_service.bounds.todos import DOCUMENT_WAITERS, MAX_LISTS, MAX_TAGS, MAX_TODOS
from todo_service.errors import Busy, QuotaExceeded
from todo_service.lists.documents import TodoList
from todo_service.locks import KeyedLocks
from todo_service.store.base import DocumentStore
from todo_service.sync.counting import TodoCounter
from todo_service.sync.counts import digest_tag
from todo_service.timestamps import now
from todo_service.todos.documents import Todo

_SHARE_OF_ROOM: Final = 64
_SHARE_OF_QUOTA: Final = 500
"""An allowance is this part of what is left, and of the quota, at most."""
_SHARE_IN_TURN: Final = 100
"""Where less than this part of the quota is left, a process writes for one call at a time."""
_LONG_SECONDS: Final = 600.0
_SHORT_SECONDS: Final = 5.0
"""How long an allowance is good where less than half of the quota is used, and else."""
_TAIL: Final = 2000
"""How many changes since the last count are counted instead of everything."""
_ACCOUNTS: Final = 10_000
_KNOWN_TAGS: Final = 100_000
"""How many accounts, and how many of their tags, are remembered."""
_TAGS_SECONDS: Final = 1.0
"""How long a write with new tags waits for the account to be counted."""


class _Forgettable(Protocol):
    @property
    def idle(self) -> bool: ...


UsageT = TypeVar("UsageT", bound=_Forgettable)


class _Recent(Generic[UsageT]):
    """What is known of the accounts that were used last."""

    def __init__(self, make: Callable[[], UsageT], on_forget: Callable[[UsageT], None] = lambda _: None) -> None:
        self._make = make
        self._on_forget = on_forget
        # by the bytes of their ids, which hash faster than the ids
        self._usages: OrderedDict[bytes, UsageT] = OrderedDict()

    def get(self, account: ObjectId) -> UsageT:
        usage = self._usages.get(account.binary)
        if usage is None:
            usage = self._usages[account.binary] = self._make()
            if len(self._usages) > _ACCOUNTS:
                self.forget_oldest(account)
        self._usages.move_to_end(account.binary)
        return usage

    def forget_oldest(self, but: ObjectId) -> bool:
        """Forget the account that was used least recently; neither this one nor one that writes at present."""
        for account, usage in self._usages.items():
            if usage.idle and account != but.binary:
                del self._usages[account]
                self._on_forget(usage)
                return True
        return False


class _Usage:
    """How much of a quota an account uses.

    Attributes:
        counted: How many documents there were.
        since: The stamp up to which all of them were seen, or None where nothing was counted.
        allowance: How many more may be written without counting.
        expires: When the allowance ends, by the monotonic clock.
        writing: How many are being written.
        counting: Set when the count that is under way has ended; None where there is none.
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
        return not self.writing

    def take(self, number: int) -> bool:
        """Take from the allowance, and return whether it had as much."""
        if self.allowance < number or time.monotonic() >= self.expires:
            return False
        self.allowance -= number
        self.writing += number
        return True

    def release(self, number: int) -> None:
        self.writing -= number
        if not self.writing and self._waiting is not None:
            self._waiting.set()
            self._waiting = None

    async def wait_until_idle(self) -> None:
        if self.writing:
            self._waiting = self._waiting or asyncio.Event()
            await self._waiting.wait()


class DocumentQuota:
    """How many documents of a kind an account may have.

    Args:
        kind: Their name, in the plural.
        limit: The quota.
        count: Counts an account's documents.
        count_since: Counts those that were written after a stamp, up to a limit; None where everything is counted.
        stamp: Returns the stamp up to which everything is visible.

    Attributes:
        kind: As given.
        limit: The quota.
        usages: What is known of the accounts.
    """

    def __init__(
        self,
        kind: str,
        limit: int,
        count: Callable[[ObjectId], Awaitable[int]],
        count_since: Callable[[ObjectId, Timestamp, int], Awaitable[int]] | None,
        stamp: Callable[[], Awaitable[Timestamp]],
    ) -> None:
        self.kind = kind
        self.limit = limit
        self._count = count
        self._count_since = count_since
        self._stamp = stamp
        self.usages = _Recent(_Usage)
        self._locks = KeyedLocks(DOCUMENT_WAITERS)

    def one(self, account: ObjectId) -> _Room:
        """Hold room for one document while an `async with` block writes it.

        Entering it raises `QuotaExceeded` where there is none left.
        """
        return _Room(self, account, 1, required=True)

    def room(self, account: ObjectId, wanted: int) -> _Room:
        """Hold room for documents while an `async with` block writes them.

        Entering it returns for how many: as many as are wanted, if possible.
        """
        return _Room(self, account, wanted, required=False)

    async def acquire(self, account: ObjectId, usage: _Usage, wanted: int) -> int:
        """Take room for documents, and return for how many; give it back with `usage.release`."""
        if usage.take(wanted):
            return wanted
        if usage.counting is not None:
            # all who wait go on at once, so that a store can write their documents in one call
            await usage.counting.wait()
            if usage.take(wanted):
                return wanted
        async with self._locks.hold(account):
            if usage.take(wanted):
                return wanted
            usage.counting = asyncio.Event()
            try:
                return await self._grant(account, usage, wanted)
            finally:
                usage.counting.set()
                usage.counting = None

    async def _grant(self, account: ObjectId, usage: _Usage, wanted: int) -> int:
        """Count, and return for how many documents there is room."""
        # nothing else is granted until this has counted
        usage.allowance = 0
        left = await self._left(account, usage, wanted)
        if usage.writing and left < max(wanted, self.limit // _SHARE_IN_TURN):
            # other processes do not see what is being written here
            await usage.wait_until_idle()
            left = await self._left(account, usage, wanted)
        granted = max(0, min(wanted, left))
        usage.allowance = max(0, min((left - granted) // _SHARE_OF_ROOM, self.limit // _SHARE_OF_QUOTA))
        usage.expires = time.monotonic() + (_LONG_SECONDS if left >= self.limit / 2 else _SHORT_SECONDS)
        usage.writing += granted
        return granted

    async def _left(self, account: ObjectId, usage: _Usage, wanted: int) -> int:
        """Return for how many documents there is room at least; where that is too little, for how many exactly.

        What is being written counts as written; it is counted twice where it is visible already.
        """
        writing = usage.writing
        if usage.since is not None and self._count_since is not None:
            # a change of an old document counts as a new one here
            later = await self._count_since(account, usage.since, _TAIL + 1)
            if later <= _TAIL and self.limit - usage.counted - later - writing >= wanted:
                return self.limit - usage.counted - later - writing
        stamp = await self._stamp() if self._count_since is not None else None
        usage.counted = await self._count(account)
        usage.since = stamp
        return self.limit - usage.counted - writing


class _Room:
    """A block that holds room for documents. A class: to enter one costs a fraction of what `asynccontextmanager` does.

    Args:
        quota: The quota.
        account: The account.
        wanted: For how many documents.
        required: Whether less than that is an error.
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


class _TagUsage:
    """What tags of an account are known to be in use.

    Attributes:
        known: The digests of all tags in use, and perhaps of some that were.
        expires: When others may have added too many, by the monotonic clock.
        unchecked: How many were added while the account could not be counted.
        writing: The tags of what is being written.
    """

    __slots__ = ("expires", "known", "unchecked", "writing")

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.expires = 0.0
        self.unchecked = 0
        self.writing: list[set[str]] = []

    @property
    def idle(self) -> bool:
        return not self.writing


class TagQuota:
    """How many different tags the todos of an account may have.

    Args:
        limit: The quota.
        counter: Counts an account's tags.
    """

    def __init__(self, limit: int, counter: TodoCounter) -> None:
        self._limit = limit
        self._counter = counter
        self._usages = _Recent(_TagUsage, self._forgotten)
        self._locks = KeyedLocks(DOCUMENT_WAITERS)
        self._remembered = 0

    def writing(self, account: ObjectId, *, patient: bool = False) -> TagReservation:
        """Hold room for tags while a `with` block writes todos.

        Args:
            account: The account.
            patient: Whether to wait for as long as it takes where the account has to be counted.
        """
        return TagReservation(self, account, self._usages.get(account), None if patient else _TAGS_SECONDS)

    async def reserve(self, account: ObjectId, usage: _TagUsage, unknown: set[str], seconds: float | None) -> None:
        """Add tags to those that are known, if there is room for them.

        Raises:
            QuotaExceeded: there is not.
            Busy: the account is being counted.
        """
        async with self._locks.hold(account):
            if time.monotonic() >= usage.expires or len(usage.known | unknown) > self._limit:
                try:
                    await self._recount(account, usage, seconds)
                except Busy:
                    usage.unchecked += len(unknown)
                    if usage.unchecked > max(1, self._limit // 100):
                        raise
            if len(usage.known | unknown) > self._limit:
                raise QuotaExceeded("tags", self._limit)
            self._remember(account, usage, usage.known | unknown)

    async def _recount(self, account: ObjectId, usage: _TagUsage, seconds: float | None) -> None:
        writing: set[str] = set().union(*usage.writing)
        counts = await self._counter.count(account, now(), seconds)
        known = {*counts.tags, *writing}
        self._remember(account, usage, known)
        usage.unchecked = 0
        few = len(known) < self._limit / 2
        usage.expires = time.monotonic() + (_LONG_SECONDS if few else _SHORT_SECONDS)

    def _remember(self, account: ObjectId, usage: _TagUsage, known: set[str]) -> None:
        self._remembered += len(known) - len(usage.known)
        usage.known = known
        while self._remembered > _KNOWN_TAGS and self._usages.forget_oldest(account):
            pass

    def _forgotten(self, usage: _TagUsage) -> None:
        self._remembered -= len(usage.known)


class TagReservation:
    """Room for the tags of what one call writes. See `TagQuota.writing`."""

    def __init__(self, quota: TagQuota, account: ObjectId, usage: _TagUsage, seconds: float | None) -> None:
        self._quota = quota
        self._account = account
        self._usage = usage
        self._reserved: set[str] = set()
        self._seconds = seconds

    def __enter__(self) -> Self:
        self._usage.writing.append(self._reserved)
        return self

    def __exit__(self, *error: object) -> None:
        # by identity: equal sets are others'
        self._usage.writing[:] = [tags for tags in self._usage.writing if tags is not self._reserved]

    async def add(self, tags: Iterable[str]) -> None:
        """Hold room for tags, unless they are in use.

        Raises:
            QuotaExceeded: there is none left.
            Busy: the account is being counted.
        """
        digests = set(map(digest_tag, tags))
        if unknown := digests - self._usage.known:
            await self._quota.reserve(self._account, self._usage, unknown, self._seconds)
        self._reserved |= digests


class QuotaLimits(NamedTuple):
    """How much an account may have.

    Attributes:
        todos: How many todos, deleted ones that are remembered included.
        tags: How many different tags its todos may have.
        lists: How many lists.
    """

    todos: int = MAX_TODOS
    tags: int = MAX_TAGS
    lists: int = MAX_LISTS


DEFAULT_LIMITS: Final = QuotaLimits()


class Quotas:
    """The quotas of every account. One for each process.

    Args:
        store: The store.
        counter: Counts an account's tags.
        limits: How much an account may have.
    """

    def __init__(self, store: DocumentStore, counter: TodoCounter, limits: QuotaLimits) -> None:
        async def count_todos(account: ObjectId) -> int:
            return await store.count(Todo, Todo.account == account, limit=limits.todos)

        async def count_todos_since(account: ObjectId, stamp: Timestamp, limit: int) -> int:
            return await store.count(Todo, Todo.account == account, Todo.changed > stamp, limit=limit)

        async def count_lists(account: ObjectId) -> int:
            return await store.count(TodoList, TodoList.owner == account, limit=limits.lists)

        # through the store each time: its methods may be observed
        async def stamp() -> Timestamp:
            return await store.resolved_stamp()

        self.todos = DocumentQuota("todos", limits.todos, count_todos, count_todos_since, stamp)
        self.lists = DocumentQuota("lists", limits.lists, count_lists, None, stamp)
        self.tags = TagQuota(limits.tags, counter)
