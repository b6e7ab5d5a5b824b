"""The default positions of new todos: each comes last in the manual order of its account.

The position follows from that of the last todo. A process reads it once and then keeps it for `_FRESH`, so a burst of
new todos costs few reads, and concurrent ones share a read. Another process may create todos at the same time. So
within `_FRESH` of the last todo, positions grow with the elapsed time: todos that different processes create one after
another sort in that order if they are at least `_UNIT` apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec
from odmantic import ObjectId
from odmantic.query import desc

from todo_service.bounded_cache import BoundedCache
from todo_service.positions import STEP, advance
from todo_service.store.base import DocumentStore
from todo_service.todos.documents import Todo

_FRESH: Final = timedelta(milliseconds=100)
"""How long a process keeps the position of the last todo."""
_UNIT: Final = timedelta(milliseconds=4)
"""The elapsed time per position step."""
_MAX_ACCOUNTS: Final = 10_000


class _Last(msgspec.Struct, frozen=True):
    position: float
    created_at: datetime


class _Known(NamedTuple):
    """The last todo of an account, and when it was read from the store."""

    position: float
    created_at: datetime
    read_at: datetime

    def is_fresh(self, moment: datetime) -> bool:
        return timedelta() <= moment - self.read_at < _FRESH


class NewPositions:
    """Chooses the positions of new todos. There is one instance per process.

    Args:
        store: The store.
    """

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self._known: BoundedCache[bytes, _Known] = BoundedCache(_MAX_ACCOUNTS)
        self._reading: dict[bytes, asyncio.Event] = {}

    async def choose(self, account: ObjectId, moment: datetime, number: int = 1) -> Sequence[float]:
        """Return positions after the last todo of an account, in ascending order.

        Args:
            account: The account.
            moment: The current time.
            number: How many todos are created.
        """
        known = self._find_fresh(account, moment)
        while known is None and (reading := self._reading.get(account.binary)) is not None:
            await reading.wait()
            known = self._find_fresh(account, moment)
        if known is None:
            known = await self._read(account, moment)
        if known is None:
            chosen, read_at = [STEP], moment
        else:
            elapsed, read_at = moment - known.created_at, known.read_at
            # not rounded, so that processes that start from different todos arrive at the same positions
            steps = max(1.0, elapsed / _UNIT) if elapsed < _FRESH else 1.0
            chosen = [advance(known.position, steps)]
        while len(chosen) < number:
            chosen.append(advance(chosen[-1]))
        self._known[account.binary] = _Known(chosen[-1], moment, read_at)
        return chosen

    def forget(self, account: ObjectId) -> None:
        """Forget the cached position, because another todo may now be the last one."""
        self._known.pop(account.binary, None)

    def _find_fresh(self, account: ObjectId, moment: datetime) -> _Known | None:
        known = self._known.get(account.binary)
        return known if known is not None and known.is_fresh(moment) else None

    async def _read(self, account: ObjectId, moment: datetime) -> _Known | None:
        ended = self._reading[account.binary] = asyncio.Event()
        try:
            found = await self._store.find(
                Todo,
                Todo.owner == account,
                Todo.completed.in_([False, True]),  # type: ignore[attr-defined]  # ODMantic's field proxy has it
                sort=(desc(Todo.position), desc(Todo.id)),
                limit=1,
                into=_Last,
            )
        finally:
            # those who wait resume after the caller has chosen its position
            del self._reading[account.binary]
            ended.set()
        known = [_Known(last.position, last.created_at, moment) for last in found]
        # a request with an earlier moment may have chosen a position meanwhile
        other = self._find_fresh(account, moment)
        if other is not None:
            known.append(other)
        return max(known, default=None)
