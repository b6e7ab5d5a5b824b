"""Thread pools with a bounded queue, for work that takes too long for the event loop.

A thread cannot be stopped from outside. So every task is given a `Budget` and polls it: the budget ends when its time
is used up, when the caller is cancelled (a response timeout, a client that has disconnected), and when the executor is
closed. A task that waits in the queue when its caller is cancelled is never started.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

ResultT = TypeVar("ResultT")

_CLOSED: Final = "the executor is closed"
_SWITCH_SECONDS: Final = 0.001


class Overloaded(Exception):
    """The queue is full, or one key has its share of it already. The same call may succeed later."""


class BudgetExceededError(Exception):
    """A task has used up its time, or nobody waits for its result any more."""


class Budget:
    """How long a task may go on.

    Args:
        seconds: Seconds from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._cancelled = False

    def start(self, seconds: float) -> None:
        """Let the time run from now on."""
        self._deadline = time.monotonic() + seconds

    @property
    def exceeded(self) -> bool:
        """Whether the task should end."""
        return self._cancelled or time.monotonic() >= self._deadline

    def cancel(self) -> None:
        """End the budget now. May be called from any thread."""
        self._cancelled = True

    def check(self) -> None:
        """Return if the task may go on.

        Raises:
            BudgetExceededError: it should end.
        """
        if self.exceeded:
            raise BudgetExceededError("the task has used up its time, or its caller has gone")


UNLIMITED: Final = Budget(float("inf"))
"""For work that is bounded otherwise. It is shared: do not cancel it."""


class _SwitchInterval:
    """Shortens the interpreter's switch interval while tasks run, so that the event loop waits less for its lock.

    Only then, because a short interval makes writes up to 14 % slower: the threads of the stores switch more often.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks = 0
        self._usual = sys.getswitchinterval()

    def enter(self) -> None:
        with self._lock:
            if not self._tasks:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(_SWITCH_SECONDS, self._usual))
            self._tasks += 1

    def leave(self) -> None:
        with self._lock:
            self._tasks -= 1
            if not self._tasks:
                sys.setswitchinterval(self._usual)


_switch_interval: Final = _SwitchInterval()


class Executor:
    """A thread pool for one kind of work.

    Args:
        name: What the work is, for thread names and messages.
        threads: How many tasks run at a time.
        queue: How many more may wait.
        seconds: How long each may run, once it has begun.
        per_key: How many tasks of one key may wait or run; None for no limit.
    """

    def __init__(self, name: str, *, threads: int, queue: int, seconds: float, per_key: int | None = None) -> None:
        self._name = name
        self._seconds = seconds
        self._capacity = threads + queue
        self._per_key = per_key
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._admitted = 0
        self._keys: Counter[Hashable] = Counter()
        self._budgets: set[Budget] = set()
        self._closed = False

    @property
    def waiting_or_running(self) -> int:
        """How many tasks have been admitted and have not ended."""
        return self._admitted

    async def run(self, work: Callable[[Budget], ResultT], key: Hashable = None) -> ResultT:
        """Run a task in a thread and return its result. Call it from one event loop only.

        A task counts until its thread has let go of it, not until its caller has.

        Args:
            work: The task; it polls the budget that it is given.
            key: On whose behalf, such as an account's id; None is not counted.

        Raises:
            Overloaded: the queue is full, or `key` has its share of it.
            BudgetExceededError: the task has used up its time.
        """
        if self._closed:
            raise Overloaded(_CLOSED)
        if self._admitted >= self._capacity or (
            key is not None and self._per_key is not None and self._keys[key] >= self._per_key
        ):
            raise Overloaded(f"too many tasks are waiting: {self._name}")
        loop = asyncio.get_running_loop()
        budget = Budget(float("inf"))

        def task() -> ResultT:
            budget.check()  # the caller may have gone while this waited
            budget.start(self._seconds)
            return work(budget)

        self._admit(key, budget)
        _switch_interval.enter()
        future = self._pool.submit(task)
        future.add_done_callback(lambda _: _switch_interval.leave())
        future.add_done_callback(lambda _: _call_soon(loop, self._release, key, budget))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            budget.cancel()
            caller = asyncio.current_task()
            if future.cancelled() and caller is not None and not caller.cancelling():
                raise Overloaded(_CLOSED) from None
            raise

    def close(self) -> None:
        """Cancel what waits and end the budgets of what runs. Blocks until the threads have ended."""
        self._closed = True
        for budget in list(self._budgets):
            budget.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _admit(self, key: Hashable, budget: Budget) -> None:
        self._admitted += 1
        self._budgets.add(budget)
        if key is not None:
            self._keys[key] += 1

    def _release(self, key: Hashable, budget: Budget) -> None:
        self._admitted -= 1
        self._budgets.discard(budget)
        if key is not None:
            self._keys[key] -= 1
            if self._keys[key] <= 0:
                del self._keys[key]


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: object) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *arguments)
