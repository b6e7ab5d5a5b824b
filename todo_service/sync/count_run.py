"""A pass over an account's todos that counts them (see `sync.counts`)."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec
from odmantic import ObjectId

from todo_service.bounds.todos import PAGE_BYTES
from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.store.paging import iterate_pages, read_page
from todo_service.sync.changes import BY_CHANGE, ChangePosition
from todo_service.sync.counts import (
    MAX_HOURS,
    SNAPSHOT_LIFETIME,
    SNAPSHOT_RENEWAL_AGE,
    ZERO_STAMP,
    CountedState,
    Counts,
    CountSnapshot,
    build_counted_state,
    decode_past_state,
    format_stamp,
    get_generation,
)
from todo_service.todos.documents import Todo

MIN_CHANGES: Final = 200
"""The number of changes after which a snapshot is replaced."""
_BATCH: Final = 100
_COUNTS: Final = msgspec.msgpack.Decoder(Counts)


class TodoRow(msgspec.Struct, frozen=True):
    """The fields of a todo or a tombstone that counting needs."""

    id: str
    owner: str | None
    completed: bool
    priority: str
    list_id: str | None
    tags: list[str]
    due_end: datetime | None
    past: list[str]
    counted_since: str | None
    changed: str

    def current_state(self) -> CountedState | None:
        """Return the current state, or None for a tombstone."""
        if self.owner is None:
            return None
        return build_counted_state(self.completed, self.priority, self.list_id, self.tags, self.due_end)

    def state_at(self, stamp: str) -> CountedState | None:
        """Return the state as of a stamp, or None if the todo did not exist.

        Raises:
            StateDroppedError: The history no longer has this state.
        """
        if (self.counted_since or self.changed) <= stamp:
            return self.current_state()
        entry = next((entry for entry in map(decode_past_state, reversed(self.past)) if entry.since <= stamp), None)
        if entry is None:
            return None
        if entry.state is None:
            raise StateDroppedError
        return entry.state


class StateDroppedError(Exception):
    """The history of a todo no longer has the requested state."""


class CountRun:
    """Counts an account's todos, starting from a snapshot or from scratch. Call `read`, then `build_counts`.

    Args:
        store: The store.
        account: The account.
        moment: The current time.
        snapshot: The stored snapshot, even if it cannot be used.
        from_scratch: Whether to ignore the counts of the snapshot.
        max_hours: The maximum number of hours with open todos that a new snapshot counts one by one.
    """

    def __init__(
        self,
        store: DocumentStore,
        account: ObjectId,
        moment: datetime,
        snapshot: CountSnapshot | None,
        *,
        from_scratch: bool = False,
        max_hours: int = MAX_HOURS,
    ) -> None:
        self._store = store
        self._account = account
        self._moment = moment
        self._snapshot = snapshot
        self._max_hours = max_hours
        base = None if from_scratch else _decode_if_usable(snapshot, get_generation(store), moment)
        self._counts = base or Counts()
        self._since = ZERO_STAMP if snapshot is None or base is None else snapshot.upto
        self._from_scratch = base is None
        self._position = self._since
        self._resolved = ZERO_STAMP
        self._states: dict[bytes, CountedState | None] = {}
        self._unresolved: dict[str, TodoRow] = {}
        self._shared_states: dict[CountedState, CountedState] = {}
        self._shared_digests: dict[str, str] = {}

    async def read(self, limit: int | None = None, *, skip_new: bool = False) -> bool:
        """Read the changes since the last call, or since the snapshot.

        Args:
            limit: The maximum number of todos; None for all.
            skip_new: Whether to skip todos that were created after the resolved stamp and have not changed since. The
                next snapshot does not count them, so `save_snapshot` does not need them, but `build_counts` does.

        Returns:
            Whether everything was read. If not, discard the run.

        Raises:
            StateDroppedError: The history of a todo no longer has its state as of the snapshot.
        """
        # read the resolved stamp first, so that it is valid for all that follows
        resolved = await self._store.resolved_stamp()
        self._resolved = format_stamp(resolved)
        self._unresolved = {}
        # a deletion keeps the version, so tombstones are named separately
        needed = (Todo.changed <= resolved) | (Todo.version > 1) | (Todo.owner == None)  # noqa: E711  # an expression
        # a todo that changes meanwhile is read again
        read = partial(
            read_page,
            self._store,
            Todo,
            Todo.account == self._account,
            Todo.changed > ChangePosition.parse(self._position).stamp,
            *([needed] if skip_new else ()),
            sort=BY_CHANGE,
            limit=_BATCH,
            max_bytes=PAGE_BYTES,
            into=TodoRow,
            position=lambda last: (ChangePosition.parse(last.changed).stamp, ObjectId(last.id)),
        )
        async for rows in iterate_pages(read):
            for row in rows:
                self._add(row)
            if limit is not None and len(self._states) > limit:
                return False
            await asyncio.sleep(0)
        self._position = max(self._position, self._resolved)
        return True

    def build_counts(self) -> Counts:
        """Return the counts."""
        found = _copy(self._counts)
        found.compact()
        if self._from_scratch:
            found.due.compact(self._moment, self._max_hours)
        return found

    async def save_snapshot(self, min_changes: int = MIN_CHANGES) -> bool:
        """Replace the snapshot by one as of the resolved stamp, if there are enough changes or it is outdated.

        Args:
            min_changes: The number of changes after which a snapshot is replaced.

        Returns:
            False if the history of a todo no longer has its state as of that stamp: try again later.
        """
        before = self._snapshot
        outdated = before is not None and (self._from_scratch or self._moment - before.made_at >= SNAPSHOT_RENEWAL_AGE)
        due = (len(self._states) > min_changes and self._resolved > self._since) or (
            outdated and self._resolved >= self._since
        )
        if not due:
            return True
        counts = _copy(self._counts)
        try:
            for row in self._unresolved.values():
                counts.replace(row.current_state(), row.state_at(self._resolved), row.tags)
        except StateDroppedError:
            return False
        counts.compact()
        counts.due.compact(self._moment, self._max_hours)
        changes: dict[str, Any] = {
            "generation": get_generation(self._store),
            "upto": self._resolved,
            "made_at": self._moment,
            "counts": msgspec.msgpack.encode(counts),
        }
        if before is None:
            with contextlib.suppress(DuplicateDocument):
                await self._store.insert(CountSnapshot(id=self._account, **changes))
        else:
            # of several concurrent runs, one replaces the snapshot
            where = (CountSnapshot.id == self._account, CountSnapshot.upto == before.upto)
            await self._store.update(CountSnapshot, *where, changes=changes)
        return True

    def _add(self, row: TodoRow) -> None:
        identity = bytes.fromhex(row.id)
        known = identity in self._states
        before = self._states[identity] if known else None if self._from_scratch else row.state_at(self._since)
        state = row.current_state()
        if state is not None:
            state = self._share(state)
        self._counts.replace(before, state, row.tags)
        self._states[identity] = state
        if row.changed > self._resolved:
            self._unresolved[row.id] = row

    def _share(self, state: CountedState) -> CountedState:
        """Return an equal state that shares memory with the others of this count."""
        # `sys.intern` never frees a string in early releases of Python 3.12
        shared = self._shared_states.get(state)
        if shared is None:
            tags = tuple(self._shared_digests.setdefault(digest, digest) for digest in state.tags)
            shared = msgspec.structs.replace(state, tags=tags)
            self._shared_states[shared] = shared
        return shared


def _copy(counts: Counts) -> Counts:
    return _COUNTS.decode(msgspec.msgpack.encode(counts))


def _decode_if_usable(snapshot: CountSnapshot | None, generation: str, moment: datetime) -> Counts | None:
    """Return a snapshot's counts, or None if the snapshot cannot be used."""
    if snapshot is None or snapshot.generation != generation:
        return None
    counts = _COUNTS.decode(snapshot.counts)
    return counts if moment - snapshot.made_at < SNAPSHOT_LIFETIME and counts.due.covers(moment) else None
