"""The limit on the concurrent requests of each client."""

from __future__ import annotations

import asyncio

import pytest

from tests.people import Person
from todo_service.bounds.requests import CONCURRENT_REQUESTS, WAITING_REQUESTS
from todo_service.rate_limits.concurrency import ConcurrencyLimiter
from todo_service.web.problems import ProblemError

pytestmark = pytest.mark.anyio


class Requests:
    """Requests that run until they are released, and the order in which they started."""

    def __init__(self, limit: ConcurrencyLimiter) -> None:
        self.limit = limit
        self.served: list[int] = []
        self.released = asyncio.Event()

    async def serve(self, number: int, key: str = "user:a") -> None:
        await self.limit.acquire(key)
        try:
            self.served.append(number)
            await self.released.wait()
        finally:
            self.limit.release(key)


async def run_until_blocked() -> None:
    """Let every task run until it blocks."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_requests_of_a_client_are_served_in_order_and_do_not_block_others() -> None:
    requests = Requests(ConcurrencyLimiter(max_running=2, max_waiting=3))
    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(requests.serve(number))
        await run_until_blocked()
        assert requests.served == [0, 1]

        with pytest.raises(ProblemError) as rejected:
            await requests.serve(5)
        tasks.create_task(requests.serve(6, "user:b"))
        await run_until_blocked()
        assert requests.served == [0, 1, 6]

        requests.released.set()

    assert rejected.value.name == "rate-limited"
    assert rejected.value.headers == {"Retry-After": "1"}
    assert requests.served == [0, 1, 6, 2, 3, 4]
    assert len(requests.limit) == 0


async def test_request_that_waits_too_long_is_rejected_and_cleaned_up() -> None:
    requests = Requests(ConcurrencyLimiter(max_running=1, max_waiting=1, seconds=0.01))
    first = asyncio.create_task(requests.serve(0))
    await run_until_blocked()

    with pytest.raises(ProblemError):
        await requests.serve(1)

    requests.released.set()
    await first
    await requests.serve(2)
    assert requests.served == [0, 2]
    assert len(requests.limit) == 0


async def test_request_cancelled_while_waiting_releases_its_slot() -> None:
    requests = Requests(ConcurrencyLimiter(max_running=1, max_waiting=2))
    first, second, third = (asyncio.create_task(requests.serve(number)) for number in range(3))
    await run_until_blocked()

    second.cancel()
    requests.released.set()
    await asyncio.wait([first, second, third])

    assert requests.served == [0, 2]
    assert len(requests.limit) == 0


async def test_concurrent_requests_are_rejected_only_when_the_queue_is_full(ada: Person, bob: Person) -> None:
    capacity = CONCURRENT_REQUESTS + WAITING_REQUESTS
    sent = [asyncio.create_task(ada.get("/v1/users/me")) for _ in range(capacity + 50)]
    response = await bob.get("/v1/users/me")

    statuses = [(await request).status_code for request in sent]
    assert response.status_code == 200
    assert statuses.count(429) <= 50
    assert set(statuses) <= {200, 429}
