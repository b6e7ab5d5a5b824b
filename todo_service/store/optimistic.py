"""Optimistic concurrency between processes: a writer that loses reads again.

Writers of one document in one process take turns (`locks`). Writers in other processes are met by the condition of the
write alone, so that a writer may lose a few times.
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
    """The numbers of the attempts to write a document, with a random pause before each but the first two.

    A class, for a generator that is left before its end has to be closed by a task of its own.

    Args:
        most: How many attempts.

    Raises:
        Busy: every attempt has failed.
    """

    def __init__(self, most: int = WRITE_ATTEMPTS) -> None:
        self._most = most
        self._made = 0
        self._pause = _FIRST_PAUSE_SECONDS

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        number = self._made
        if number >= self._most:
            raise Busy("others change this document all the time")
        if number > 1:
            await asyncio.sleep(random.uniform(0, self._pause))  # noqa: S311  # no secret
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        self._made += 1
        return number
