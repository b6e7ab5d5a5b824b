"""A mongod that hangs, and a network that delays, resets, truncates and drops."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.figures import Figures
from tests.faults.processes import ServiceProcess
from tests.faults.proxy import Proxy
from tests.faults.writers import Client, Response, Writers
from tests.mongod import Mongod

pytestmark = pytest.mark.anyio
OUTAGE_SECONDS = 6.0
"""The duration of an outage, longer than any request."""


@asynccontextmanager
async def served(tmp_path: Path, folder: Path, figures: Figures) -> AsyncIterator[tuple[Client, Mongod, Proxy]]:
    """Run the service on a mongod behind a proxy."""
    (tmp_path / "mongod").mkdir()
    mongod = Mongod(tmp_path / "mongod", "--wiredTigerCacheSizeGB", "0.25")
    await asyncio.to_thread(mongod.start)
    try:
        async with Proxy(mongod.port).running() as proxy:
            service = ServiceProcess(folder, f"mongodb://127.0.0.1:{proxy.port}/todo")
            async with Client(service.url, figures).opened() as client:
                service.start()
                try:
                    await client.await_ready()
                    await client.sign_up()
                    yield client, mongod, proxy
                finally:
                    assert service.stop() == 0
    finally:
        mongod.resume()
        mongod.stop()


async def every_call(client: Client, todo: str, list_id: str, file: bytes) -> list[Response | None]:
    """Make a call of every kind concurrently, including those that call the store many times."""
    operations = [{"op": "create", "todo": {"title": f"{number}"}} for number in range(100)]
    path = f"/v1/todos/{todo}"
    asks: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/todos/batch", {"json": {"operations": operations}, "headers": {"Idempotency-Key": "batch"}}),
        ("POST", "/v1/todos", {"json": {"title": "x"}, "headers": {"Idempotency-Key": "create"}}),
        ("POST", "/v1/todos/import", {"content": file, "headers": {"Content-Type": "application/json"}}),
        ("DELETE", f"/v1/lists/{list_id}", {}),
        ("DELETE", "/v1/users/me", {"json": {"password": "a wrong password"}}),
        ("GET", "/v1/todos/export", {"params": {"format": "csv"}}),
        ("GET", "/v1/todos/changes", {}),
        ("GET", "/v1/todos/summary", {}),
        ("GET", "/health/ready", {}),
        ("PATCH", path, {"json": {"title": "y"}}),
        ("POST", f"{path}/complete", {}),
        # in total, the limit of concurrent requests of an account
        *(("GET", path, {}) for _ in range(5)),
    ]
    return await asyncio.gather(*(client.ask(method, path, **request) for method, path, request in asks))


async def test_every_call_gets_a_503_while_mongod_hangs(tmp_path: Path, folder: Path, figures: Figures) -> None:
    async with served(tmp_path, folder, figures) as (client, mongod, _), Client(client.url, figures).opened() as other:
        await other.sign_up()
        made = await other.ask("POST", "/v1/lists", json={"name": "list"})
        assert made is not None
        todo = await other.ask("POST", "/v1/todos", json={"title": "x", "list_id": made.body["id"]})
        assert todo is not None
        file = json.dumps({"format": "todo_service", "version": 1, "lists": [], "todos": [{"title": "a"}] * 500})
        writers = Writers(client, 2)
        async with writers.writing(), client.checking_liveness():
            await writers.await_acknowledged(20)
            for _ in range(2):
                mongod.suspend()
                figures.faults["mongod hangs"] += 1
                responses = await every_call(other, todo.body["id"], made.body["id"], file.encode())
                mongod.resume()
                back = time.monotonic()
                await writers.await_acknowledged(1)
                figures.recovered("mongod hangs", time.monotonic() - back)
                assert {response and response.status for response in responses} == {503}
        await writers.finish()
        assert not client.faults + other.faults, (client.faults + other.faults)[:10]


async def test_no_write_is_lost_by_network_faults(tmp_path: Path, folder: Path, figures: Figures) -> None:
    async with served(tmp_path, folder, figures) as (client, _, proxy):
        writers = Writers(client, 3)

        async def after(fault: str) -> None:
            back = time.monotonic()
            await writers.await_acknowledged(5)
            figures.recovered(fault, time.monotonic() - back)

        async with writers.writing(), client.checking_liveness():
            for _ in range(10):
                await writers.await_acknowledged(5)
                proxy.reset()
                figures.faults["connections reset"] += 1
                await after("connections reset")
            for number in range(20):
                proxy.cut_after = 7 + 31 * number
                figures.faults["response cut"] += 1
                await after("response cut")
            proxy.swallowing = True
            figures.faults["packets lost"] += 1
            await asyncio.sleep(OUTAGE_SECONDS)
            proxy.swallowing = False
            await after("packets lost")
            # a single call is slow but within its timeout; a request with several calls times out
            proxy.delay = 1.8
            figures.faults["packets delayed"] += 1
            await asyncio.sleep(OUTAGE_SECONDS)
            proxy.delay = 0.0
            await after("packets delayed")
        await writers.finish()
        await writers.compare("mongodb behind a proxy", figures)
