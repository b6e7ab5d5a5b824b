"""Leases: one process at a time carries out a request, however long that takes and whatever clocks say.

The holder renews its lease while it works, and stops working when a renewal fails. Clocks differ, so a process that
sees an expired lease watches it for `TAKEOVER_SECONDS` first. A live holder renews the lease within that time; if
nobody does, the process takes it over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from todo_service.bounds.requests import LEASE_SECONDS

HEARTBEAT_SECONDS: Final = 0.5
"""How often a lease is renewed. A request that takes less time never renews it."""
TAKEOVER_SECONDS: Final = 1.25
"""How long an expired lease is watched before it is taken: more than two heartbeats."""
logger = structlog.get_logger(__name__)

Renew = Callable[[], Awaitable[bool]]


class LeaseLostError(Exception):
    """The lease could not be renewed in time, or another process has taken it."""


@asynccontextmanager
async def hold_lease(
    renew: Renew, seconds: float = LEASE_SECONDS, heartbeat: float = HEARTBEAT_SECONDS
) -> AsyncIterator[None]:
    """Keep a lease that was just taken while the block runs, and cancel the block when the lease is lost.

    Args:
        renew: Renews the lease, and returns whether it is still held. What it raises counts as no answer: it is called
            again at the next heartbeat.
        seconds: How long the lease lasts from when it was taken, and from the sending of each renewal.
        heartbeat: Seconds between renewals.

    Raises:
        LeaseLostError: the block was cancelled because the lease was lost.
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
