"""Leases: only one process at a time executes a request, no matter how long it takes or how far the clocks differ.

The holder renews its lease with a heartbeat, and stops working when it loses the lease. Clocks differ, so a process
that sees an expired lease first watches it for `TAKEOVER_SECONDS`. A live holder renews the lease within that time; if
it does not, the process takes the lease over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from todo_service.bounds.requests import LEASE_SECONDS

HEARTBEAT_SECONDS: Final = 0.5
"""The interval between renewals. A request that takes less time never renews its lease."""
TAKEOVER_SECONDS: Final = 1.25
"""How long a process watches an expired lease before it takes over: more than two heartbeats."""
logger = structlog.get_logger(__name__)

Renew = Callable[[], Awaitable[bool]]


class LeaseLostError(Exception):
    """The lease was not renewed in time, or another process has taken it over."""


@asynccontextmanager
async def hold_lease(
    renew: Renew, seconds: float = LEASE_SECONDS, heartbeat: float = HEARTBEAT_SECONDS
) -> AsyncIterator[None]:
    """Keep a newly taken lease for the duration of a block, and cancel the block if the lease is lost.

    Args:
        renew: Renews the lease, and returns whether it is still held. An exception is logged, and the renewal is
            retried at the next heartbeat.
        seconds: The lifetime of the lease, from when it was taken or a renewal was sent.
        heartbeat: The interval between renewals, in seconds.

    Raises:
        LeaseLostError: The lease was lost, and the block was cancelled.
    """
    loop = asyncio.get_running_loop()
    heartbeats: list[asyncio.Task[None]] = []

    def start() -> None:
        heartbeats.append(loop.create_task(_send_heartbeats(renew, limit, seconds, heartbeat)))

    try:
        async with asyncio.timeout(seconds) as limit:
            timer = loop.call_later(heartbeat, start)
            try:
                yield
            finally:
                timer.cancel()
                for task in heartbeats:
                    task.cancel()
    except TimeoutError:
        if limit.expired():
            raise LeaseLostError from None
        raise


async def _send_heartbeats(renew: Renew, limit: asyncio.Timeout, seconds: float, heartbeat: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        sent = loop.time()
        try:
            held = await renew()
        except Exception as error:
            logger.warning("a lease could not be renewed", reason=repr(error))
        else:
            limit.reschedule(sent + seconds if held else sent)
            if not held:
                return
        await asyncio.sleep(heartbeat)
