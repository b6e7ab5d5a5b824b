"""How many requests of one client are served at a time."""

from __future__ import annotations

import asyncio

import pytest

from tests.people import Person
from todo_service.bounds.requests import CONCURRENT_REQUESTS, WAITING_REQUESTS
from todo_service.rate_limits.concurrency import ConcurrencyLimiter
from todo_service.web.problems import ProblemError

pytestmark = pytest.mark.anyio


class Requests:
    """Requests that are served until they are let go, and the order in which they were."""

    def __init__(self, limit: ConcurrencyLimiter) -> None:
        self.limit = limit
        self.served: list[int] = []
        self.let_go = asyncio.Event()

    async def serve(self, number: int, key: str = "user:a") -> None:
        await self.limit.acquire(key)
        try:
            self.served.append(number)
            await self.let_go.wait()
        finally:
            self.limit.release(key)


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_requests_of_one_client_are_served_in_turn_and_hold_up_no_other() -> None:
    requests = Requests(ConcurrencyLimiter(max_running=2, max_waiting=3))
    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(requests.serve(number))
        await settle()
        assert requests.served == [0, 1]

        with pytest.raises(ProblemError) as refused:
            await requests.serve(5)
        tasks.create_task(requests.serve(6, "user:b"))
        await settle()
        assert requests.served == [0, 1, 6]

        requests.let_go.set()

    assert refused.value.name == "rate-limited"
    assert refused.value.headers == {"Retry-After": "1"}
    assert requests.served == [0, 1, 6, 2, 3, 4]
    assert len(requests.limit) == 0


async def test_a_request_that_waits_too_long_is_refused_and_leaves_nothing_behind() -> None:
    requests = Requests(ConcurrencyLimiter(max_running=1, max_waiting=1, seconds=0.01))
    first = asyncio.create_task(requests.serve(0))
    await settle()

    with pytest.raises(ProblemError):
        await requests.serve(1)

    requests.let_go.set()
    await first
    await requests.serve(2)
    assert requests.served == [0, 2]
    assert len(requests.limit) == 0


async def test_a_request_that_is_cancelled_while_it_waits_gives_up_its_turn() -> None:
    requests = Requests(ConcurrencyLimiter(max_running=1, max_waiting=2))
    first, second, third = (asyncio.create_task(requests.serve(number)) for number in range(3))
    await settle()

    second.cancel()
    requests.let_go.set()
    await asyncio.wait([first, second, third])

    assert requests.served == [0, 2]
    assert len(requests.limit) == 0


async def test_what_one_account_sends_at_once_is_refused_only_beyond_what_may_wait(ada: Person, bob: Person) -> None:
    most = CONCURRENT_REQUESTS + WAITING_REQUESTS
    sent = [asyncio.create_task(ada.get("/v1/users/me")) for _ in range(most + 50)]
    answer = await bob.get("/v1/users/me")

    statuses = [(await request).status_code for request in sent]
    assert answer.status_code == 200
    assert statuses.count(429) <= 50
    assert set(statuses) <= {200, 429}
