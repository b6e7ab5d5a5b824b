"""Quotas of todos, tags and lists hold with concurrent writers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import bson
import httpx
import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.mongod import fresh_database
from tests.people import Person, assert_problem
from tests.serving import PLAIN_HTTP, SECRET_KEY, running_service
from tests.todos.concurrent_writes import (
    Write,
    build_batches,
    build_imports,
    build_lists,
    build_tagged,
    build_todos,
    write_all,
    write_some,
)
from todo_service.errors import QuotaExceeded
from todo_service.lists.documents import TodoList
from todo_service.services import MODELS
from todo_service.settings import Settings, load_settings
from todo_service.store.base import DocumentStore
from todo_service.store.registry import create_store
from todo_service.timestamps import now
from todo_service.todos.account_lease import delete_leases, derive_lease_id
from todo_service.todos.documents import AccountLease
from todo_service.todos.dto import TodoCreate
from todo_service.todos.quotas import QuotaLimits
from todo_service.todos.service import Todos
from todo_service.todos.shared import SharedState

pytestmark = pytest.mark.anyio
MAX_TODOS, MAX_TAGS, MAX_LISTS = 40, 12, 6
WRITERS = 16
QUOTAS = {"MAX_TODOS": str(MAX_TODOS), "MAX_TAGS": str(MAX_TAGS), "MAX_LISTS": str(MAX_LISTS)}
SMALL = {"MAX_TODOS": "20", "MAX_TAGS": "45", "MAX_LISTS": "6"}
LARGER = {"MAX_TODOS": "5000", "MAX_TAGS": "300", "MAX_LISTS": "200"}
TOMBSTONES = 11_000
EXCEEDED = "urn:todo-service:problem:quota-exceeded"


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    """Small quotas."""
    variables = {"DATA_DIR": str(tmp_path), "STORE_URL": store_url, "RATE_LIMIT_ENABLED": "false"}
    return load_settings(variables | QUOTAS)


async def assert_refused(person: Person, path: str, body: dict[str, Any]) -> None:
    response = await person.post(path, json=body)
    assert assert_problem(response, 409)["type"] == EXCEEDED


async def test_concurrent_writers_reach_the_quota_of_todos_exactly(ada: Person, bob: Person) -> None:
    await write_all([ada] * WRITERS, build_todos(MAX_TODOS))

    await assert_refused(ada, "/v1/todos", {"title": "x"})
    assert len(await ada.titles(limit=200)) == MAX_TODOS
    await bob.todo()


async def test_a_tombstone_counts_against_the_quota(ada: Person) -> None:
    todos = [await ada.todo() for _ in range(MAX_TODOS)]
    await ada.delete(f"/v1/todos/{todos[0]['id']}")

    assert_problem(await ada.post("/v1/todos", json={"title": "x"}), 409)
    changed = await ada.patch(f"/v1/todos/{todos[1]['id']}", json={"title": "changed"})
    assert changed.status_code == 200


async def test_concurrent_writers_reach_the_quota_of_tags_exactly(ada: Person) -> None:
    await write_all([ada] * WRITERS, build_tagged(MAX_TAGS))

    await assert_refused(ada, "/v1/todos", {"title": "x", "tags": ["another"]})
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


async def test_a_replacement_that_ends_within_the_quota_of_tags_is_accepted(ada: Person) -> None:
    tags = [f"tag {number}" for number in range(MAX_TAGS)]
    todo = await ada.todo(tags=tags, uid="one")
    path = f"/v1/todos/{todo['id']}"

    patched = await ada.patch(path, json={"tags": [*tags[1:], "patched"]})
    assert patched.status_code == 200, patched.text
    operation = {"op": "update", "id": todo["id"], "todo": {"tags": [*tags[1:], "in a batch"]}}
    batch = await ada.post("/v1/todos/batch", json={"operations": [operation]})
    assert [result["status"] for result in batch.json()["results"]] == [200]
    record = {"title": "x", "uid": "one", "tags": [*tags[1:], "imported"]}
    imported = await ada.post("/v1/todos/import", json=[record], params={"existing": "update"})
    assert imported.json()["updated"] == 1, imported.text

    await ada.todo(tags=["imported"])
    refused = await ada.patch(path, json={"tags": [*tags[1:], "another"]})
    assert assert_problem(refused, 409)["type"] == EXCEEDED
    more = await ada.patch(path, json={"tags": [*tags[2:], "imported", "another"]})
    assert more.status_code == 200, more.text
    assert len((await ada.get("/v1/tags")).json()["items"]) == MAX_TAGS


async def test_concurrent_replacements_never_exceed_the_quota_of_tags(ada: Person) -> None:
    """The tag that a replacement frees may be in use again when it is written."""
    todos = [await ada.todo(tags=[f"tag {number}"]) for number in range(MAX_TAGS)]

    async def replace(number: int) -> None:
        for turn in range(4):
            tags = [f"tag {number} {turn}"] if turn % 2 else [f"tag {(number + turn + 1) % MAX_TAGS}"]
            response = await ada.patch(f"/v1/todos/{todos[number]['id']}", json={"tags": tags})
            assert response.status_code in (200, 409), response.text
            assert len((await ada.get("/v1/tags")).json()["items"]) <= MAX_TAGS

    await asyncio.gather(*map(replace, range(MAX_TAGS)))


async def test_concurrent_writers_reach_the_quota_of_lists_exactly(client: httpx.AsyncClient) -> None:
    """Many accounts: a write that ends while its account is counted may be in the count or not."""
    for _ in range(20):
        person = await Person.register(client)
        await write_all([person] * WRITERS, build_lists(MAX_LISTS))

        await assert_refused(person, "/v1/lists", {"name": "another"})


async def test_deleted_lists_do_not_count_however_many_there_are(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    account = await ada.account_id()
    created = await ada.post("/v1/lists", json={"name": "deleted"})
    await ada.delete(f"/v1/lists/{created.json()['id']}")
    [tombstone] = [found async for found in store.scan(TodoList) if found.account == account]
    document = tombstone.model_dump_doc() | {"changed": tombstone.changed}
    ids = [ObjectId() for _ in range(TOMBSTONES)]
    for start in range(0, TOMBSTONES, 1000):
        raws = [bson.encode({"_id": each, **document, "uid_key": each}) for each in ids[start : start + 1000]]
        await store.load(TodoList, raws)

    await write_all([ada] * WRITERS, build_lists(MAX_LISTS))

    await assert_refused(ada, "/v1/lists", {"name": "another"})
    assert (await ada.delete("/v1/users/me", json={"password": ada.password})).status_code == 204
    assert await store.count(TodoList, TodoList.account == account, limit=1) == 0


async def test_a_batch_operation_beyond_a_quota_does_not_fail_the_others(ada: Person) -> None:
    one = {"op": "create", "todo": {"title": "x"}}
    many = {"op": "create", "todo": {"title": "x", "tags": [f"tag {number}" for number in range(MAX_TAGS + 1)]}}

    response = await ada.post("/v1/todos/batch", json={"operations": [many, *[one] * (MAX_TODOS + 2)]})

    assert [result["status"] for result in response.json()["results"]] == [409, *[201] * MAX_TODOS, 409, 409]
    assert response.json()["results"][0]["problem"]["type"] == EXCEEDED


async def test_an_operation_of_a_batch_that_removes_tags_makes_room_for_the_next_one(ada: Person) -> None:
    todo = await ada.todo(tags=[f"tag {number}" for number in range(MAX_TAGS)])
    one = {"op": "create", "todo": {"title": "x", "tags": ["another"]}}
    update = {"op": "update", "id": todo["id"], "todo": {"tags": ["tag 0"]}}

    response = await ada.post("/v1/todos/batch", json={"operations": [one, one, update, one]})

    assert [result["status"] for result in response.json()["results"]] == [409, 409, 200, 201]


@pytest.mark.parametrize("existing", ["skip", "update", "copy"])
async def test_a_dry_run_applies_the_quotas(ada: Person, existing: str) -> None:
    await ada.todo(uid="0", tags=["tag 0", "tag 1"])
    deleted = await ada.todo()
    await ada.delete(f"/v1/todos/{deleted['id']}")
    todos = [{"title": str(number), "uid": str(number), "tags": [f"tag {number}"]} for number in range(MAX_TAGS + 3)]
    todos += [{"title": str(number)} for number in range(MAX_TODOS)]

    async def import_todos(**parameters: str) -> Any:
        return (await ada.post("/v1/todos/import", json=todos, params={"existing": existing} | parameters)).json()

    dry_run = await import_todos(dry_run="true")

    assert dry_run == await import_todos()
    details = Counter(each["errors"][0]["detail"].split()[-1] for each in dry_run["rejected"])
    assert len(details) == 2, dry_run["rejected"]


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


async def test_writes_that_are_cancelled_while_they_wait_for_another_process_take_no_room(store_url: str) -> None:
    async def read_time_zone() -> str:
        return "UTC"

    account = ObjectId()
    store = create_store(store_url)
    await store.open(*MODELS)
    todos = Todos(store, account, read_time_zone, shared=SharedState(store, QuotaLimits(todos=MAX_TODOS)))
    await store.insert(AccountLease(id=derive_lease_id(account, "todos"), holder=ObjectId(), expires_at=now()))
    waiting = [asyncio.create_task(todos.create(TodoCreate(title="x"))) for _ in range(WRITERS)]
    await asyncio.wait(waiting, timeout=0.05)
    for task in waiting[1:]:
        task.cancel()
    await asyncio.wait(waiting[1:])

    await delete_leases(store, account)

    await asyncio.gather(waiting[0], *(todos.create(TodoCreate(title="x")) for _ in range(MAX_TODOS - 1)))
    with pytest.raises(QuotaExceeded):
        await todos.create(TodoCreate(title="x"))
    await todos.shared.close()
    assert [lease async for lease in store.scan(AccountLease)] == []
    await store.close()


async def test_a_tag_that_another_process_has_removed_is_not_trusted(store_url: str) -> None:
    """The process that remembers the tag may be near the quota or far from it."""

    async def read_time_zone() -> str:
        return "UTC"

    limit = 200
    store = create_store(store_url)
    await store.open(*MODELS)
    first, second = (SharedState(store, QuotaLimits(tags=limit)) for _ in range(2))

    async def create(process: Todos, tags: list[str]) -> str | None:
        with contextlib.suppress(QuotaExceeded):
            return (await process.create(TodoCreate(title="x", tags=tags))).id
        return None

    async def replace_and_create_again(used: int) -> int:
        account = ObjectId()
        knowing, other = (Todos(store, account, read_time_zone, shared=shared) for shared in (first, second))
        known = [[f"{start + number}" for number in range(20)] for start in range(0, used, 20)]
        for todo_id in [await create(knowing, tags) for tags in known]:
            assert todo_id is not None
            await other.delete(todo_id, None)
        for start in range(0, limit, 20):
            await create(other, [f"new {start + number}" for number in range(20)])
        for tags in known:
            await create(knowing, tags)
        return len(await knowing.count_tags())

    assert await asyncio.gather(*map(replace_and_create_again, [200, 80, 60])) == [limit] * 3
    for shared in (first, second):
        await shared.close()
    await store.close()


Replicas = list[str]
"""The addresses of several processes of the service on one store."""


@contextmanager
def run_replicas(
    request: pytest.FixtureRequest, folder: Path, store: str, processes: int, quotas: dict[str, str]
) -> Iterator[Replicas]:
    """Run several processes on a new store of a kind."""
    with ExitStack() as stack:
        url = f"lmdb://{folder / 'store'}"
        if store == "mongodb":
            uri, client = request.getfixturevalue("mongodb_uri"), request.getfixturevalue("mongodb_client")
            url = stack.enter_context(fresh_database(uri, client))
        variables = {"STORE_URL": url, "SECRET_KEY": SECRET_KEY} | quotas
        yield [stack.enter_context(running_service(folder, variables)).url for _ in range(processes)]


@pytest.fixture(scope="module", params=itertools.product(["embedded", "mongodb"], [2, 4]), ids="{0[0]}-{0[1]}".format)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Two or four processes with small quotas: near them, every write takes the lease."""
    store, processes = request.param
    with run_replicas(request, tmp_path_factory.mktemp("small"), store, processes, SMALL) as replicas:
        yield replicas


