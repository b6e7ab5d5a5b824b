"""Counts of an account's todos that cost what has changed since they were last counted, not the account.

Counters beside the todos would need writes of two documents to be one, which a store without transactions cannot
promise. So nothing is counted when a todo is written. A snapshot says what the account's counts were at a stamp, up to
which the store had settled (`store.base`, "Stamps"): a fact that no later write alters. Whoever counts reads the
todos with a higher stamp, from the index that delta sync reads, takes away what each was counted as at the snapshot's
stamp, and adds what it is now. For that a todo remembers, written with it in the same atomic update, what it was
counted as before and from which stamp on (`Todo.past`). When much has changed since, the counts at what is settled by
then become the next snapshot, put in the place of the one that was read and of no other.

So the counts are exact whatever breaks off and however many replicas write: the worst that can happen is that a
snapshot is not replaced. One todo in a thousand that are made counts too, so that an account that grows unasked need
not be read as a whole when it is asked at last. Everything is counted anew, which costs the account's size, where
there is no snapshot of the store's generation, when a todo was counted as more things since the snapshot than it
remembers, and when the snapshot is so old that deletions since then may have been forgotten. Snapshots that grow old,
and those of another generation, are therefore renewed unasked (`renew`), however long that takes.

Open todos are counted by the hour, too, in which they are due, so that what is overdue or due on some day is a sum. The
hours that have long passed are one sum; those so far ahead that there would be too many are left out, and counted anew
when they come near.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from bson import Timestamp
from odmantic import Index, Model, ObjectId

from todo_service.store.base import Condition, DocumentStore, DuplicateDocument, StoreError
from todo_service.todos.changes import BY_CHANGE, Place
from todo_service.todos.documents import Todo

MANY: Final = 200
"""How many changes since a snapshot lead to a new one."""
PAST: Final = 20
"""How many things a todo remembers to have been counted as."""
EVERY: Final = 1024
"""Of so many todos that are made one brings the snapshot up to date."""
USABLE: Final = timedelta(days=30)
"""How long a snapshot may be used: deletions are remembered a day longer."""
AGING: Final = timedelta(days=15)
"""How old a snapshot is renewed, even if little has changed."""
FORM: Final = 2
"""How counts are written."""
HOURS: Final = 10_000
"""How many hours are counted of which at least one todo is due in each."""
_RENEWED_AT_ONCE: Final = 20
_PASSED_HOURS: Final = 7 * 24
"""After how many hours what was due is counted together."""
_NEAR_HOURS: Final = 3 * 24
"""More than today and tomorrow anywhere on earth are away from now."""
_PAGE: Final = 100
"""How many todos are looked at before others have their turn."""
_NEVER: Final = 2**40
_DIGEST_BYTES: Final = 9


class CountSnapshot(Model):
    """An account's counts as of a stamp. Its id is the account's.

    `upto` is the stamp, `counts` is `Counts` in MessagePack. `generation` is the form of the counts and the store's own
    generation (`generation_of`): of another form they cannot be read, of another generation not be compared.
    """

    generation: str
    upto: str
    made_at: datetime
    counts: bytes

    model_config = {
        "collection": "count_snapshots",
        "indexes": lambda: [Index(CountSnapshot.generation, CountSnapshot.made_at, name="generation_made_at")],
    }


class Counted(msgspec.Struct, array_like=True, frozen=True):
    """What a todo is counted as.

    Its tags are digests, so that what a deleted todo remembers tells none of its text. `due` is the hour in which an
    open one is due.
    """

    completed: bool
    priority: str
    list_id: str | None
    tags: list[str]
    due: int | None = None


class Past(msgspec.Struct, array_like=True, frozen=True):
    """What a todo was counted as from a stamp on."""

    since: str
    counted: Counted


class Due(msgspec.Struct):
    """How many open todos are due: in each hour from `first` on, and before it. From `end` on none is counted.

    An hour is its number since 1970 in UTC.
    """

    first: int = 0
    end: int = _NEVER
    passed: int = 0
    hours: dict[int, int] = {}

    def add(self, hour: int, number: int) -> None:
        """Count todos that are due in an hour, or with a negative number take them away."""
        if hour < self.first:
            self.passed += number
        elif hour < self.end:
            self.hours[hour] = self.hours.get(hour, 0) + number

    def between(self, hour: int, end: int) -> int:
        """Return how many are due from an hour on, and before another; both no earlier than `first`."""
        return sum(self.hours.get(each, 0) for each in range(hour, end))

    def before(self, hour: int) -> int:
        """Return how many are due before an hour, which is no earlier than `first`."""
        return self.passed + self.between(self.first, hour)

    def tells(self, moment: datetime) -> bool:
        """Tell whether each hour of the days around a moment is counted."""
        return self.first + _NEAR_HOURS <= hour_of(moment) < self.end - _NEAR_HOURS

    def settle(self, moment: datetime) -> None:
        """Count together what has long passed at a moment, and leave out hours that are too many."""
        first = max(self.first, hour_of(moment) - _PASSED_HOURS)
        self.passed += sum(number for hour, number in self.hours.items() if hour < first)
        self.first = first
        hours = sorted(hour for hour, number in self.hours.items() if number and hour >= first)
        if len(hours) > HOURS:
            self.end = hours[HOURS]
        self.hours = {hour: self.hours[hour] for hour in hours[:HOURS]}


class Counts(msgspec.Struct):
    """How many todos there are of each sort; by list with "" for the inbox, by tag with its digest before its name."""

    open: int = 0
    completed: int = 0
    priorities: dict[str, int] = {}
    lists: dict[str, int] = {}
    tags: dict[str, tuple[str, int]] = {}
    due: Due = msgspec.field(default_factory=Due)

    def replace(self, then: Counted | None, now: Counted | None, tags: Sequence[str]) -> None:
        """Count a todo, with these tags by name, as something else than it was counted as."""
        if then == now:
            return
        if now is not None:
            self._add(now, 1, tags)
        if then is not None:
            self._add(then, -1, tags)

    def settle(self) -> None:
        """Leave out what there is none of."""
        self.lists = {list_id: number for list_id, number in self.lists.items() if number}
        self.tags = {digest: tag for digest, tag in self.tags.items() if tag[1]}

    def _add(self, counted: Counted, number: int, tags: Sequence[str]) -> None:
        if counted.completed:
            self.completed += number
        else:
            self.open += number
        self.priorities[counted.priority] = self.priorities.get(counted.priority, 0) + number
        list_id = counted.list_id or ""
        self.lists[list_id] = self.lists.get(list_id, 0) + number
        for digest in counted.tags:
            name, before = self.tags.get(digest, ("", 0))
            name = name or next((tag for tag in tags if _digest(tag) == digest), "")
            self.tags[digest] = name, before + number
        if counted.due is not None:
            self.due.add(counted.due, number)


class _Row(msgspec.Struct):
    """What is read of a todo, or of a deleted one."""

    id: str
    owner: str | None
    completed: bool
    priority: str
    list_id: str | None
    tags: list[str]
    due_at: datetime | None
    past: list[str]
    counted_since: str | None
    changed: str

    def now(self) -> Counted | None:
        """Return what it is counted as; None for a deleted one."""
        if self.owner is None:
            return None
        return counted_of(self.completed, self.priority, self.list_id, self.tags, self.due_at)

    def at(self, stamp: str) -> Counted | None:
        """Return what it was counted as at a stamp; None where it was not.

        Raises:
            _ForgottenError: it remembers too little.
        """
        if (self.counted_since or self.changed) <= stamp:
            return self.now()
        past = [_PAST.decode(text) for text in self.past]
        found = next((one.counted for one in reversed(past) if one.since <= stamp), None)
        if found is None and len(past) == PAST:
            raise _ForgottenError
        return found


class _ForgottenError(Exception):
    """A todo does not remember what it was counted as."""


_PAST: Final = msgspec.json.Decoder(Past)
_COUNTS: Final = msgspec.msgpack.Decoder(Counts)
_NOTHING: Final = "0" * 16


def counted_of(
    completed: bool, priority: str, list_id: str | None, tags: list[str], due_at: datetime | None
) -> Counted:
    """Return what a todo with these fields is counted as."""
    due = hour_of(due_at) if due_at is not None and not completed else None
    return Counted(completed, priority, list_id, [_digest(tag) for tag in tags], due)


def hour_of(moment: datetime) -> int:
    """Return the hour of a moment: its number since 1970 in UTC."""
    return int(moment.timestamp() // 3600)


def start_of(hour: int) -> datetime:
    """Return the moment at which an hour begins."""
    return datetime.fromtimestamp(hour * 3600, UTC)


def _digest(tag: str) -> str:
    return hashlib.blake2b(tag.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def remembering(todo: Todo, *, counted_otherwise: bool) -> dict[str, Any]:
    """Return what a todo that is changed has to remember.

    Args:
        todo: The todo as it was read, and as it must still be when it is written.
        counted_otherwise: Whether it will be counted as something else.
    """
    since = todo.counted_since or text_of(todo.changed)
    if not counted_otherwise:
        return {"counted_since": since}
    list_id = str(todo.list_id) if todo.list_id is not None else None
    past = Past(since, counted_of(todo.completed, todo.priority, list_id, todo.tags, todo.due_at))
    return {"past": [*todo.past, msgspec.json.encode(past).decode()][-PAST:], "counted_since": None}


def text_of(stamp: Timestamp) -> str:
    """Return a stamp as text that compares as stamps do."""
    return f"{stamp.time:08x}{stamp.inc:08x}"


def generation_of(store: DocumentStore) -> str:
    """Return the generation that snapshots have which can be used."""
    return f"{FORM}:{store.state.generation}"


async def count(store: DocumentStore, account: ObjectId, moment: datetime) -> Counts:
    """Count an account's todos.

    Args:
        store: Where they are.
        account: The account.
        moment: The present moment.
    """
    snapshot = await store.get(CountSnapshot, CountSnapshot.id == account)
    counts = _usable(snapshot, generation_of(store), moment)
    if counts is not None:
        try:
            return await _count_from(store, account, moment, snapshot, counts)
        except _ForgottenError:
            pass
    return await _count_from(store, account, moment, snapshot, None)


def _usable(snapshot: CountSnapshot | None, generation: str, moment: datetime) -> Counts | None:
    """Return a snapshot's counts, unless they are to be counted anew."""
    if snapshot is None or snapshot.generation != generation:
        return None
    counts = _COUNTS.decode(snapshot.counts)
    return counts if moment - snapshot.made_at < USABLE and counts.due.tells(moment) else None


