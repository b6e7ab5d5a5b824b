"""Reminders of todos: stored and validated. `tests/reminders` fires them."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person, assert_problem
from tests.todos.replica import Replica
from todo_service.store.base import DocumentStore
from todo_service.todos.documents import Todo

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
DUE = "2027-01-31T09:00:00.000Z"
GIVEN = [{"minutes_before": 30}, {"at": "2027-01-30T10:00:00.1239+01:00"}, {"minutes_before": 0}]
SHOWN = [{"minutes_before": 30}, {"at": "2027-01-30T09:00:00.123Z"}, {"minutes_before": 0}]


@pytest.mark.parametrize("due", [{"due_at": DUE}, {"due_on": "2027-01-31"}])
async def test_reminders_read_back_everywhere(ada: Person, due: dict[str, str]) -> None:
    todo = await ada.todo(reminders=GIVEN, **due)
    replica = Replica(ada)
    await replica.sync()

    assert todo["reminders"] == SHOWN
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json() == todo
    assert (await ada.get("/v1/todos")).json()["items"] == [todo]
    assert replica.todos == {todo["id"]: todo}
    assert (await ada.post(f"/v1/todos/{todo['id']}/complete")).json()["reminders"] == SHOWN


async def test_reminders_default_to_none(ada: Person) -> None:
    assert (await ada.todo())["reminders"] == []


async def test_duplicate_reminders_are_dropped(ada: Person) -> None:
    same = [{"at": "2027-01-31T09:00:00Z"}, {"at": "2027-01-31T10:00:00+01:00"}]

    todo = await ada.todo(due_at=DUE, reminders=[{"minutes_before": 5}, *same, {"minutes_before": 5}])

    assert todo["reminders"] == [{"minutes_before": 5}, {"at": "2027-01-31T09:00:00.000Z"}]


async def test_a_patch_replaces_reminders_and_null_removes_them(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo(due_at=DUE, reminders=GIVEN))['id']}"

    assert (await ada.patch(path, json={"reminders": SHOWN})).json()["version"] == 1
    changed = (await ada.patch(path, json={"reminders": [{"minutes_before": 525_600}]})).json()
    assert (changed["reminders"], changed["version"]) == ([{"minutes_before": 525_600}], 2)
    assert (await ada.patch(path, json={"reminders": None})).json()["reminders"] == []


@pytest.mark.parametrize(
    ("reminders", "place"),
    [
        ([{}], "/reminders/0"),
        ([{"minutes_before": 5}, {"at": DUE, "minutes_before": 5}], "/reminders/1"),
        ([{"at": None}], "/reminders/0/at"),
        ([{"minutes_before": None}], "/reminders/0/minutes_before"),
        ([{"at": "2027-01-31"}], "/reminders/0/at"),
        ([{"at": 0}], "/reminders/0/at"),
        ([{"at": "1969-12-31T23:59:59Z"}], "/reminders/0/at"),
        ([{"minutes_before": -1}], "/reminders/0/minutes_before"),
        ([{"minutes_before": 525_601}], "/reminders/0/minutes_before"),
        ([{"minutes_before": 1.5}], "/reminders/0/minutes_before"),
        ([{"minutes_before": "5"}], "/reminders/0/minutes_before"),
        ([{"minutes_before": 5, "sound": "bell"}], "/reminders/0/sound"),
        ([{"minutes_before": number} for number in range(6)], "/reminders"),
        ([5], "/reminders/0"),
        ("5", "/reminders"),
    ],
)
async def test_bad_reminders_are_rejected(ada: Person, reminders: Any, place: str) -> None:
    todo = await ada.todo(due_at=DUE)

    assert_problem(await ada.post("/v1/todos", json={"title": "x", "due_at": DUE, "reminders": reminders}), 422, place)
    assert_problem(await ada.patch(f"/v1/todos/{todo['id']}", json={"reminders": reminders}), 422, place)
    assert (await ada.get("/v1/todos")).json()["items"] == [todo]


async def test_minutes_before_require_a_due_date(ada: Person) -> None:
    before, at = {"minutes_before": 5}, {"at": DUE}
    plain = await ada.todo(reminders=[at])
    place = "/reminders/1/minutes_before"

    assert_problem(await ada.post("/v1/todos", json={"title": "x", "reminders": [at, before]}), 422, place)
    assert_problem(await ada.patch(f"/v1/todos/{plain['id']}", json={"reminders": [at, before]}), 422, place)
    both = {"reminders": [at, before], "due_on": "2027-01-31"}
    assert (await ada.patch(f"/v1/todos/{plain['id']}", json=both)).json()["reminders"] == [at, before]
    assert_problem(await ada.patch(f"/v1/todos/{plain['id']}", json={"due_on": None}), 422, "/due_on")
    assert (await ada.patch(f"/v1/todos/{plain['id']}", json={"due_at": DUE})).json()["due_on"] is None
    assert_problem(await ada.patch(f"/v1/todos/{plain['id']}", json={"due_at": None}), 422, "/due_at")
    cleared = {"due_at": None, "reminders": [at]}
    assert (await ada.patch(f"/v1/todos/{plain['id']}", json=cleared)).json()["reminders"] == [at]


async def test_a_tombstone_has_no_reminders(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    todo = await ada.todo(due_at=DUE, reminders=GIVEN)

    await ada.delete(f"/v1/todos/{todo['id']}")

    stored = await store.get(Todo, Todo.id == ObjectId(todo["id"]))
    assert stored is not None
    assert (stored.reminders, stored.next_fire) == ([], None)
