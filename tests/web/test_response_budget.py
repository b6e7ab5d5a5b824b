"""The budget for stored responses to requests with an `Idempotency-Key`."""

from __future__ import annotations

import asyncio

import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person, assert_problem
from todo_service.bounds.requests import STORED_RESPONSES_BYTES
from todo_service.idempotency.response_budget import RECORD_BYTES, ResponseBudget
from todo_service.store.instrumentation import observe
from todo_service.web.problems import ProblemError

pytestmark = pytest.mark.anyio

TODO = {"title": "Water the plants"}
FIRST, SECOND = {"Idempotency-Key": "first"}, {"Idempotency-Key": "second"}


async def test_exhausted_budget_rejects_only_requests_with_a_key(ada: Person, bob: Person, app: Litestar) -> None:
    created = await ada.post("/v1/todos", json=TODO, headers=FIRST)
    app.state.response_budget.add(await ada.account_id(), STORED_RESPONSES_BYTES)

    problem = await ada.post("/v1/todos", json=TODO, headers=SECOND)
    again = await ada.post("/v1/todos", json=TODO, headers=FIRST)
    without_key = await ada.post("/v1/todos", json=TODO)
    of_another = await bob.post("/v1/todos", json=TODO, headers=SECOND)

    assert_problem(problem, 429)
    assert int(problem.headers["retry-after"]) > 0
    assert (again.status_code, again.json()) == (201, created.json())
    assert (without_key.status_code, of_another.status_code) == (201, 201)
    assert len(await ada.titles()) == 2


async def leave_room_for_one_record(person: Person, app: Litestar) -> None:
    app.state.response_budget.add(await person.account_id(), STORED_RESPONSES_BYTES - RECORD_BYTES)


async def test_stored_response_counts_against_the_budget(ada: Person, app: Litestar) -> None:
    app.state.response_budget.add(await ada.account_id(), STORED_RESPONSES_BYTES - RECORD_BYTES - 1)

    assert (await ada.post("/v1/todos", json=TODO, headers=FIRST)).status_code == 201
    assert_problem(await ada.post("/v1/todos", json=TODO, headers=SECOND), 429)


async def test_record_of_a_request_whose_response_is_not_stored_counts_against_the_budget(
    ada: Person, app: Litestar
) -> None:
    await leave_room_for_one_record(ada, app)

    created = await ada.post("/v1/api-keys", json={"name": "backup", "scope": "read"}, headers=FIRST)
    again = await ada.post("/v1/api-keys", json={"name": "backup", "scope": "read"}, headers=FIRST)

    assert (created.status_code, again.status_code) == (201, 201)
    assert again.json()["secret"] == created.json()["secret"]
    assert_problem(await ada.post("/v1/api-keys", json={"name": "another", "scope": "read"}, headers=SECOND), 429)


async def test_record_of_a_request_that_breaks_off_counts_against_the_budget(ada: Person, app: Litestar) -> None:
    await leave_room_for_one_record(ada, app)
    stopped = asyncio.create_task(ada.post("/v1/todos", json=TODO, headers=FIRST))

    def stop_after_insert(operation: str, seconds: float, available: bool) -> None:
        if operation == "insert":
            stopped.cancel()

    observe(app.state.store, stop_after_insert)
    await asyncio.wait([stopped])

    assert stopped.cancelled()
    assert_problem(await ada.post("/v1/todos", json=TODO, headers=SECOND), 429)


async def test_rejected_request_has_no_record_and_does_not_count(ada: Person, app: Litestar) -> None:
    await leave_room_for_one_record(ada, app)

    for number in range(3):
        rejected = await ada.post("/v1/todos", json={"title": ""}, headers={"Idempotency-Key": f"rejected-{number}"})
        assert_problem(rejected, 422)

    assert (await ada.post("/v1/todos", json=TODO, headers=FIRST)).status_code == 201


def test_budget_resets_when_its_window_ends() -> None:
    owner = ObjectId()
    budgets = [ResponseBudget(limit=1000, seconds=seconds) for seconds in (0, 3600)]
    for budget in budgets:
        budget.add(owner, 2000)

    budgets[0].add_record(owner)
    with pytest.raises(ProblemError):
        budgets[1].add_record(owner)


def test_deleted_records_make_room() -> None:
    budget, owner = ResponseBudget(limit=2 * RECORD_BYTES), ObjectId()
    budget.add_record(owner)
    budget.add_record(owner)
    with pytest.raises(ProblemError):
        budget.add_record(owner)

    budget.remove_record(owner)

    budget.add_record(owner)
