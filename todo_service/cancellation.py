"""Tasks that are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


def is_cancelled() -> bool:
    """Return whether the current task has been cancelled.

    A loop that never ends must check it: a library may suppress the exception, as `asyncio.wait_for` may before Python
    3.12.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def run_to_completion(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a coroutine, and return its result. A caller that is cancelled first waits until the coroutine has ended."""
    task = asyncio.create_task(coroutine)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await wait_for_end(task)
        raise


async def wait_for_end(task: asyncio.Task[Any]) -> None:
    """Wait until a task has ended, however often the caller is cancelled meanwhile, and ignore its exception.

    AnyIO, for example, cancels the tasks of a cancelled scope repeatedly until they end.
    """
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # marks it as retrieved
