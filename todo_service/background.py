"""Periodic jobs, which are supervised, retried with exponential backoff, and stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, Self

import structlog

from todo_service.cancellation import is_cancelled
from todo_service.store.errors import StoreUnavailable

FIRST_RETRY_SECONDS: Final = 1.0
"""The delay before the first retry of a job. It doubles with each failure, up to the job's interval."""
logger = structlog.get_logger(__name__)


class Job(NamedTuple):
    """A periodic job.

    Attributes:
        name: The name in the log.
        run: The function that does the work once.
        interval: The delay between the end of a run and the start of the next, in seconds.
    """

    name: str
    run: Callable[[], Awaitable[None]]
    interval: float


class BackgroundJobs:
    """An async context manager that runs jobs, each immediately and then at its interval.

    If a job raises, the exception is logged and the job is retried. On exit, the jobs are cancelled and awaited in
    reverse order, and their exceptions are logged.

    Args:
        jobs: The jobs, each after its dependencies.
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
                logger.error("a background job failed during shutdown", job=task.get_name(), exc_info=error)
        self._tasks = []


async def _repeat(job: Job) -> None:
    failures = 0
    while True:
        try:
            await job.run()
        except Exception as error:
            if is_cancelled():
                raise  # the job failed while it was cancelled
            pause = min(job.interval, FIRST_RETRY_SECONDS * 2 ** min(failures, 30))
            failures += 1
            context = {"job": job.name, "failures": failures, "retry_in_seconds": pause}
            if isinstance(error, StoreUnavailable):
                logger.warning("a background job failed: the store is unavailable", reason=str(error), **context)
            else:
                logger.exception("a background job failed", **context)
        else:
            failures, pause = 0, job.interval
        if is_cancelled():
            return
        await asyncio.sleep(pause)


async def process_each(
    pages: AsyncIterable[Sequence[Any]], process: Callable[[Any], Awaitable[None]], failure: str, name: str
) -> None:
    """Process each document that is due. A failure is logged and does not block the others; the next run retries it.

    Args:
        pages: The documents.
        process: Processes one document.
        failure: The message to log if that fails.
        name: The name in the log of the document's id.

    Raises:
        StoreUnavailable: Some documents may not have been processed.
    """
    async for page in pages:
        for document in page:
            try:
                await process(document)
            except StoreUnavailable:
                raise
            except Exception:
                logger.exception(failure, **{name: str(document.id)})
