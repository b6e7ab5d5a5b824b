"""Finds out which accounts have changed, with one poll of the store for all of them.

The readers of a process, such as its event streams, are told which accounts have changed, and then read the feeds of
these accounts themselves. A reader may be told needlessly, but no write is missed: writes of several replicas may
become visible out of order, usually within milliseconds. Each poll therefore reads `_OVERLAP_SECONDS` back, and every
`_FULL_POLL_SECONDS` one reads back to the resolved stamp, up to which no write is missing (`store.base`, "Stamps").
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from bson import Timestamp
from odmantic import ObjectId
from odmantic.query import asc

from todo_service.cancellation import is_cancelled
from todo_service.store.base import DocumentStore
from todo_service.store.paging import iterate_pages, read_page
from todo_service.sync.changes import ChangePosition

_OVERLAP_SECONDS: Final = 2
_FULL_POLL_SECONDS: Final = 5.0
_PAGE_SIZE: Final = 1000


async def watch_accounts(
    store: DocumentStore,
    models: Sequence[type[Any]],
    interval: float,
    is_needed: asyncio.Event,
    notify: Callable[[Collection[str] | None], None],
) -> None:
    """Poll the store while it is needed, and tell which accounts have changed, until the task is cancelled.

    Args:
        store: The store.
        models: The models whose documents are watched (see `ChangePoller`).
        interval: The time between two polls, in seconds.
        is_needed: Is set while the store must be polled.
        notify: Takes the ids of the accounts that have changed; None at the start, when any account may have changed.

    Raises:
        StoreError: The store could not be read. Call it again.
    """
    while not is_cancelled():
        await is_needed.wait()
        poller = ChangePoller(store, models, await store.resolved_stamp())
        notify(None)  # changes before the first poll
        while is_needed.is_set() and not is_cancelled():
            if changed := await poller.find_changed():
                notify(changed)
            await asyncio.sleep(interval)


class _Written(msgspec.Struct, frozen=True):
    """A document that was written."""

    id: str
    account: str
    changed: str


class ChangePoller:
    """Polls the store for writes.

    Args:
        store: The store.
        models: The models whose documents are watched. Each has an `account`, and an index on `changed`.
        start: Writes with a stamp up to this one are ignored.
    """

    def __init__(self, store: DocumentStore, models: Sequence[type[Any]], start: Timestamp) -> None:
        self._store = store
        self._models = models
        self._resolved = start
        self._latest = start
        self._known: set[_Written] = set()
        self._full_at = time.monotonic() + _FULL_POLL_SECONDS

    async def find_changed(self) -> set[str]:
        """Return the accounts with writes since the last poll."""
        # read the resolved stamp first: later writes have higher stamps
        resolved = await self._store.resolved_stamp()
        if self._store.resolves_at_once and resolved == self._resolved:  # there was no write
            return set()
        full = time.monotonic() >= self._full_at
        if full:
            self._full_at = time.monotonic() + _FULL_POLL_SECONDS
        recent = Timestamp(max(0, self._latest.time - _OVERLAP_SECONDS), 0)
        floor = self._resolved if full else max(self._resolved, recent)
        found = {written for model in self._models for written in await self._read(model, floor)}
        new, self._known = found - self._known, found
        self._resolved = max(self._resolved, resolved)
        return {written.account for written in new}

    async def _read(self, model: type[Any], floor: Timestamp) -> list[_Written]:
        read = partial(
            read_page,
            self._store,
            model,
            model.changed > floor,
            sort=(asc(model.changed), asc(model.id)),
            limit=_PAGE_SIZE,
            into=_Written,
            position=lambda last: (ChangePosition.parse(last.changed).stamp, ObjectId(last.id)),
        )
        found = [written async for page in iterate_pages(read) for written in page]
        if found:
            self._latest = max(self._latest, ChangePosition.parse(found[-1].changed).stamp)
        return found
