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
remembers, and when the snapshot is so old that deletions since then may have been forgotten.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from bson import Timestamp
from odmantic import Model, ObjectId

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
_PAGE: Final = 1000
_DIGEST_BYTES: Final = 9


class CountSnapshot(Model):
    """An account's counts as of a stamp. Its id is the account's.

    `upto` is the stamp, `generation` the store's, whose stamps alone it can be compared with; `counts` is the JSON of
    `Counts`.
    """

    generation: str
    upto: str
    made_at: datetime
    counts: bytes

    model_config = {"collection": "count_snapshots"}


class Counted(msgspec.Struct, array_like=True, frozen=True):
    """What a todo is counted as; its tags as digests, so that what a deleted todo remembers tells none of its text."""

    completed: bool
    priority: str
    list_id: str | None
    tags: list[str]


class Past(msgspec.Struct, array_like=True, frozen=True):
    """What a todo was counted as from a stamp on."""

    since: str
    counted: Counted


class Counts(msgspec.Struct):
    """How many todos there are of each sort; by list with "" for the inbox, by tag with its digest before its name."""

    open: int = 0
    completed: int = 0
    priorities: dict[str, int] = {}
    lists: dict[str, int] = {}
    tags: dict[str, tuple[str, int]] = {}

    def add(self, counted: Counted, number: int, names: Mapping[str, str] | None = None) -> None:
        """Count something, or with -1 take it away; `names` has the names of the tags where they may be new."""
        if counted.completed:
            self.completed += number
        else:
            self.open += number
        self.priorities[counted.priority] = self.priorities.get(counted.priority, 0) + number
        list_id = counted.list_id or ""
        self.lists[list_id] = self.lists.get(list_id, 0) + number
        for digest in counted.tags:
            name, before = self.tags.get(digest) or ((names or {}).get(digest, ""), 0)
            self.tags[digest] = name or (names or {}).get(digest, ""), before + number

    def settle(self) -> None:
        """Leave out what there is none of."""
        self.lists = {list_id: number for list_id, number in self.lists.items() if number}
        self.tags = {digest: tag for digest, tag in self.tags.items() if tag[1]}


class _Row(msgspec.Struct):
    """What is read of a todo, or of a deleted one."""

    id: str
    owner: str | None
    completed: bool
    priority: str
    list_id: str | None
    tags: list[str]
    past: list[str]
    counted_since: str | None
    changed: str

    def now(self) -> Counted | None:
        """Return what it is counted as; None for a deleted one."""
        return None if self.owner is None else counted_of(self.completed, self.priority, self.list_id, self.tags)

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
_NOTHING: Final = "0" * 16


def counted_of(completed: bool, priority: str, list_id: str | None, tags: list[str]) -> Counted:
    """Return what a todo with these fields is counted as."""
    return Counted(completed, priority, list_id, [_digest(tag) for tag in tags])


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
    past = Past(since, counted_of(todo.completed, todo.priority, list_id, todo.tags))
    return {"past": [*todo.past, msgspec.json.encode(past).decode()][-PAST:], "counted_since": None}


def text_of(stamp: Timestamp) -> str:
    """Return a stamp as text that compares as stamps do."""
    return f"{stamp.time:08x}{stamp.inc:08x}"


async def count(store: DocumentStore, account: ObjectId, moment: datetime) -> Counts:
    """Count an account's todos.

    Args:
        store: Where they are.
        account: The account.
        moment: The present moment.
    """
    snapshot = await store.get(CountSnapshot, CountSnapshot.id == account)
    ours = snapshot is not None and snapshot.generation == store.state.generation
    if snapshot is not None and ours and moment - snapshot.made_at < USABLE:
        try:
            return await _count_from(store, account, moment, snapshot, snapshot.upto)
        except _ForgottenError:
            pass
    return await _count_from(store, account, moment, snapshot, _NOTHING)


async def follow(store: DocumentStore, account: ObjectId, made: ObjectId, moment: datetime) -> None:
    """Count where it is the turn of a todo that was made: ids that a process gives count upwards.

    Whatever goes wrong is left to whoever counts next.
    """
    if int.from_bytes(made.binary[-2:], "big") % EVERY == 0:
        with contextlib.suppress(StoreError):
            await count(store, account, moment)


async def _count_from(
    store: DocumentStore, account: ObjectId, moment: datetime, snapshot: CountSnapshot | None, since: str
) -> Counts:
    # asked before anything is read, for what it is good for
    settled = text_of(await store.settled())
    changed = await _changed(store, account, since)
    counts, following = (_counts(snapshot, since) for _ in range(2))
    names = {_digest(tag): tag for row in changed for tag in row.tags}
    before = [row.at(since) if since != _NOTHING else None for row in changed]
    for row, then in zip(changed, before, strict=True):
        _replace(counts, then, row.now(), names)
    counts.settle()
    if len(changed) > MANY and settled > since:
        try:
            for row, then in zip(changed, before, strict=True):
                _replace(following, then, row.at(settled), names)
        except _ForgottenError:
            return counts
        await _keep(store, account, moment, snapshot, settled, following)
    return counts


def _replace(counts: Counts, then: Counted | None, now: Counted | None, names: Mapping[str, str]) -> None:
    if then == now:
        return
    if now is not None:
        counts.add(now, 1, names)
    if then is not None:
        counts.add(then, -1)


def _counts(snapshot: CountSnapshot | None, since: str) -> Counts:
    if snapshot is None or since == _NOTHING:
        return Counts()
    return msgspec.json.decode(snapshot.counts, type=Counts)


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
        place = Place.read(rows[-1].changed).stamp
        spans = [[Todo.changed == place, Todo.id > ObjectId(rows[-1].id)], [Todo.changed > place]]


async def _keep(
    store: DocumentStore, account: ObjectId, moment: datetime, before: CountSnapshot | None, upto: str, counts: Counts
) -> None:
    """Put a snapshot in the place of the one before, unless another has taken it."""
    counts.settle()
    changes: dict[str, Any] = {
        "generation": store.state.generation,
        "upto": upto,
        "made_at": moment,
        "counts": msgspec.json.encode(counts),
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
