"""Claims are concurrent and bounded, and a store that is slow to write them delays no heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from odmantic import Model, ObjectId

from tests.waiting import wait_until
from tests.webhooks.harness import Account, Steps
from todo_service.bounds.webhooks import CONCURRENT_CLAIMS, MAX_WEBHOOKS
from todo_service.services import MODELS
from todo_service.store.base import Condition
from todo_service.store.embedded.store import EmbeddedStore
from todo_service.webhooks.consumer import WebhookConsumer
from todo_service.webhooks.documents import Webhook, WebhookWorker
from todo_service.webhooks.workers import LEASE_SECONDS, WorkerGroup

pytestmark = pytest.mark.anyio


class HesitantStore(EmbeddedStore):
    """An embedded store that writes no claim before it may.

    Attributes:
        may_claim: Whether claims are written.
        waiting: The number of claims that wait.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.may_claim = asyncio.Event()
        self.waiting = 0

    async def update(
        self, model: type[Model], *where: Condition, changes: Mapping[str, Any], into: type[Any] | None = None
    ) -> Any:
        if model is Webhook and "holder" in changes:
            self.waiting += 1
            await self.may_claim.wait()
            self.waiting -= 1
        return await super().update(model, *where, changes=changes, into=into)


@pytest.fixture
async def hesitant_store(tmp_path: Path) -> AsyncIterator[HesitantStore]:
    store = HesitantStore(tmp_path / "store")
    await store.open(*MODELS)
    yield store
    await store.close()


async def test_a_store_that_is_slow_to_write_claims_delays_no_heartbeat(hesitant_store: HesitantStore) -> None:
    accounts = [Account(hesitant_store) for _ in range(CONCURRENT_CLAIMS // MAX_WEBHOOKS + 1)]
    account = accounts[0]
    hooks = [await each.create_hook("http://127.0.0.1:9999/") for each in accounts for _ in range(MAX_WEBHOOKS)]
    steps = Steps()
    workers = WorkerGroup(hesitant_store, ObjectId(), steps)

    async def is_claiming() -> bool:
        return hesitant_store.waiting > 0

    async def read_holders() -> set[ObjectId | None]:
        return {(await account.get_hook(hook)).holder for hook in hooks}

    async with WebhookConsumer(account.create_context(workers)) as consumer:
        ticking = asyncio.create_task(consumer.tick())
        await wait_until(is_claiming)
        assert hesitant_store.waiting == CONCURRENT_CLAIMS

        steps.seconds += LEASE_SECONDS
        assert not workers.may_send()
        await consumer.beat()
        assert workers.may_send()

        hesitant_store.may_claim.set()
        await ticking
        assert await read_holders() == {workers.worker_id}


async def test_a_worker_without_webhooks_has_no_heartbeat(account: Account) -> None:
    workers = WorkerGroup(account.store, ObjectId())
    async with WebhookConsumer(account.create_context(workers)) as consumer:
        await consumer.tick()
        await consumer.beat()

        assert not workers.may_send()


async def test_concurrent_heartbeats_are_written_once(account: Account) -> None:
    workers = WorkerGroup(account.store, ObjectId(), Steps())

    await asyncio.gather(*(workers.beat() for _ in range(8)))

    [worker] = [each async for each in account.store.scan(WebhookWorker)]
    assert worker.beats == 1
    assert workers.may_send()
