"""The attempts of an account wait for its own share, and never block those of other accounts."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from odmantic import ObjectId

from tests.waiting import PATIENCE
from todo_service.bounds.webhooks import CONCURRENT_ATTEMPTS_OF_ACCOUNT
from todo_service.webhooks.lanes import Lane
from todo_service.webhooks.resolver import Resolver

pytestmark = pytest.mark.anyio


async def test_an_account_that_waits_does_not_block_those_behind_it() -> None:
    lane = Lane(CONCURRENT_ATTEMPTS_OF_ACCOUNT + 1, Resolver())
    greedy = ObjectId()
    entered: list[int] = []

    async def enter(number: int) -> None:
        async with lane.enter(greedy):
            entered.append(number)

    async with asyncio.timeout(PATIENCE):
        async with AsyncExitStack() as slots:
            for _ in range(CONCURRENT_ATTEMPTS_OF_ACCOUNT):
                await slots.enter_async_context(lane.enter(greedy))
            waiting = [asyncio.create_task(enter(number)) for number in range(3)]
            for _ in range(3):
                async with lane.enter(ObjectId()):
                    assert entered == []
        await asyncio.gather(*waiting)

    assert entered == [0, 1, 2]
