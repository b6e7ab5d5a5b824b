"""Counts of an account's todos, at a cost proportional to the changes since the last count.

Counters stored beside the todos would need atomic writes of two documents, and the store has no transactions. So a
write of a todo updates no counter. Instead, a snapshot stores the account's counts as of a resolved stamp
(`store.base`, "Stamps"); no later write can change these. To count, read the todos with a higher stamp from the index
of delta sync; for each, subtract its state as of the snapshot and add its current state (`sync.counting`). For this,
each todo stores the history of its counted states, each with the stamp at which it began (`Todo.past`). The history is
written in the same atomic update as the change. The counts are therefore exact after any crash and with any number of
replicas. At worst, a snapshot is not replaced.

A history has at most `MAX_PAST_STATES` entries. Before a writer drops entries, it looks up the stamp of the snapshot,
and keeps the entry valid at that stamp and the most recent ones. Each run of dropped entries becomes one entry without
a state. So the current snapshot stays usable, however often a todo changes. Only a *new* snapshot may need a state that
a constantly changing todo has dropped; it is then taken a little later.

Open todos are also counted by the hour in which they are due, so that overdue todos and those due on a day are sums.
Hours long past share one sum. If there are too many hours, the last ones are left out, and counted from scratch when
their time comes near.

The quotas of tags and lists and `MAX_HOURS` bound the size of a snapshot: about 350 KiB with the default quotas.
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
from todo_service.text import compose
from todo_service.todos.documents import Todo

MAX_PAST_STATES: Final = 20
"""The maximum number of past states that a todo stores."""
_RECENT_STATES: Final = MAX_PAST_STATES // 2
"""The number of recent states that remain when a history is shortened: half, so that few writes need to shorten one."""
SNAPSHOT_LIFETIME: Final = timedelta(days=30)
"""How long a snapshot may be used. Tombstones are stored for a day longer."""
SNAPSHOT_RENEWAL_AGE: Final = timedelta(days=15)
"""The age at which a snapshot is renewed, even if little has changed."""
SNAPSHOT_FORMAT: Final = 3
"""The version of the encoding of counts, and of the digests of tags."""
MAX_HOURS: Final = 10_000
"""The maximum number of hours with open todos that a snapshot counts one by one."""
_PAST_HOURS: Final = 7 * 24
"""The number of past hours that are counted one by one."""
_NEAR_HOURS: Final = 3 * 24
"""The hours around the current time that a usable snapshot covers: today and tomorrow in every time zone."""
_NEVER: Final = 2**40
_DIGEST_BYTES: Final = 9


class CountSnapshot(Model):
    """An account's counts as of a stamp. Its id is the account's.

    `upto` is the stamp, `counts` is `Counts` in MessagePack. `generation` combines the version of the encoding and the
    generation of the store (`get_generation`). A snapshot of another generation cannot be used.
    """

    generation: str
    upto: str
    made_at: datetime
    counts: bytes

    model_config = {
        "collection": "count_snapshots",
        "indexes": lambda: [Index(CountSnapshot.generation, CountSnapshot.made_at, name="generation_made_at")],
    }


class CountedState(msgspec.Struct, array_like=True, frozen=True):
    """The fields of a todo that counts depend on.

    Tags are digests, so that a tombstone reveals none of a todo's text. `due` is the hour in which an open todo is due.
    """

    completed: bool
    priority: str
    list_id: str | None
    tags: tuple[str, ...]
    due: int | None = None


class PastState(msgspec.Struct, array_like=True, frozen=True):
    """An entry of a todo's history: its state from a stamp on, or None if the state was dropped."""

    since: str
    state: CountedState | None


class DueCounts(msgspec.Struct):
    """How many open todos are due in each hour from `first` to before `end`, and before `first` (`passed`).

    Hours are numbered from 1970 in UTC.
    """

    first: int = 0
    end: int = _NEVER
    passed: int = 0
    hours: dict[int, int] = {}

    def add(self, hour: int, number: int) -> None:
        """Add a number of todos, which may be negative, to an hour."""
        if hour < self.first:
            self.passed += number
        elif hour < self.end:
            self.hours[hour] = self.hours.get(hour, 0) + number

    def count_between(self, hour: int, end: int) -> int:
        """Return how many todos are due from `hour` up to, but not including, `end`. Neither may precede `first`."""
        return sum(self.hours.get(each, 0) for each in range(hour, end))

    def count_before(self, hour: int) -> int:
        """Return how many todos are due before an hour, which may not be earlier than `first`."""
        return self.passed + self.count_between(self.first, hour)

    def covers(self, moment: datetime) -> bool:
        """Return whether every hour of the days around a time is counted."""
        return self.first + _NEAR_HOURS <= to_hour(moment) < self.end - _NEAR_HOURS

    def compact(self, moment: datetime, max_hours: int = MAX_HOURS) -> None:
        """Merge the hours that are long past as of `moment`, and drop the last ones if there are too many."""
        first = max(self.first, to_hour(moment) - _PAST_HOURS)
        self.passed += sum(number for hour, number in self.hours.items() if hour < first)
        self.first = first
        hours = sorted(hour for hour, number in self.hours.items() if number and hour >= first)
        if len(hours) > max_hours:
            self.end = hours[max_hours]
        self.hours = {hour: self.hours[hour] for hour in hours[:max_hours]}


