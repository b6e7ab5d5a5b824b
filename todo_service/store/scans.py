"""Reads that take longer than the event loop may be held up: they go on in threads, and end in time.

A read begins on the event loop, where a look-up costs microseconds. What takes longer than `INLINE_SECONDS` is begun
anew in a thread with a budget, which the thread polls at each document: it ends when its time is up, when its caller is
cancelled, and when the store is closed. One account has one thread at a time, so that it cannot take them all.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from todo_service.bounds import INLINE_SECONDS, SCAN_QUEUE, SCAN_SECONDS, SCAN_THREADS, SCANS_PER_ACCOUNT
from todo_service.executors import Budget, BudgetExceededError, Executor, Overloaded
from todo_service.store.base import StoreUnavailable

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")
_YIELD_SECONDS: Final = 0.0005
"""After an inline read that took longer, others get their turn before the next one of the same task."""


class Scans:
    """The threads of a store's long reads. For one event loop."""

    def __init__(self) -> None:
        self._executor = Executor(
            "store-scans", threads=SCAN_THREADS, queue=SCAN_QUEUE - SCAN_THREADS, seconds=SCAN_SECONDS
        )
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        self._waiting: Counter[Hashable] = Counter()

    async def run(self, work: Callable[[Budget], ResultT], key: Hashable = None) -> ResultT:
        """Run a read in a thread.

        Args:
            work: The read; it polls its budget.
            key: On whose behalf, such as an account's id: of one key one read runs at a time. None is not counted.

        Raises:
            StoreUnavailable: too many reads are waiting, or this one has used up its time.
        """
        try:
            if key is None:
                return await self._executor.run(work)
            return await self._run_in_turn(work, key)
        except Overloaded:
            raise StoreUnavailable("too many long reads are waiting") from None
        except BudgetExceededError:
            raise StoreUnavailable(f"a read took longer than {SCAN_SECONDS} s") from None

    async def convert(
        self, items: Sequence[ItemT], convert: Callable[[ItemT], ResultT], key: Hashable = None
    ) -> list[ResultT]:
        """Convert what was read: the first of it at once, and what takes longer in a thread. Arguments as in `run`."""
        found: list[ResultT] = []
        deadline = time.perf_counter() + INLINE_SECONDS
        for item in items:
            found.append(convert(item))
            if time.perf_counter() >= deadline:
                break
        if len(found) < len(items):
            rest = items[len(found) :]
            found += await self.run(lambda budget: convert_all(rest, convert, budget), key)
        return found

    def close(self) -> None:
        """End the reads. Blocks until their threads have ended."""
        self._executor.close()

    async def _run_in_turn(self, work: Callable[[Budget], ResultT], key: Hashable) -> ResultT:
        if self._waiting[key] >= SCANS_PER_ACCOUNT:
            raise Overloaded("one account has too many long reads waiting")
        turn = self._turns.setdefault(key, asyncio.Lock())
        self._waiting[key] += 1
        try:
            async with turn:
                return await self._executor.run(work)
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]


def convert_all(items: Sequence[ItemT], convert: Callable[[ItemT], ResultT], budget: Budget) -> list[ResultT]:
    """Convert what was read, in a thread.

    Raises:
        BudgetExceededError: the budget has ended.
    """
    found = []
    for item in items:
        budget.check()
        found.append(convert(item))
    return found


async def yield_after(started: float) -> None:
    """Let other tasks run if what began at a moment of `time.perf_counter` took longer than a read should."""
    if time.perf_counter() - started > _YIELD_SECONDS:
        await asyncio.sleep(0)
