"""Long reads: reads that would block the event loop for too long run in threads, with a timeout.

A read starts on the event loop, where a lookup takes microseconds. If it takes longer than `INLINE_SECONDS` of CPU
time, it starts over in a thread with a budget. The thread polls the budget at each document, so that it stops when its
time is up, its caller is cancelled or the store is closed. An account has one thread at a time, so it cannot occupy all
of them. All reads in one turn of the event loop share `INLINE_SECONDS`, so many reads block it no longer than one does.

The limit is CPU time: a wall-clock limit would move even short reads to threads whenever other processes keep the CPUs
busy. In threads, they compete with the event loop for the GIL, so more reads would exceed the limit. A read that is not
finished after `INLINE_WAIT_SECONDS` moves to a thread in any case, because it may be waiting for the disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from typing import Final, TypeVar

from todo_service.bounds.store import (
    INLINE_SECONDS,
    INLINE_WAIT_SECONDS,
    SCAN_QUEUE,
    SCAN_SECONDS,
    SCAN_THREADS,
    SCANS_PER_ACCOUNT,
)
from todo_service.errors import Busy
from todo_service.executors import Budget, BudgetExceededError, Executor, Overloaded
from todo_service.locks import KeyedLocks
from todo_service.store.errors import StoreUnavailable

ResultT = TypeVar("ResultT")

_SMALL_DOCUMENTS: Final = 128
_SMALL_BYTES: Final = 2**17
"""The size of a result that is converted without polling the clock. It takes far less than `INLINE_SECONDS`."""


class InlineBudget:
    """The time that a read may spend on the event loop, counted from now.

    Reading the CPU clock is slow, so it is read at the start, and again only once `deadline` has passed.

    Args:
        seconds: The CPU time.
        wait_seconds: The wall-clock time.

    Attributes:
        started: The start time (`time.perf_counter`).
        deadline: When to call `extend`, on the same clock.
    """

    __slots__ = ("_ends_at", "_used_up_at", "deadline", "started")

    def __init__(self, seconds: float = INLINE_SECONDS, wait_seconds: float = INLINE_WAIT_SECONDS) -> None:
        self.started = time.perf_counter()
        self.deadline = self.started + seconds
        self._used_up_at = time.thread_time() + seconds
        self._ends_at = self.started + wait_seconds

    def extend(self) -> bool:
        """Extend the deadline by the CPU time that is left.

        Returns:
            False if none is left, or if the wall-clock time is over.
        """
        left = self._used_up_at - time.thread_time()
        moment = time.perf_counter()
        if left <= 0 or moment >= self._ends_at:
            return False
        self.deadline = moment + left
        return True


class ScanExecutor:
    """Runs the reads of a store: short ones on the event loop, within its share of a turn, and long ones in threads.

    An instance belongs to one event loop.
    """

    def __init__(self) -> None:
        self._spent = 0.0
        self._executor = Executor(
            "store-scans", threads=SCAN_THREADS, queue=SCAN_QUEUE - SCAN_THREADS, seconds=SCAN_SECONDS
        )
        self._turns = KeyedLocks(waiting=SCANS_PER_ACCOUNT - 1)

    async def run(self, work: Callable[[Budget], ResultT], key: Hashable = None) -> ResultT:
        """Run a read in a thread.

        Args:
            work: The read. It polls its budget at each document.
            key: The account, or whatever else the read is charged to. Reads with the same key run one at a time. None:
                no limit.

        Raises:
            StoreUnavailable: Too many reads are waiting, or this one timed out.
        """
        try:
            async with nullcontext() if key is None else self._turns.hold(key):
                return await self._executor.run(work)
        except (Busy, Overloaded):
            raise StoreUnavailable("too many long reads are waiting") from None
        except BudgetExceededError:
            raise StoreUnavailable(f"a read took longer than {SCAN_SECONDS} s") from None

    async def begin(self) -> InlineBudget:
        """Wait until a read may start on the event loop, and return its budget.

        Reads in the same turn of the loop share `INLINE_SECONDS`. Once the time is spent, further reads wait for the
        next turn.
        """
        while self._spent >= INLINE_SECONDS:  # noqa: ASYNC110  # this waits for a turn, not for an event
            await asyncio.sleep(0)
        return InlineBudget()

    def end(self, budget: InlineBudget) -> None:
        """Add the time since the start of a read to the time spent in this turn."""
        if not self._spent:
            asyncio.get_running_loop().call_soon(self._reset_spent)
        self._spent += time.perf_counter() - budget.started

    def _reset_spent(self) -> None:
        self._spent = 0.0

    async def convert(
        self, raws: Sequence[bytes], convert: Callable[[bytes], ResultT], key: Hashable = None
    ) -> list[ResultT]:
        """Convert documents: on the event loop up to `INLINE_SECONDS`, and the rest in a thread.

        Args:
            raws: The documents.
            convert: Converts one document.
            key: As in `run`.
        """
        budget = await self.begin()
        if len(raws) <= _SMALL_DOCUMENTS and sum(map(len, raws)) <= _SMALL_BYTES:
            found = list(map(convert, raws))
            self.end(budget)
            return found
        found = []
        for raw in raws:
            found.append(convert(raw))
            if time.perf_counter() >= budget.deadline and not budget.extend():
                break
        self.end(budget)
        if len(found) < len(raws):
            rest = raws[len(found) :]
            found += await self.run(lambda budget: _convert_all(rest, convert, budget), key)
        return found

    def close(self) -> None:
        """Stop all reads. Blocks until their threads have ended."""
        self._executor.close()


def _convert_all(raws: Sequence[bytes], convert: Callable[[bytes], ResultT], budget: Budget) -> list[ResultT]:
    found = []
    for raw in raws:
        budget.check()
        found.append(convert(raw))
    return found
