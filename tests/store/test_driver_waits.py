"""The driver's locks are released, whenever a call that waits for a server or a connection is cancelled."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from pymongo.lock import _async_cond_wait, _async_create_condition, _async_create_lock

from tests.waiting import wait_until
from todo_service.store.mongodb.driver_waits import correct_driver_waits

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_a_wait_that_is_cancelled_as_it_times_out_releases_the_lock(cancelled_first: bool) -> None:
    correct_driver_waits()
    lock = _async_create_lock()
    condition = _async_create_condition(lock)

    async def wait() -> None:
        async with lock:
            await _async_cond_wait(condition, 0.001)

    async def has_waiters() -> bool:
        return bool(lock._waiters)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    # in line behind the wait, which releases the lock and then times out
    await lock.acquire()
    # the wait is in line again
    await wait_until(has_waiters)
    for step in (waiting.cancel, lock.release) if cancelled_first else (lock.release, waiting.cancel):
        step()
    with suppress(asyncio.CancelledError):
        await waiting

    for _ in range(10):
        await asyncio.sleep(0)
    assert not lock.locked()
