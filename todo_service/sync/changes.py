"""Delta sync: where a client stands among the changes of its account, and why it misses none.

Every write of a todo, its deletion too, is stamped by the store as it is carried out (`store.base`, "Stamps"), and an
index keeps an account's todos in the order of their last change. A client reads them in rounds. A round goes from the
floor, up to which the client has everything, to the end of the index, page by page; a todo that is changed meanwhile
moves on, and comes again.

Writers on several replicas may become visible out of the order of their stamps. Therefore the next round does not begin
at the last stamp that this one has seen, but at what the store called settled before this round began: whatever has a
stamp up to there was visible to every read of the round, and whatever appears later has a higher stamp, wherever it
comes from. So nothing is ever missed; what was changed within the last seconds may come twice.

A place is one of a generation of the store. Where documents were copied into another store, or an older backup has
taken their place, a client begins anew, since what it has may be more than what there is.

A deleted todo is remembered for longer than a place among the changes is good for, so no deletion is missed either.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, Self

import msgspec
from bson import Timestamp
from odmantic import ObjectId
from odmantic.query import asc

from todo_service.bounds.todos import PAGE_BYTES
from todo_service.errors import Gone
from todo_service.store.base import Condition, DocumentStore, FindResult
from todo_service.todos import dto
from todo_service.todos.documents import Todo

BY_CHANGE: Final = (asc(Todo.changed), asc(Todo.id))
"""The order of an account's changes."""
REMEMBERED: Final = timedelta(days=30)
"""How long a deletion is remembered for those who ask for changes."""


class Change(dto.Todo):
    """A todo or what is remembered of a deleted one, as it stands among the changes.

    Attributes:
        owner: None where it has been deleted.
        changed: The stamp, as text.
    """

    owner: str | None
    changed: str

    def todo(self) -> dto.Todo:
        """Return what the API shows of it."""
        return dto.Todo(*(getattr(self, name) for name in dto.Todo.__struct_fields__))


class ChangePosition(msgspec.Struct, array_like=True, frozen=True, order=True):
    """A place among the changes: a stamp's seconds and count."""

    seconds: int
    count: int

    @classmethod
    def of(cls, stamp: Timestamp) -> Self:
        """Return the place of a stamp."""
        return cls(stamp.time, stamp.inc)

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the place of a stamp that a Struct was given as text."""
        return cls(int(text[:8], 16), int(text[8:], 16))

    @property
    def stamp(self) -> Timestamp:
        """The stamp."""
        return Timestamp(self.seconds, self.count)


class SyncToken(msgspec.Struct, array_like=True, frozen=True):
    """Where a client stands.

    Attributes:
        issued: Seconds since the epoch at which it was said so.
        floor: Up to here the client has everything.
        settled: What was settled when the round began; None between two rounds.
        last: The last change of the round that the client has, and its todo.
        first: Whether this is the client's first round, in which it need not know of what was deleted before.
        generation: The store's, in which all this was so (`store.base`, "Generations").
    """

    issued: float
    floor: ChangePosition
    settled: ChangePosition | None
    last: tuple[ChangePosition, str] | None
    first: bool
    generation: str

    @classmethod
    def beginning(cls, generation: str) -> Self:
        """Return where a client stands that has nothing."""
        return cls(0.0, ChangePosition(0, 0), None, None, first=True, generation=generation)

    def round(self, settled: ChangePosition, moment: datetime) -> SyncToken:
        """Return this place in its round; between two rounds the next one begins, with what is settled now."""
        started = self.settled if self.settled is not None else max(settled, self.floor)
        return msgspec.structs.replace(self, issued=moment.timestamp(), settled=started)

    def key_ranges(self) -> Iterator[list[Condition]]:
        """Return the conditions of what follows, one key range after the other."""
        if self.last is None:
            yield [Todo.changed > self.floor.stamp]
            return
        place, identity = self.last
        yield [Todo.changed == place.stamp, Todo.id > ObjectId(identity)]
        yield [Todo.changed > place.stamp]

    def is_unknown_to_client(self, change: Change) -> bool:
        """Tell whether a deletion is of a todo that the client never got."""
        return self.first and self.settled is not None and ChangePosition.read(change.changed) <= self.settled

    def after(self, change: Change) -> SyncToken:
        """Return the place after a change of this round."""
        return msgspec.structs.replace(self, last=(ChangePosition.read(change.changed), change.id))

    def finished(self) -> SyncToken:
        """Return the place at the end of the round: before the next one, from what was settled when this one began."""
        assert self.settled is not None  # a round has begun
        return msgspec.structs.replace(self, floor=self.settled, settled=None, last=None, first=False)


class ChangeFeed:
    """Reads the changes of one account's todos.

    Args:
        store: The store.
        owner: The account.
    """

    def __init__(self, store: DocumentStore, owner: ObjectId) -> None:
        self._store = store
        self._owner = owner

    async def page(
        self, since: SyncToken | None, limit: int, moment: datetime
    ) -> tuple[list[dto.Todo], list[str], SyncToken, bool]:
        """Return what has changed. The page ends early where its todos reach `PAGE_BYTES`.

        Args:
            since: Where the page begins; None for everything there is.
            limit: How many documents at most.
            moment: The present moment.

        Returns:
            The changed todos, the ids of deleted ones, where the next page begins, and whether there is more at once.

        Raises:
            Gone: deletions since then may have been forgotten, or the documents are not those of then any more.
        """
        generation = self._store.state.generation
        if since is not None and moment.timestamp() - since.issued > REMEMBERED.total_seconds():
            raise Gone("deletions are remembered for 30 days: begin again without `since`")
        if since is not None and since.generation != generation:
            raise Gone("the documents were copied or restored since then: begin again without `since`")
        here = (since or SyncToken.beginning(generation)).round(
            ChangePosition.of(await self._store.resolved_stamp()), moment
        )
        found: FindResult[Change] = FindResult()
        where = [Todo.account == self._owner]
        for part in here.key_ranges():
            changes = await self._store.find(
                Todo,
                *where,
                *part,
                sort=BY_CHANGE,
                limit=limit + 1 - len(found),
                max_bytes=PAGE_BYTES,
                into=Change,
            )
            found.extend(changes)
            found.truncated = changes.truncated
            if len(found) > limit or found.truncated:
                break
        page = found[:limit]
        changed = [change.todo() for change in page if change.owner is not None]
        deleted = [change.id for change in page if change.owner is None and not here.is_unknown_to_client(change)]
        more = len(found) > limit or found.truncated
        return changed, deleted, here.after(page[-1]) if more else here.finished(), more
