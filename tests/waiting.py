"""Waits for conditions that nothing announces, such as the state of another process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

PATIENCE: Final = 60.0
"""How long a test waits on a busy machine, in seconds."""
_INTERVAL_SECONDS: Final = 0.05


async def wait_until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until a condition is true.

    Args:
        condition: Returns a true value once the test can continue. It is called repeatedly.

    Raises:
        TimeoutError: The condition is still false after `PATIENCE`.
    """
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110  # nothing announces the change
            await asyncio.sleep(_INTERVAL_SECONDS)
