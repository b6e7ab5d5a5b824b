"""Leases on requests with an `Idempotency-Key`: one attempt holds the lease for as long as the request runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from litestar import Litestar, post
from litestar.middleware import DefineMiddleware
from odmantic import ObjectId

from tests.waiting import PATIENCE
from todo_service.idempotency.documents import IdempotentRequest
from todo_service.idempotency.middleware import IdempotencyMiddleware
from todo_service.idempotency.response_budget import ResponseBudget
from todo_service.leases import LeaseLostError, hold_lease
from todo_service.store.base import DocumentStore
from todo_service.store.instrumentation import observe
from todo_service.store.registry import create_store
from todo_service.timestamps import now
from todo_service.web.problems import create_exception_handlers
from todo_service.web.requests import ApiRequest
from todo_service.web.route_options import IDEMPOTENT

pytestmark = pytest.mark.anyio
KEY = {"Idempotency-Key": "a-key-of-the-tests"}


async def test_renewed_lease_is_kept() -> None:
    renewals = asyncio.Semaphore(0)

    async def renew() -> bool:
        renewals.release()
        return True

    # real time passes, because the event loop measures it; the lease is long enough for a busy machine
    async with hold_lease(renew, seconds=2, heartbeat=0.05):
        for _ in range(45):
            await renewals.acquire()


async def test_block_is_cancelled_when_renewals_fail() -> None:
    async def renew() -> bool:
        raise ConnectionError

    with pytest.raises(LeaseLostError):
        async with hold_lease(renew, seconds=0.2, heartbeat=0.01):
            await asyncio.Event().wait()


async def test_block_is_cancelled_immediately_when_the_lease_is_taken_over() -> None:
    async def renew() -> bool:
        return False

    with pytest.raises(LeaseLostError):
        async with asyncio.timeout(PATIENCE), hold_lease(renew, seconds=3600, heartbeat=0.01):
            await asyncio.Event().wait()


async def test_timeout_raised_by_the_block_is_not_a_lost_lease() -> None:
    async def renew() -> bool:
        return True

    with pytest.raises(TimeoutError):
        async with hold_lease(renew):
            raise TimeoutError


class SlowService:
    """A service with a real store and one operation, which runs until it is released.

    Attributes:
        runs: How often the operation was started.
        cancelled: How often the operation was cancelled.
    """

    def __init__(self, store: DocumentStore) -> None:
        self.store = store
        self.started = asyncio.Semaphore(0)
        self.released = asyncio.Event()
        self.runs = self.cancelled = 0

        @post("/slow", opt={IDEMPOTENT: True})
        async def work() -> str:
            self.runs += 1
            self.started.release()
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return "done"

        app = Litestar(
            [work],
            middleware=[
                DefineMiddleware(IdempotencyMiddleware, store=store, keys=[b"k" * 32], budget=ResponseBudget())
            ],
            request_class=ApiRequest,
            exception_handlers=create_exception_handlers(),
        )
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # httpx types scopes as plain dictionaries
        self.client = httpx.AsyncClient(transport=transport, base_url="http://testserver")

    def start(self) -> asyncio.Task[httpx.Response]:
        return asyncio.create_task(self.client.post("/slow", headers=KEY))

    async def record(self) -> IdempotentRequest:
        [found] = [found async for found in self.store.scan(IdempotentRequest)]
        return found

    async def change(self, **changes: object) -> None:
        record = await self.record()
        await self.store.update(IdempotentRequest, IdempotentRequest.id == record.id, changes=changes)


@pytest.fixture
async def slow(tmp_path: Path, store_url: str) -> AsyncIterator[SlowService]:
    store = create_store(store_url)
    await store.open(IdempotentRequest)
    service = SlowService(store)
    async with service.client, asyncio.timeout(PATIENCE):
        yield service
    await store.close()


@pytest.mark.parametrize("hours", [-1, 1], ids=["back", "forward"])
async def test_running_request_is_not_executed_again_when_clocks_differ(slow: SlowService, hours: int) -> None:
    first = slow.start()
    await slow.started.acquire()
    # as seen by a process with another clock
    await slow.change(renewed_at=now() + timedelta(hours=hours))

    assert (await slow.client.post("/slow", headers=KEY)).status_code == 409
    slow.released.set()
    response, again = await first, await slow.client.post("/slow", headers=KEY)

    assert (response.status_code, again.status_code, slow.runs) == (201, 201, 1)
    assert again.headers["idempotency-replayed"] == "true"


async def test_running_request_renews_its_lease(slow: SlowService) -> None:
    first = slow.start()
    await slow.started.acquire()
    began = (await slow.record()).renewed_at
    updates: asyncio.Queue[str] = asyncio.Queue()
    observe(slow.store, lambda operation, _, __: updates.put_nowait(operation))

    while await updates.get() != "update":
        pass

    assert (await slow.record()).renewed_at > began
    slow.released.set()
    assert (await first).status_code == 201


async def test_request_that_loses_its_lease_is_cancelled(slow: SlowService) -> None:
    first = slow.start()
    await slow.started.acquire()
    # another process took the lease over while this one was suspended
    holder = ObjectId()
    await slow.change(holder=holder, renewed_at=now())

    assert (await first).status_code == 409
    assert slow.cancelled == 1
    assert (await slow.record()).holder == holder


async def test_disconnected_request_releases_its_key_when_its_lease_expires(slow: SlowService) -> None:
    first = slow.start()
    await slow.started.acquire()
    first.cancel()
    await asyncio.wait([first])

    assert (await slow.client.post("/slow", headers=KEY)).status_code == 409
    await slow.change(renewed_at=now() - timedelta(seconds=9))
    slow.released.set()
    again = await slow.client.post("/slow", headers=KEY)

    assert (again.status_code, slow.runs, slow.cancelled) == (201, 2, 1)
