"""Assigns each webhook to one of the processes that serve webhooks.

Each process is a worker with a heartbeat. A webhook names the worker that holds it, and only that one sends its
deliveries. Once the heartbeat of the holder has stopped, another worker claims the webhook with a conditional write,
which succeeds for one worker only. Rendezvous hashing decides which worker each webhook belongs to. All workers get the
same result, and it spreads the webhooks evenly.

Clocks may differ, so a worker judges the others by its own: a worker whose number of beats has not changed for
`LEASE_SECONDS` is dead. A worker that cannot write its own heartbeat stops sending well before that.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable
from datetime import timedelta
from time import monotonic
from typing import Final

import msgspec
from odmantic import ObjectId

from todo_service.store.base import DocumentStore
from todo_service.timestamps import EARLIEST, now
from todo_service.webhooks.documents import WebhookWorker

LEASE_SECONDS: Final = 10.0
"""How long a worker without a heartbeat keeps its webhooks."""
BEAT_SECONDS: Final = 2.0
"""The interval between heartbeats."""
_MARGIN_SECONDS: Final = 3.0
_MAX_WORKERS: Final = 1_000
_LIFETIME: Final = timedelta(hours=1)
"""How long the document of a dead worker is stored."""


class _Beat(msgspec.Struct, frozen=True):
    id: str
    beats: int


class WorkerGroup:
    """The workers that are alive, as this one sees them, and its own heartbeat.

    Args:
        store: The store.
        worker_id: The id of this worker.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, store: DocumentStore, worker_id: ObjectId, clock: Callable[[], float] = monotonic) -> None:
        self.worker_id = worker_id
        self._store = store
        self._clock = clock
        self._beating = asyncio.Lock()
        self._beats = 0
        self._beat_at = float("-inf")
        self._seen_at = float("-inf")
        self._seen: dict[ObjectId, tuple[int, float]] = {}

    def may_send(self) -> bool:
        """Return whether no other worker can consider this one dead yet."""
        return self._clock() - self._beat_at < LEASE_SECONDS - _MARGIN_SECONDS

    async def beat(self) -> None:
        """Write the heartbeat, unless the last one is recent."""
        async with self._beating:
            moment = self._clock()
            if moment - self._beat_at < BEAT_SECONDS:
                return
            self._beats += 1
            worker = WebhookWorker(id=self.worker_id, beats=self._beats, expires_at=now() + _LIFETIME)
            changes = {"beats": worker.beats, "expires_at": worker.expires_at}
            if await self._store.update(WebhookWorker, WebhookWorker.id == self.worker_id, changes=changes) is None:
                await self._store.insert(worker)
            self._beat_at = moment

    async def find_alive(self) -> frozenset[ObjectId]:
        """Return the ids of the workers that are alive, including this one."""
        found = await self._store.find(
            WebhookWorker, WebhookWorker.expires_at > EARLIEST, sort=None, limit=_MAX_WORKERS, into=_Beat
        )
        moment = self._clock()
        # while the store was unavailable, no worker could write its heartbeat
        fresh = moment - self._seen_at > LEASE_SECONDS / 2
        self._seen_at = moment
        seen: dict[ObjectId, tuple[int, float]] = {}
        for each in found:
            worker_id = ObjectId(each.id)
            beats, since = self._seen.get(worker_id, (-1, moment))
            seen[worker_id] = (each.beats, moment) if fresh or beats != each.beats else (beats, since)
        self._seen = seen
        alive = {worker_id for worker_id, (_, since) in seen.items() if moment - since <= LEASE_SECONDS}
        return frozenset(alive | {self.worker_id})

    async def leave(self) -> None:
        """Delete the heartbeat, so that the others can take over at once."""
        self._beat_at = float("-inf")
        await self._store.delete(WebhookWorker, WebhookWorker.id == self.worker_id)


def choose_worker(hook_id: ObjectId, workers: Iterable[ObjectId]) -> ObjectId:
    """Return the worker that a webhook belongs to."""
    return max(workers, key=lambda worker: (zlib.crc32(worker.binary + hook_id.binary), worker))
