"""Periodic jobs: supervised, logged, repeated with a backoff after a failure, and stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, Self

import structlog

from todo_service.store.errors import StoreUnavailable

FIRST_RETRY_SECONDS: Final = 1.0
"""How long after its first failure a job is tried again; doubled with each further failure, up to its interval."""
logger = structlog.get_logger(__name__)


class Job(NamedTuple):
    """Work that is done again and again.

    Attributes:
        name: Its name in the log.
        run: Does the work once.
        interval: Seconds from the end of one run to the beginning of the next.
    """

    name: str
    run: Callable[[], Awaitable[None]]
    interval: float


class BackgroundJobs:
    """Runs jobs while its context lasts, each at once and then at its interval.

    No exception ends a job: it is logged, and the job is tried again. When the context ends, the jobs are cancelled and
    awaited in reverse order; what they raise then is logged, too.

    Args:
        jobs: The jobs, each after those that it depends on.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(_repeat(job), name=job.name) for job in self._jobs]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in reversed(self._tasks):
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("a background job failed while it was stopped", job=task.get_name(), exc_info=error)
        self._tasks = []


async def _repeat(job: Job) -> None:
    task = asyncio.current_task()
    assert task is not None
    failures = 0
    while True:
        try:
            await job.run()
        except Exception as error:
            if task.cancelling():
                raise  # the job was stopped, and failed at it
            pause = min(job.interval, FIRST_RETRY_SECONDS * 2 ** min(failures, 30))
            failures += 1
            facts = {"job": job.name, "failures": failures, "retry_in_seconds": pause}
            if isinstance(error, StoreUnavailable):
                logger.warning("a background job needs the store", reason=str(error), **facts)
            else:
                logger.exception("a background job failed", **facts)
        else:
            failures, pause = 0, job.interval
        await asyncio.sleep(pause)
