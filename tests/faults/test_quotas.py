"""A process that dies near a quota holds up the writes of the others, but not for long, and the quota stays exact."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.faults.figures import Figures
from tests.faults.processes import ServiceProcess
from tests.people import Person
from tests.serving import PLAIN_HTTP, START_SECONDS
from tests.todos.concurrent_writes import Write, build_lists, build_tagged
from tests.waiting import wait_until
from todo_service.services import MODELS
from todo_service.store.base import DocumentStore
from todo_service.store.registry import create_store
from todo_service.todos.documents import AccountLease

pytestmark = pytest.mark.anyio
QUOTAS = {"MAX_TAGS": "60", "MAX_LISTS": "40"}
WRITES = {"tags": build_tagged(90), "lists": build_lists(60)}
WRITERS = 4


async def is_ready(url: str) -> bool:
    try:
        async with httpx.AsyncClient(verify=PLAIN_HTTP) as client:
            return (await client.get(f"{url}/health/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def is_held(store: DocumentStore) -> bool:
    return any([lease.holder is not None async for lease in store.scan(AccountLease)])


async def write_until_killed(person: Person, write: Write) -> None:
    """Create a document and delete it, until the process is killed."""
    # anyio raises an AttributeError if a connection closes while it is being opened
    with contextlib.suppress(httpx.TransportError, AttributeError):
        while True:
            response = await person.post(write.path, json=write.body)
            assert response.status_code == 201, response.text
            await person.delete(f"{write.path}/{response.json()['id']}")


async def write_when_available(person: Person, left: list[Write]) -> None:
    """Send requests until none is left. While the lease of the dead process is in force, they get a 503."""
    while left:
        write = left.pop()
        while (response := await person.post(write.path, json=write.body)).status_code == 503:  # noqa: ASYNC110
            await asyncio.sleep(int(response.headers["retry-after"]))
        assert response.status_code in (201, 409), response.text


async def kill_holder(service: ServiceProcess, store: DocumentStore) -> None:
    """Kill a process while it holds a lease."""
    while True:
        while not await is_held(store):  # noqa: ASYNC110  # nothing announces the change
            await asyncio.sleep(0)
        os.kill(service.pid, signal.SIGSTOP)
        if await is_held(store):
            break
        os.kill(service.pid, signal.SIGCONT)
    await asyncio.to_thread(service.kill)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITES)
async def test_a_quota_stays_exact_when_the_holder_of_its_lease_is_killed(
    tmp_path: Path, store_url: str, figures: Figures, kind: str
) -> None:
    async with AsyncExitStack() as stack:
        services: list[ServiceProcess] = []
        people: list[Person] = []
        for number in range(2):
            (folder := tmp_path / f"replica-{number}").mkdir()
            services.append(service := ServiceProcess(folder, store_url))
            service.set(DATA_DIR=str(tmp_path), **QUOTAS)
            stack.callback(service.stop)
            service.start()
            await wait_until(lambda url=service.url: is_ready(url))  # type: ignore[misc]  # the default is the URL
            client = httpx.AsyncClient(base_url=service.url, timeout=START_SECONDS, verify=PLAIN_HTTP)
            await stack.enter_async_context(client)
            people.append(people[0].through(client) if people else await Person.register(client))
        store = create_store(store_url)
        await store.open(*MODELS)
        stack.push_async_callback(store.close)
        victim = asyncio.create_task(write_until_killed(people[0], WRITES[kind][-1]))

        await kill_holder(services[0], store)
        await victim
        assert await is_held(store)
        figures.faults["holder of a quota's lease killed"] += 1
        left = list(WRITES[kind])
        async with asyncio.timeout(START_SECONDS):
            await asyncio.gather(*(write_when_available(people[1], left) for _ in range(WRITERS)))

        found = (await people[1].get(f"/v1/{kind}")).json()["items"]
        assert len(found) == int(QUOTAS[f"MAX_{kind.upper()}"])
