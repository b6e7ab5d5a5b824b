"""Executors bound their queues, and cancel tasks whose caller is gone."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from todo_service.executors import Budget, BudgetExceededError, Executor, Overloaded

pytestmark = pytest.mark.anyio


@pytest.fixture
def executor() -> Iterator[Executor]:
    executor = Executor("test", threads=1, queue=2, seconds=30, per_key=2)
    yield executor
    executor.close()


class Endless:
    """A task that runs until its budget is exceeded."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()

    def __call__(self, budget: Budget) -> None:
        self.started.set()
        while not budget.exceeded:
            threading.Event().wait(0.001)
        self.ended.set()
        budget.check()


async def test_a_task_for_which_no_thread_can_be_started_leaves_room_for_others(executor: Executor) -> None:
    size = threading.stack_size(2**46)  # more than the address space has
    try:
        for _ in range(5):
            with pytest.raises(Overloaded, match="no thread can be started"):
                await executor.run(lambda _: 1, "ada")
    finally:
        threading.stack_size(size)

    assert executor.waiting_or_running == 0
    assert await executor.run(lambda _: 2, "ada") == 2


async def test_a_task_runs_in_a_thread_and_returns_its_result(executor: Executor) -> None:
    assert await executor.run(lambda _: threading.current_thread().name) == "test_0"


async def test_a_full_queue_rejects_immediately_and_recovers(executor: Executor) -> None:
    tasks = [Endless() for _ in range(3)]
    running = [asyncio.create_task(executor.run(task)) for task in tasks]
    await asyncio.to_thread(tasks[0].started.wait)
    with pytest.raises(Overloaded):
        await executor.run(lambda _: None)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    await asyncio.to_thread(tasks[0].ended.wait)
    await asyncio.sleep(0)  # let the loop run the callbacks of ended tasks
    assert await executor.run(lambda _: 1) == 1
    assert not tasks[1].started.is_set()


async def test_one_key_cannot_fill_the_queue(executor: Executor) -> None:
    tasks = [Endless() for _ in range(2)]
    running = [asyncio.create_task(executor.run(task, "ada")) for task in tasks]
    await asyncio.to_thread(tasks[0].started.wait)
    with pytest.raises(Overloaded):
        await executor.run(lambda _: None, "ada")
    other = asyncio.create_task(executor.run(lambda _: 1, "bob"))
    for task in running:
        task.cancel()
    assert await other == 1


async def test_a_task_ends_when_it_times_out() -> None:
    executor = Executor("short", threads=1, queue=1, seconds=0.01)
    with pytest.raises(BudgetExceededError):
        await executor.run(Endless())
    executor.close()


async def test_closing_ends_running_and_waiting_tasks(executor: Executor) -> None:
    tasks = [Endless() for _ in range(2)]
    running = [asyncio.create_task(executor.run(task)) for task in tasks]
    await asyncio.to_thread(tasks[0].started.wait)
    await asyncio.to_thread(executor.close)
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    assert isinstance(outcomes[0], BudgetExceededError)
    assert isinstance(outcomes[1], Overloaded | BudgetExceededError)
    with pytest.raises(Overloaded):
        await executor.run(lambda _: None)


async def test_the_switch_interval_is_short_only_while_tasks_run(executor: Executor) -> None:
    usual = sys.getswitchinterval()

    during = await executor.run(lambda _: sys.getswitchinterval())
    executor.close()

    assert during <= 0.001 < usual
    assert sys.getswitchinterval() == usual


async def test_a_task_leaves_most_of_the_interpreter_to_the_event_loop(executor: Executor) -> None:
    """Without pauses, both would compute for half of the time."""
    started, stop = threading.Event(), threading.Event()

    def compute(budget: Budget) -> float:
        begun = time.thread_time()
        while not stop.is_set():
            budget.check()
            started.set()
        return time.thread_time() - begun

    running = asyncio.create_task(executor.run(compute))
    await asyncio.to_thread(started.wait)
    begun = time.thread_time()
    while (used := time.thread_time() - begun) < 0.3:
        sum(range(100))
    stop.set()
    assert await running < 0.6 * used


async def test_pauses_for_other_threads_do_not_count_towards_the_time_limit() -> None:
    seconds = 0.2
    executor = Executor("test", threads=1, queue=0, seconds=seconds)
    ended = threading.Event()

    def compete() -> None:
        while not ended.is_set():
            pass

    def compute(budget: Budget) -> None:
        while True:
            budget.check()

    competitor = threading.Thread(target=compete)
    competitor.start()
    started = time.monotonic()
    try:
        with pytest.raises(BudgetExceededError):
            await executor.run(compute)
    finally:
        ended.set()
        competitor.join()
        executor.close()
    assert time.monotonic() - started >= 1.5 * seconds
