"""Lists of todos: creating, reading, updating and deleting them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person, assert_problem
from todo_service.lists.documents import TodoList
from todo_service.store.base import DocumentStore

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


async def create_list(person: Person, **fields: Any) -> dict[str, Any]:
    response = await person.post("/v1/lists", json={"name": "Garden"} | fields)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def test_a_new_list_has_every_field_and_a_location(ada: Person) -> None:
    response = await ada.post("/v1/lists", json={"name": "  Garden ", "color": "#1e90ff"})

    made = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/v1/lists/{made['id']}"
    assert response.headers["etag"] == '"1"'
    assert made == {
        "id": made["id"],
        "name": "Garden",
        "color": "#1e90ff",
        "position": made["position"],
        "archived": False,
        "uid": made["id"],
        "version": 1,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
    }
    read = await ada.get(f"/v1/lists/{made['id']}")
    assert read.json() == made
    tag = {"If-None-Match": read.headers["etag"]}
    assert (await ada.get(f"/v1/lists/{made['id']}", headers=tag)).status_code == 304


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"name": " "}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"color": "red"}, "/color"),
        ({"archived": 1}, "/archived"),
        ({"owner": "x"}, "/owner"),
    ],
)
async def test_an_invalid_field_is_named(ada: Person, fields: dict[str, Any], place: str) -> None:
    made = await create_list(ada)

    assert_problem(await ada.post("/v1/lists", json={"name": "x"} | fields), 422, place)
    assert_problem(await ada.patch(f"/v1/lists/{made['id']}", json=fields), 422, place)


async def test_a_merge_patch_updates_a_list(ada: Person) -> None:
    made = await create_list(ada, color="#ffffff")
    path = f"/v1/lists/{made['id']}"

    changed = await ada.patch(path, json={"name": "Yard", "color": None, "archived": True, "position": -1.5})
    assert changed.json() == made | {
        "name": "Yard",
        "color": None,
        "archived": True,
        "position": -1.5,
        "version": 2,
        "updated_at": changed.json()["updated_at"],
    }
    assert (await ada.patch(path, json={})).json()["version"] == 2
    assert_problem(await ada.patch(path, json={"name": "x"}, headers={"If-Match": '"1"'}), 412)


async def test_lists_are_paginated_in_manual_order(ada: Person, bob: Person) -> None:
    for name, position in (("c", 3), ("a", 1), ("b", 2), ("b2", 2)):
        await create_list(ada, name=name, position=position)
    await create_list(bob)

    first = await ada.get("/v1/lists", params={"limit": 3})
    second = await ada.get(first.headers["link"].split(">")[0].lstrip("<"))

    assert [one["name"] for one in first.json()["items"]] == ["a", "b", "b2"]
    assert [one["name"] for one in second.json()["items"]] == ["c"]
    assert second.json()["next_cursor"] is None
    cursor = {"cursor": first.json()["next_cursor"]}
    assert_problem(await bob.get("/v1/lists", params=cursor), 422, "cursor")


async def test_a_todo_is_in_a_list_of_its_account_or_in_the_inbox(ada: Person, bob: Person) -> None:
    mine, foreign = await create_list(ada), await create_list(bob)
    todo = await ada.todo(title="in a list", list_id=mine["id"])
    await ada.todo(title="in the inbox")

    assert todo["list_id"] == mine["id"]
    assert await ada.titles(list_id=mine["id"]) == ["in a list"]
    assert await ada.titles(list_id="inbox") == ["in the inbox"]
    for unknown in (foreign["id"], "0" * 24, "nonsense", ""):
        assert_problem(await ada.post("/v1/todos", json={"title": "x", "list_id": unknown}), 422, "/list_id")
        assert_problem(await ada.patch(f"/v1/todos/{todo['id']}", json={"list_id": unknown}), 422, "/list_id")
    moved = await ada.patch(f"/v1/todos/{todo['id']}", json={"list_id": None})
    assert moved.json()["list_id"] is None


@pytest.mark.parametrize(("parameters", "left"), [({}, 3), ({"todos": "move"}, 3), ({"todos": "delete"}, 1)])
async def test_deleting_a_list_moves_or_deletes_its_todos(ada: Person, parameters: dict[str, str], left: int) -> None:
    made = await create_list(ada)
    for number in range(2):
        await ada.todo(title=str(number), list_id=made["id"])
    await ada.todo()

    assert (await ada.delete(f"/v1/lists/{made['id']}", params=parameters)).status_code == 204

    assert_problem(await ada.get(f"/v1/lists/{made['id']}"), 404)
    assert len(await ada.titles()) == left
    assert len(await ada.titles(list_id="inbox")) == left
    assert_problem(await ada.delete(f"/v1/lists/{made['id']}"), 404)


async def test_repeating_an_interrupted_deletion_completes_it(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    made = await create_list(ada)
    await ada.todo(list_id=made["id"])
    # the state after a crash between the first and the second step
    await store.update(TodoList, TodoList.id == ObjectId(made["id"]), changes={"closing": "move"})

    assert_problem(await ada.post("/v1/todos", json={"title": "x", "list_id": made["id"]}), 422, "/list_id")
    tag = {"If-Match": '"1"'}
    assert (await ada.delete(f"/v1/lists/{made['id']}", headers=tag)).status_code == 204
    assert await ada.titles(list_id="inbox") == ["Water the plants"]


async def test_of_concurrent_writers_with_the_same_tag_only_one_deletes_or_changes_a_list(ada: Person) -> None:
    made = await create_list(ada)
    path, tag = f"/v1/lists/{made['id']}", {"If-Match": '"1"'}
    for _ in range(5):
        await ada.todo(list_id=made["id"])

    responses = await asyncio.gather(
        *(ada.delete(path, headers=tag) for _ in range(4)),
        *(ada.patch(path, json={"name": f"Garden {number}"}, headers=tag) for number in range(4)),
    )

    statuses = [response.status_code for response in responses]
    assert sum(status in (200, 204) for status in statuses) == 1, statuses
    assert set(statuses) <= {200, 204, 404, 412}


async def test_of_concurrent_deletions_that_treat_todos_differently_the_first_decides(ada: Person) -> None:
    modes = ("move", "delete", "delete", "move")
    for first in range(4):
        made = await create_list(ada)
        todos = {(await ada.todo(list_id=made["id"]))["id"] for _ in range(5)}
        path = f"/v1/lists/{made['id']}"

        order = modes[first:] + modes[:first]
        responses = await asyncio.gather(*(ada.delete(path, params={"todos": mode}) for mode in order))

        statuses = list(zip(order, (response.status_code for response in responses), strict=True))
        assert {status for _, status in statuses} <= {204, 404, 409}, statuses
        decided = {mode for mode, status in statuses if status == 204}
        assert len(decided) == 1, statuses
        kept = {todo["id"] for todo in (await ada.get("/v1/todos", params={"limit": 200})).json()["items"]}
        assert todos & kept == (todos if decided == {"move"} else set())


@pytest.mark.parametrize(("closing", "todos", "left"), [("move", "delete", 1), ("delete", "move", 0)])
async def test_an_interrupted_deletion_holds_against_one_that_treats_todos_differently(
    ada: Person, app: Litestar, closing: str, todos: str, left: int
) -> None:
    store: DocumentStore = app.state.store
    made = await create_list(ada)
    path = f"/v1/lists/{made['id']}"
    await ada.todo(list_id=made["id"])
    # the state after a crash between the first and the second step
    await store.update(TodoList, TodoList.id == ObjectId(made["id"]), changes={"closing": closing})

    problem = assert_problem(await ada.delete(path, params={"todos": todos}), 409)

    assert problem["type"] == "urn:todo-service:problem:conflict"
    assert len(await ada.titles()) == 1
    assert (await ada.delete(path, params={"todos": closing})).status_code == 204
    assert len(await ada.titles()) == left


async def test_a_todo_that_leaves_a_list_while_it_is_deleted_is_not_deleted(ada: Person) -> None:
    made = await create_list(ada)
    todos = [(await ada.todo(list_id=made["id"]))["id"] for _ in range(60)]

    deleting = ada.delete(f"/v1/lists/{made['id']}", params={"todos": "delete"})
    # no more requests than an account may make at the same time
    leaving = [ada.patch(f"/v1/todos/{todo_id}", json={"list_id": None}) for todo_id in todos[-14:]]
    deleted, *responses = await asyncio.gather(deleting, *leaving)

    assert deleted.status_code == 204
    assert {response.status_code for response in responses} <= {200, 404}
    left = {response.json()["id"] for response in responses if response.status_code == 200}
    assert {todo["id"] for todo in (await ada.get("/v1/todos", params={"limit": 200})).json()["items"]} == left


async def test_no_todo_stays_in_a_list_deleted_during_writes(ada: Person) -> None:
    made = await create_list(ada)
    created = asyncio.Event()

    async def write() -> None:
        for _ in range(20):
            response = await ada.post("/v1/todos", json={"title": "x", "list_id": made["id"]})
            assert response.status_code in (201, 422)
            created.set()

    async def end() -> None:
        await created.wait()
        assert (await ada.delete(f"/v1/lists/{made['id']}")).status_code == 204

    await asyncio.gather(*(write() for _ in range(4)), end())

    assert await ada.titles(list_id=made["id"]) == []


async def test_a_list_is_invisible_to_other_accounts(ada: Person, bob: Person) -> None:
    made = await create_list(ada)
    path = f"/v1/lists/{made['id']}"

    for response in (await bob.get(path), await bob.patch(path, json={"name": "x"}), await bob.delete(path)):
        assert_problem(response, 404)
    assert_problem(await ada.get("/v1/lists/nonsense"), 404)
    assert_problem(await ada.delete(path, headers={"If-Match": '"7"'}), 412)
    assert_problem(await ada.delete(path, params={"todos": "burn"}), 422, "todos")
