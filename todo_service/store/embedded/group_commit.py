"""Group commit: one writer thread runs all waiting operations in one transaction, with one sync to disk.

Operations that arrive during a commit wait for the next one, so the cost of an operation falls as the load rises. An
event loop hands over all operations of one iteration together; otherwise the first would get a commit of its own while
the rest wait for the next. A transaction accepts no further operation after `WRITE_SECONDS`. An operation does not
occupy a thread while it waits, and the event loop never waits for the disk.
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

_MAX_BATCH_SIZE: Final = 1000

Operation = Callable[[lmdb.Transaction], Any]
"""A function that writes in a transaction. If it raises a `StoreError`, what it has written so far is committed."""


class _Pending(NamedTuple):
    operation: Operation
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class GroupCommitWriter:
    """Runs write operations in the order of their submission.

    Args:
        environment: The environment to write to.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._queue: queue.SimpleQueue[list[_Pending] | None] = queue.SimpleQueue()
        self._submitted: dict[asyncio.AbstractEventLoop, list[_Pending]] = {}
        self._closed = False
        self._submitting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lmdb-writer", daemon=True)
        self._thread.start()

    async def submit(self, operation: Operation) -> Any:
        """Run an operation, and return its result once it is on disk.

        Raises:
            StoreError: The operation raised it.
            StoreUnavailable: The operation did not run because the disk is full or the store is closed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._submitting:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            submitted = self._submitted.setdefault(loop, [])
            submitted.append(_Pending(operation, loop, future))
            if len(submitted) == 1:
                # runs after all callbacks that are ready now
                loop.call_soon(self._enqueue, loop)
        return await future

    def close(self) -> None:
        """Run the pending operations, then end the thread. Blocks until then."""
        with self._submitting:
            if not self._closed:
                self._closed = True
                for submitted in self._submitted.values():
                    self._queue.put(submitted)
                self._submitted.clear()
                self._queue.put(None)
        self._thread.join()

    def _enqueue(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._submitting:
            if (submitted := self._submitted.pop(loop, None)) is not None:
                self._queue.put(submitted)

    def _run(self) -> None:
        ended = False
        while not ended:
            batch, ended = self._next_batch()
            while batch:
                outcomes = self._commit([pending.operation for pending in batch])
                _deliver(list(zip(batch, outcomes, strict=False)))
                batch = batch[len(outcomes) :]

    def _next_batch(self) -> tuple[list[_Pending], bool]:
        """Return the next operations, and whether they are the last."""
        batch: list[_Pending] = []
        submitted = self._queue.get()
        while submitted is not None:
            batch += submitted
            if len(batch) >= _MAX_BATCH_SIZE:
                return batch, False
            try:
                submitted = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _commit(self, operations: list[Operation]) -> list[Outcome]:
        """Run one or more of the first operations in one transaction, and return their outcomes.

        An unexpected exception fails only its own operation: those before it are committed without it.
        """
        outcomes: list[Outcome] = []

        def run_operations(transaction: lmdb.Transaction) -> None:
            outcomes.clear()
            deadline = time.perf_counter() + WRITE_SECONDS
            for operation in operations:
                try:
                    outcomes.append(Outcome(operation(transaction), None))
                except StoreError as error:
                    outcomes.append(Outcome(None, error))
                if time.perf_counter() >= deadline:
                    return

        try:
            self._environment.write(run_operations)
        except StoreUnavailable as error:
            return [Outcome(None, error)] * len(operations)
        except Exception as error:  # delivered to the caller of the operation
            if not outcomes or len(outcomes) == len(operations):
                return [Outcome(None, error)] * max(1, len(outcomes))
            return self._commit(operations[: len(outcomes)])
        return outcomes


def _deliver(outcomes: list[tuple[_Pending, Outcome]]) -> None:
    """Resolve the futures, waking each event loop once."""
    for loop in {pending.loop for pending, _ in outcomes}:
        own = [(pending.future, outcome) for pending, outcome in outcomes if pending.loop is loop]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, own)


def _resolve(outcomes: list[tuple[asyncio.Future[Any], Outcome]]) -> None:
    for future, outcome in outcomes:
        outcome.resolve(future)
