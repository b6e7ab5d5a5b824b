"""Batches: many operations in one call, each with its own answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.people import Person, assert_problem

pytestmark = pytest.mark.anyio


async def batch(person: Person, *operations: Any) -> list[dict[str, Any]]:
    answer = await person.post("/v1/todos/batch", json={"operations": operations})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    assert len(results) == len(operations)
    return results


async def test_each_operation_is_answered_in_order(ada: Person) -> None:
    first, second, third = [await ada.todo(title=title) for title in ("first", "second", "third")]

    results = await batch(
        ada,
        {"op": "create", "todo": {"title": "new"}},
        {"op": "update", "id": first["id"], "todo": {"title": "changed"}, "if_match": '"1"'},
        {"op": "delete", "id": second["id"]},
        {"op": "complete", "id": third["id"]},
        {"op": "reopen", "id": third["id"]},
    )

    assert [result["status"] for result in results] == [201, 200, 204, 200, 200]
    assert [result.get("todo", {}).get("title") for result in results] == ["new", "changed", None, "third", "third"]
    assert results[3]["todo"]["completed"] is True
    assert results[4]["todo"]["completed"] is False
    assert await ada.titles() == ["changed", "third", "new"]


async def test_one_failure_fails_no_other(ada: Person, bob: Person) -> None:
    todo, foreign = await ada.todo(), await bob.todo()

    results = await batch(
        ada,
        {"op": "create", "todo": {"title": " "}},
        {"op": "create", "todo": {"title": "x", "tags": [7]}},
        {"op": "create", "todo": {"title": "x", "owner": foreign["id"]}},
        {"op": "update", "id": foreign["id"], "todo": {"title": "mine"}},
        {"op": "update", "id": todo["id"], "todo": {"title": "x"}, "if_match": '"7"'},
        {"op": "delete", "id": "nonsense"},
        {"op": "burn", "id": todo["id"]},
        {"op": "delete"},
        {"op": "delete", "id": todo["id"], "todo": {}},
        {"op": "create", "todo": {"title": "x"}, "if_match": "*"},
        {"op": "complete", "id": todo["id"], "if_match": "nonsense"},
        7,
        None,
        {"op": "create", "todo": {"title": "last"}},
    )

    assert [result["status"] for result in results] == [422, 422, 422, 404, 412, 404, *[422] * 7, 201]
    places = [
        [error.get("pointer", "") for error in result["problem"].get("errors", [])]
        for result in results
        if "problem" in result
    ]
    assert places == [
        ["/operations/0/todo/title"],
        ["/operations/1/todo/tags/0"],
        ["/operations/2/todo/owner"],
        [],
        [],
        [],
        ["/operations/6/op"],
        ["/operations/7/id"],
        ["/operations/8/todo"],
        ["/operations/9/if_match"],
        ["/operations/10/if_match"],
        ["/operations/11"],
        ["/operations/12"],
    ]
    assert all(result["problem"]["status"] == result["status"] for result in results[:-1])
    assert all(result["problem"]["instance"] == "/v1/todos/batch" for result in results[:-1])
    assert await ada.titles() == ["Water the plants", "last"]
    assert await bob.titles() == ["Water the plants"]


async def test_a_hundred_are_the_most(ada: Person) -> None:
    one = {"op": "create", "todo": {"title": "x"}}

    assert [result["status"] for result in await batch(ada, *[one] * 100)] == [201] * 100
    answer = await ada.post("/v1/todos/batch", json={"operations": [one] * 101})
    assert_problem(answer, 422, "/operations")
    assert await batch(ada) == []
    assert len((await ada.get("/v1/todos", params={"limit": 200})).json()["items"]) == 100


@pytest.mark.parametrize(
    ("body", "status", "places"),
    [
        ({}, 422, ["/operations"]),
        ({"operations": {}}, 422, ["/operations"]),
        ({"operations": [], "atomic": True}, 422, ["/atomic"]),
        ([], 422, [""]),
    ],
)
async def test_a_body_that_is_no_batch_is_refused(ada: Person, body: object, status: int, places: list[str]) -> None:
    problem = assert_problem(await ada.post("/v1/todos/batch", json=body), status)

    assert [error.get("pointer", "") for error in problem["errors"]] == places


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b'{"operations": [{"op": "create", "todo": {"title": "a\\u0000b"}}]}', 422),
        (b'{"operations": [{"op": "create", "todo": {"title": "\\ud800"}}]}', 400),
        (b'{"operations": [{"op": "create", "todo": {"title": "\xff"}}]}', 400),
        (b'{"operations": [{"op": "create", "todo": ' + b"[" * 80 + b"]" * 80 + b"}]}", 400),
    ],
)
async def test_a_text_that_cannot_be_read_writes_nothing(ada: Person, text: bytes, status: int) -> None:
    answer = await ada.post("/v1/todos/batch", content=text, headers={"Content-Type": "application/json"})

    if answer.status_code == 200:
        assert [result["status"] for result in answer.json()["results"]] == [status]
    else:
        assert_problem(answer, status)
    assert await ada.titles() == []
