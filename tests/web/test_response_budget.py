"""The budget for stored responses to requests with an `Idempotency-Key`."""

from __future__ import annotations

import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person, assert_problem
from todo_service.bounds.requests import STORED_RESPONSES_BYTES
from todo_service.idempotency.response_budget import ResponseBudget
from todo_service.web.problems import ProblemError

pytestmark = pytest.mark.anyio

TODO = {"title": "Water the plants"}
FIRST, SECOND = {"Idempotency-Key": "first"}, {"Idempotency-Key": "second"}


async def get_user_id(person: Person) -> ObjectId:
    return ObjectId((await person.get("/v1/users/me")).json()["id"])


async def test_exhausted_budget_rejects_only_requests_with_a_key(ada: Person, bob: Person, app: Litestar) -> None:
    created = await ada.post("/v1/todos", json=TODO, headers=FIRST)
    app.state.response_budget.add(await get_user_id(ada), STORED_RESPONSES_BYTES)

    problem = await ada.post("/v1/todos", json=TODO, headers=SECOND)
    again = await ada.post("/v1/todos", json=TODO, headers=FIRST)
    without_key = await ada.post("/v1/todos", json=TODO)
    of_another = await bob.post("/v1/todos", json=TODO, headers=SECOND)

    assert_problem(problem, 429)
    assert int(problem.headers["retry-after"]) > 0
    assert (again.status_code, again.json()) == (201, created.json())
    assert (without_key.status_code, of_another.status_code) == (201, 201)
    assert len(await ada.titles()) == 2


async def test_stored_response_counts_against_the_budget(ada: Person, app: Litestar) -> None:
    app.state.response_budget.add(await get_user_id(ada), STORED_RESPONSES_BYTES - 1000)

    assert (await ada.post("/v1/todos", json=TODO, headers=FIRST)).status_code == 201
    assert_problem(await ada.post("/v1/todos", json=TODO, headers=SECOND), 429)


def test_budget_resets_after_a_day() -> None:
    budget, owner = ResponseBudget(limit=1000, seconds=0), ObjectId()
    budget.add(owner, 2000)

    budget.require_available(owner)


def test_budget_includes_the_size_of_the_record() -> None:
    budget, owner = ResponseBudget(limit=1000), ObjectId()
    budget.add(owner, 1)
    budget.require_available(owner)
    budget.add(owner, 1)

    with pytest.raises(ProblemError):
        budget.require_available(owner)
