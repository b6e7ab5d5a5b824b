"""Delta sync: a feed of changes that misses none.

The store stamps every write of a todo or a list, deletions included (`store.base`, "Stamps"), and an index orders an
account's todos by their last change; another one its lists. A client reads both indexes in rounds, as one feed. A round
starts at a low watermark, below which the client has everything, and ends at the end of the feed. A document that
changes during a round moves to the end, and is returned again.

Writes of several replicas may become visible out of order. A round therefore does not start at the last stamp of the
round before, but at the resolved stamp that the store reported when that round started. Every write up to the resolved
stamp was visible to the whole round, and every later write has a higher stamp. So no change is missed; changes of the
last few seconds may be returned twice.

A sync token is valid for one generation of the store. After a copy or a restore, the client may have changes that the
store does not have, so it has to start over.

Deleted documents leave tombstones, which outlive the sync tokens. So no deletion is missed either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from operator import attrgetter
from typing import Any, ClassVar, Final, Generic, NamedTuple, Protocol, Self, TypeVar

import msgspec
from bson import Timestamp
from odmantic import ObjectId
from odmantic.query import asc

from todo_service.bounds.todos import PAGE_BYTES
from todo_service.errors import Gone
from todo_service.lists.documents import TodoList
from todo_service.lists.dto import TodoList as ListStruct
from todo_service.store.base import DocumentStore
from todo_service.store.paging import read_page
from todo_service.todos import dto
from todo_service.todos.documents import Todo

BY_CHANGE: Final = (asc(Todo.changed), asc(Todo.id))
"""The order of the changes of an account's todos."""
_GET_TODO: Final = attrgetter(*dto.Todo.__struct_fields__)
_GET_LIST: Final = attrgetter(*ListStruct.__struct_fields__)
SYNC_TOKEN_LIFETIME: Final = timedelta(days=30)
"""How long a sync token is valid. Tombstones are stored for longer."""


class TodoChange(dto.Todo, frozen=True):
    """A todo or a tombstone in the change feed.

    Attributes:
        owner: None for a tombstone.
        changed: The stamp, as hexadecimal text.
        completion_recorded_at, completed_version: When and in which version the last completion was recorded.
    """

    owner: str | None
    changed: str
    completion_recorded_at: datetime | None
    completed_version: int

    @cached_property
    def api_view(self) -> dto.Todo:
        """The fields that the API shows."""
        return dto.Todo(*_GET_TODO(self))


class ListChange(ListStruct, frozen=True):
    """A list or a tombstone in the change feed. `owner` and `changed` are those of `TodoChange`."""

    owner: str | None
    changed: str

    @property
    def api_view(self) -> ListStruct:
        """The fields that the API shows."""
        return ListStruct(*_GET_LIST(self))


Change = TodoChange | ListChange


class FeedEntry(Protocol):
    """A document in a feed."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def changed(self) -> str:
        """Its stamp, as hexadecimal text."""

    @property
    def owner(self) -> str | None:
        """Its account; None for a tombstone."""


EntryT = TypeVar("EntryT", bound=FeedEntry)


class ChangePosition(msgspec.Struct, array_like=True, frozen=True, order=True):
    """A position in the change feed: the seconds and the counter of a stamp."""

    seconds: int
    count: int

    @classmethod
    def from_stamp(cls, stamp: Timestamp) -> Self:
        """Return the position of a stamp."""
        return cls(stamp.time, stamp.inc)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the hexadecimal text of a stamp."""
        return cls(int(text[:8], 16), int(text[8:], 16))

    @property
    def stamp(self) -> Timestamp:
        """The stamp."""
        return Timestamp(self.seconds, self.count)


class SyncToken(msgspec.Struct, array_like=True, frozen=True):
    """The progress of a client through the change feed.

    Attributes:
        issued: When the client had every change up to `floor`, or when its first round started, in seconds since the
            epoch. Tombstones are purged some time later, so the token expires before that.
        floor: The low watermark: the client has every change up to here.
        resolved: The resolved stamp when the round started, or None between two rounds.
        last: The last change that the client received in this round, and the id of its document.
        first: Whether this is the first round. The client does not need tombstones older than the round.
        generation: The generation of the store (`store.base`, "Generations").
    """

    issued: float
    floor: ChangePosition
    resolved: ChangePosition | None
    last: tuple[ChangePosition, str] | None
    first: bool
    generation: str

    @classmethod
    def initial(cls, generation: str) -> Self:
        """Return the token of a client that has nothing yet."""
        return cls(0.0, ChangePosition(0, 0), None, None, first=True, generation=generation)

    @classmethod
    def at(cls, position: ChangePosition, generation: str, moment: datetime) -> Self:
        """Return the token of a client that needs only the changes after a position."""
        return cls(moment.timestamp(), position, None, None, first=False, generation=generation)

    def start_round(self, resolved: ChangePosition, moment: datetime) -> SyncToken:
        """Return this token at the start of a new round, at whose end the client has everything up to `resolved`."""
        issued = moment.timestamp() if self.first else self.issued
        return msgspec.structs.replace(self, issued=issued, resolved=max(resolved, self.floor))

    def key(self) -> tuple[Timestamp] | tuple[Timestamp, ObjectId]:
        """Return the stamp, or the stamp and the id, after which the rest of the round begins."""
        if self.last is None:
            return (self.floor.stamp,)
        position, identity = self.last
        return position.stamp, ObjectId(identity)

    def is_unknown_to_client(self, tombstone: FeedEntry) -> bool:
        """Return whether the client never received the deleted document."""
        return self.first and self.resolved is not None and ChangePosition.parse(tombstone.changed) <= self.resolved

    def advance(self, change: FeedEntry) -> SyncToken:
        """Return the token after a change of this round."""
        return msgspec.structs.replace(self, last=(ChangePosition.parse(change.changed), change.id))

    def finish_round(self) -> SyncToken:
        """Return the token at the end of the round. The next one starts at the resolved stamp of this one."""
        assert self.resolved is not None  # a round has started
        issued = max(self.issued, float(self.resolved.seconds))
        return msgspec.structs.replace(self, issued=issued, floor=self.resolved, resolved=None, last=None, first=False)