@pytest.fixture(scope="module", params=["embedded", "mongodb"])
def larger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Three processes. Writes fill the quotas of tags and lists; the quota of todos is too large to need a lease."""
    with run_replicas(request, tmp_path_factory.mktemp("larger"), request.param, 3, LARGER) as replicas:
        yield replicas


@asynccontextmanager
async def sign_in(replicas: Replicas) -> AsyncIterator[list[Person]]:
    """Register an account, and sign in through each process."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60, verify=PLAIN_HTTP))
            for url in replicas
        ]
        person = await Person.register(clients[0])
        yield [person.through(client) for client in clients]


SMALL_WRITES = {
    "todos": build_todos(20),
    "batches": build_batches(build_todos(20), 2),
    "large batches": build_batches(build_todos(20), 10),
    "imports": build_imports(build_todos(20), 5),
    "all": [*build_todos(6), *build_batches(build_todos(8), 2), *build_imports(build_todos(6), 3)],
    "lists": build_lists(6),
    "tags": build_tagged(45),
    "tags of batches": build_batches(build_tagged(45), 3),
    "tags of imports": build_imports(build_tagged(45), 5),
}
LARGER_WRITES = {
    "lists": build_lists(200),
    "tags": build_tagged(300),
    "tags of batches": build_batches(build_tagged(300), 10),
    "tags of imports": build_imports(build_tagged(300), 25),
}


