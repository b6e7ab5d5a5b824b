"""Counts of an account's todos that cost what has changed since they were last counted, not the account.

Counters beside the todos would need writes of two documents to be one, which a store without transactions cannot
promise. So nothing is counted when a todo is written. A snapshot says what the account's counts were at a stamp, up to
which the store had settled (`store.base`, "Stamps"): a fact that no later write alters. A count reads the todos with a
higher stamp, from the index that delta sync reads, takes away what each was counted as at the snapshot's stamp, and
adds what it is now (`sync.counting`). For that a todo remembers, written with it in the same atomic update, what it
was counted as before and from which stamp on (`Todo.past`). So the counts are exact whatever breaks off and however
many replicas write: the worst that can happen is that a snapshot is not replaced.

A todo remembers at most `PAST` entries. When it would forget one, the writer looks up the stamp of the snapshot, and
keeps the entry that holds at that stamp beside the newest ones; each run of entries that it leaves out becomes one
entry without counts. So however often a todo changes, the present snapshot stays usable. Only a *new* snapshot may find
that a todo has forgotten what it was at the new snapshot's stamp, while it is changed all the time; it is then made a
little later.

Open todos are counted by the hour, too, in which they are due, so that what is overdue or due on some day is a sum. The
hours that have long passed are one sum; those so far ahead that there would be too many are left out, and counted anew
when they come near.

The size of a snapshot is bounded by the quotas of tags and lists and by `HOURS`: about 350 KiB with the default quotas.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from bson import Timestamp
from odmantic import Index, Model, ObjectId

from todo_service.store.base import DocumentStore
from todo_service.todos.documents import Todo

PAST: Final = 20
"""How many entries a todo remembers of what it was counted as."""
_NEWEST: Final = PAST // 2
"""How many of them are the newest ones after some were left out, so that few changes have to look for a snapshot."""
USABLE: Final = timedelta(days=30)
"""How long a snapshot may be used: deletions are remembered a day longer."""
AGING: Final = timedelta(days=15)
"""How old a snapshot is renewed, even if little has changed."""
FORM: Final = 2
"""How counts are written."""
HOURS: Final = 10_000
"""How many hours are counted of which at least one todo is due in each."""
_PASSED_HOURS: Final = 7 * 24
"""After how many hours what was due is counted together."""
_NEAR_HOURS: Final = 3 * 24
"""More than today and tomorrow anywhere on earth are away from now."""
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
    tags: tuple[str, ...]
    due: int | None = None


class PastState(msgspec.Struct, array_like=True, frozen=True):
    """What a todo was counted as from a stamp on; `counted` is None where that is no longer known."""

    since: str
    counted: Counted | None


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

    def compact(self, moment: datetime) -> None:
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

    def compact(self) -> None:
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
            name = name or next((tag for tag in tags if tag_digest(tag) == digest), "")
            self.tags[digest] = name, before + number
        if counted.due is not None:
            self.due.add(counted.due, number)


_PAST: Final = msgspec.json.Decoder(PastState)
NO_STAMP: Final = "0" * 16
"""The text of a stamp before all others."""


def counted_of(
    completed: bool, priority: str, list_id: str | None, tags: list[str], due_at: datetime | None
) -> Counted:
    """Return what a todo with these fields is counted as."""
    due = hour_of(due_at) if due_at is not None and not completed else None
    return Counted(completed, priority, list_id, tuple(map(tag_digest, tags)), due)


def hour_of(moment: datetime) -> int:
    """Return the hour of a moment: its number since 1970 in UTC."""
    return int(moment.timestamp() // 3600)


def start_of(hour: int) -> datetime:
    """Return the moment at which an hour begins."""
    return datetime.fromtimestamp(hour * 3600, UTC)


def tag_digest(tag: str) -> str:
    """Return what stands for a tag where its text must not."""
    return hashlib.blake2b(tag.encode(), digest_size=_DIGEST_BYTES).hexdigest()


class _Upto(msgspec.Struct):
    upto: str


async def count_history(store: DocumentStore, todo: Todo, *, counted_otherwise: bool) -> dict[str, Any]:
    """Return what a todo that is changed has to remember.

    Args:
        store: The store, which is asked for the snapshot's stamp where the todo would forget an entry.
        todo: The todo as it was read, and as it must still be when it is written.
        counted_otherwise: Whether it will be counted as something else.
    """
    since = todo.counted_since or stamp_text(todo.changed)
    if not counted_otherwise:
        return {"counted_since": since}
    list_id = str(todo.list_id) if todo.list_id is not None else None
    entry = PastState(since, counted_of(todo.completed, todo.priority, list_id, todo.tags, todo.due_at))
    past = [*todo.past, msgspec.json.encode(entry).decode()]
    if len(past) > PAST:
        snapshot = await store.get(CountSnapshot, CountSnapshot.id == todo.account, into=_Upto)
        entries = shorten_past(list(map(decode_past, past)), NO_STAMP if snapshot is None else snapshot.upto)
        past = [msgspec.json.encode(entry).decode() for entry in entries]
    return {"past": past, "counted_since": None}


def decode_past(text: str) -> PastState:
    """Return an entry of `Todo.past`."""
    return _PAST.decode(text)


def shorten_past(entries: Sequence[PastState], upto: str) -> list[PastState]:
    """Return the newest entries and the one that holds at a stamp; each run of others becomes one without counts."""
    holding = sum(entry.since <= upto for entry in entries) - 1
    kept: list[PastState] = []
    for index, entry in enumerate(entries):
        if index == holding or index >= len(entries) - _NEWEST:
            kept.append(entry)
        elif not kept or kept[-1].counted is not None:
            kept.append(PastState(entry.since, None))
    return kept


def stamp_text(stamp: Timestamp) -> str:
    """Return a stamp as text that compares as stamps do."""
    return f"{stamp.time:08x}{stamp.inc:08x}"


def generation_of(store: DocumentStore) -> str:
    """Return the generation that snapshots have which can be used."""
    return f"{FORM}:{store.state.generation}"


async def read_snapshot(store: DocumentStore, account: ObjectId) -> CountSnapshot | None:
    """Return an account's snapshot, whether it can be used or not."""
    return await store.get(CountSnapshot, CountSnapshot.id == account)


async def forget(store: DocumentStore, account: ObjectId) -> None:
    """Forget an account's snapshot."""
    await store.delete(CountSnapshot, CountSnapshot.id == account)
