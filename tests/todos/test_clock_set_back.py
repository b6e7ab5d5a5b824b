"""Todos that were written before the clock was set back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person
from todo_service.store.base import DocumentStore
from todo_service.timestamps import format_timestamp, now
from todo_service.todos.documents import Todo

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
AHEAD = timedelta(days=3)


async def set_back(app: Litestar, todo: dict[str, Any]) -> str:
    """Make the last change of a todo one that happened before the clock was set back. Return its time."""
    store: DocumentStore = app.state.store
    moment = now() + AHEAD
    assert await store.update(Todo, Todo.id == ObjectId(todo["id"]), changes={"updated_at": moment}) is not None
    return format_timestamp(moment)


@pytest.mark.parametrize("call", ["complete", "patch"])
async def test_no_completion_is_lost_and_no_occurrence_is_passed_over(ada: Person, app: Litestar, call: str) -> None:
    begun = now()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    days = [str(yesterday + timedelta(days=number)) for number in range(5)]
    todo = await ada.todo(due_on=days[0], recurrence="FREQ=DAILY", time_zone="UTC")
    path = f"/v1/todos/{todo['id']}"

    async def complete(**body: str) -> dict[str, Any]:
        if call == "complete":
            response = await ada.post(f"{path}/complete", json=body)
        else:
            response = await ada.patch(path, json={"completed": True} | body)
        assert response.status_code == 200, response.text
        completed: dict[str, Any] = response.json()
        return completed

    changed_at = await set_back(app, todo)
    first, second = await complete(), await complete()
    # a client that completed it while the clock was ahead
    third = await complete(completed_at=changed_at)

    dues = [each["due_on"] for each in (first, second, third)]
    assert dues in (days[1:4], days[2:5])  # midnight may have passed
    assert format_timestamp(begun) <= first["last_completed_at"] <= second["last_completed_at"]
    assert second["last_completed_at"] <= format_timestamp(now())
    assert first["updated_at"] == third["updated_at"] == changed_at
    found = (await ada.get(f"{path}/completions")).json()["items"]
    assert [each["due_on"] for each in found] == [dues[1], dues[0], days[0]]
    undone = (await ada.post(f"{path}/reopen")).json()
    assert undone["due_on"] == dues[1]


async def test_a_rule_counts_from_the_day_of_completion_by_the_clock(ada: Person, app: Litestar) -> None:
    fields = {"recurrence": "FREQ=DAILY;INTERVAL=3", "recurrence_from": "completion", "time_zone": "UTC"}
    before = datetime.now(UTC).date()
    todo = await ada.todo(due_on=str(before), **fields)
    await set_back(app, todo)

    completed = (await ada.post(f"/v1/todos/{todo['id']}/complete")).json()

    after = datetime.now(UTC).date()
    assert str(before) <= completed["last_completed_at"][:10] <= str(after)
    assert completed["due_on"] in {str(day + timedelta(days=3)) for day in (before, after)}