class FeedPage(NamedTuple, Generic[EntryT]):
    """A page of changes, in the order of the feed.

    Attributes:
        changes: The changes. Those that the client does not need are left out.
        start: The token of this page. `start.advance(change)` is the token after a change.
        next: The token of the next page.
        has_more: Whether the round continues.
    """

    changes: list[EntryT]
    start: SyncToken
    next: SyncToken
    has_more: bool


class Feed(Generic[EntryT]):
    """Reads the documents of one account in the order of their stamps.

    Args:
        store: The store.
        owner: The account.
        structs: The Structs of the documents, in the order of `models`.
    """

    models: ClassVar[tuple[type[Any], ...]]
    """The models. Each has an index that starts with `account` and `changed`, and one that starts with `changed`."""

    def __init__(self, store: DocumentStore, owner: ObjectId, structs: Sequence[type[EntryT]]) -> None:
        self._store = store
        self._owner = owner
        self._structs = structs

    async def read_present(self, moment: datetime) -> SyncToken:
        """Return a token for the present. On MongoDB, changes of the last few seconds may follow it too."""
        resolved = ChangePosition.from_stamp(await self._store.resolved_stamp())
        return SyncToken.at(resolved, self._store.state.generation, moment)

    async def read_page(self, token: SyncToken, limit: int, moment: datetime) -> FeedPage[EntryT]:
        """Return a page, which ends early when its documents reach about `PAGE_BYTES`.

        Args:
            token: Where the page starts. Its age and its generation are not checked.
            limit: The maximum number of documents.
            moment: The current time.
        """
        if token.resolved is None:
            resolved = ChangePosition.from_stamp(await self._store.resolved_stamp())
            token = token.start_round(resolved, moment)
        sources = zip(self.models, self._structs, strict=True)
        parts = await asyncio.gather(*(self._read(model, into, token, limit) for model, into in sources))
        return _merge(parts, token, limit)

    async def _read(
        self,
        model: type[Any],
        into: type[Any],
        token: SyncToken,
        limit: int,
    ) -> _Part[EntryT]:
        changes, following = await read_page(
            self._store,
            model,
            model.account == self._owner,
            sort=(asc(model.changed), asc(model.id)),
            after=token.key(),
            limit=limit,
            max_bytes=PAGE_BYTES,
            into=into,
            position=_get_key,
        )
        return _Part(list(changes), following)


class ChangeFeed(Feed[Change]):
    """Reads the changes of one account's todos and lists.

    Args:
        store: The store.
        owner: The account.
    """

    models = (Todo, TodoList)

    def __init__(self, store: DocumentStore, owner: ObjectId) -> None:
        super().__init__(store, owner, (TodoChange, ListChange))

    async def read_changes(self, since: SyncToken | None, limit: int, moment: datetime) -> FeedPage[Change]:
        """Return a page of changes. It ends early when its documents reach about `PAGE_BYTES`.

        Args:
            since: Where the page starts; None for the beginning of the feed.
            limit: The maximum number of changes.
            moment: The current time.

        Raises:
            Gone: The token has expired, or the documents were copied or restored since it was issued.
        """
        generation = self._store.state.generation
        if since is not None and moment.timestamp() - since.issued > SYNC_TOKEN_LIFETIME.total_seconds():
            raise Gone("`since` is older than 30 days: start again without it")
        if since is not None and since.generation != generation:
            raise Gone("the documents were copied or restored after `since`: start again without it")
        return await self.read_page(since or SyncToken.initial(generation), limit, moment)


class _Part(NamedTuple, Generic[EntryT]):
    """A page of the changes of one model. `last` is the key of its last change if there are more, or else None."""

    changes: list[EntryT]
    last: tuple[str, str] | None


def _get_key(change: FeedEntry) -> tuple[str, str]:
    """Return the place of a change in the feed."""
    return change.changed, change.id


def _merge(parts: Sequence[_Part[EntryT]], token: SyncToken, limit: int) -> FeedPage[EntryT]:
    """Return the page that begins at a token."""
    changes = sorted((change for part in parts for change in part.changes), key=_get_key)
    # a part that has more may continue right after its last change
    ends = [part.last for part in parts if part.last is not None]
    page = [change for change in changes if not ends or _get_key(change) <= min(ends)][:limit]
    has_more = bool(ends) or len(page) < len(changes)
    needed = [change for change in page if change.owner is not None or not token.is_unknown_to_client(change)]
    return FeedPage(needed, token, token.advance(page[-1]) if has_more else token.finish_round(), has_more)
