"""Optimistic concurrency between processes: a writer that loses reads again.

Writers of one document in one process take turns (`locks`). Writers in other processes are met by the condition of the
write alone, so that a writer may lose a few times.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Final

from todo_service.bounds import WRITE_ATTEMPTS
from todo_service.errors import Busy

_FIRST_PAUSE_SECONDS: Final = 0.001
_LONGEST_PAUSE_SECONDS: Final = 0.1


async def attempts(most: int = WRITE_ATTEMPTS) -> AsyncIterator[int]:
    """Yield the number of each attempt to write a document, with a random pause before each but the first two.

    Args:
        most: How many attempts.

    Raises:
        Busy: every attempt has failed.
    """
    pause = _FIRST_PAUSE_SECONDS
    for number in range(most):
        if number > 1:
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311  # no secret
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        yield number
    raise Busy("others change this document all the time")
