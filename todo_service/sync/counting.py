"""Counts an account's todos, inline or in the background (see `sync.counts`).

A request counts up to `COUNTED_AT_ONCE` changed todos itself. Larger counts run in the background, one job for each
account, in batches between which the event loop serves other requests. Requests wait for the job. It continues when
they time out, so that a count never starts over. A job holds a small record of each todo that it has read, which is
replaced if the todo changes meanwhile.

Jobs also refresh snapshots: after about every `REFRESH_INTERVAL`th todo that an account creates, and when a snapshot
reaches `SNAPSHOT_RENEWAL_AGE`.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
import structlog
from odmantic import ObjectId

from todo_service.bounds.todos import COUNTED_AT_ONCE, COUNTING_SECONDS, COUNTINGS
from todo_service.errors import Busy
from todo_service.store.base import DocumentStore
from todo_service.sync.changes import ChangePosition
from todo_service.sync.count_run import MIN_CHANGES, CountRun, StateDroppedError
from todo_service.sync.counts import (
    MAX_HOURS,
    SNAPSHOT_RENEWAL_AGE,
    Counts,
    CountSnapshot,
    get_generation,
    read_snapshot,
)

REFRESH_INTERVAL: Final = 1024
"""One in this many new todos refreshes the snapshot."""
_RENEWAL_BATCH: Final = 20
_RUNNING_JOBS: Final = 2
"""The maximum number of jobs that run at the same time."""
_RETRY_DELAYS: Final = (0.5, 2.0, 11.0, 11.0)
"""The pauses, in seconds, between attempts to save a snapshot while a todo keeps changing. MongoDB resolves a stamp
after 10 s."""
logger = structlog.get_logger(__name__)


class _Job(NamedTuple):
    task: asyncio.Task[None]
    result: asyncio.Future[Counts]


class TodoCounter:
    """Counts the todos of any account. Create one for each process, and close it before the store.

    Args:
        store: The store.
        min_changes: The number of changes after which a snapshot is replaced.
        refresh_interval: One in this many new todos refreshes the snapshot.
        inline_limit: The maximum number of changed todos that a request counts itself.
        max_hours: The maximum number of hours with open todos that a snapshot counts one by one.
    """

    def __init__(
        self,
        store: DocumentStore,
        *,
        min_changes: int = MIN_CHANGES,
        refresh_interval: int = REFRESH_INTERVAL,
        inline_limit: int = COUNTED_AT_ONCE,
        max_hours: int = MAX_HOURS,
    ) -> None:
        self._store = store
        self._min_changes = min_changes
        self._refresh_interval = refresh_interval
        self._inline_limit = inline_limit
        self._max_hours = max_hours
        self._jobs: dict[ObjectId, _Job] = {}
        self._slots = asyncio.Semaphore(_RUNNING_JOBS)

    async def count(self, account: ObjectId, moment: datetime, seconds: float | None = COUNTING_SECONDS) -> Counts:
        """Count an account's todos.

        Args:
            account: The account.
            moment: The current time.
            seconds: How long to wait for a background job; None for no limit.

        Raises:
            Busy: The job takes longer, and continues; or there are too many jobs.
        """
        try:
            async with asyncio.timeout(seconds):
                while True:
                    # a running job may have missed the latest writes
                    if (job := self._jobs.get(account)) is not None:
                        await asyncio.wait([job.task])
                    elif (found := await self._count_inline(account, moment)) is not None:
                        return found
                    elif account not in self._jobs:
                        return await asyncio.shield(self._start_job(account, moment).result)
        except TimeoutError:
            raise Busy("the todos are being counted: try again in a moment") from None

    def maybe_refresh_snapshot(self, account: ObjectId, todo_id: ObjectId, moment: datetime) -> None:
        """Refresh the snapshot in the background after every `refresh_interval`th new todo.

        The ids that a process generates are consecutive, so the id alone selects these todos.

        Args:
            account: The account.
            todo_id: The id of the new todo.
            moment: The current time.
        """
        is_selected = int.from_bytes(todo_id.binary[-2:], "big") % self._refresh_interval == 0
        if is_selected and account not in self._jobs and len(self._jobs) < COUNTINGS:
            self._start_job(account, moment, for_snapshot=True)

    async def renew_snapshots(self, moment: datetime) -> None:
        """Renew some of the snapshots that are old or of another generation.

        Raises:
            StoreError: Some of them may not have been renewed.
        """
        generation = get_generation(self._store)
        for where in (
            [CountSnapshot.generation < generation],
            [CountSnapshot.generation > generation],
            [CountSnapshot.generation == generation, CountSnapshot.made_at < moment - SNAPSHOT_RENEWAL_AGE],
        ):
            found = await self._store.find(CountSnapshot, *where, sort=None, limit=_RENEWAL_BATCH, into=_Identity)
            for snapshot in found:
                account = ObjectId(snapshot.id)
                while (running := self._jobs.get(account)) is not None:
                    await asyncio.wait([running.task])
                job = self._start_job(account, moment)
                await asyncio.wait([job.task])
                job.result.result()

    async def close(self) -> None:
        """Cancel the jobs. Only their progress is lost."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _count_inline(self, account: ObjectId, moment: datetime) -> Counts | None:
        """Return the counts, or None if they need a background job."""
        run = await self._create_run(account, moment)
        try:
            if not await run.read(self._inline_limit):
                return None
        except StateDroppedError:
            return None
        await run.save_snapshot(self._min_changes)
        return run.build_counts()

    async def _create_run(self, account: ObjectId, moment: datetime, *, from_scratch: bool = False) -> CountRun:
        snapshot = await read_snapshot(self._store, account)
        return CountRun(self._store, account, moment, snapshot, from_scratch=from_scratch, max_hours=self._max_hours)

    def _start_job(self, account: ObjectId, moment: datetime, *, for_snapshot: bool = False) -> _Job:
        if len(self._jobs) >= COUNTINGS:
            raise Busy("too many accounts are being counted: try again in a moment")
        result: asyncio.Future[Counts] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._run_job(account, moment, result, for_snapshot=for_snapshot))
        self._jobs[account] = job = _Job(task, result)
        return job

    async def _run_job(
        self, account: ObjectId, moment: datetime, result: asyncio.Future[Counts], *, for_snapshot: bool
    ) -> None:
        """Run a job. One that only refreshes the snapshot has no result."""
        try:
            async with self._slots:
                if for_snapshot and await self._is_early(account, moment):
                    return
                run = await self._read_all(account, moment, skip_new=for_snapshot)
                if not for_snapshot:
                    result.set_result(run.build_counts())
                saved = await run.save_snapshot(0)
            for delay in _RETRY_DELAYS:
                if saved:
                    break
                await asyncio.sleep(delay)
                async with self._slots:
                    await run.read(skip_new=for_snapshot)
                    saved = await run.save_snapshot(0)
        except Exception as error:
            logger.warning("an account could not be counted", exc_info=error)
            if not result.done():
                result.set_exception(error)
        finally:
            del self._jobs[account]
            if not result.done():
                result.set_exception(Busy("the count was cancelled: try again in a moment"))
            result.exception()  # marks it as retrieved: there may be no waiter

    async def _read_all(self, account: ObjectId, moment: datetime, *, skip_new: bool) -> CountRun:
        run = await self._create_run(account, moment)
        try:
            await run.read(skip_new=skip_new)
        except StateDroppedError:
            run = await self._create_run(account, moment, from_scratch=True)
            await run.read(skip_new=skip_new)
        return run

    async def _is_early(self, account: ObjectId, moment: datetime) -> bool:
        """Return whether it is too early for a new snapshot: most of the time since the last one is unresolved."""
        resolved = (await self._store.resolved_stamp()).time
        snapshot = await read_snapshot(self._store, account)
        return (
            snapshot is not None
            and resolved - ChangePosition.parse(snapshot.upto).stamp.time < moment.timestamp() - resolved
        )


class _Identity(msgspec.Struct, frozen=True):
    id: str
