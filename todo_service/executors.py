"""Thread pools with a bounded queue, for work that would block the event loop.

A thread cannot be stopped from outside, so each task polls a `Budget`. The budget is exceeded when its time runs out,
when the caller is cancelled (by a response timeout or a disconnect), or when the executor closes. A queued task whose
caller is cancelled never starts.
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
_SLICE_SECONDS: Final = 0.005
"""How long a thread computes before it may have to pause."""
_YIELD_SECONDS: Final = 0.0001
"""How long a thread releases the GIL after each time slice: long enough for a waiting thread to take it."""
_TOLERATED_WAIT: Final = 0.0005
"""A thread that waits longer than this in a time slice competes with other threads."""
_PAUSE_SECONDS: Final = 0.01
_PAUSE: Final = threading.Event()
"""Never set; waiting for it is a sleep. `time.sleep` may fail if the system clock changes under libfaketime."""


class Overloaded(Exception):
    """The queue, or the share of a key, is full. A retry may succeed."""


class BudgetExceededError(Exception):
    """The time of a task has run out, or its caller has been cancelled."""


class Budget:
    """The time limit of a task. Pauses that the task makes for other threads do not count.

    Args:
        seconds: The limit, from now.
    """

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._cancelled = False
        self._slice: _TimeSlice | None = None

    def start(self, seconds: float) -> None:
        """Restart the time limit, from now. Call it in the thread of the task: `check` then pauses that thread."""
        self._deadline = time.monotonic() + seconds
        self._slice = _TimeSlice()

    @property
    def exceeded(self) -> bool:
        """Whether the task should stop."""
        return self._cancelled or time.monotonic() >= self._deadline

    def cancel(self) -> None:
        """Mark the budget as exceeded. Thread-safe."""
        self._cancelled = True

    def check(self) -> None:
        """Raise if the task should stop. Pause first if the task competes with other threads.

        Raises:
            BudgetExceededError: The budget is exceeded.
        """
        if self._slice is not None and self._slice.has_ended():
            self._deadline += self._slice.make_way()
            self._slice = _TimeSlice()
        if self.exceeded:
            raise BudgetExceededError("the task has timed out or was cancelled")


class _TimeSlice:
    """A time slice of a thread. When it ends, the thread makes way for the event loop.

    A thread that computes takes the GIL each time the event loop releases it for a system call. The event loop then has
    to wait for a switch interval, many times per response.

    A thread that scans LMDB also releases the GIL at each call, but only for microseconds. By the time the event loop
    wakes up, the thread has taken the GIL again, and the switch interval starts over. Without pauses, the event loop
    might not run until the scan ends.
    """

    __slots__ = ("_started", "_used")

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._used = time.thread_time()

    def has_ended(self) -> bool:
        """Return whether the time slice is over."""
        return time.perf_counter() - self._started >= _SLICE_SECONDS

    def make_way(self) -> float:
        """Release the GIL briefly. Then pause, if the thread had to wait for the GIL or a CPU during its time slice.

        Returns:
            The length of the pause, in seconds.
        """
        _PAUSE.wait(_YIELD_SECONDS)
        waited = time.perf_counter() - self._started - (time.thread_time() - self._used)
        if waited <= _TOLERATED_WAIT:
            return 0.0
        _PAUSE.wait(_PAUSE_SECONDS)
        return _PAUSE_SECONDS


UNLIMITED: Final = Budget(float("inf"))
"""A budget for work with other bounds. It is shared; do not cancel it."""


class _SwitchInterval:
    """Shortens the interpreter's switch interval while tasks run, so that the event loop gets the GIL sooner.

    A permanently short interval would make threads switch more often, which costs time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks = 0
        self._default = sys.getswitchinterval()

    def enter(self) -> None:
        with self._lock:
            if not self._tasks:
                self._default = sys.getswitchinterval()
                sys.setswitchinterval(min(_SWITCH_SECONDS, self._default))
            self._tasks += 1

    def leave(self) -> None:
        with self._lock:
            self._tasks -= 1
            if not self._tasks:
                sys.setswitchinterval(self._default)


_switch_interval: Final = _SwitchInterval()


class Executor:
    """A thread pool for one kind of work.

    Args:
        name: The kind of work, for thread names and messages.
        threads: The maximum number of running tasks.
        queue: The maximum number of waiting tasks.
        seconds: The time limit of each task, from its start.
        per_key: The maximum number of waiting or running tasks of a key; None for no limit.
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
        """The number of tasks that are waiting or running."""
        return self._admitted

    async def run(self, work: Callable[[Budget], ResultT], key: Hashable = None) -> ResultT:
        """Run a task in a thread and return its result. Always call it from the same event loop.

        A task counts as running until its thread has finished, even if its caller is cancelled earlier.

        Args:
            work: The task. It must poll its budget.
            key: The client to count the task for, such as an account id; None for no limit.

        Raises:
            Overloaded: The queue, or the share of `key`, is full.
            BudgetExceededError: The task has timed out.
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
            budget.check()  # the caller may have been cancelled while the task waited
            budget.start(self._seconds)
            return work(budget)

        self._admit(key, budget)
        _switch_interval.enter()
        try:
            future = self._pool.submit(task)
        except RuntimeError:  # no thread can be started; the task stays in the queue of the pool
            budget.cancel()
            _switch_interval.leave()
            self._release(key, budget)
            raise Overloaded(f"no thread can be started: {self._name}") from None
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
        """Cancel all tasks. Blocks until the threads have ended."""
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
