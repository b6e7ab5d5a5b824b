"""Steps, recurrence, completing and reopening."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tests.cost import Lowest
from tests.people import Person, assert_problem
from todo_service.executors import Budget, BudgetExceededError
from todo_service.todos.recurrence import Rule

BERLIN = ZoneInfo("Europe/Berlin")
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
REJECTION_SECONDS = 0.05
"""The maximum CPU time of a rejected request."""


def times(rule: str, start: datetime, zone: ZoneInfo, number: int) -> list[str]:
    """Return the local times of the occurrences after a due date, as repeated completion yields them."""
    found, due_at, local = [], start, None
    for _ in range(number):
        following = Rule(rule).next(due_at, local, zone)
        if following is None:
            break
        due_at, local, rule = following
        found.append(due_at.astimezone(zone).strftime("%Y-%m-%d %H:%M"))
    return found


def test_the_local_time_is_stable_when_summer_time_begins_or_ends() -> None:
    start = datetime(2026, 3, 28, 9, tzinfo=BERLIN).astimezone(UTC)

    assert times("FREQ=DAILY", start, BERLIN, 2) == ["2026-03-29 09:00", "2026-03-30 09:00"]


def test_a_local_time_that_summer_time_skips_returns_on_the_next_day() -> None:
    start = datetime(2026, 3, 28, 2, 30, tzinfo=BERLIN).astimezone(UTC)

    assert times("FREQ=DAILY", start, BERLIN, 2) == ["2026-03-29 03:30", "2026-03-30 02:30"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=WEEKLY;BYDAY=MO,FR", ["2026-01-02", "2026-01-05", "2026-01-09"]),
        ("FREQ=WEEKLY;INTERVAL=2", ["2026-01-15", "2026-01-29", "2026-02-12"]),
        ("FREQ=MONTHLY;BYMONTHDAY=31", ["2026-01-31", "2026-03-31", "2026-05-31"]),
        ("FREQ=MONTHLY;BYDAY=-1FR", ["2026-01-30", "2026-02-27", "2026-03-27"]),
        ("FREQ=MONTHLY;BYDAY=-1FR,WE", ["2026-01-07", "2026-01-14", "2026-01-21"]),
        ("FREQ=MONTHLY;BYDAY=1MO,-1FR", ["2026-01-05", "2026-01-30", "2026-02-02"]),
        ("FREQ=DAILY;BYMONTH=3;BYMONTHDAY=-1,1", ["2026-03-01", "2026-03-31", "2027-03-01"]),
        ("FREQ=DAILY;INTERVAL=10;BYDAY=TH", ["2026-03-12", "2026-05-21", "2026-07-30"]),
        ("FREQ=DAILY;BYMONTHDAY=29;BYMONTH=2;BYDAY=MO", ["2044-02-29", "2072-02-29", "2112-02-29"]),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", ["2028-02-29", "2032-02-29", "2036-02-29"]),
        ("FREQ=DAILY;COUNT=3", ["2026-01-02", "2026-01-03"]),
        ("FREQ=DAILY;UNTIL=20260103", ["2026-01-02", "2026-01-03"]),
        ("FREQ=DAILY;UNTIL=20260102T090000Z", ["2026-01-02"]),
    ],
)
def test_a_rule_has_the_occurrences_of_rfc_5545(rule: str, expected: list[str]) -> None:
    start = datetime(2026, 1, 1, 9, tzinfo=UTC)

    assert [text[:10] for text in times(rule, start, ZoneInfo("UTC"), 3)] == expected


pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "weekly",
        "FREQ=HOURLY",
        "FREQ=DAILY;BYHOUR=9",
        "FREQ=DAILY;FREQ=DAILY",
        "FREQ=DAILY;COUNT=0",
        "FREQ=DAILY;COUNT=3;UNTIL=20270101",
        "FREQ=DAILY;UNTIL=20271301",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=WEEKLY;BYDAY=1MO",
        "FREQ=WEEKLY;BYMONTHDAY=1",
        "FREQ=MONTHLY;BYMONTHDAY=0",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=31",
        "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
        "FREQ=MONTHLY;BYDAY=5MO;BYMONTHDAY=1",
        "FREQ=DAILY;UNTIL=20200101",
        "FREQ=DAILY;" + "BYMONTH=1;" * 100,
    ],
)
async def test_an_invalid_rule_and_one_that_never_occurs_are_rejected(ada: Person, rule: str) -> None:
    todo = {"title": "x", "due_at": "2027-01-31T09:00:00Z", "recurrence": rule}

    assert_problem(await ada.post("/v1/todos", json=todo), 422, "/recurrence")


@pytest.mark.parametrize(
    "rule",
    [
        f"FREQ=YEARLY;BYMONTHDAY={','.join(map(str, range(1, 29)))};BYDAY={','.join(['53MO'] * 75)}",
        f"FREQ=YEARLY;BYMONTHDAY=1;BYDAY={','.join(f'53{day}' for day in WEEKDAYS * 13)}",
        f"FREQ=MONTHLY;BYMONTHDAY={','.join(map(str, range(1, 29)))};BYDAY={','.join(['5MO'] * 90)}",
        f"FREQ=MONTHLY;BYMONTHDAY={','.join(['1', '28'] * 90)};BYDAY=5MO",
    ],
)
def test_a_rule_that_never_occurs_is_cheap_whatever_its_parts(rule: str) -> None:
    due_at = datetime(2027, 1, 2, 9, tzinfo=UTC)
    seconds = Lowest(REJECTION_SECONDS)

    for _ in seconds:
        begun = time.process_time()
        Rule(rule).occurs_on_or_after(due_at)
        seconds.add(time.process_time() - begun)

    assert seconds.value <= REJECTION_SECONDS


def test_a_rule_stops_when_the_budget_is_exhausted() -> None:
    rule, due_at = Rule("FREQ=DAILY;BYMONTHDAY=31"), datetime(2027, 1, 2, 9, tzinfo=UTC)
    budget = Budget(60)
    assert rule.next(due_at, None, BERLIN, budget) is not None

    budget.cancel()

    with pytest.raises(BudgetExceededError):
        rule.next(due_at, None, BERLIN, budget)
    with pytest.raises(BudgetExceededError):
        rule.occurs_on_or_after(due_at, budget)


async def test_a_rule_requires_a_due_date(ada: Person) -> None:
    assert_problem(await ada.post("/v1/todos", json={"title": "x", "recurrence": "FREQ=DAILY"}), 422, "/recurrence")
    todo = await ada.todo(due_at="2027-01-31T09:00:00Z", recurrence="rrule:freq=daily")
    assert todo["recurrence"] == "FREQ=DAILY"

    assert_problem(await ada.patch(f"/v1/todos/{todo['id']}", json={"due_at": None}), 422, "/due_at")
    cleared = await ada.patch(f"/v1/todos/{todo['id']}", json={"due_at": None, "recurrence": None})
    assert cleared.json()["recurrence"] is None


async def test_completing_a_recurring_todo_advances_it_in_the_account_s_time_zone(ada: Person) -> None:
    await ada.patch("/v1/users/me", json={"time_zone": "Europe/Berlin"})
    steps = [{"title": "Fill the can", "completed": True}]
    todo = await ada.todo(due_at="2027-03-27T09:00:00+01:00", recurrence="FREQ=DAILY;COUNT=3", steps=steps)

    first = (await ada.post(f"/v1/todos/{todo['id']}/complete")).json()
    second = (await ada.post(f"/v1/todos/{todo['id']}/complete")).json()
    third = (await ada.post(f"/v1/todos/{todo['id']}/complete")).json()

    assert (first["due_at"], first["completed"], first["version"]) == ("2027-03-28T07:00:00.000Z", False, 2)
    assert first["recurrence"] == "FREQ=DAILY;COUNT=2"
    assert first["steps"] == [{"id": todo["steps"][0]["id"], "title": "Fill the can", "completed": False}]
    assert second["due_at"] == "2027-03-29T07:00:00.000Z"
    assert (third["due_at"], third["completed"]) == ("2027-03-29T07:00:00.000Z", True)
    assert third["completed_at"] is not None


async def test_completing_and_reopening_are_idempotent(ada: Person) -> None:
    todo = await ada.todo()

    done = await ada.post(f"/v1/todos/{todo['id']}/complete")
    again = await ada.post(f"/v1/todos/{todo['id']}/complete")
    opened = await ada.post(f"/v1/todos/{todo['id']}/reopen")

    assert done.status_code == again.status_code == opened.status_code == 200
    assert done.json() == again.json()
    assert done.json()["completed_at"] is not None
    assert done.headers["etag"] == '"2"'
    assert (opened.json()["completed"], opened.json()["completed_at"]) == (False, None)
    assert (await ada.post(f"/v1/todos/{todo['id']}/reopen")).json()["version"] == 3


@pytest.mark.parametrize("call", ["complete", "reopen"])
async def test_completing_rejects_other_accounts_and_stale_entity_tags(ada: Person, bob: Person, call: str) -> None:
    todo = await ada.todo()

    assert_problem(await bob.post(f"/v1/todos/{todo['id']}/{call}"), 404)
    assert_problem(await ada.post(f"/v1/todos/nonsense/{call}"), 404)
    assert_problem(await ada.post(f"/v1/todos/{todo['id']}/{call}", headers={"If-Match": '"7"'}), 412)


async def test_steps_keep_given_ids_and_get_missing_ones(ada: Person) -> None:
    given = {"id": "65f1a2b3c4d5e6f708192a3b", "title": "  First  ", "completed": True}
    todo = await ada.todo(steps=[given, {"title": "Second"}])

    first, second = todo["steps"]
    assert first == given | {"title": "First"}
    assert len(second["id"]) == 24
    assert second["completed"] is False
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json() == todo
    same = await ada.patch(f"/v1/todos/{todo['id']}", json={"steps": todo["steps"]})
    assert same.json()["version"] == 1
    assert (await ada.patch(f"/v1/todos/{todo['id']}", json={"steps": None})).json()["steps"] == []


@pytest.mark.parametrize(
    ("steps", "place"),
    [
        ([{"title": " "}], "/steps/0/title"),
        ([{"title": "x"}, {"title": "x" * 201}], "/steps/1/title"),
        ([{"title": "x", "id": "1"}], "/steps/0/id"),
        ([{"title": "x", "id": "65f1a2b3c4d5e6f708192a3b"}] * 2, "/steps/1/id"),
        ([{"title": "x", "done": True}], "/steps/0/done"),
        ([{"title": "x"}] * 101, "/steps"),
    ],
)
async def test_an_invalid_step_is_named(ada: Person, steps: list[object], place: str) -> None:
    assert_problem(await ada.post("/v1/todos", json={"title": "x", "steps": steps}), 422, place)