async def follow(store: DocumentStore, account: ObjectId, made: ObjectId, moment: datetime) -> None:
    """Count where it is the turn of a todo that was made: ids that a process gives count upwards.

    Not while less has settled since the last snapshot than is still to settle: all of that would be read for little,
    and be read again. Whatever goes wrong is left to whoever counts next.
    """
    if int.from_bytes(made.binary[-2:], "big") % EVERY:
        return
    with contextlib.suppress(StoreError):
        settled = (await store.settled()).time
        snapshot = await store.get(CountSnapshot, CountSnapshot.id == account)
        if snapshot is None or settled - Place.read(snapshot.upto).stamp.time >= moment.timestamp() - settled:
            await count(store, account, moment)


async def renew(store: DocumentStore, moment: datetime) -> None:
    """Count where the snapshot is of another generation or grows old; a few at a time.

    Args:
        store: Where the snapshots are.
        moment: The present moment.

    Raises:
        StoreUnavailable: some may not have been renewed.
    """
    generation = generation_of(store)
    for where in (
        [CountSnapshot.generation < generation],
        [CountSnapshot.generation > generation],
        [CountSnapshot.generation == generation, CountSnapshot.made_at < moment - AGING],
    ):
        for snapshot in await store.find(CountSnapshot, *where, sort=None, limit=_RENEWED_AT_ONCE):
            await count(store, snapshot.id, moment)


