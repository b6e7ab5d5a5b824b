"""Optimistic locking across processes: a writer that loses a race reads the document again and retries.

Writers in one process take turns (`locks`). Writers in different processes are kept apart by the condition of the write
alone, so a writer may lose a few times.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final, Self

from todo_service.bounds.todos import WRITE_ATTEMPTS
from todo_service.errors import Busy

_FIRST_PAUSE_SECONDS: Final = 0.001
_LONGEST_PAUSE_SECONDS: Final = 0.1


class Attempts:
    """Attempts to write a document: an asynchronous iterator over their numbers, from 0.

    The iterator sleeps before each attempt but the first two, with exponential backoff and full jitter. It is a class
    because leaving an asynchronous generator early costs a task that closes it.

    Args:
        limit: The maximum number of attempts.

    Raises:
        Busy: All attempts failed.
    """

    def __init__(self, limit: int = WRITE_ATTEMPTS) -> None:
        self._limit = limit
        self._number = 0
        self._pause = _FIRST_PAUSE_SECONDS

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        number = self._number
        if number >= self._limit:
            raise Busy("other clients are changing this document continuously")
        if number > 1:
            await asyncio.sleep(random.uniform(0, self._pause))  # noqa: S311  # not a secret
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        self._number += 1
        return number
