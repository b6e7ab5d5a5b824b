"""Counts of todos, and tags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.people import Person, assert_problem

pytestmark = pytest.mark.anyio


async def test_an_account_without_todos_has_zeros(ada: Person) -> None:
    nothing = dict.fromkeys(("none", "low", "medium", "high", "urgent"), 0)

    assert (await ada.get("/v1/todos/summary")).json() == {
        "open": 0,
        "completed": 0,
        "overdue": 0,
        "due_today": 0,
        "by_priority": nothing,
        "by_list": [],
        "by_tag": [],
    }
    assert (await ada.get("/v1/tags")).json() == {"items": []}


async def test_todos_are_counted_by_all_that_they_are(ada: Person, bob: Person) -> None:
    garden = (await ada.post("/v1/lists", json={"name": "Garden"})).json()["id"]
    await ada.todo(tags=["home", "green"], priority="high", list_id=garden)
    await ada.todo(tags=["home"], priority="high", due_at="2020-01-01T00:00:00Z")
    done = await ada.todo(tags=['x, "y"'], due_at="2020-01-01T00:00:00Z")
    await ada.post(f"/v1/todos/{done['id']}/complete")
    gone = await ada.todo(tags=["gone"])
    await ada.delete(f"/v1/todos/{gone['id']}")
    await bob.todo(tags=["home"])

    summary = (await ada.get("/v1/todos/summary")).json()

    assert (summary["open"], summary["completed"], summary["overdue"], summary["due_today"]) == (2, 1, 1, 0)
    assert summary["by_priority"] == {"none": 1, "low": 0, "medium": 0, "high": 2, "urgent": 0}
    assert summary["by_list"] == [{"list_id": None, "count": 2}, {"list_id": garden, "count": 1}]
    tags = [{"name": "green", "count": 1}, {"name": "home", "count": 2}, {"name": 'x, "y"', "count": 1}]
    assert summary["by_tag"] == tags
    assert (await ada.get("/v1/tags")).json() == {"items": tags}


async def test_today_is_a_day_of_the_time_zone(ada: Person) -> None:
    # 14 hours ahead of and 11 hours behind UTC: there is no moment at which both have the same day
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    for days in (-2, -1, 0, 1, 2):
        await ada.todo(due_at=(noon + timedelta(days=days)).isoformat())

    async def due_today(**parameters: str) -> int:
        count: int = (await ada.get("/v1/todos/summary", params=parameters)).json()["due_today"]
        return count

    assert await due_today() == 1
    assert await due_today(tz="Pacific/Kiritimati") == 1
    assert await due_today(tz="Pacific/Niue") == 1
    await ada.todo(due_at=noon.replace(hour=0).isoformat())
    await ada.todo(due_at=(noon.replace(hour=0) + timedelta(days=1)).isoformat())
    assert await due_today(tz="UTC") == 2
    await ada.patch("/v1/users/me", json={"time_zone": "Asia/Tokyo"})
    assert await due_today() == await due_today(tz="Asia/Tokyo")


@pytest.mark.parametrize("tz", ["Nowhere", "../etc/passwd", "", "Europe", "/UTC"])
async def test_an_unknown_time_zone_is_refused(ada: Person, tz: str) -> None:
    assert_problem(await ada.get("/v1/todos/summary", params={"tz": tz}), 422, "tz")