async def _count_from(
    store: DocumentStore, account: ObjectId, moment: datetime, snapshot: CountSnapshot | None, counts: Counts | None
) -> Counts:
    """Count from a snapshot's counts, or anew, and replace the snapshot where that is due."""
    # asked before anything is read, for what it is good for
    settled = text_of(await store.settled())
    anew = counts is None
    since = _NOTHING if snapshot is None or anew else snapshot.upto
    changed = await _changed(store, account, since)
    found = counts or Counts()
    async for row in _in_turns(changed):
        found.replace(None if anew else row.at(since), row.now(), row.tags)
    outdated = snapshot is not None and (anew or moment - snapshot.made_at >= AGING)
    if (len(changed) > MANY and settled > since) or (outdated and settled >= since):
        following = _COUNTS.decode(msgspec.msgpack.encode(found))
        with contextlib.suppress(_ForgottenError):
            async for row in _in_turns([row for row in changed if row.changed > settled]):
                following.replace(row.now(), row.at(settled), row.tags)
            await _keep(store, account, moment, snapshot, settled, following)
    found.settle()
    if anew:
        found.due.settle(moment)
    return found


async def _in_turns(rows: list[_Row]) -> AsyncIterator[_Row]:
    """Go through rows, and let others have their turn now and then."""
    for number, row in enumerate(rows, 1):
        yield row
        if number % _PAGE == 0:
            await asyncio.sleep(0)


async def _changed(store: DocumentStore, account: ObjectId, since: str) -> list[_Row]:
    """Return the todos that have been changed after a stamp, each as it was read last."""
    found: dict[str, _Row] = {}
    spans: list[list[Condition]] = [[Todo.changed > Place.read(since).stamp]]
    while True:
        rows: list[_Row] = []
        for span in spans:
            rows += await store.find(
                Todo, Todo.account == account, *span, sort=BY_CHANGE, limit=_PAGE - len(rows), into=_Row
            )
            if len(rows) == _PAGE:
                break
        # one that is changed meanwhile comes again
        found |= {row.id: row for row in rows}
        if len(rows) < _PAGE:
            return list(found.values())
        await asyncio.sleep(0)
        place = Place.read(rows[-1].changed).stamp
        spans = [[Todo.changed == place, Todo.id > ObjectId(rows[-1].id)], [Todo.changed > place]]


async def _keep(
    store: DocumentStore, account: ObjectId, moment: datetime, before: CountSnapshot | None, upto: str, counts: Counts
) -> None:
    """Put a snapshot in the place of the one before, unless another has taken it."""
    counts.settle()
    counts.due.settle(moment)
    changes: dict[str, Any] = {
        "generation": generation_of(store),
        "upto": upto,
        "made_at": moment,
        "counts": msgspec.msgpack.encode(counts),
    }
    if before is None:
        try:
            await store.insert(CountSnapshot(id=account, **changes))
        except DuplicateDocument:
            return
    else:
        await store.update(
            CountSnapshot,
            CountSnapshot.id == account,
            CountSnapshot.upto == before.upto,
            changes=changes,
        )


async def forget(store: DocumentStore, account: ObjectId) -> None:
    """Forget an account's snapshot."""
    await store.delete(CountSnapshot, CountSnapshot.id == account)
