"""One thread that writes: it gathers the operations that wait into one transaction, and syncs them to disk at once.

While the disk is busy with one commit the next operations gather, so the more there are, the less each costs. What an
event loop has to write at once is handed over together: else the first operation would have a commit of its own, while
the others wait for the next. A transaction takes no further operation after `WRITE_SECONDS`, whatever operations cost.
An operation waits for no thread of its own, and the event loop never waits for the disk.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import lmdb

from todo_service.bounds.store import WRITE_SECONDS
from todo_service.store.batching import Outcome
from todo_service.store.embedded.environment import Environment
from todo_service.store.errors import StoreError, StoreUnavailable

_AT_ONCE: Final = 1000

Work = Callable[[lmdb.Transaction], Any]
"""An operation. Where it raises a `StoreError`, what it has done until then is whole and stays."""


class _Waiting(NamedTuple):
    work: Work
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class GroupCommitWriter:
    """Carries out operations in the order in which they come.

    Args:
        environment: What is written.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._queue: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._gathered: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
        self._closed = False
        self._submitting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lmdb-writer", daemon=True)
        self._thread.start()

    async def submit(self, work: Work) -> Any:
        """Carry out an operation, and return its result when it is on disk.

        Raises:
            StoreError: what the operation raised.
            StoreUnavailable: it was not carried out, for the disk is full or the store is closed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._submitting:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            gathered = self._gathered.setdefault(loop, [])
            gathered.append(_Waiting(work, loop, future))
            if len(gathered) == 1:
                # comes after all that is ready to run now
                loop.call_soon(self._hand_over, loop)
        return await future

    def close(self) -> None:
        """Carry out what waits, then end the thread. Blocks until then."""
        with self._submitting:
            if not self._closed:
                self._closed = True
                for gathered in self._gathered.values():
                    self._queue.put(gathered)
                self._gathered.clear()
                self._queue.put(None)
        self._thread.join()

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._submitting:
            if (gathered := self._gathered.pop(loop, None)) is not None:
                self._queue.put(gathered)

    def _run(self) -> None:
        ended = False
        while not ended:
            waiting, ended = self._next_batch()
            while waiting:
                outcomes = self._carry_out([item.work for item in waiting])
                _answer(list(zip(waiting, outcomes, strict=False)))
                waiting = waiting[len(outcomes) :]

    def _next_batch(self) -> tuple[list[_Waiting], bool]:
        """Return what waits, and whether nothing will come after it."""
        batch: list[_Waiting] = []
        gathered = self._queue.get()
        while gathered is not None:
            batch += gathered
            if len(batch) >= _AT_ONCE:
                return batch, False
            try:
                gathered = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _carry_out(self, works: list[Work]) -> list[Outcome]:
        """Write the first operations in one commit, and return their outcomes: at least one.

        An operation that fails unexpectedly fails alone: those before it are written without it.
        """
        outcomes: list[Outcome] = []

        def write_some(transaction: lmdb.Transaction) -> None:
            outcomes.clear()
            deadline = time.perf_counter() + WRITE_SECONDS
            for work in works:
                try:
                    outcomes.append(Outcome(work(transaction), None))
                except StoreError as error:
                    outcomes.append(Outcome(None, error))
                if time.perf_counter() >= deadline:
                    return

        try:
            self._environment.write(write_some)
        except StoreUnavailable as error:
            return [Outcome(None, error)] * len(works)
        except Exception as error:  # whatever it is, it belongs to the operation's caller
            if not outcomes or len(outcomes) == len(works):
                return [Outcome(None, error)] * max(1, len(outcomes))
            return self._carry_out(works[: len(outcomes)])
        return outcomes


def _answer(outcomes: list[tuple[_Waiting, Outcome]]) -> None:
    """Wake each event loop once for all of its operations."""
    for loop in {waiting.loop for waiting, _ in outcomes}:
        own = [(waiting.future, outcome) for waiting, outcome in outcomes if waiting.loop is loop]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, own)


def _resolve(outcomes: list[tuple[asyncio.Future[Any], Outcome]]) -> None:
    for future, outcome in outcomes:
        outcome.resolve(future)
