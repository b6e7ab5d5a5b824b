"""What is asked for at the same time goes to the store at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from todo_service.store.batching import MAX_BATCH_SIZE, MAX_IN_FLIGHT, Batcher, Outcome
from todo_service.store.errors import StoreError, StoreUnavailable

pytestmark = pytest.mark.anyio


class Doubling:
    """A store's call, as it were: doubles numbers, refuses negative ones, and says what it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.called = asyncio.Event()
        self.may_return = asyncio.Event()
        self.may_return.set()

    async def carry_out(self, numbers: Sequence[int]) -> list[Outcome]:
        self.calls.append(list(numbers))
        self.called.set()
        await self.may_return.wait()
        if 0 in numbers:
            raise StoreUnavailable("does not answer")
        return [Outcome(2 * number, StoreError("refused") if number < 0 else None) for number in numbers]


async def test_those_who_ask_at_once_share_a_call() -> None:
    doubling = Doubling()
    gathering = Batcher(doubling.carry_out)

    assert await asyncio.gather(*(gathering.submit(number) for number in (3, 1, 2, 1))) == [6, 2, 4, 2]
    assert await gathering.submit(5) == 10
    assert doubling.calls == [[3, 1, 2, 1], [5]]


async def test_a_call_takes_no_more_than_it_may() -> None:
    doubling = Doubling()
    gathering = Batcher(doubling.carry_out)
    numbers = range(1, 2 * MAX_BATCH_SIZE + 2)

    assert await asyncio.gather(*(gathering.submit(number) for number in numbers)) == [2 * each for each in numbers]
    assert [len(call) for call in doubling.calls] == [MAX_BATCH_SIZE, MAX_BATCH_SIZE, 1]


async def test_while_enough_calls_are_under_way_the_next_gather() -> None:
    doubling = Doubling()
    gathering = Batcher(doubling.carry_out)
    doubling.may_return.clear()
    asking = []
    for number in range(1, MAX_IN_FLIGHT + 4):
        asking.append(asyncio.create_task(gathering.submit(number)))
        for _ in range(5):
            await asyncio.sleep(0)

    assert doubling.calls == [[number] for number in range(1, MAX_IN_FLIGHT + 1)]
    doubling.may_return.set()

    assert await asyncio.gather(*asking) == [2 * number for number in range(1, MAX_IN_FLIGHT + 4)]
    assert doubling.calls[MAX_IN_FLIGHT:] == [list(range(MAX_IN_FLIGHT + 1, MAX_IN_FLIGHT + 4))]


async def test_what_is_refused_fails_alone_and_a_call_that_fails_fails_for_all() -> None:
    doubling = Doubling()
    gathering = Batcher(doubling.carry_out)

    one = await asyncio.gather(gathering.submit(1), gathering.submit(-1), return_exceptions=True)
    both = await asyncio.gather(gathering.submit(1), gathering.submit(0), return_exceptions=True)

    assert one[0] == 2
    assert type(one[1]) is StoreError
    assert [type(error) for error in both] == [StoreUnavailable, StoreUnavailable]
    assert await gathering.submit(4) == 8


async def test_who_is_cancelled_before_the_call_asks_for_nothing() -> None:
    doubling = Doubling()
    gathering = Batcher(doubling.carry_out)
    staying, leaving = (asyncio.create_task(gathering.submit(number)) for number in (1, 2))
    await asyncio.sleep(0)
    leaving.cancel()

    assert await staying == 2
    assert leaving.cancelled() or leaving.cancelling()
    assert doubling.calls == [[1]]


async def test_who_is_cancelled_during_the_call_takes_nobody_along() -> None:
    doubling = Doubling()
    gathering = Batcher(doubling.carry_out)
    doubling.may_return.clear()
    staying, leaving = (asyncio.create_task(gathering.submit(number)) for number in (1, 2))
    await doubling.called.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    doubling.may_return.set()

    assert await staying == 2
    assert leaving.cancelled()
    assert doubling.calls == [[1, 2]]
