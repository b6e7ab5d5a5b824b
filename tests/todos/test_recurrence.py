"""Steps, recurrence, completing and reopening."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from tests.people import Person, assert_problem
from tests.todos.recurrence_vectors import DEVIATIONS, NEVER_OCCUR, Vector, load_vectors

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
CYCLE = 400
"""The number of years after which the Gregorian calendar repeats."""


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("", "parts"),
        ("weekly", "parts"),
        ("FREQ=HOURLY", "FREQ"),
        ("FREQ=DAILY;BYHOUR=10", "BYHOUR"),
        ("FREQ=DAILY;BYMINUTE=0;BYHOUR=9,18", "BYHOUR"),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ"),
        ("FREQ=DAILY;RSCALE=GREGORIAN", "RSCALE"),
        ("FREQ=DAILY;COUNT=0", "COUNT"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20280101", "COUNT or UNTIL"),
        ("FREQ=DAILY;UNTIL=20271301", "UNTIL"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL"),
        ("FREQ=WEEKLY;BYDAY=1MO", "BYDAY"),
        ("FREQ=MONTHLY;BYDAY=1MO,FR", "BYDAY"),
        ("FREQ=YEARLY;BYWEEKNO=20", "BYWEEKNO"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "a rule that occurs"),
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=31", "a rule that occurs"),
        ("FREQ=DAILY;INTERVAL=7;BYDAY=MO", "a rule that occurs"),
        ("FREQ=MONTHLY;BYDAY=5MO;BYMONTHDAY=1", "a rule that occurs"),
        ("FREQ=DAILY;UNTIL=20200101", "a rule that occurs"),
        ("FREQ=WEEKLY;BYDAY=MO;UNTIL=20270131T235959", "a rule that occurs"),
        ("FREQ=DAILY;" + "BYMONTH=1;" * 100, ""),
    ],
)
async def test_an_invalid_rule_and_one_that_never_occurs_are_rejected(ada: Person, rule: str, name: str) -> None:
    todo = {"title": "x", "due_at": "2027-01-31T09:00:00Z", "recurrence": rule}

    problem = assert_problem(await ada.post("/v1/todos", json=todo), 422, "/recurrence")

    assert name in problem["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("rule", "canonical"),
    [
        ("rrule:freq=weekly;wkst=mo;byday=fr, mo;interval=1;", "FREQ=WEEKLY;BYDAY=MO,FR"),
        ("FREQ=DAILY;BYHOUR=20;BYMINUTE=0;BYSECOND=0", "FREQ=DAILY"),
        ("UNTIL=20271120;FREQ=WEEKLY;BYDAY=MO", "FREQ=WEEKLY;BYDAY=MO;UNTIL=20271120"),
        ("FREQ=DAILY;UNTIL=20271115", "FREQ=DAILY;UNTIL=20271115"),
        ("FREQ=DAILY;UNTIL=20271115T200000", "FREQ=DAILY;UNTIL=20271115T200000"),
        ("FREQ=DAILY;UNTIL=20271116T010000Z", "FREQ=DAILY;UNTIL=20271116T010000Z"),
        ("FREQ=MONTHLY;BYSETPOS=-1;BYDAY=FR,MO", "FREQ=MONTHLY;BYDAY=MO,FR;BYSETPOS=-1"),
    ],
)
async def test_a_rule_is_canonical_and_judged_in_the_time_zone(
    ada: Person, bob: Person, rule: str, canonical: str
) -> None:
    for person in (ada, bob):
        await person.patch("/v1/users/me", json={"time_zone": "America/New_York"})

    todo = await ada.todo(due_at="2027-11-15T20:00:00-05:00", recurrence=rule)
    same = await ada.patch(f"/v1/todos/{todo['id']}", json={"recurrence": rule})

    assert todo["recurrence"] == canonical
    assert same.json() == todo
    exported = await ada.get("/v1/todos/export", params={"format": "json"})
    await bob.post("/v1/todos/import", headers={"Content-Type": "application/json"}, content=exported.content)
    (imported,) = (await bob.get("/v1/todos")).json()["items"]
    assert imported["recurrence"] == canonical


async def test_a_change_that_ends_a_rule_before_the_due_date_is_rejected(ada: Person) -> None:
    todo = await ada.todo(due_on="2027-11-15", recurrence="FREQ=DAILY;UNTIL=20271116")
    path = f"/v1/todos/{todo['id']}"

    assert_problem(await ada.patch(path, json={"due_on": "2027-11-17"}), 422, "/recurrence")
    assert_problem(await ada.patch(path, json={"recurrence": "FREQ=DAILY;BYHOUR=9"}), 422, "/recurrence")
    moved = await ada.patch(path, json={"due_on": "2027-11-16", "start_on": "2027-11-10"})
    assert moved.json()["due_on"] == "2027-11-16"
    assert_problem(await ada.patch(path, json={"start_on": "2027-11-18"}), 422)
    assert (await ada.get(path)).json() == moved.json()


async def test_the_rules_of_seven_libraries_have_their_occurrences_when_todos_are_completed(ada: Person) -> None:
    vectors = [
        vector
        for vector in load_vectors()
        if not vector.outside and vector.rule not in NEVER_OCCUR and (vector.source, vector.rule) not in DEVIATIONS
    ]
    assert len(vectors) == 317

    for begin in range(0, len(vectors), 100):
        await complete_all(ada, vectors[begin : begin + 100])


async def complete_all(person: Person, vectors: Sequence[Vector]) -> None:
    """Create a todo for each vector, due at its first occurrence, and complete it until its last one."""
    todos = [
        {
            "title": vector.source,
            "due_at": postpone(vector, 0).isoformat(),
            "time_zone": vector.zone.key,
            "recurrence": re.sub(r"UNTIL=(\d{4})", lambda match: f"UNTIL={int(match[1]) + CYCLE}", vector.rule),
        }
        for vector in vectors
    ]
    created = await run_batch(person, [{"op": "create", "todo": todo} for todo in todos])
    pairs = [(vector, todo["id"]) for vector, todo in zip(vectors, created, strict=True)]
    place = 1
    while walking := [each for each in pairs if place < len(each[0].occurrences) + each[0].ends]:
        completed = await run_batch(person, [{"op": "complete", "id": todo_id} for _, todo_id in walking])
        for (vector, _), todo in zip(walking, completed, strict=True):
            if place < len(vector.occurrences):
                assert datetime.fromisoformat(todo["due_at"]) == postpone(vector, place), vector
            assert todo["completed"] is (place == len(vector.occurrences)), vector
        place += 1


def postpone(vector: Vector, place: int) -> datetime:
    """Return an occurrence of a vector some centuries later, so that it is not in the past."""
    local = vector.occurrences[place].astimezone(vector.zone)
    return local.replace(year=local.year + CYCLE, fold=0)


async def run_batch(person: Person, operations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run operations that succeed, and return the todos."""
    results = (await person.post("/v1/todos/batch", json={"operations": operations})).json()["results"]
    assert all(result["status"] < 300 for result in results), results
    return [result["todo"] for result in results]


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
