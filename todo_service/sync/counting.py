"""Counting an account's todos, from a snapshot or anew (see `sync.counts`).

A count of little is made at once, in the request that asks for it. What takes more than `COUNTED_AT_ONCE` todos is
counted in the background, in slices between which others are served, by one job for each account: requests wait for it,
and it goes on when they have given up, so that it never starts again from the beginning. It holds a small record of
each todo that it has read, since a todo that is changed meanwhile comes again and replaces itself.

A job also brings a snapshot up to date: after so many todos that are made (`EVERY`), and when the snapshot grows old.
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
from todo_service.sync.count_run import MANY, CountRun, ForgottenError
from todo_service.sync.counts import AGING, Counts, CountSnapshot, generation_of, read_snapshot

EVERY: Final = 1024
"""Of so many todos that are made one brings the snapshot up to date."""
_RENEWED_AT_ONCE: Final = 20
_JOBS: Final = 2
"""How many accounts are counted in the background at a time."""
_PAUSES: Final = (0.0, 0.5, 2.0, 11.0, 11.0)
"""Seconds before each try to make a snapshot, while a todo forgets what it was; MongoDB settles within 10 s."""
logger = structlog.get_logger(__name__)


class _Job(NamedTuple):
    task: asyncio.Task[None]
    result: asyncio.Future[Counts]


class Counting:
    """Counts the todos of any account. One for each process; it is closed before the store.

    Args:
        store: The store.
        many: How many changes since a snapshot lead to a new one.
        every: Of so many todos that are made one brings the snapshot up to date.
        at_once: How many changed todos a request counts itself.
    """

    def __init__(
        self, store: DocumentStore, many: int = MANY, every: int = EVERY, at_once: int = COUNTED_AT_ONCE
    ) -> None:
        self._store = store
        self._many = many
        self._every = every
        self._at_once = at_once
        self._jobs: dict[ObjectId, _Job] = {}
        self._turns = asyncio.Semaphore(_JOBS)

    async def count(self, account: ObjectId, moment: datetime, seconds: float | None = COUNTING_SECONDS) -> Counts:
        """Count an account's todos.

        Args:
            account: The account.
            moment: The present moment.
            seconds: How long to wait for a background job; None for as long as it takes.

        Raises:
            Busy: it takes longer; the job goes on.
        """
        try:
            async with asyncio.timeout(seconds):
                while True:
                    # a job that is under way may have passed what was written just now
                    if (job := self._jobs.get(account)) is not None:
                        await asyncio.wait([job.task])
                    elif (found := await self._count_at_once(account, moment)) is not None:
                        return found
                    elif account not in self._jobs:
                        return await asyncio.shield(self._start(account, moment).result)
        except TimeoutError:
            raise Busy("the todos are being counted: ask again in a moment") from None

    def count_later(self, account: ObjectId, made: ObjectId, moment: datetime) -> None:
        """Bring the snapshot up to date in the background, where it is the turn of a todo that was made.

        Ids that a process gives count upwards, so that it is the turn of one in `every`.

        Args:
            account: The account.
            made: The todo's id.
            moment: The present moment.
        """
        turn = int.from_bytes(made.binary[-2:], "big") % self._every == 0
        if turn and account not in self._jobs and len(self._jobs) < COUNTINGS:
            self._start(account, moment, unless_early=True)

    async def renew(self, moment: datetime) -> None:
        """Renew the snapshots that grow old, and those of another generation of the store; a few at a time.

        Raises:
            StoreError: some may not have been renewed.
        """
        generation = generation_of(self._store)
        for where in (
            [CountSnapshot.generation < generation],
            [CountSnapshot.generation > generation],
            [CountSnapshot.generation == generation, CountSnapshot.made_at < moment - AGING],
        ):
            found = await self._store.find(CountSnapshot, *where, sort=None, limit=_RENEWED_AT_ONCE, into=_Identity)
            for snapshot in found:
                account = ObjectId(snapshot.id)
                job = self._jobs.get(account) or self._start(account, moment)
                await asyncio.wait([job.task])
                job.result.result()

    async def close(self) -> None:
        """Cancel the jobs. Nothing is lost but their work."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _count_at_once(self, account: ObjectId, moment: datetime) -> Counts | None:
        """Return the counts, or None where that is too much to be done at once."""
        run = CountRun(self._store, account, moment, await read_snapshot(self._store, account))
        try:
            if not await run.read(self._at_once):
                return None
        except ForgottenError:
            return None
        await run.keep(self._many)
        return run.result()

    def _start(self, account: ObjectId, moment: datetime, *, unless_early: bool = False) -> _Job:
        if len(self._jobs) >= COUNTINGS:
            raise Busy("too many accounts are being counted: ask again in a moment")
        result: asyncio.Future[Counts] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._work(account, moment, result, unless_early=unless_early))
        self._jobs[account] = job = _Job(task, result)
        return job

    async def _work(
        self, account: ObjectId, moment: datetime, result: asyncio.Future[Counts], *, unless_early: bool
    ) -> None:
        try:
            async with self._turns:
                if unless_early and await self._is_early(account, moment):
                    return
                await self._count(account, moment, result)
        except Exception as error:
            logger.warning("an account could not be counted", exc_info=error)
            if not result.done():
                result.set_exception(error)
        finally:
            del self._jobs[account]
            if not result.done():
                result.set_exception(Busy("the counting was ended"))
            result.exception()  # nobody may be waiting for it

    async def _count(self, account: ObjectId, moment: datetime, result: asyncio.Future[Counts]) -> None:
        run = CountRun(self._store, account, moment, await read_snapshot(self._store, account))
        try:
            await run.read()
        except ForgottenError:
            run = CountRun(self._store, account, moment, await read_snapshot(self._store, account), anew=True)
            await run.read()
        result.set_result(run.result())
        for pause in _PAUSES:
            if pause:
                await asyncio.sleep(pause)
                await run.read()
            if await run.keep(0):
                return

    async def _is_early(self, account: ObjectId, moment: datetime) -> bool:
        """Tell whether less has settled since the snapshot than is still to settle: it would be read again."""
        settled = (await self._store.resolved_stamp()).time
        snapshot = await read_snapshot(self._store, account)
        return (
            snapshot is not None
            and settled - ChangePosition.read(snapshot.upto).stamp.time < moment.timestamp() - settled
        )


class _Identity(msgspec.Struct):
    id: str
