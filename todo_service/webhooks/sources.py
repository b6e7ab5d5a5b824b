"""The sources of events for webhooks.

A source returns the events of an account after the position that the webhook has stored. An event that is read again
has the same key, so it is delivered only once.
"""

from __future__ import annotations

import abc
import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, NamedTuple

import msgspec
from bson import Timestamp
from odmantic import ObjectId

from todo_service.reminders.feed import FiringFeed
from todo_service.store.base import DocumentStore
from todo_service.sync.changes import ChangeFeed, ChangePosition, ListChange, SyncToken, TodoChange
from todo_service.timestamps import format_timestamp

_CLOCK_TOLERANCE: Final = timedelta(minutes=1)
"""How far the clock of the replica that completes a todo may be behind that of the store."""


class Event(msgspec.Struct, frozen=True):
    """An event.

    Attributes:
        type: The type, such as `todo.changed`.
        key: Identifies the event among those of its type and account.
        timestamp: When it occurred.
        data: What the body of the request shows.
    """

    type: str
    key: str
    timestamp: str
    data: Any

    def render_body(self) -> bytes:
        """Return the body of the request."""
        return msgspec.json.encode({"type": self.type, "timestamp": self.timestamp, "data": self.data})


class _Timed(msgspec.Struct, frozen=True):
    timestamp: datetime


def get_event_time(body: bytes) -> datetime:
    """Return the time of an event from the body of its request."""
    return msgspec.json.decode(body, type=_Timed).timestamp


class EventPage(NamedTuple):
    """A page of events.

    Attributes:
        events: The events, in order.
        position: The position of the next page.
        advanced: Whether the position should be stored. It need not be if nothing was read.
        more: Whether more documents can be read at once.
    """

    events: list[Event]
    position: bytes
    advanced: bool
    more: bool


class EventSource(abc.ABC):
    """A source of events, which reads a feed.

    A position is a sync token. Unlike those of clients, it does not expire, and it stays valid after the store is
    copied, because it is copied together with the documents.

    Args:
        store: The store.
    """

    name: ClassVar[str]
    """The name under which a webhook keeps the position."""
    models: ClassVar[tuple[type[Any], ...]]
    """The models of the feed. A write of such a document may be an event of its account."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    def start(self, stamp: Timestamp) -> bytes:
        """Return the position after every event up to a stamp of the store."""
        floor = ChangePosition.from_stamp(stamp)
        return msgspec.msgpack.encode(SyncToken(stamp.time, floor, None, None, first=False, generation=""))

    @abc.abstractmethod
    async def read(
        self, account: ObjectId, position: bytes, limit: int, since: datetime, moment: datetime
    ) -> EventPage:
        """Return a page of events.

        Args:
            account: The account.
            position: The position where the page starts.
            limit: The maximum number of documents to read.
            since: Ignore what occurred before.
            moment: The current time.
        """


class ChangeEvents(EventSource):
    """The events of todos and lists, from the change feed."""

    name = "changes"
    models = ChangeFeed.models

    async def read(
        self, account: ObjectId, position: bytes, limit: int, since: datetime, moment: datetime
    ) -> EventPage:
        """See `EventSource.read`."""
        token = msgspec.msgpack.decode(position, type=SyncToken)
        page = await ChangeFeed(self._store, account).read_page(token, limit, moment)
        earliest = max(since, datetime.fromtimestamp(token.floor.seconds, UTC) - _CLOCK_TOLERANCE)
        events = [event for change in page.changes for event in _list_events(change, earliest, moment)]
        return EventPage(events, msgspec.msgpack.encode(page.next), bool(page.changes), page.has_more)


class FiringEvents(EventSource):
    """The due dates and reminders that have fired."""

    name = "firings"
    models = FiringFeed.models

    async def read(
        self, account: ObjectId, position: bytes, limit: int, since: datetime, moment: datetime
    ) -> EventPage:
        """See `EventSource.read`. `since` is not checked, because no position is earlier."""
        feed = FiringFeed(self._store, account)
        page = await feed.read_page(msgspec.msgpack.decode(position, type=SyncToken), limit, moment)
        described = await asyncio.gather(*map(feed.describe, page.changes))
        events = [
            Event("todo.due" if entry.is_due_date else "todo.reminder", entry.id, entry.fired_at, data)
            for entry, data in zip(page.changes, described, strict=True)
            if data is not None  # else the todo has been deleted
        ]
        return EventPage(events, msgspec.msgpack.encode(page.next), bool(page.changes), page.has_more)


def _list_events(change: TodoChange | ListChange, earliest: datetime, moment: datetime) -> list[Event]:
    """Return the events of a change.

    Args:
        change: The change.
        earliest: Ignore a completion before this time: it is older than the change.
        moment: The current time.
    """
    kind = "todo" if isinstance(change, TodoChange) else "list"
    if change.owner is None:
        return [Event(f"{kind}.deleted", change.id, format_timestamp(moment), {"id": change.id})]
    shown = change.api_view
    events = [Event(f"{kind}.changed", f"{change.id}:{change.version}", change.updated_at, shown)]
    if isinstance(change, TodoChange) and (completed_at := _find_completion(change, earliest)) is not None:
        key = f"{change.id}:{change.completed_version}"
        events.append(Event("todo.completed", key, format_timestamp(completed_at), shown))
    return events


def _find_completion(todo: TodoChange, earliest: datetime) -> datetime | None:
    """Return when the last completion of a todo was recorded, or None if it is older than the change."""
    recorded_at = todo.completion_recorded_at if todo.completed or todo.recurrence is not None else None
    if recorded_at is None or (recorded_at < earliest and todo.completed_version != todo.version):
        return None
    return recorded_at
