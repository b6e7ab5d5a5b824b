"""A replica set whose primary is killed or isolated: no acknowledged write is rolled back."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.faults.figures import Figures
from tests.faults.processes import ServiceProcess
from tests.faults.replicas import ReplicaSet, running_replica_set
from tests.faults.writers import Client, Writers

pytestmark = pytest.mark.anyio
FAILOVERS: Final = int(os.environ.get("FAULTS_FAILOVERS", "20"))


@asynccontextmanager
async def served(folder: Path, replicas: ReplicaSet, figures: Figures) -> AsyncIterator[Client]:
    """Run the service on a replica set, and yield a signed-in client."""
    service = ServiceProcess(folder, replicas.url)
    async with Client(service.url, figures).opened() as client:
        service.start()
        try:
            await client.await_ready()
            await client.sign_up()
            async with client.checking_liveness():
                yield client
        finally:
            assert service.stop() == 0


@pytest.mark.slow
async def test_acknowledged_writes_survive_a_kill_of_the_primary(
    tmp_path: Path, folder: Path, figures: Figures
) -> None:
    with running_replica_set(tmp_path / "set", 1000) as replicas:
        async with served(folder, replicas, figures) as client:
            writers = Writers(client, 1)
            async with writers.writing():
                for _ in range(FAILOVERS):
                    await writers.await_acknowledged(10)
                    primary = await asyncio.to_thread(replicas.primary)
                    await asyncio.to_thread(primary.kill)
                    figures.faults["primary killed"] += 1
                    await asyncio.to_thread(replicas.primary)
                    back = time.monotonic()
                    await writers.await_acknowledged(1)
                    figures.recovered("primary killed", time.monotonic() - back)
                    await asyncio.to_thread(primary.start)
                    await asyncio.to_thread(replicas.await_secondaries)
            await writers.finish()
            await writers.compare("replica set", figures)


async def test_no_acknowledged_write_of_an_isolated_primary_is_rolled_back(
    tmp_path: Path, folder: Path, figures: Figures
) -> None:
    """An isolated primary accepts writes that its successor never sees.

    Meanwhile, clients retry and read. Whatever they receive must not be rolled back.
    """
    with running_replica_set(tmp_path / "set", 6500) as replicas:
        async with served(folder, replicas, figures) as client:
            made = await client.ask("POST", "/v1/todos", json={"title": "before"})
            assert made is not None
            path = f"/v1/todos/{made.body['id']}"
            primary = await asyncio.to_thread(replicas.primary)
            others = [member for member in replicas.members if member is not primary]
            for member in others:
                member.suspend()
            figures.faults["primary cut off"] += 1
            change = {"json": {"title": "after"}}
            create = {"json": {"title": "new"}, "headers": {"Idempotency-Key": "a-key"}}
            first = await asyncio.gather(client.ask("PATCH", path, **change), client.ask("POST", "/v1/todos", **create))
            again = await asyncio.gather(client.ask("PATCH", path, **change), client.ask("POST", "/v1/todos", **create))
            primary.suspend()
            for member in others:
                member.resume()
            back = time.monotonic()
            while (response := await client.ask("PATCH", path, json={})) is None or not response.good:
                assert time.monotonic() - back < 60, response
            primary.resume()
            await asyncio.to_thread(replicas.await_secondaries)
            found = await client.ask("GET", path)
            titles = await client.ask("GET", "/v1/todos")

    assert [response and response.status for response in first] == [503, 503]
    assert {repeat and repeat.status for repeat in again} <= {503, 409}
    assert found is not None
    assert found.status == 200, (found, response)
    assert found.body["version"] == response.body["version"]
    assert titles is not None
    assert len(titles.body["items"]) == 1
    assert not client.faults, client.faults
