"""Event streams in the format of server-sent events (HTML Living Standard, section 9.2)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import msgspec

from todo_service.bounds.events import STREAM_PAGE
from todo_service.errors import Gone
from todo_service.events.hub import EventHub, Subscription
from todo_service.events.reminders import ReminderReader
from todo_service.security.caller import Caller
from todo_service.store.errors import StoreUnavailable
from todo_service.sync.changes import Change, ChangeFeed, ChangePosition, FeedPage, SyncToken, TodoChange
from todo_service.timestamps import Timestamp, now

# no empty line follows, because some clients would report an event
_RETRY: Final = b"retry: 2000\n"
_HEARTBEAT: Final = b": heartbeat\n"
_REFRESH_SECONDS: Final = 600.0
"""How often an idle stream reads the changes, so that its token does not expire."""
_PAUSE_SECONDS: Final = 1.0
"""The pause before the next attempt if the store is unavailable."""


class StreamContext(NamedTuple):
    """The context of an event stream.

    Attributes:
        caller: The caller that opens the stream.
        seal: Returns the text of a token, for the `id` of an event.
        record: Counts an event that is sent, by its type.
        record_lag: Records the seconds between a change and its event, for changes sent after `ready`.
    """

    caller: Caller
    seal: Callable[[SyncToken], str]
    record: Callable[[str], None]
    record_lag: Callable[[float], None]


class EventStream:
    """The events of one account.

    The changes of a page are sent in the order of the feed. A change that a later page repeats, because its stamp was
    not resolved yet, is not sent again.

    Args:
        feed: Reads the changes of the account.
        reminders: Reads its reminders.
        hub: Wakes and ends the stream.
        context: See `StreamContext`.
    """

    def __init__(self, feed: ChangeFeed, reminders: ReminderReader, hub: EventHub, context: StreamContext) -> None:
        self._feed = feed
        self._reminders = reminders
        self._hub = hub
        self._context = context
        self._sent: dict[str, str] = {}

    async def run(self, since: SyncToken | None) -> AsyncGenerator[bytes]:
        """Yield the events, and comments while there are none, until the stream ends.

        It ends when the service shuts down, when its session or API key ends, and when its token expires.

        Args:
            since: Where the stream begins; None for the present.

        Raises:
            TooManyRequests, Unauthenticated: See `EventHub.subscribe`.
            Gone: `since` has expired, or the documents were copied or restored since it was issued.
        """
        async with self._hub.subscribe(self._context.caller) as subscription:
            async with aclosing(self._iterate(since, subscription)) as parts:
                async for part in parts:
                    yield part
                    if self._has_ended(subscription):
                        break
            yield _RETRY

    async def _iterate(self, since: SyncToken | None, subscription: Subscription) -> AsyncGenerator[bytes]:
        # read after the subscription, so that no change falls between the two
        present = await self._feed.read_present(now())
        await self._reminders.start(present)
        page: FeedPage[Change] | None = await self._feed.read_changes(since or present, STREAM_PAGE, now())
        yield _RETRY
        is_ready = False
        while page is not None:
            for event in self._format(page, live=is_ready):
                yield event
            if page.has_more:
                if not page.changes:
                    yield _HEARTBEAT
            else:
                if not is_ready:
                    is_ready = True
                    yield self._build_event("ready", page.next, {})
                async for event in self._read_reminders(page.next, subscription):
                    yield event
                async for comment in self._wait(subscription):
                    yield comment
            page = None if self._has_ended(subscription) else await self._read_next(page)

    def _has_ended(self, subscription: Subscription) -> bool:
        return subscription.ended or time.time() >= self._context.caller.expires

    async def _read_reminders(self, token: SyncToken, subscription: Subscription) -> AsyncGenerator[bytes]:
        """Yield the reminders that have fired. They are not repeated, and have the id of the last change."""
        try:
            async for data in self._reminders.read():
                yield self._build_event("reminder", token, data)
        except StoreUnavailable:
            await asyncio.sleep(_PAUSE_SECONDS)
            subscription.wake()

    async def _wait(self, subscription: Subscription) -> AsyncGenerator[bytes]:
        """Yield comments until there may be changes, or the stream has ended."""
        refresh_at = time.monotonic() + _REFRESH_SECONDS
        while time.monotonic() < refresh_at and not self._has_ended(subscription):
            if await subscription.sleep():
                return
            yield _HEARTBEAT

    async def _read_next(self, page: FeedPage[Change]) -> FeedPage[Change] | None:
        """Return the page after a page, or None if the feed cannot be continued.

        If the store is unavailable, return an empty page after a pause.
        """
        try:
            return await self._feed.read_changes(page.next, STREAM_PAGE, now())
        except Gone:
            return None
        except StoreUnavailable:
            await asyncio.sleep(_PAUSE_SECONDS)
            return page._replace(changes=[], has_more=True)

    def _format(self, page: FeedPage[Change], *, live: bool) -> list[bytes]:
        assert page.start.resolved is not None  # a page belongs to a round
        events = []
        for change in page.changes:
            if self._sent.get(change.id) == change.changed:
                continue
            # later rounds repeat only what is not resolved yet
            if ChangePosition.parse(change.changed) > page.start.resolved:
                self._sent[change.id] = change.changed
            events.append(self._build_event(*_describe(change, page.start.advance(change))))
            if live and change.owner is not None:  # deletions are not measured
                self._context.record_lag((now() - Timestamp.parse(change.updated_at)).total_seconds())
        if not page.has_more and self._sent:
            floor = page.next.floor
            self._sent = {key: stamp for key, stamp in self._sent.items() if ChangePosition.parse(stamp) > floor}
        return events

    def _build_event(self, name: str, token: SyncToken, data: Any) -> bytes:
        self._context.record(name)
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (
            self._context.seal(token).encode(),
            name.encode(),
            _encode(data),
        )


def _encode(data: Any) -> bytes:
    """Return data as JSON in one line, also for clients that end lines at U+2028 and U+2029 (`str.splitlines`)."""
    return msgspec.json.encode(data).replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")


def _describe(change: Change, token: SyncToken) -> tuple[str, SyncToken, Any]:
    """Return the name of an event, its token and its data."""
    name = "todo" if isinstance(change, TodoChange) else "list"
    if change.owner is None:
        return f"{name}-deleted", token, {"id": change.id}
    return name, token, change.api_view
