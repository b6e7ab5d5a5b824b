"""Pages, changes, exports and batches of the largest todos are bounded in bytes, without gaps or repeats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cost import FROZEN_SECONDS, Lowest, probing
from tests.people import Person
from tests.serving import Service, running_service
from tests.todos.replica import Replica
from todo_service.bounds.todos import BATCH_BYTES, PAGE_BYTES

pytestmark = pytest.mark.anyio
NUMBER = 60
LARGEST = "\U0001f331"


def largest(number: int) -> dict[str, Any]:
    """Return a todo whose texts have the maximum length, with 4 bytes per character."""
    return {
        "title": f"{number:03} {LARGEST * 190}",
        "description": "needle " + LARGEST * 9900,
        "due_at": f"2030-01-01T00:00:{number:02}Z" if number % 2 else None,
        "priority": ("none", "low", "medium", "high", "urgent")[number % 5],
        "steps": [{"title": LARGEST * 200} for _ in range(100)],
    }


@pytest.fixture
async def service(store_url: str, tmp_path: Path) -> AsyncIterator[tuple[Service, Person, list[dict[str, Any]]]]:
    """A running service, and a user with sixty of the largest todos."""
    with running_service(tmp_path, {"STORE_URL": store_url}) as running:
        async with httpx.AsyncClient(base_url=running.url, timeout=60) as client:
            ada = await Person.register(client)
            todos = [await ada.todo(**largest(number)) for number in range(NUMBER)]
            yield running, ada, todos


async def read(person: Person, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Follow the links from the first page to the last, and check that each page is bounded."""
    found: list[dict[str, Any]] = []
    response = await person.get("/v1/todos", params=parameters)
    while True:
        assert response.status_code == 200, response.text[:200]
        assert len(response.content) <= 2 * PAGE_BYTES
        assert response.json()["items"]
        found += response.json()["items"]
        if "next" not in response.links:
            assert response.json()["next_cursor"] is None
            return found
        response = await person.get(response.links["next"]["url"])


async def test_pages_of_the_largest_todos_are_bounded_in_bytes_and_block_no_other_request(
    service: tuple[Service, Person, list[dict[str, Any]]], figure: Any
) -> None:
    running, ada, todos = service
    by_title = {todo["title"]: todo for todo in todos}

    frozen = Lowest(FROZEN_SECONDS)
    for _ in frozen:
        with probing(running.url, running.process.pid) as probe:
            for parameters in (
                {"sort": "created_at"},
                {"sort": "-title"},
                {"sort": "priority"},
                {"sort": "due_at"},
                {"sort": "-due_at"},
                {"q": "needle", "sort": "title"},
                {"q": "needle", "completed": "false", "sort": "-priority"},
            ):
                found = await read(ada, parameters | {"limit": 200})
                assert len(found) == NUMBER
                assert {todo["title"]: todo for todo in found} == by_title
            replica = Replica(ada, 200)
            await replica.sync()
            exported = await ada.get("/v1/todos/export", params={"format": "json"})
        frozen.add(probe.frozen)
        assert replica.todos == {todo["id"]: todo for todo in todos}
        assert exported.json()["todos"] == todos

    figure(f"frozen {frozen.value:.3f} s")
    assert frozen.value <= FROZEN_SECONDS


async def test_concurrent_reads_of_the_largest_pages_use_bounded_memory(
    service: tuple[Service, Person, list[dict[str, Any]]], figure: Any
) -> None:
    running, ada, _ = service
    await read(ada, {"limit": 200})
    before = peak_bytes(running.process.pid)

    await asyncio.gather(*(ada.get("/v1/todos", params={"limit": 200}) for _ in range(20)))

    grown = peak_bytes(running.process.pid) - before
    figure(f"{grown / 2**20:.0f} MiB")
    assert grown <= 150 * 2**20


async def test_a_batch_of_the_largest_todos_has_a_bounded_response(
    service: tuple[Service, Person, list[dict[str, Any]]],
) -> None:
    running, ada, todos = service
    operations = [{"op": "complete", "id": todo["id"]} for todo in todos]

    frozen = Lowest(FROZEN_SECONDS)
    for _ in frozen:
        with probing(running.url, running.process.pid) as probe:
            response = await ada.post("/v1/todos/batch", json={"operations": operations})
        frozen.add(probe.frozen)

    results = response.json()["results"]
    assert [result["status"] for result in results] == [200] * NUMBER
    assert len(response.content) <= BATCH_BYTES + 2**16
    with_todo = [index for index, result in enumerate(results) if "todo" in result]
    assert with_todo == list(range(len(with_todo)))
    assert 5 < len(with_todo) < NUMBER
    assert all(todo["completed"] for todo in await read(ada, {"limit": 200}))
    assert frozen.value <= FROZEN_SECONDS


def peak_bytes(pid: int) -> int:
    """Return the peak memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
