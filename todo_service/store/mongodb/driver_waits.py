"""Corrects how the driver waits for a server or a connection before Python 3.12.

The driver waits for conditions with `asyncio.wait_for`. Waiting for a condition releases the driver's lock, and
reacquires it afterwards. Before Python 3.12, `wait_for` does this in a separate task. If the caller is cancelled just
after the timeout, `wait_for` returns before that task has reacquired the lock. Nothing then releases the lock, so every
later call hangs, and so does closing the client.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

import pymongo.lock

ResultT = TypeVar("ResultT")


async def wait_in_task(awaitable: Awaitable[ResultT], seconds: float | None) -> ResultT:
    """Wait for a result in the task of the caller, as `asyncio.wait_for` does since Python 3.12.

    Args:
        awaitable: What to wait for.
        seconds: The timeout, or None for none.

    Raises:
        TimeoutError: The timeout has expired.
    """
    async with asyncio.timeout(seconds):
        return await awaitable


def correct_driver_waits() -> None:
    """Let the driver wait with `wait_in_task`. Since Python 3.12 this is not necessary, and does nothing."""
    if sys.version_info < (3, 12):
        pymongo.lock.wait_for = wait_in_task  # type: ignore[assignment,attr-defined]  # not exported
