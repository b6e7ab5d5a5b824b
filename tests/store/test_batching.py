"""Batching of concurrent requests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from todo_service.store.batching import MAX_BATCH_SIZE, MAX_IN_FLIGHT, Batcher, Outcome
from todo_service.store.errors import StoreError, StoreUnavailable

pytestmark = pytest.mark.anyio


class Doubling:
    """Doubles batches of numbers, rejects negative ones, and records the batches."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.called = asyncio.Event()
        self.may_return = asyncio.Event()
        self.may_return.set()

    async def execute(self, numbers: Sequence[int]) -> list[Outcome]:
        self.calls.append(list(numbers))
        self.called.set()
        await self.may_return.wait()
        if 0 in numbers:
            raise StoreUnavailable("does not respond")
        return [Outcome(2 * number, StoreError("refused") if number < 0 else None) for number in numbers]


async def test_concurrent_requests_share_a_call() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling.execute)

    assert await asyncio.gather(*(batcher.submit(number) for number in (3, 1, 2, 1))) == [6, 2, 4, 2]
    assert await batcher.submit(5) == 10
    assert doubling.calls == [[3, 1, 2, 1], [5]]


async def test_a_batch_has_a_maximum_size() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling.execute)
    numbers = range(1, 2 * MAX_BATCH_SIZE + 2)

    assert await asyncio.gather(*(batcher.submit(number) for number in numbers)) == [2 * each for each in numbers]
    assert [len(call) for call in doubling.calls] == [MAX_BATCH_SIZE, MAX_BATCH_SIZE, 1]


async def test_requests_wait_while_enough_calls_are_in_flight() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling.execute)
    doubling.may_return.clear()
    tasks = []
    for number in range(1, MAX_IN_FLIGHT + 4):
        tasks.append(asyncio.create_task(batcher.submit(number)))
        for _ in range(5):
            await asyncio.sleep(0)

    assert doubling.calls == [[number] for number in range(1, MAX_IN_FLIGHT + 1)]
    doubling.may_return.set()

    assert await asyncio.gather(*tasks) == [2 * number for number in range(1, MAX_IN_FLIGHT + 4)]
    assert doubling.calls[MAX_IN_FLIGHT:] == [list(range(MAX_IN_FLIGHT + 1, MAX_IN_FLIGHT + 4))]


async def test_a_request_fails_alone_but_a_failed_call_fails_all() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling.execute)

    one = await asyncio.gather(batcher.submit(1), batcher.submit(-1), return_exceptions=True)
    both = await asyncio.gather(batcher.submit(1), batcher.submit(0), return_exceptions=True)

    assert one[0] == 2
    assert type(one[1]) is StoreError
    assert [type(error) for error in both] == [StoreUnavailable, StoreUnavailable]
    assert await batcher.submit(4) == 8


async def test_a_request_cancelled_before_the_call_is_dropped() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling.execute)
    staying, leaving = (asyncio.create_task(batcher.submit(number)) for number in (1, 2))
    await asyncio.sleep(0)
    leaving.cancel()

    assert await staying == 2
    assert leaving.cancelled() or leaving.cancelling()
    assert doubling.calls == [[1]]


async def test_cancelling_a_request_in_flight_does_not_affect_others() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling.execute)
    doubling.may_return.clear()
    staying, leaving = (asyncio.create_task(batcher.submit(number)) for number in (1, 2))
    await doubling.called.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    doubling.may_return.set()

    assert await staying == 2
    assert leaving.cancelled()
    assert doubling.calls == [[1, 2]]
