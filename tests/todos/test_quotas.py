"""Quotas of todos, tags and lists hold with concurrent writers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.people import Person, assert_problem
from tests.serving import running_service
from todo_service.settings import Settings, load_settings

pytestmark = pytest.mark.anyio
MAX_TODOS, MAX_TAGS, MAX_LISTS = 40, 12, 6
WRITERS = 16
QUOTAS = {"MAX_TODOS": str(MAX_TODOS), "MAX_TAGS": str(MAX_TAGS), "MAX_LISTS": str(MAX_LISTS)}
EXCEEDED = "urn:todo-service:problem:quota-exceeded"


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    """Small quotas."""
    variables = {"DATA_DIR": str(tmp_path), "STORE_URL": store_url, "RATE_LIMIT_ENABLED": "false"}
    return load_settings(variables | QUOTAS)


async def at_once(person: Person, path: str, bodies: list[dict[str, Any]]) -> list[int]:
    """Send bodies from concurrent writers, and return the statuses. Each refusal must be `quota-exceeded`."""
    left = list(bodies)
    statuses: list[int] = []

    async def write() -> None:
        while left:
            response = await person.post(path, json=left.pop())
            statuses.append(response.status_code)
            if response.status_code != 201:
                assert assert_problem(response, 409)["type"] == EXCEEDED

    await asyncio.gather(*(write() for _ in range(WRITERS)))
    return statuses


async def test_concurrent_writers_reach_the_quota_of_todos_exactly(ada: Person, bob: Person) -> None:
    statuses = await at_once(ada, "/v1/todos", [{"title": str(number)} for number in range(MAX_TODOS + 30)])

    assert Counter(statuses) == {201: MAX_TODOS, 409: 30}
    assert len(await ada.titles(limit=200)) == MAX_TODOS
    await bob.todo()


async def test_a_tombstone_counts_against_the_quota(ada: Person) -> None:
    todos = [await ada.todo() for _ in range(MAX_TODOS)]
    await ada.delete(f"/v1/todos/{todos[0]['id']}")

    assert_problem(await ada.post("/v1/todos", json={"title": "x"}), 409)
    changed = await ada.patch(f"/v1/todos/{todos[1]['id']}", json={"title": "changed"})
    assert changed.status_code == 200


async def test_concurrent_writers_reach_the_quota_of_tags_exactly(ada: Person) -> None:
    bodies: list[dict[str, Any]] = [{"title": "x", "tags": [f"tag {number}"]} for number in range(MAX_TAGS + 10)]

    statuses = await at_once(ada, "/v1/todos", bodies)

    assert Counter(statuses) == {201: MAX_TAGS, 409: 10}
    tags = [tag["name"] for tag in (await ada.get("/v1/tags")).json()["items"]]
    assert len(tags) == MAX_TAGS
    todo = await ada.todo(tags=tags)
    response = await ada.patch(f"/v1/todos/{todo['id']}", json={"tags": [*tags, "another"]})
    assert assert_problem(response, 409)["type"] == EXCEEDED


async def test_an_unused_tag_makes_room_for_another(ada: Person) -> None:
    todo = await ada.todo(tags=[f"tag {number}" for number in range(MAX_TAGS)])
    assert_problem(await ada.post("/v1/todos", json={"title": "x", "tags": ["another"]}), 409)

    await ada.patch(f"/v1/todos/{todo['id']}", json={"tags": ["tag 0"]})

    await ada.todo(tags=["another"])
    assert [tag["name"] for tag in (await ada.get("/v1/tags")).json()["items"]] == ["another", "tag 0"]


async def test_concurrent_writers_reach_the_quota_of_lists_exactly(ada: Person) -> None:
    statuses = await at_once(ada, "/v1/lists", [{"name": str(number)} for number in range(MAX_LISTS + 10)])

    assert Counter(statuses) == {201: MAX_LISTS, 409: 10}
    [first, *_] = (await ada.get("/v1/lists")).json()["items"]
    assert (await ada.delete(f"/v1/lists/{first['id']}")).status_code == 204
    assert (await ada.post("/v1/lists", json={"name": "in its place"})).status_code == 201


async def test_a_batch_operation_beyond_a_quota_does_not_fail_the_others(ada: Person) -> None:
    one = {"op": "create", "todo": {"title": "x"}}
    many = {"op": "create", "todo": {"title": "x", "tags": [f"tag {number}" for number in range(MAX_TAGS + 1)]}}

    response = await ada.post("/v1/todos/batch", json={"operations": [many, *[one] * (MAX_TODOS + 2)]})

    assert [result["status"] for result in response.json()["results"]] == [409, *[201] * MAX_TODOS, 409, 409]
    assert response.json()["results"][0]["problem"]["type"] == EXCEEDED


@pytest.mark.parametrize("existing", ["skip", "update", "copy"])
async def test_a_dry_run_applies_the_quotas(ada: Person, existing: str) -> None:
    await ada.todo(uid="0", tags=["tag 0", "tag 1"])
    deleted = await ada.todo()
    await ada.delete(f"/v1/todos/{deleted['id']}")
    todos = [{"title": str(number), "uid": str(number), "tags": [f"tag {number}"]} for number in range(MAX_TAGS + 3)]
    todos += [{"title": str(number)} for number in range(MAX_TODOS)]

    async def import_todos(**parameters: str) -> Any:
        return (await ada.post("/v1/todos/import", json=todos, params={"existing": existing} | parameters)).json()

    rehearsed = await import_todos(dry_run="true")

    assert rehearsed == await import_todos()
    details = Counter(each["errors"][0]["detail"].split()[-1] for each in rehearsed["rejected"])
    assert len(details) == 2, rehearsed["rejected"]


async def test_records_of_an_import_beyond_a_quota_are_rejected(ada: Person) -> None:
    todos: list[dict[str, Any]] = [{"title": str(number), "tags": [f"tag {number}"]} for number in range(MAX_TAGS + 2)]
    todos += [{"title": str(number)} for number in range(MAX_TODOS)]

    response = await ada.post(
        "/v1/todos/import", content=json.dumps(todos), headers={"Content-Type": "application/json"}
    )

    assert response.status_code == 200, response.text
    assert response.json()["imported"] == MAX_TODOS
    assert response.json()["rejected_count"] == len(todos) - MAX_TODOS
    details = {rejected["errors"][0]["detail"] for rejected in response.json()["rejected"]}
    assert details == {f"an account may have at most {MAX_TODOS} todos", f"an account may have at most {MAX_TAGS} tags"}
    assert len((await ada.get("/v1/tags")).json()["items"]) == MAX_TAGS


@pytest.mark.parametrize("size", [None, 40], ids=["one at a time", "batches"])
async def test_several_processes_exceed_a_quota_by_at_most_one_percent(
    store_url: str, tmp_path: Path, size: int | None
) -> None:
    most = 300
    variables = {"STORE_URL": store_url, "SECRET_KEY": "a secret of the tests, 32 bytes long", "MAX_TODOS": str(most)}
    with ExitStack() as services:
        urls = [services.enter_context(running_service(tmp_path, variables)).url for _ in range(2)]
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30)) for url in urls]
            ada = await Person.register(clients[0])
            write = create_until_refused if size is None else create_in_batches(size)
            people = [ada.through(client) for client in clients for _ in range(WRITERS // 2)]
            made = sum(await asyncio.gather(*map(write, people)))

    assert most <= made <= most * 1.01


@pytest.mark.parametrize("kind", ["tags", "lists"])
async def test_several_processes_exceed_the_quota_of_tags_or_lists_by_at_most_one_percent(
    store_url: str, tmp_path: Path, kind: str
) -> None:
    most = 200
    variables = {"STORE_URL": store_url, "SECRET_KEY": "a secret of the tests, 32 bytes long"}
    numbers = count()

    def build_todo() -> dict[str, Any]:
        return {"title": "x", "tags": [f"tag {next(numbers)}"]}

    def build_list() -> dict[str, Any]:
        return {"name": f"list {next(numbers)}"}

    path, build = ("/v1/todos", build_todo) if kind == "tags" else ("/v1/lists", build_list)
    with ExitStack() as services:
        quota = {f"MAX_{kind.upper()}": str(most)}
        urls = [services.enter_context(running_service(tmp_path, variables | quota)).url for _ in range(2)]
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30)) for url in urls]
            ada = await Person.register(clients[0])
            people = [ada.through(client) for client in clients for _ in range(WRITERS // 2)]
            made = sum(await asyncio.gather(*(create_until_refused(person, path, build) for person in people)))

    assert most <= made <= most * 1.01


async def create_until_refused(
    person: Person, path: str = "/v1/todos", build: Callable[[], dict[str, Any]] = lambda: {"title": "x"}
) -> int:
    """Create documents until the quota is reached, and return how many."""
    for made in count():
        response = await person.post(path, json=build())
        if response.status_code != 201:
            assert assert_problem(response, 409)["type"] == EXCEEDED
            return made
    raise AssertionError("unreachable")


def create_in_batches(size: int) -> Callable[[Person], Awaitable[int]]:
    """Return a function that creates todos in batches of `size` until the quota is reached, and returns how many."""
    batch = {"operations": [{"op": "create", "todo": {"title": "x"}}] * size}

    async def write(person: Person) -> int:
        made = 0
        while True:
            response = await person.post("/v1/todos/batch", json=batch)
            statuses = Counter(result["status"] for result in response.json()["results"])
            assert statuses[201] + statuses[409] == size, response.text
            made += statuses[201]
            if statuses[409]:
                return made

    return write
