"""Filters, sort orders and the summary over todos that are due at moments and on days, compared with a plain model."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from litestar import Litestar

from tests.people import Person
from tests.todos.replica import everything, find_due_end, follow_time_zones
from todo_service.timestamps import format_timestamp

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
ZONES: Final = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Etc/GMT+12",
)
SIZE: Final = 100
Todos = list[dict[str, Any]]


def build_todo(chance: random.Random, number: int) -> dict[str, Any]:
    """Return a new todo that is due within days of now or of a change of summer time, or never."""
    start = chance.choice([datetime.now(UTC), datetime(2027, 3, 27, tzinfo=UTC), datetime(2027, 10, 30, tzinfo=UTC)])
    moment = start + timedelta(minutes=chance.randrange(-3 * 1440, 3 * 1440))
    due = chance.choice([{}, {"due_at": moment.isoformat()}, *[{"due_on": moment.date().isoformat()}] * 3])
    zone = chance.choice([{}, {"time_zone": chance.choice(ZONES)}])
    return {"title": f"{number:03}", "completed": chance.random() < 0.3} | due | zone


async def create_todos(person: Person, chance: random.Random) -> None:
    operations = [{"op": "create", "todo": build_todo(chance, number)} for number in range(SIZE)]
    response = await person.post("/v1/todos/batch", json={"operations": operations})
    assert {result["status"] for result in response.json()["results"]} == {201}


async def change_todos(person: Person, chance: random.Random, todos: Todos) -> None:
    """Change the due dates and the time zones of some todos."""
    operations = []
    for todo in chance.sample(todos, SIZE // 3):
        patch = build_todo(chance, 0) | chance.choice([{}, {"time_zone": None}, {"due_at": None, "due_on": None}])
        if patch.get("due_at") is not None and "due_on" in patch:
            del patch["due_on"]
        del patch["title"]
        operations.append({"op": "update", "id": todo["id"], "todo": patch})
    response = await person.post("/v1/todos/batch", json={"operations": operations})
    assert {result["status"] for result in response.json()["results"]} == {200}


async def read_titles(person: Person, limit: int, **parameters: str) -> list[str]:
    """Return the titles on all pages of a list."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = parameters | {"limit": str(limit)} | ({} if cursor is None else {"cursor": cursor})
        response = await person.get("/v1/todos", params=page)
        assert response.status_code == 200, response.text
        found += [todo["title"] for todo in response.json()["items"]]
        cursor = response.json()["next_cursor"]
        if cursor is None:
            return found


class Model:
    """The todos as a client sees them.

    Args:
        todos: The todos.
        account_zone: The time zone of their account.
    """

    def __init__(self, todos: Todos, account_zone: str) -> None:
        self._ends = [(todo, find_due_end(todo, account_zone)) for todo in todos]

    def ends(self) -> list[datetime]:
        return [end for _, end in self._ends if end is not None]

    def sort(self, *, descending: bool) -> list[str]:
        valued = [(end, todo["id"], todo["title"]) for todo, end in self._ends if end is not None]
        others = [(todo["id"], todo["title"]) for todo, end in self._ends if end is None]
        by_value = [title for *_, title in sorted(valued, reverse=descending)]
        return by_value + [title for *_, title in sorted(others, reverse=descending)]

    def between(self, after: datetime, before: datetime) -> set[str]:
        return {todo["title"] for todo, end in self._ends if end is not None and after < end < before}

    def overdue(self, moment: datetime) -> set[str]:
        return {todo["title"] for todo, end in self._ends if end is not None and end < moment and not todo["completed"]}

    def count_due_on(self, day: date, zone: ZoneInfo) -> int:
        ends = [end for todo, end in self._ends if end is not None and not todo["completed"]]
        return sum(end.astimezone(zone).date() == day for end in ends)


async def compare(person: Person, chance: random.Random, account_zone: str) -> None:
    """Compare lists and the summary with the model."""
    todos = list((await everything(person)).values())
    model = Model(todos, account_zone)
    ends = model.ends()
    for sort, descending in (("due_at", False), ("-due_at", True)):
        assert await read_titles(person, chance.choice([7, 50, 200]), sort=sort) == model.sort(descending=descending)
    millisecond = timedelta(milliseconds=1)
    for _ in range(12):
        bounds = sorted(chance.choice(ends) + chance.choice([-millisecond, timedelta(), millisecond]) for _ in range(2))
        after, before = map(format_timestamp, bounds)
        sort = chance.choice(["due_at", "-due_at", "title"])
        found = await read_titles(person, 30, due_after=after, due_before=before, sort=sort)
        assert set(found) == model.between(*bounds), (after, before)
        assert len(found) == len(set(found))
        if sort != "title":
            expected = [title for title in model.sort(descending=sort.startswith("-")) if title in found]
            assert found == expected
    titles = {todo["title"] for todo in todos}
    # no todo is due within the time that this takes, or the model says so before and after
    overdue = model.overdue(datetime.now(UTC))
    found_overdue = set(await read_titles(person, 30, overdue="true", sort="due_at"))
    assert overdue <= found_overdue <= model.overdue(datetime.now(UTC))
    assert titles - set(await read_titles(person, 30, overdue="false")) <= model.overdue(datetime.now(UTC))
    for name in ZONES:
        zone = ZoneInfo(name)
        day = datetime.now(zone).date()
        summary = (await person.get("/v1/todos/summary", params={"tz": name})).json()
        assert len(overdue) <= summary["overdue"] <= len(model.overdue(datetime.now(UTC)))
        if datetime.now(zone).date() == day:
            assert summary["due_today"] == model.count_due_on(day, zone), name


@pytest.mark.parametrize("seed", range(3))
async def test_lists_and_the_summary_agree_with_a_model(ada: Person, app: Litestar, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  # no secret
    await create_todos(ada, chance)
    await compare(ada, chance, "UTC")
    for account_zone in chance.sample(ZONES, 2):
        await ada.patch("/v1/users/me", json={"time_zone": account_zone})
        await follow_time_zones(app.state.store)
        await compare(ada, chance, account_zone)
        await change_todos(ada, chance, list((await everything(ada)).values()))
        await compare(ada, chance, account_zone)