class Counts(msgspec.Struct):
    """Counts of todos. Lists are keyed by id, the inbox by ""; tags by digest, with their name."""

    open: int = 0
    completed: int = 0
    priorities: dict[str, int] = {}
    lists: dict[str, int] = {}
    tags: dict[str, tuple[str, int]] = {}
    due: DueCounts = msgspec.field(default_factory=DueCounts)

    def replace(self, old: CountedState | None, new: CountedState | None, tags: Sequence[str]) -> None:
        """Subtract the old state of a todo and add the new one. `tags` are the names of its tags."""
        if old == new:
            return
        if new is not None:
            self._add(new, 1, tags)
        if old is not None:
            self._add(old, -1, tags)

    def compact(self) -> None:
        """Drop lists and tags without todos."""
        self.lists = {list_id: number for list_id, number in self.lists.items() if number}
        self.tags = {digest: tag for digest, tag in self.tags.items() if tag[1]}

    def _add(self, state: CountedState, number: int, tags: Sequence[str]) -> None:
        if state.completed:
            self.completed += number
        else:
            self.open += number
        self.priorities[state.priority] = self.priorities.get(state.priority, 0) + number
        list_id = state.list_id or ""
        self.lists[list_id] = self.lists.get(list_id, 0) + number
        for digest in state.tags:
            name, before = self.tags.get(digest, ("", 0))
            name = name or next((compose(tag) for tag in tags if digest_tag(tag) == digest), "")
            self.tags[digest] = name, before + number
        if state.due is not None:
            self.due.add(state.due, number)


_PAST_STATE: Final = msgspec.json.Decoder(PastState)
ZERO_STAMP: Final = "0" * 16
"""The text of the lowest stamp."""


def build_counted_state(
    completed: bool, priority: str, list_id: str | None, tags: list[str], due_end: datetime | None
) -> CountedState:
    """Return the counted state of a todo with these fields."""
    due = to_hour(due_end) if due_end is not None and not completed else None
    return CountedState(completed, priority, list_id, tuple(dict.fromkeys(map(digest_tag, tags))), due)


def to_hour(moment: datetime) -> int:
    """Return the hour that contains a time, numbered from 1970 in UTC."""
    return int(moment.timestamp() // 3600)


def from_hour(hour: int) -> datetime:
    """Return the time at which an hour starts."""
    return datetime.fromtimestamp(hour * 3600, UTC)


def digest_tag(tag: str) -> str:
    """Return a digest that identifies a tag without revealing its text. Tags that are equal in NFC have the same."""
    return hashlib.blake2b(compose(tag).encode(), digest_size=_DIGEST_BYTES).hexdigest()


class _Upto(msgspec.Struct, frozen=True):
    upto: str


async def build_history_changes(store: DocumentStore, todo: Todo, *, counts_change: bool) -> dict[str, Any]:
    """Return the changes that an update must make to the history of a todo.

    Args:
        store: The store. It is read only if the history has to be shortened.
        todo: The todo as it was read. The update must be conditional on it being unchanged.
        counts_change: Whether the update changes the counted state of the todo.
    """
    since = todo.counted_since or format_stamp(todo.changed)
    if not counts_change:
        return {"counted_since": since}
    list_id = str(todo.list_id) if todo.list_id is not None else None
    entry = PastState(since, build_counted_state(todo.completed, todo.priority, list_id, todo.tags, todo.due_end))
    past = [*todo.past, msgspec.json.encode(entry).decode()]
    if len(past) > MAX_PAST_STATES:
        snapshot = await store.get(CountSnapshot, CountSnapshot.id == todo.account, into=_Upto)
        entries = shorten_past(list(map(decode_past_state, past)), ZERO_STAMP if snapshot is None else snapshot.upto)
        past = [msgspec.json.encode(entry).decode() for entry in entries]
    return {"past": past, "counted_since": None}


def decode_past_state(text: str) -> PastState:
    """Decode an entry of `Todo.past`."""
    return _PAST_STATE.decode(text)


def shorten_past(entries: Sequence[PastState], stamp: str) -> list[PastState]:
    """Return the most recent entries and the one valid at a stamp. Each run of others becomes one without a state."""
    valid = sum(entry.since <= stamp for entry in entries) - 1
    shortened: list[PastState] = []
    for index, entry in enumerate(entries):
        if index == valid or index >= len(entries) - _RECENT_STATES:
            shortened.append(entry)
        elif not shortened or shortened[-1].state is not None:
            shortened.append(PastState(entry.since, None))
    return shortened


def format_stamp(stamp: Timestamp) -> str:
    """Format a stamp as text that sorts as stamps do."""
    return f"{stamp.time:08x}{stamp.inc:08x}"


def get_generation(store: DocumentStore) -> str:
    """Return the generation of the snapshots that can be used."""
    return f"{SNAPSHOT_FORMAT}:{store.state.generation}"


async def read_snapshot(store: DocumentStore, account: ObjectId) -> CountSnapshot | None:
    """Return an account's snapshot, even if it cannot be used."""
    return await store.get(CountSnapshot, CountSnapshot.id == account)


async def delete_snapshot(store: DocumentStore, account: ObjectId) -> None:
    """Delete an account's snapshot."""
    await store.delete(CountSnapshot, CountSnapshot.id == account)
