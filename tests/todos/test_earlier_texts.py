"""Texts that an earlier release stored as they were sent are found, counted once, and composed by the next write."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person, assert_problem
from todo_service.accounts.documents import User
from todo_service.lists.documents import TodoList
from todo_service.store.base import DocumentStore
from todo_service.todos.documents import Step, Todo

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
NFC, NFD = "Café", "Cafe\u0301"


async def store_texts(app: Litestar, todo: dict[str, Any], **changes: Any) -> None:
    """Give a todo texts that no request can give it any more."""
    store: DocumentStore = app.state.store
    assert await store.update(Todo, Todo.id == ObjectId(todo["id"]), changes=changes) is not None


async def test_tag_filter_finds_both_forms(ada: Person, app: Litestar) -> None:
    for title, tags in {"old": [NFD, "x"], "both": [NFC, NFD], "other": ["Cafe"]}.items():
        await store_texts(app, await ada.todo(title=title), tags=tags)
    await ada.todo(title="new", tags=[NFC, "x"])

    for tag in (NFC, NFD, f" {NFD}\u200b"):
        for sort in ("created_at", "title", "-position"):
            assert set(await ada.titles(tag=tag, sort=sort)) == {"old", "both", "new"}
        assert await ada.titles(tag=[tag, "x"]) == ["old", "new"]
    page = (await ada.get("/v1/todos", params={"tag": NFC, "limit": 1})).json()
    following = (await ada.get("/v1/todos", params={"tag": NFC, "limit": 2, "cursor": page["next_cursor"]})).json()
    assert [todo["title"] for todo in page["items"] + following["items"]] == ["old", "both", "new"]
    assert following["next_cursor"] is None


async def test_both_forms_of_a_tag_count_as_one(ada: Person, app: Litestar) -> None:
    old, both = await ada.todo(), await ada.todo()
    await store_texts(app, old, tags=[NFD])
    await store_texts(app, both, tags=[NFC, NFD])
    await ada.todo(tags=[NFD])

    assert (await ada.get("/v1/tags")).json() == {"items": [{"name": NFC, "count": 3}]}
    assert (await ada.get("/v1/todos/summary")).json()["by_tag"] == [{"name": NFC, "count": 3}]

    for todo in (old, both):
        assert (await ada.post(f"/v1/todos/{todo['id']}/complete")).json()["tags"] == [NFC]
    assert (await ada.get("/v1/tags")).json() == {"items": [{"name": NFC, "count": 3}]}


@pytest.mark.parametrize(
    "change", [{"priority": "high"}, {"title": NFC}, {"tags": [NFC]}, {"completed": True}], ids=str
)
async def test_next_change_composes_all_texts(ada: Person, app: Litestar, change: dict[str, Any]) -> None:
    todo = await ada.todo(steps=[{"title": "x", "completed": True}])
    [step] = todo["steps"]
    steps = [Step(id=step["id"], title=NFD, completed=True)]
    await store_texts(app, todo, title=NFD, tags=[NFD, NFC], steps=steps)
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json()["title"] == NFD

    changed = await ada.patch(f"/v1/todos/{todo['id']}", json=change)

    assert changed.json()["version"] == 2
    assert changed.json() | change == changed.json()
    assert (changed.json()["title"], changed.json()["tags"]) == (NFC, [NFC])
    assert changed.json()["steps"] == [step | {"title": NFC}]
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json() == changed.json()
    assert await ada.titles(q=NFD) == await ada.titles(q="cafe") == [NFC]


async def test_completing_a_recurring_todo_composes_its_steps(ada: Person, app: Litestar) -> None:
    todo = await ada.todo(due_at="2027-01-31T09:00:00Z", recurrence="FREQ=DAILY", steps=[{"title": "x"}])
    await store_texts(app, todo, steps=[Step(id=todo["steps"][0]["id"], title=NFD, completed=True)])

    completed = await ada.post(f"/v1/todos/{todo['id']}/complete")

    assert [step["title"] for step in completed.json()["steps"]] == [NFC]


async def test_invalid_texts_do_not_prevent_a_change(ada: Person, app: Litestar) -> None:
    todo = await ada.todo()
    await store_texts(app, todo, title="bell\x07", tags=["\u200b"], description="a\r\nb\x1b")

    changed = await ada.patch(f"/v1/todos/{todo['id']}", json={"priority": "high"})

    assert changed.status_code == 200
    assert (changed.json()["title"], changed.json()["tags"]) == ("bell\x07", ["\u200b"])
    assert_problem(await ada.patch(f"/v1/todos/{todo['id']}", json={"title": "bell\x07"}), 422, "/title")


async def test_list_is_found_by_an_import_and_composed_by_its_next_change(ada: Person, app: Litestar) -> None:
    made = (await ada.post("/v1/lists", json={"name": "x"})).json()
    store: DocumentStore = app.state.store
    await store.update(TodoList, TodoList.id == ObjectId(made["id"]), changes={"name": NFD})

    rows = f"title,list\r\none,{NFC}\r\ntwo, {NFD}\u200b\r\n"
    imported = await ada.post("/v1/todos/import", content=rows.encode(), headers={"Content-Type": "text/csv"})

    assert imported.json()["imported"] == 2
    assert await ada.titles(list_id=made["id"]) == ["one", "two"]
    changed = await ada.patch(f"/v1/lists/{made['id']}", json={"archived": True})
    assert changed.json()["name"] == NFC


async def test_display_name_is_composed_by_the_next_change(client: httpx.AsyncClient, app: Litestar) -> None:
    person = await Person.register(client)
    user = (await person.get("/v1/users/me")).json()
    store: DocumentStore = app.state.store
    await store.update(User, User.id == ObjectId(user["id"]), changes={"display_name": NFD})

    changed = await person.patch("/v1/users/me", json={"time_zone": "Europe/Paris"})

    assert (changed.json()["display_name"], changed.json()["time_zone"]) == (NFC, "Europe/Paris")
    renamed = await person.patch("/v1/users/me", json={"display_name": "x"})
    assert renamed.json()["display_name"] == "x"
