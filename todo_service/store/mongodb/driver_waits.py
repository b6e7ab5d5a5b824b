"""Corrects how the driver waits for a server or a connection before Python 3.12.

The driver calls `asyncio.wait_for` to wait for a condition, which releases the driver's lock and acquires it again at
the end. Before Python 3.12, `wait_for` waits in a task of its own. A cancellation just after the timeout ends
`wait_for` before that task has acquired the lock. The lock is then never released: every later call waits for it, and
so does closing the client.
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
