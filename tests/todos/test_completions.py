"""Completing recurring todos, the completions that are kept, and taking the last one back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person, assert_problem
from todo_service.store.base import DocumentStore
from todo_service.todos.documents import Todo

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
TOKYO = ZoneInfo("Asia/Tokyo")
DAILY = {"due_at": "2027-01-31T09:00:00Z", "recurrence": "FREQ=DAILY"}
PAST = "2026-01-31T10:00:00.000Z"


async def complete(person: Person, todo: dict[str, Any], **body: Any) -> dict[str, Any]:
    """Complete a todo, with a body if one is given, and return it."""
    response = await person.post(f"/v1/todos/{todo['id']}/complete", **({"json": body} if body else {}))
    assert response.status_code == 200, response.text
    completed: dict[str, Any] = response.json()
    return completed


async def reopen(person: Person, todo: dict[str, Any]) -> dict[str, Any]:
    response = await person.post(f"/v1/todos/{todo['id']}/reopen")
    assert response.status_code == 200, response.text
    opened: dict[str, Any] = response.json()
    return opened


async def list_completions(person: Person, todo: dict[str, Any]) -> list[dict[str, Any]]:
    response = await person.get(f"/v1/todos/{todo['id']}/completions")
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


def drop_version(todo: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in todo.items() if name not in ("version", "updated_at")}


async def test_missed_occurrences_are_skipped_and_use_up_the_count(ada: Person) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    due_at = now - timedelta(days=16, hours=-1)
    todo = await ada.todo(due_at=due_at.isoformat(), recurrence="FREQ=DAILY;COUNT=30", time_zone="UTC")

    completed = await complete(ada, todo)

    assert datetime.fromisoformat(completed["due_at"]) == due_at + timedelta(days=16)
    assert completed["recurrence"] == "FREQ=DAILY;COUNT=14"
    assert not completed["completed"]
    late = await ada.todo(due_at=due_at.isoformat(), recurrence="FREQ=DAILY;COUNT=16", time_zone="UTC")
    assert (await complete(ada, late))["completed"]


async def test_a_day_is_not_in_the_past_until_it_ends_in_its_time_zone(ada: Person) -> None:
    today = datetime.now(TOKYO).date()
    long_ago = str(today - timedelta(days=9))
    todo = await ada.todo(due_on=long_ago, start_on=long_ago, time_zone="Asia/Tokyo", recurrence="FREQ=DAILY")

    completed = await complete(ada, todo)

    expected = {str(today), str(datetime.now(TOKYO).date())}
    assert completed["due_on"] in expected
    assert completed["start_on"] == completed["due_on"]
    assert completed["due_at"] is None


async def test_start_and_due_date_keep_their_distance(ada: Person) -> None:
    todo = await ada.todo(
        start_at="2027-03-27T08:00:00+01:00",
        due_at="2027-03-27T17:00:00+01:00",
        time_zone="Europe/Berlin",
        recurrence="FREQ=WEEKLY;BYDAY=SA,SU",
    )

    completed = await complete(ada, todo)

    # summer time has begun
    assert (completed["start_at"], completed["due_at"]) == ("2027-03-28T06:00:00.000Z", "2027-03-28T15:00:00.000Z")


async def test_a_skipped_local_time_returns_after_the_beginning_of_summer_time(ada: Person) -> None:
    todo = await ada.todo(due_at="2027-03-27T02:30:00+01:00", time_zone="Europe/Berlin", recurrence="FREQ=DAILY")

    skipped = await complete(ada, todo)
    back = await complete(ada, skipped)
    undone = await reopen(ada, back)
    again = await complete(ada, undone)

    assert skipped["due_at"] == "2027-03-28T01:30:00.000Z"
    assert back["due_at"] == again["due_at"] == "2027-03-29T00:30:00.000Z"
    assert undone["due_at"] == skipped["due_at"]


@pytest.mark.parametrize("call", ["patch", "update", "complete", "batch"])
async def test_every_way_to_complete_does_the_same(ada: Person, call: str) -> None:
    steps = [{"title": "Fill the can", "completed": True}]
    todo = await ada.todo(**DAILY, steps=steps)
    path, given = f"/v1/todos/{todo['id']}", {"completed_at": "2026-01-31T11:00:00+01:00"}

    match call:
        case "patch":
            response = await ada.patch(path, json={"completed": True} | given)
            completed = response.json()
        case "complete":
            completed = await complete(ada, todo, **given)
        case _:
            operation: dict[str, Any] = {"op": "complete", "id": todo["id"]} | given
            if call == "update":
                operation = {"op": "update", "id": todo["id"], "todo": {"completed": True} | given}
            answer = await ada.post("/v1/todos/batch", json={"operations": [operation]})
            completed = answer.json()["results"][0]["todo"]

    assert drop_version(completed) == drop_version(todo) | {
        "due_at": "2027-02-01T09:00:00.000Z",
        "last_completed_at": PAST,
        "steps": [todo["steps"][0] | {"completed": False}],
    }
    assert completed["version"] == 2
    assert await list_completions(ada, todo) == [{"completed_at": PAST, "due_at": "2027-01-31T09:00:00.000Z"}]


async def test_a_patch_completes_the_todo_after_its_other_changes(ada: Person) -> None:
    todo = await ada.todo(**DAILY)
    path = f"/v1/todos/{todo['id']}"

    weekly = await ada.patch(
        path, json={"completed": True, "recurrence": "FREQ=WEEKLY", "due_at": "2027-03-01T09:00:00Z"}
    )
    once = await ada.patch(path, json={"completed": True, "recurrence": None, "completed_at": PAST})
    later = await ada.patch(path, json={"completed": True, "completed_at": "2026-02-01T00:00:00Z"})
    opened = await ada.patch(path, json={"completed": False, "title": "Again"})

    assert (weekly.json()["due_at"], weekly.json()["completed"]) == ("2027-03-08T09:00:00.000Z", False)
    assert (once.json()["completed"], once.json()["completed_at"]) == (True, PAST)
    assert later.json()["completed_at"] == "2026-02-01T00:00:00.000Z"
    assert (opened.json()["completed"], opened.json()["completed_at"], opened.json()["title"]) == (False, None, "Again")


async def test_a_completion_has_the_time_of_its_change(ada: Person) -> None:
    todo = await ada.todo(due_on="2027-01-31")

    for number in range(20):
        # finding an occurrence takes time between reading the clock and completing the todo
        change = {"completed": True, "recurrence": f"FREQ=MONTHLY;INTERVAL={number + 1}"}
        completed = (await ada.patch(f"/v1/todos/{todo['id']}", json=change)).json()
        assert completed["last_completed_at"] == completed["updated_at"]


async def test_a_time_of_completion_in_the_future_is_rejected(ada: Person) -> None:
    todo = await ada.todo(**DAILY)
    path, future = f"/v1/todos/{todo['id']}", {"completed_at": "2100-01-01T00:00:00Z"}

    assert_problem(await ada.post(f"{path}/complete", json=future), 422, "/completed_at")
    assert_problem(await ada.patch(path, json={"completed": True} | future), 422, "/completed_at")
    assert_problem(await ada.patch(path, json={"completed_at": PAST}), 422, "/completed_at")
    assert_problem(await ada.patch(path, json={"completed": False, "completed_at": PAST}), 422, "/completed_at")
    operations = [
        {"op": "complete", "id": todo["id"]} | future,
        {"op": "update", "id": todo["id"], "todo": {"completed": True} | future},
        {"op": "reopen", "id": todo["id"], "completed_at": PAST},
    ]
    results = (await ada.post("/v1/todos/batch", json={"operations": operations})).json()["results"]
    assert [result["problem"]["errors"][0]["pointer"] for result in results] == [
        "/operations/0/completed_at",
        "/operations/1/todo/completed_at",
        "/operations/2/completed_at",
    ]
    assert (await ada.get(path)).json() == todo


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z"])
async def test_a_time_of_completion_that_cannot_be_stored_is_rejected(ada: Person, moment: str) -> None:
    fields = {"recurrence_from": "completion", "time_zone": "America/New_York"}
    todo, given = await ada.todo(**DAILY, **fields), {"completed_at": moment}
    path = f"/v1/todos/{todo['id']}"
    operation = {"op": "complete", "id": todo["id"]} | given

    assert_problem(await ada.post(f"{path}/complete", json=given), 422, "/completed_at")
    assert_problem(await ada.patch(path, json={"completed": True} | given), 422, "/completed_at")
    [result] = (await ada.post("/v1/todos/batch", json={"operations": [operation]})).json()["results"]
    assert result["status"] == 422
    assert (await ada.get(path)).json() == todo
    earliest = await complete(ada, todo, completed_at="1970-01-01T00:00:00Z")
    assert earliest["due_at"] == "1970-01-01T09:00:00.000Z"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 200),
        (b"{}", 200),
        (b"null", 200),
        (b'{"completed_at": null}', 200),
        (b"{", 400),
        (b"[]", 422),
        (b'{"completed_at": 0}', 422),
        (b'{"completed": true}', 422),
    ],
)
async def test_the_body_of_complete_is_optional(ada: Person, content: bytes, status: int) -> None:
    todo = await ada.todo(**DAILY)

    headers = {"Content-Type": "application/json"}
    response = await ada.post(f"/v1/todos/{todo['id']}/complete", content=content, headers=headers)

    assert response.status_code == status, response.text


async def test_reopening_takes_the_last_completion_back_once(ada: Person) -> None:
    steps = [{"title": "Fill the can", "completed": True}, {"title": "Water"}]
    todo = await ada.todo(
        start_on="2027-01-30", due_on="2027-01-31", recurrence="FREQ=DAILY;COUNT=5", time_zone="Asia/Tokyo", steps=steps
    )
    first = await complete(ada, todo, completed_at=PAST)
    path = f"/v1/todos/{todo['id']}"
    checked = [step | {"completed": True} for step in first["steps"]]
    changed = (await ada.patch(path, json={"steps": checked[1:], "title": "Water everything"})).json()
    second = await complete(ada, changed)
    assert [each["due_on"] for each in await list_completions(ada, todo)] == ["2027-02-01", "2027-01-31"]

    undone = await reopen(ada, second)
    again = await reopen(ada, second)

    assert drop_version(undone) == drop_version(changed)
    assert again == undone
    assert await list_completions(ada, todo) == [{"completed_at": PAST, "due_on": "2027-01-31"}]
    third = await complete(ada, again)
    assert (third["due_on"], third["recurrence"]) == (second["due_on"], second["recurrence"])
    overdue = (await ada.get("/v1/todos", params={"due_before": "2027-02-02T15:00:00Z"})).json()["items"]
    assert [each["id"] for each in overdue] == [todo["id"]]


async def test_a_todo_that_is_completed_for_good_can_be_reopened(ada: Person) -> None:
    todo = await ada.todo(
        due_on="2027-01-31", recurrence="FREQ=DAILY;COUNT=1", steps=[{"title": "x", "completed": True}]
    )

    done = await complete(ada, todo)
    assert (done["completed"], done["completed_at"]) == (True, done["last_completed_at"])
    assert await complete(ada, todo) == done
    assert await list_completions(ada, todo) == [{"completed_at": done["completed_at"], "due_on": "2027-01-31"}]
    opened = await reopen(ada, done)

    assert drop_version(opened) == drop_version(todo)
    assert await list_completions(ada, todo) == []
    done = (await ada.patch(f"/v1/todos/{todo['id']}", json={"completed": True})).json()
    opened = (await ada.patch(f"/v1/todos/{todo['id']}", json={"completed": False})).json()
    assert done["completed"]
    assert drop_version(opened) == drop_version(todo)


async def test_a_changed_time_of_completion_is_that_of_the_last_completion(ada: Person) -> None:
    todo = await ada.todo(due_on="2027-01-31", recurrence="FREQ=DAILY;COUNT=2")
    path = f"/v1/todos/{todo['id']}"
    first, _ = await complete(ada, todo), await complete(ada, todo)

    changed = (await ada.patch(path, json={"completed": True, "completed_at": PAST})).json()

    assert changed["completed_at"] == changed["last_completed_at"] == PAST
    assert await list_completions(ada, todo) == [
        {"completed_at": first["last_completed_at"], "due_on": "2027-01-31"},
        {"completed_at": PAST, "due_on": "2027-02-01"},
    ]
    assert (await ada.patch(path, json={"completed": True, "completed_at": PAST})).json() == changed
    assert drop_version(await reopen(ada, todo)) == drop_version(first)


async def test_the_last_completion_goes_when_a_todo_that_no_longer_recurs_is_reopened(ada: Person) -> None:
    todo = await ada.todo(due_on="2027-01-31", recurrence="FREQ=DAILY;COUNT=2")
    path = f"/v1/todos/{todo['id']}"
    for moment in (PAST, "2026-02-01T10:00:00.000Z"):
        await complete(ada, todo, completed_at=moment)
    found = await list_completions(ada, todo)

    await ada.patch(path, json={"recurrence": None})

    assert await list_completions(ada, todo) == found
    await reopen(ada, todo)
    assert await list_completions(ada, todo) == found[1:]
    await complete(ada, todo, completed_at=PAST)
    assert await list_completions(ada, todo) == [found[1] | {"due_on": "2027-02-01"}, found[1]]


async def test_without_a_completion_reopening_changes_nothing(ada: Person) -> None:
    todo = await ada.todo(**DAILY)
    assert await reopen(ada, todo) == todo
    assert await list_completions(ada, todo) == []

    completed = await complete(ada, todo)
    cleared = (await ada.patch(f"/v1/todos/{todo['id']}", json={"recurrence": None})).json()
    assert await reopen(ada, todo) == cleared
    weekly = (await ada.patch(f"/v1/todos/{todo['id']}", json={"recurrence": "FREQ=WEEKLY"})).json()
    assert await reopen(ada, todo) == weekly
    assert completed["due_at"] == weekly["due_at"]


async def test_a_todo_that_does_not_recur_has_a_completion_while_it_is_completed(ada: Person, bob: Person) -> None:
    todo = await ada.todo(due_on="2027-01-31")
    assert await list_completions(ada, todo) == []

    await complete(ada, todo, completed_at=PAST)

    assert await list_completions(ada, todo) == [{"completed_at": PAST, "due_on": "2027-01-31"}]
    plain = await complete(ada, await ada.todo())
    assert await list_completions(ada, plain) == [{"completed_at": plain["completed_at"]}]
    assert plain["last_completed_at"] is None
    await reopen(ada, todo)
    assert await list_completions(ada, todo) == []
    assert_problem(await bob.get(f"/v1/todos/{todo['id']}/completions"), 404)
    await ada.delete(f"/v1/todos/{todo['id']}")
    assert_problem(await ada.get(f"/v1/todos/{todo['id']}/completions"), 404)


async def test_the_last_hundred_completions_are_kept_whatever_their_times(ada: Person) -> None:
    todo = await ada.todo(**DAILY)
    # as if the clock were set back between every two
    times = [f"2026-01-{31 - number // 24:02}T{23 - number % 24:02}:00:00.000Z" for number in range(105)]
    for begin in (0, 50, 100):
        operations = [
            {"op": "complete", "id": todo["id"], "completed_at": moment} for moment in times[begin : begin + 50]
        ]
        results = (await ada.post("/v1/todos/batch", json={"operations": operations})).json()["results"]
        assert {result["status"] for result in results} == {200}

    found = await list_completions(ada, todo)

    assert [each["completed_at"] for each in found] == sorted(times[5:], reverse=True)
    assert len({each["due_at"] for each in found}) == 100
    current = (await ada.get(f"/v1/todos/{todo['id']}")).json()
    assert current["last_completed_at"] == times[-1]
    undone = await reopen(ada, current)
    assert undone["last_completed_at"] == times[-2]
    assert [each["completed_at"] for each in await list_completions(ada, todo)] == sorted(times[5:-1], reverse=True)


async def test_a_todo_can_recur_from_its_completion(ada: Person) -> None:
    todo = await ada.todo(
        due_on="2027-01-31",
        recurrence="FREQ=DAILY;INTERVAL=3;COUNT=3",
        recurrence_from="completion",
        time_zone="Asia/Tokyo",
    )

    before = datetime.now(TOKYO).date()
    completed = await complete(ada, todo)
    after = datetime.now(TOKYO).date()

    assert before <= date.fromisoformat(completed["due_on"]) - timedelta(days=3) <= after
    assert completed["recurrence"] == "FREQ=DAILY;INTERVAL=3;COUNT=2"
    earlier = await complete(ada, completed, completed_at="2026-01-31T15:30:00Z")
    assert earlier["due_on"] == "2026-02-04"
    by_calendar = await ada.patch(f"/v1/todos/{todo['id']}", json={"recurrence_from": None})
    assert by_calendar.json()["recurrence_from"] == "due"


async def test_a_todo_does_not_occur_on_its_exceptions(ada: Person) -> None:
    exceptions = ["2027-02-01", "2027-02-02T10:00:00+01:00", "2027-02-02T09:00:00Z", "2027-02-03T09:00:01Z"]
    todo = await ada.todo(**DAILY, recurrence_except=exceptions)

    completed = await complete(ada, todo)

    assert todo["recurrence_except"] == ["2027-02-01", "2027-02-02T09:00:00.000Z", "2027-02-03T09:00:01.000Z"]
    assert completed["due_at"] == "2027-02-03T09:00:00.000Z"
    path = f"/v1/todos/{todo['id']}"
    for wrong, place in (
        (["2027-02-30"], "/recurrence_except/0"),
        (["2027-02-01", "2027-02-02T09:00:00"], "/recurrence_except/1"),
        (["today"], "/recurrence_except/0"),
        ([20270201], "/recurrence_except/0"),
        (["2027-02-01"] * 101, "/recurrence_except"),
    ):
        assert_problem(await ada.patch(path, json={"recurrence_except": wrong}), 422, place)


async def test_a_retry_completes_and_reopens_once(ada: Person) -> None:
    todo = await ada.todo(**DAILY)
    path = f"/v1/todos/{todo['id']}"
    await ada.post(f"{path}/complete")

    answers = [
        await ada.post(f"{path}/{call}", headers={"Idempotency-Key": call}, **body)
        for call, body in (("complete", {"json": {"completed_at": PAST}}), ("reopen", {}))
        for _ in range(2)
    ]
    conflict = await ada.post(f"{path}/complete", json={}, headers={"Idempotency-Key": "complete"})

    for first, again in (answers[:2], answers[2:]):
        assert first.status_code == 200
        assert first.json() == again.json()
        assert again.headers["Idempotency-Replayed"] == "true"
    assert_problem(conflict, 422)
    assert len(await list_completions(ada, todo)) == 1


async def test_a_rule_of_an_earlier_release_that_is_not_supported_is_named(ada: Person, app: Litestar) -> None:
    todo = await ada.todo(**DAILY)
    store: DocumentStore = app.state.store
    where = Todo.id == ObjectId(todo["id"])
    await store.update(Todo, where, changes={"recurrence": "FREQ=MONTHLY;BYDAY=MO,-1FR"})

    assert_problem(await ada.post(f"/v1/todos/{todo['id']}/complete"), 422, "/recurrence")
