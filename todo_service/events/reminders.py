"""The reminders of an event stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from odmantic import ObjectId

from todo_service.bounds.events import STREAM_PAGE
from todo_service.reminders.feed import FiredData, FiredEntry, FiringFeed
from todo_service.store.base import DocumentStore
from todo_service.sync.changes import ChangePosition, SyncToken
from todo_service.timestamps import now


class ReminderReader:
    """Reads the reminders of an account that fire while a stream is open.

    Args:
        store: The store.
        account: The account.
    """

    def __init__(self, store: DocumentStore, account: ObjectId) -> None:
        self._feed = FiringFeed(store, account)
        self._token: SyncToken | None = None
        self._read: dict[str, str] = {}

    async def start(self, present: SyncToken) -> None:
        """Ignore what has fired already.

        Args:
            present: A token of `ChangeFeed.read_present`.
        """
        self._token = present
        async for _ in self._iterate():
            pass

    async def read(self) -> AsyncGenerator[FiredData]:
        """Yield the reminders that have fired since the last call, each once.

        Raises:
            StoreUnavailable: Call it again for the rest.
        """
        async for entry in self._iterate():
            data = None if entry.is_due_date else await self._feed.describe(entry)
            if data is not None:
                yield data

    async def _iterate(self) -> AsyncGenerator[FiredEntry]:
        """Yield each new entry of the feed. An entry counts as read once the caller asks for the next one."""
        assert self._token is not None  # the stream has started
        has_more = True
        while has_more:
            page = await self._feed.read_page(self._token, STREAM_PAGE, now())
            for entry in page.changes:
                if entry.id not in self._read:  # the feed repeats what is not resolved yet
                    yield entry
                    self._read[entry.id] = entry.changed
            self._token, has_more = page.next, page.has_more
            resolved = page.start.resolved
            assert resolved is not None  # a page belongs to a round
            self._read = {key: stamp for key, stamp in self._read.items() if ChangePosition.parse(stamp) > resolved}
