"""Background jobs run until shutdown, whatever they raise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest
from structlog.testing import capture_logs

from tests.waiting import PATIENCE
from todo_service.background import BackgroundJobs, Job
from todo_service.store.errors import StoreUnavailable

pytestmark = pytest.mark.anyio


def create_failing_run(errors: list[Exception], done: asyncio.Event) -> Callable[[], Awaitable[None]]:
    """Return a function that raises each error once, and then sets the event."""

    async def run() -> None:
        if errors:
            raise errors.pop(0)
        done.set()

    return run


@pytest.mark.parametrize("error", [ValueError("broken"), StoreUnavailable("away"), RecursionError()], ids=repr)
async def test_a_job_is_retried_after_any_exception_and_logs_it(error: Exception) -> None:
    done = asyncio.Event()

    with capture_logs() as lines:
        async with (
            asyncio.timeout(PATIENCE),
            BackgroundJobs([Job("sweep", create_failing_run([error] * 3, done), 0.01)]),
        ):
            await done.wait()

    assert [line["failures"] for line in lines] == [1, 2, 3]
    assert {line["job"] for line in lines} == {"sweep"}


async def test_a_failing_job_does_not_delay_others() -> None:
    rounds = asyncio.Semaphore(0)

    async def fail() -> None:
        raise ValueError

    async def count() -> None:
        rounds.release()

    async with asyncio.timeout(PATIENCE), BackgroundJobs([Job("fails", fail, 60), Job("counts", count, 0.001)]):
        for _ in range(3):
            await rounds.acquire()


async def test_jobs_stop_in_reverse_order_even_if_they_raise() -> None:
    stopped: list[str] = []
    started = asyncio.Semaphore(0)

    def stubborn(name: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            started.release()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append(name)
                raise ValueError("broken during shutdown")

        return run

    with capture_logs() as lines:
        async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
            stack.callback(stopped.append, "store")
            await stack.enter_async_context(BackgroundJobs([Job(name, stubborn(name), 60) for name in "ab"]))
            await started.acquire()
            await started.acquire()

    assert stopped == ["b", "a", "store"]
    assert [line["job"] for line in lines] == ["b", "a"]


async def test_a_job_that_suppresses_its_cancellation_ends() -> None:
    started = asyncio.Event()

    async def run() -> None:
        started.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE), BackgroundJobs([Job("stubborn", run, 3600)]):
        await started.wait()
