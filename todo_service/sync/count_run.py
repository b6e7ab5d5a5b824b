"""One run over an account's todos, to count them (see `sync.counts`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import msgspec
from odmantic import ObjectId

from todo_service.bounds.todos import PAGE_BYTES
from todo_service.store.base import Condition, DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.sync.changes import BY_CHANGE, ChangePosition
from todo_service.sync.counts import (
    AGING,
    NO_STAMP,
    USABLE,
    Counted,
    Counts,
    CountSnapshot,
    counted_of,
    decode_past,
    generation_of,
    stamp_text,
)
from todo_service.todos.documents import Todo

MANY: Final = 200
"""How many changes since a snapshot lead to a new one."""
_SLICE: Final = 100
_COUNTS: Final = msgspec.msgpack.Decoder(Counts)


class Row(msgspec.Struct):
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
            ForgottenError: it does not remember.
        """
        if (self.counted_since or self.changed) <= stamp:
            return self.now()
        entry = next((entry for entry in map(decode_past, reversed(self.past)) if entry.since <= stamp), None)
        if entry is None:
            return None
        if entry.counted is None:
            raise ForgottenError
        return entry.counted


class ForgottenError(Exception):
    """A todo does not remember what it was counted as."""


class CountRun:
    """One run over an account's todos, from a snapshot or from nothing.

    Args:
        store: The store.
        account: The account.
        moment: The present moment.
        snapshot: The snapshot that is there, whether it can be used or not.
        anew: Whether to count from nothing although the snapshot could be used.
    """

    def __init__(
        self,
        store: DocumentStore,
        account: ObjectId,
        moment: datetime,
        snapshot: CountSnapshot | None,
        *,
        anew: bool = False,
    ) -> None:
        self._store = store
        self._account = account
        self._moment = moment
        self._snapshot = snapshot
        base = None if anew else _usable(snapshot, generation_of(store), moment)
        self._counts = base or Counts()
        self._since = NO_STAMP if snapshot is None or base is None else snapshot.upto
        self._anew = base is None
        self._position = self._since
        self._settled = NO_STAMP
        self._counted: dict[bytes, Counted | None] = {}
        self._unsettled: dict[str, Row] = {}
        self._equal: dict[Counted, Counted] = {}

    async def read(self, most: int | None = None) -> bool:
        """Read what has changed since the last pass, or since the snapshot.

        Args:
            most: How many todos; None for all.

        Returns:
            Whether everything has been read; if not, the run is of no further use.

        Raises:
            ForgottenError: a todo does not remember what it was in the snapshot.
        """
        # asked before anything is read, to hold for all of it
        self._settled = stamp_text(await self._store.resolved_stamp())
        self._unsettled = {}
        async for rows in _slices(self._store, self._account, self._position):
            for row in rows:
                self._add(row)
            if most is not None and len(self._counted) > most:
                return False
            await asyncio.sleep(0)
        self._position = max(self._position, self._settled)
        return True

    def result(self) -> Counts:
        """Return the counts as they were read."""
        found = _copy(self._counts)
        found.compact()
        if self._anew:
            found.due.compact(self._moment)
        return found

    async def keep(self, many: int = MANY) -> bool:
        """Replace the snapshot by one of what has settled, where that is due.

        Args:
            many: How many changes there have to be.

        Returns:
            False if a todo that is changed all the time does not remember what it was then: try again a little later.
        """
        before = self._snapshot
        outdated = before is not None and (self._anew or self._moment - before.made_at >= AGING)
        due = (len(self._counted) > many and self._settled > self._since) or (outdated and self._settled >= self._since)
        if not due:
            return True
        counts = _copy(self._counts)
        try:
            for row in self._unsettled.values():
                counts.replace(row.now(), row.at(self._settled), row.tags)
        except ForgottenError:
            return False
        counts.compact()
        counts.due.compact(self._moment)
        changes: dict[str, Any] = {
            "generation": generation_of(self._store),
            "upto": self._settled,
            "made_at": self._moment,
            "counts": msgspec.msgpack.encode(counts),
        }
        if before is None:
            with contextlib.suppress(DuplicateDocument):
                await self._store.insert(CountSnapshot(id=self._account, **changes))
        else:
            # of several that count at once one replaces the snapshot
            where = (CountSnapshot.id == self._account, CountSnapshot.upto == before.upto)
            await self._store.update(CountSnapshot, *where, changes=changes)
        return True

    def _add(self, row: Row) -> None:
        identity = bytes.fromhex(row.id)
        known = identity in self._counted
        before = self._counted[identity] if known else None if self._anew else row.at(self._since)
        present = row.now()
        if present is not None:
            present = self._equal.setdefault(present, present)
        self._counts.replace(before, present, row.tags)
        self._counted[identity] = present
        if row.changed > self._settled:
            self._unsettled[row.id] = row


def _copy(counts: Counts) -> Counts:
    return _COUNTS.decode(msgspec.msgpack.encode(counts))


def _usable(snapshot: CountSnapshot | None, generation: str, moment: datetime) -> Counts | None:
    """Return a snapshot's counts, unless they are to be counted anew."""
    if snapshot is None or snapshot.generation != generation:
        return None
    counts = _COUNTS.decode(snapshot.counts)
    return counts if moment - snapshot.made_at < USABLE and counts.due.tells(moment) else None


async def _slices(store: DocumentStore, account: ObjectId, since: str) -> AsyncIterator[list[Row]]:
    """Yield the todos that were changed after a stamp, in that order; one that is changed meanwhile comes again."""
    ranges: list[list[Condition]] = [[Todo.changed > ChangePosition.read(since).stamp]]
    while True:
        rows: list[Row] = []
        more = False
        for part in ranges:
            found = await store.find(
                Todo,
                Todo.account == account,
                *part,
                sort=BY_CHANGE,
                limit=_SLICE - len(rows),
                max_bytes=PAGE_BYTES,
                into=Row,
            )
            rows += found
            more = found.truncated or len(rows) == _SLICE
            if more:
                break
        if rows:
            yield rows
        if not more:
            return
        place = ChangePosition.read(rows[-1].changed).stamp
        ranges = [[Todo.changed == place, Todo.id > ObjectId(rows[-1].id)], [Todo.changed > place]]
