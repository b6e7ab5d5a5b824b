"""Wakes event streams when their account changes.

One task in each process polls the store for all of its streams. It reads which documents of any account were written
since the last poll, and wakes the streams of these accounts. A stream then reads them itself (`events.stream`).
The hub may wake a stream needlessly, but it must not miss a write:

* Writes of several replicas may become visible out of order, usually within milliseconds. Each look therefore goes back
  by `_OVERLAP_SECONDS`, and a look at longer intervals goes back to the resolved stamp, up to which no write is missing
  (`store.base`, "Stamps").
* While there is no stream, the hub does not watch. A stream reads everything once it has subscribed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from bson import Timestamp
from odmantic import ObjectId
from odmantic.query import asc

from todo_service.bounds.events import STREAMS
from todo_service.errors import TooManyRequests
from todo_service.lists.documents import TodoList
from todo_service.reminders.documents import Firing
from todo_service.store.base import DocumentStore
from todo_service.sync.changes import ChangePosition
from todo_service.todos.documents import Todo

_OVERLAP_SECONDS: Final = 2
_FULL_LOOK_SECONDS: Final = 5.0
_BATCH: Final = 1000
_Watched = type[Todo] | type[TodoList] | type[Firing]
_WATCHED: Final[tuple[_Watched, ...]] = (Todo, TodoList, Firing)


class Subscription:
    """The interest of one event stream in the changes of its account.

    Attributes:
        session_id: The id of the session or API key that opened the stream.
    """

    def __init__(self, session_id: ObjectId) -> None:
        self.session_id = session_id
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """Wake the stream, or keep it from falling asleep."""
        self._awake.set()

    async def sleep(self, seconds: float) -> bool:
        """Sleep until the stream is woken, and return True; or return False after some seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            return False
        self._awake.clear()
        return True


class EventHub:
    """Wakes the event streams of a process.

    Args:
        store: The store.
        interval: The time between two looks at the store, in seconds.

    Attributes:
        stopped: Whether all streams are to end.
    """

    def __init__(self, store: DocumentStore, interval: float) -> None:
        self._store = store
        self._interval = interval
        self._streams: dict[str, set[Subscription]] = {}
        self._is_needed = asyncio.Event()
        self.stopped = False

    @contextmanager
    def subscribe(self, account: ObjectId, session_id: ObjectId) -> Iterator[Subscription]:
        """Wake a stream until the block ends.

        Args:
            account: The account.
            session_id: The id of the session or API key that opens the stream.

        Raises:
            TooManyRequests: The account has `STREAMS` streams already.
        """
        streams = self._streams.setdefault(str(account), set())
        if len(streams) >= STREAMS:
            raise TooManyRequests(f"an account may have at most {STREAMS} event streams")
        subscription = Subscription(session_id)
        streams.add(subscription)
        self._is_needed.set()
        try:
            yield subscription
        finally:
            streams.discard(subscription)
            if not streams:
                self._streams.pop(str(account), None)
            if not self._streams:
                self._is_needed.clear()

    def stop(self) -> None:
        """End all streams."""
        self.stopped = True
        self._wake_all()

    def recheck(self, session_ids: set[ObjectId]) -> None:
        """Wake the streams of sessions or API keys that may have ended."""
        for stream in self._iterate():
            if stream.session_id in session_ids:
                stream.wake()

    async def watch(self) -> None:
        """Watch the store as long as there are streams. It never returns.

        Raises:
            StoreError: The store could not be read. Call it again.
        """
        while True:
            await self._is_needed.wait()
            look = _Look(self._store, await self._store.resolved_stamp())
            self._wake_all()  # changes before the first look
            while self._streams:
                for account in await look.find_changed():
                    for stream in self._streams.get(account, ()):
                        stream.wake()
                await asyncio.sleep(self._interval)

    def _wake_all(self) -> None:
        for stream in self._iterate():
            stream.wake()

    def _iterate(self) -> Iterator[Subscription]:
        return (stream for streams in self._streams.values() for stream in streams)


class _Written(msgspec.Struct, frozen=True):
    """A document that was written."""

    id: str
    account: str
    changed: str


class _Look:
    """Successive looks at the store.

    Args:
        store: The store.
        start: Writes with a stamp up to this one are ignored.
    """

    def __init__(self, store: DocumentStore, start: Timestamp) -> None:
        self._store = store
        self._resolved = start
        self._latest = start
        self._known: set[_Written] = set()
        self._full_at = time.monotonic() + _FULL_LOOK_SECONDS

    async def find_changed(self) -> set[str]:
        """Return the accounts with writes since the last look."""
        full = time.monotonic() >= self._full_at
        if full:
            self._full_at = time.monotonic() + _FULL_LOOK_SECONDS
        recent = Timestamp(max(0, self._latest.time - _OVERLAP_SECONDS), 0)
        floor = self._resolved if full else max(self._resolved, recent)
        # read the resolved stamp first: later writes have higher stamps
        resolved = await self._store.resolved_stamp()
        found = {written for model in _WATCHED for written in await self._read(model, floor)}
        new, self._known = found - self._known, found
        self._resolved = max(self._resolved, resolved)
        return {written.account for written in new}

    async def _read(self, model: _Watched, floor: Timestamp) -> list[_Written]:
        found: list[_Written] = []
        while True:
            page = await self._store.find(
                model,
                model.changed > floor,
                sort=(asc(model.changed), asc(model.id)),
                limit=_BATCH,
                into=_Written,
            )
            found += page
            if page:
                floor = ChangePosition.parse(page[-1].changed).stamp
                self._latest = max(self._latest, floor)
            if len(page) < _BATCH and not page.truncated:
                return found
