"""Reads that take longer than the event loop may be held up: they go on in threads, and end in time.

A read begins on the event loop, where a look-up costs microseconds. What takes longer than `INLINE_SECONDS` is begun
anew in a thread with a budget, which the thread polls at each document: it ends when its time is up, when its caller is
cancelled, and when the store is closed. One account has one thread at a time, so that it cannot take them all. Reads on
the event loop share that time too, so that many at once hold it up no longer than one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from todo_service.bounds.store import INLINE_SECONDS, SCAN_QUEUE, SCAN_SECONDS, SCAN_THREADS, SCANS_PER_ACCOUNT
from todo_service.executors import Budget, BudgetExceededError, Executor, Overloaded
from todo_service.store.errors import StoreUnavailable

ResultT = TypeVar("ResultT")

_RUN_SECONDS: Final = 0.001
_PAUSE_SECONDS: Final = 0.0001
_PAUSE: Final = threading.Event()
"""Never set. `time.sleep` fails where the clock is set meanwhile and a library stands between it and the system."""
_FEW: Final = 128
_FEW_BYTES: Final = 2**17
"""What is converted without a look at the clock: it takes far less than `INLINE_SECONDS` of the processor."""


class Scan:
    """What a read in a thread polls.

    Args:
        budget: Its budget.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._pause_at = time.perf_counter() + _RUN_SECONDS

    def check(self) -> None:
        """Return if the read may go on. Every millisecond it pauses, and lets the event loop have the interpreter:
        else that would wait for up to five (`sys.getswitchinterval`) whenever it has let go of it.

        Raises:
            BudgetExceededError: it should end.
        """
        self._budget.check()
        if time.perf_counter() >= self._pause_at:
            _PAUSE.wait(_PAUSE_SECONDS)
            self._pause_at = time.perf_counter() + _RUN_SECONDS


class ScanExecutor:
    """The long reads of a store: how much of them an event loop does in one turn, and the threads for the rest.

    For one event loop.
    """

    def __init__(self) -> None:
        self._spent = 0.0
        self._executor = Executor(
            "store-scans", threads=SCAN_THREADS, queue=SCAN_QUEUE - SCAN_THREADS, seconds=SCAN_SECONDS
        )
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        self._waiting: Counter[Hashable] = Counter()

    async def run(self, work: Callable[[Scan], ResultT], key: Hashable = None) -> ResultT:
        """Run a read in a thread.

        Args:
            work: The read; it polls `Scan.check` at each document.
            key: On whose behalf, such as an account's id: of one key one read runs at a time. None is not counted.

        Raises:
            StoreUnavailable: too many reads are waiting, or this one has used up its time.
        """
        try:
            if key is None:
                return await self._executor.run(lambda budget: work(Scan(budget)))
            return await self._run_in_turn(work, key)
        except Overloaded:
            raise StoreUnavailable("too many long reads are waiting") from None
        except BudgetExceededError:
            raise StoreUnavailable(f"a read took longer than {SCAN_SECONDS} s") from None

    async def begin(self) -> float:
        """Return the present moment (`time.perf_counter`) when a read may begin on the event loop.

        Reads that began in the same turn of the loop share `INLINE_SECONDS`; later ones wait for the next turn.
        """
        while self._spent >= INLINE_SECONDS:  # noqa: ASYNC110  # what is waited for is a turn, not an event
            await asyncio.sleep(0)
        return time.perf_counter()

    def end(self, begun: float) -> None:
        """Count what a read on the event loop took since it began."""
        if not self._spent:
            asyncio.get_running_loop().call_soon(self._forget)
        self._spent += time.perf_counter() - begun

    def _forget(self) -> None:
        self._spent = 0.0

    async def convert(
        self, raws: Sequence[bytes], convert: Callable[[bytes], ResultT], key: Hashable = None
    ) -> list[ResultT]:
        """Convert documents that were read: the first of them at once, and what takes longer in a thread.

        Args:
            raws: The documents.
            convert: Converts one.
            key: As in `run`.
        """
        begun = await self.begin()
        if len(raws) <= _FEW and sum(map(len, raws)) <= _FEW_BYTES:
            found = list(map(convert, raws))
            self.end(begun)
            return found
        found = []
        for raw in raws:
            found.append(convert(raw))
            if time.perf_counter() - begun >= INLINE_SECONDS:
                break
        self.end(begun)
        if len(found) < len(raws):
            rest = raws[len(found) :]
            found += await self.run(lambda scan: _convert_all(rest, convert, scan), key)
        return found

    def close(self) -> None:
        """End the reads. Blocks until their threads have ended."""
        self._executor.close()

    async def _run_in_turn(self, work: Callable[[Scan], ResultT], key: Hashable) -> ResultT:
        if self._waiting[key] >= SCANS_PER_ACCOUNT:
            raise Overloaded("one account has too many long reads waiting")
        turn = self._turns.setdefault(key, asyncio.Lock())
        self._waiting[key] += 1
        try:
            async with turn:
                return await self._executor.run(lambda budget: work(Scan(budget)))
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]


def _convert_all(raws: Sequence[bytes], convert: Callable[[bytes], ResultT], scan: Scan) -> list[ResultT]:
    found = []
    for raw in raws:
        scan.check()
        found.append(convert(raw))
    return found
