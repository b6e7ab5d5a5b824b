"""Event streams in the format of server-sent events (HTML Living Standard, section 9.2)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final, NamedTuple

import msgspec
from odmantic import ObjectId

from todo_service.bounds.events import HEARTBEAT_SECONDS, STREAM_PAGE
from todo_service.errors import Gone, Unauthenticated
from todo_service.events.hub import EventHub, Subscription
from todo_service.events.reminders import ReminderReader
from todo_service.store.errors import StoreUnavailable
from todo_service.sync.changes import Change, ChangeFeed, ChangePosition, FeedPage, SyncToken, TodoChange
from todo_service.timestamps import now

# without an empty line, after which some clients report an event
_RETRY: Final = b"retry: 2000\n"
_HEARTBEAT: Final = b": heartbeat\n"
_CHECK_SECONDS: Final = HEARTBEAT_SECONDS / 2
"""How often an idle stream checks that its session has not ended."""
_REFRESH_SECONDS: Final = 600.0
"""How often an idle stream reads the changes, so that its token does not expire."""
_PAUSE_SECONDS: Final = 1.0
"""The pause before the next attempt if the store is unavailable."""


class StreamContext(NamedTuple):
    """What an event stream needs besides the changes.

    Attributes:
        require_alive: Raises `Unauthenticated` if the session or API key of the stream has ended.
        expires: When the token of the stream expires, in seconds since the epoch.
        seal: Returns the text of a token, for the `id` of an event.
        record: Counts an event that is sent, by its type.
    """

    require_alive: Callable[[], Awaitable[None]]
    expires: float
    seal: Callable[[SyncToken], str]
    record: Callable[[str], None]


class EventStream:
    """The events of one account.

    The changes of a page are sent in the order of the feed. A change that a later page repeats, because its stamp was
    not resolved yet, is not sent again.

    Args:
        account: The account.
        feed: Reads its changes.
        reminders: Reads its reminders.
        hub: Wakes the stream.
        context: See `StreamContext`.
    """

    def __init__(
        self, account: ObjectId, feed: ChangeFeed, reminders: ReminderReader, hub: EventHub, context: StreamContext
    ) -> None:
        self._account = account
        self._feed = feed
        self._reminders = reminders
        self._hub = hub
        self._context = context
        self._sent: dict[str, str] = {}

    async def run(self, since: SyncToken | None, session_id: ObjectId) -> AsyncGenerator[bytes]:
        """Yield the events, and comments while there are none, until the stream ends.

        It ends when the service shuts down, when its session or API key ends, and when its token expires.

        Args:
            since: Where the stream begins; None for the present.
            session_id: The id of the session or API key that opens the stream.

        Raises:
            TooManyRequests: See `EventHub.subscribe`.
            Gone: `since` has expired, or the documents were copied or restored since it was issued.
        """
        with self._hub.subscribe(self._account, session_id) as subscription:
            # read after the subscription, so that no change falls between the two
            present = await self._feed.read_present(now())
            await self._reminders.start(present)
            page: FeedPage[Change] | None = await self._feed.read_changes(since or present, STREAM_PAGE, now())
            yield _RETRY
            is_ready = False
            while page is not None:
                for event in self._format(page):
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
                page = await self._read_next(page)
            yield _RETRY

    async def _read_reminders(self, token: SyncToken, subscription: Subscription) -> AsyncGenerator[bytes]:
        """Yield the reminders that have fired. They are not repeated, and have the id of the last change."""
        try:
            async for data in self._reminders.read():
                yield self._build_event("reminder", token, data)
        except StoreUnavailable:
            await asyncio.sleep(_PAUSE_SECONDS)
            subscription.wake()

    async def _wait(self, subscription: Subscription) -> AsyncGenerator[bytes]:
        """Yield comments until there may be changes, or the stream may have ended."""
        started = commented = time.monotonic()
        while not self._hub.stopped and time.monotonic() - started < _REFRESH_SECONDS:
            left = self._context.expires - time.time()
            if left <= 0 or await subscription.sleep(min(_CHECK_SECONDS, left)):
                return
            try:
                await self._context.require_alive()
            except (Unauthenticated, StoreUnavailable):
                return
            if time.monotonic() - commented >= HEARTBEAT_SECONDS - 1:
                commented = time.monotonic()
                yield _HEARTBEAT

    async def _read_next(self, page: FeedPage[Change]) -> FeedPage[Change] | None:
        """Return the page after a page, or None if the stream has ended.

        If the store is unavailable, return an empty page after a pause.
        """
        if self._hub.stopped or time.time() >= self._context.expires:
            return None
        try:
            await self._context.require_alive()
            return await self._feed.read_changes(page.next, STREAM_PAGE, now())
        except (Unauthenticated, Gone):
            return None
        except StoreUnavailable:
            await asyncio.sleep(_PAUSE_SECONDS)
            return page._replace(changes=[], has_more=True)

    def _format(self, page: FeedPage[Change]) -> list[bytes]:
        assert page.start.resolved is not None  # a page belongs to a round
        events = []
        for change in page.changes:
            if self._sent.get(change.id) == change.changed:
                continue
            # later rounds repeat only what is not resolved yet
            if ChangePosition.parse(change.changed) > page.start.resolved:
                self._sent[change.id] = change.changed
            events.append(self._build_event(*_describe(change, page.start.advance(change))))
        if not page.has_more and self._sent:
            floor = page.next.floor
            self._sent = {key: stamp for key, stamp in self._sent.items() if ChangePosition.parse(stamp) > floor}
        return events

    def _build_event(self, name: str, token: SyncToken, data: Any) -> bytes:
        self._context.record(name)
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (
            self._context.seal(token).encode(),
            name.encode(),
            msgspec.json.encode(data),
        )


def _describe(change: Change, token: SyncToken) -> tuple[str, SyncToken, Any]:
    """Return the name of an event, its token and its data."""
    name = "todo" if isinstance(change, TodoChange) else "list"
    if change.owner is None:
        return f"{name}-deleted", token, {"id": change.id}
    return name, token, change.to_api()