async def fill(people: list[Person], kind: str, writes: list[Write]) -> None:
    """Fill a quota with concurrent writers in all processes, and assert that each process then refuses more."""
    # an account may have two imports in progress for each process
    writers = people * 2 if any("import" in write.path for write in writes) else people * (WRITERS // len(people))
    await write_all(writers, writes)
    further = {"title": "x", "tags": ["another"]} if "tags" in kind else {"title": "x"}
    for person in people:
        await assert_refused(
            person, *(("/v1/lists", {"name": "another"}) if kind == "lists" else ("/v1/todos", further))
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL_WRITES)
async def test_writers_in_several_processes_fill_a_small_quota_exactly(small: Replicas, kind: str) -> None:
    async with sign_in(small) as people:
        await fill(people, kind, SMALL_WRITES[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["todos", "batches", "lists", "tags"])
async def test_writers_in_several_processes_never_exceed_a_small_quota(small: Replicas, kind: str) -> None:
    """They write more than fits, and all of them come to the quota at the same time."""
    most = sum(write.number for write in SMALL_WRITES[kind])
    further = {
        "todos": build_todos(4 * most),
        "batches": build_batches(build_todos(4 * most), 3),
        "lists": build_lists(4 * most),
        "tags": build_tagged(12 * most),
    }
    for _ in range(3):
        async with sign_in(small) as people:
            assert await write_some(people * (WRITERS // len(people)), further[kind]) == most


@pytest.mark.slow
@pytest.mark.parametrize("kind", LARGER_WRITES)
async def test_writers_in_several_processes_come_near_a_quota_and_fill_it_exactly(larger: Replicas, kind: str) -> None:
    async with sign_in(larger) as people:
        await fill(people, kind, LARGER_WRITES[kind])


@pytest.mark.slow
async def test_a_deleted_list_makes_room_in_every_process_at_once(small: Replicas) -> None:
    async with sign_in(small) as people:
        await fill(people, "lists", SMALL_WRITES["lists"])
        lists = (await people[0].get("/v1/lists")).json()["items"]
        for number, person in enumerate(people):
            assert (await person.delete(f"/v1/lists/{lists[number]['id']}")).status_code == 204

            await fill(people[number - 1 :], "lists", [Write("/v1/lists", {"name": "in its place"})])


@pytest.mark.slow
async def test_the_last_todo_of_a_tag_makes_room_in_every_process_at_once(small: Replicas) -> None:
    async with sign_in(small) as people:
        await fill(people, "tags", SMALL_WRITES["tags"])
        todos = (await people[0].get("/v1/todos", params={"limit": 200})).json()["items"]
        for number, person in enumerate(people):
            deleted = todos.pop()
            assert (await person.delete(f"/v1/todos/{deleted['id']}")).status_code == 204

            tags = [f"{number} instead of {tag}" for tag in deleted["tags"]]
            await fill(people[number - 1 :], "tags", [Write("/v1/todos", {"title": "x", "tags": tags})])


@pytest.mark.slow
async def test_tags_in_use_can_be_used_in_every_process_near_the_quota(small: Replicas) -> None:
    async with sign_in(small) as people:
        await fill(people, "tags", SMALL_WRITES["tags"])
        first, *others = (await people[0].get("/v1/todos", params={"limit": 200})).json()["items"]
        for person, other in zip(people, others, strict=False):
            changed = await person.patch(f"/v1/todos/{first['id']}", json={"tags": [*first["tags"], *other["tags"]]})
            assert changed.status_code == 200, changed.text


@pytest.mark.slow
async def test_writers_in_several_processes_fill_a_large_quota(larger: Replicas) -> None:
    most = int(LARGER["MAX_TODOS"])
    async with sign_in(larger) as people:
        await write_all(people[:1], build_imports(build_todos(most - 200), 1200))

        await write_all(people * 5, [*build_todos(80), *build_batches(build_todos(120), 20)])

        more = sum(await asyncio.gather(*(create_until_refused(person) for person in people)))
        assert more <= most * 0.01


@pytest.mark.slow
async def test_several_processes_exceed_a_large_quota_by_at_most_one_percent(larger: Replicas) -> None:
    most = int(LARGER["MAX_TODOS"])
    async with sign_in(larger) as people:
        await write_all(people[:1], build_imports(build_todos(most - 200), 1200))

        more = sum(await asyncio.gather(*(create_until_refused(person) for person in people * 5)))

        assert 200 <= more <= 200 + most * 0.01


async def create_until_refused(person: Person) -> int:
    """Create todos until the quota is reached, and return how many."""
    for made in itertools.count():
        response = await person.post("/v1/todos", json={"title": "x"})
        if response.status_code != 201:
            assert assert_problem(response, 409)["type"] == EXCEEDED
            return made
    raise AssertionError("unreachable")
