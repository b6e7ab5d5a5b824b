"""No todo refers to a list that does not exist, whatever writes to the list while it is deleted."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person
from tests.serving import running_service
from tests.waiting import wait_until
from todo_service.lists.documents import DeletedList
from todo_service.lists.sweep import FIRST_SWEEP, LAST_SWEEP, schedule_sweeps, sweep_deleted_lists
from todo_service.store.base import DocumentStore
from todo_service.timestamps import now
from todo_service.todos.documents import Todo
from todo_service.todos.service import Todos

pytestmark = pytest.mark.anyio
ROUNDS: Final = 12
RECORDS: Final = 150
_MOMENTS: Final = 6


async def test_a_list_that_is_deleted_during_an_import_leaves_no_todo_behind(store_url: str, tmp_path: Path) -> None:
    overlapping = 0
    with running_service(tmp_path, {"STORE_URL": store_url}) as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            ada = await Person.register(client)
            for number in range(ROUNDS):
                list_id = (await ada.post("/v1/lists", json={"name": "x"})).json()["id"]
                records = [{"title": "x", "list_id": list_id}] * RECORDS
                importing = asyncio.create_task(ada.post("/v1/todos/import", json=records))
                for _ in range(number % _MOMENTS):  # delete the list a little later each time
                    await ada.get("/v1/users/me")
                todos = ("move", "delete")[number // _MOMENTS % 2]
                deleted = await ada.delete(f"/v1/lists/{list_id}", params={"todos": todos})
                pending = not importing.done()
                imported = await importing

                assert (imported.status_code, deleted.status_code) == (200, 204)
                assert await list_unknown_lists(ada) == set()
                overlapping += pending and imported.json()["imported"] > 0

    assert overlapping > ROUNDS / 4


async def test_a_todo_that_was_written_to_a_deleted_list_is_moved_to_the_inbox(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    list_id = (await ada.post("/v1/lists", json={"name": "x"})).json()["id"]
    assert (await ada.delete(f"/v1/lists/{list_id}")).status_code == 204

    for age, swept in (
        (FIRST_SWEEP / 2, False),
        (2 * FIRST_SWEEP, True),
        (LAST_SWEEP / 2, False),
        (2 * LAST_SWEEP, True),
    ):
        await write_too_late(ada, store, list_id)
        assert await list_unknown_lists(ada) == {list_id}

        await sweep_deleted_lists(store, lambda owner: Todos(store, owner, never), now() + age)

        assert await list_unknown_lists(ada) == (set() if swept else {list_id})
    [swept_list] = [deleted async for deleted in store.scan(DeletedList)]
    assert swept_list.sweep_at is None
    assert swept_list.expires_at < now() + timedelta(days=2)
    assert {todo["list_id"] for todo in (await ada.get("/v1/todos")).json()["items"]} == {None}


async def test_an_unswept_list_is_remembered_for_a_month(ada: Person, app: Litestar) -> None:
    list_id = (await ada.post("/v1/lists", json={"name": "x"})).json()["id"]
    assert (await ada.delete(f"/v1/lists/{list_id}")).status_code == 204

    [unswept] = [deleted async for deleted in app.state.store.scan(DeletedList)]

    assert unswept.expires_at > now() + timedelta(days=30)


@pytest.mark.parametrize(("mode", "left"), [("move", 40), ("delete", 0)])
async def test_an_interrupted_deletion_is_completed(ada: Person, app: Litestar, mode: str, left: int) -> None:
    store: DocumentStore = app.state.store
    path = ""
    attempts = 0

    async def interrupt() -> bool:
        nonlocal path, attempts
        attempts += 1
        list_id = (await ada.post("/v1/lists", json={"name": "x"})).json()["id"]
        path = f"/v1/lists/{list_id}"
        await ada.post("/v1/todos/import", json=[{"title": "x", "list_id": list_id}] * 40)
        deleting = asyncio.create_task(ada.delete(path, params={"todos": mode}))

        async def has_begun() -> bool:
            return len(await ada.titles(list_id=list_id)) < 40

        await wait_until(has_begun)
        deleting.cancel()
        await asyncio.wait([deleting])
        return (await ada.get(path)).status_code == 200

    # on a busy machine, a deletion may end before it can be cancelled
    await wait_until(interrupt)

    await sweep_deleted_lists(store, lambda owner: Todos(store, owner, never), now() + FIRST_SWEEP)

    assert (await ada.get(path)).status_code == 404
    summary = (await ada.get("/v1/todos/summary")).json()
    in_inbox = [{"list_id": None, "count": left * attempts}] if left else []
    assert summary["by_list"] == in_inbox


async def test_a_rejected_deletion_changes_nothing(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    key = {"Idempotency-Key": "a-list"}
    made = (await ada.post("/v1/lists", json={"name": "x"}, headers=key)).json()
    await ada.todo(list_id=made["id"])
    # another request changed the list after its deletion was scheduled
    await schedule_sweeps(store, ObjectId(made["id"]), await ada.account_id(), now())

    for age in (2 * FIRST_SWEEP, 2 * LAST_SWEEP):
        await sweep_deleted_lists(store, lambda owner: Todos(store, owner, never), now() + age)

    assert (await ada.get(f"/v1/lists/{made['id']}")).json() == made
    assert len(await ada.titles(list_id=made["id"])) == 1


async def write_too_late(person: Person, store: DocumentStore, list_id: str) -> None:
    """Leave the state after a crash in the middle of a write: the list of the todo was deleted just before."""
    todo = await person.todo()
    where = [Todo.id == ObjectId(todo["id"]), Todo.version == 1]
    assert await store.update(Todo, *where, changes={"list_id": ObjectId(list_id)}) is not None


async def never() -> str:
    raise AssertionError("moving a todo depends on no time zone")


async def list_unknown_lists(person: Person) -> set[Any]:
    """Return the ids of lists that todos refer to, but that do not exist."""
    summary = (await person.get("/v1/todos/summary")).json()
    lists = (await person.get("/v1/lists", params={"limit": 200})).json()["items"]
    return {each["list_id"] for each in summary["by_list"]} - {each["id"] for each in lists} - {None}
