"""Batches: many operations in one request, each with its own result."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person, assert_problem
from tests.serving import SECRET_KEY, run_on_both_stores, running_service
from todo_service.applied_changes import encode_change
from todo_service.bounds.todos import APPLIED_CHANGES
from todo_service.store.base import DocumentStore
from todo_service.timestamps import now
from todo_service.todos.documents import Todo

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


async def batch(person: Person, *operations: Any) -> list[dict[str, Any]]:
    response = await person.post("/v1/todos/batch", json={"operations": operations})
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    assert len(results) == len(operations)
    return results


async def test_results_are_in_the_order_of_the_operations(ada: Person) -> None:
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


async def test_a_failed_operation_does_not_fail_the_others(ada: Person, bob: Person) -> None:
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
    pointers = [
        [error.get("pointer", "") for error in result["problem"].get("errors", [])]
        for result in results
        if "problem" in result
    ]
    assert pointers == [
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


async def test_a_batch_has_at_most_a_hundred_operations(ada: Person) -> None:
    one = {"op": "create", "todo": {"title": "x"}}

    assert [result["status"] for result in await batch(ada, *[one] * 100)] == [201] * 100
    response = await ada.post("/v1/todos/batch", json={"operations": [one] * 101})
    assert_problem(response, 422, "/operations")
    assert await batch(ada) == []
    assert len((await ada.get("/v1/todos", params={"limit": 200})).json()["items"]) == 100


@pytest.mark.parametrize(
    ("body", "status", "pointers"),
    [
        ({}, 422, ["/operations"]),
        ({"operations": {}}, 422, ["/operations"]),
        ({"operations": [], "atomic": True}, 422, ["/atomic"]),
        ([], 422, [""]),
    ],
)
async def test_an_invalid_batch_is_rejected(ada: Person, body: object, status: int, pointers: list[str]) -> None:
    problem = assert_problem(await ada.post("/v1/todos/batch", json=body), status)

    assert [error.get("pointer", "") for error in problem["errors"]] == pointers


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b'{"operations": [{"op": "create", "todo": {"title": "a\\u0000b"}}]}', 422),
        (b'{"operations": [], "\\u0000": 1}', 422),
        (b'{"operations": [{"op": "create", "todo": {"title": "\\ud800"}}]}', 400),
        (b'{"operations": [{"op": "create", "todo": {"title": "\xff"}}]}', 400),
        (b'{"operations": [{"op": "create", "todo": ' + b"[" * 80 + b"]" * 80 + b"}]}", 400),
    ],
)
async def test_malformed_text_writes_nothing(ada: Person, text: bytes, status: int) -> None:
    response = await ada.post("/v1/todos/batch", content=text, headers={"Content-Type": "application/json"})

    if response.status_code == 200:
        assert [result["status"] for result in response.json()["results"]] == [status]
    else:
        assert_problem(response, status)
    assert await ada.titles() == []


@pytest.mark.parametrize(
    ("operation", "pointer"),
    [
        ({"op": "create", "todo": {"title": "a\0b"}}, "/operations/1/todo/title"),
        ({"op": "create", "todo": {"title": "x", "tags": ["a\0b"]}}, "/operations/1/todo/tags/0"),
        ({"op": "create", "todo": {"title": "x"}, "\0": 1}, "/operations/1"),
        ({"op": "complete", "id": "\0"}, "/operations/1/id"),
    ],
)
async def test_a_nul_fails_its_own_operation_only(ada: Person, operation: dict[str, Any], pointer: str) -> None:
    before, failed, after = await batch(
        ada, {"op": "create", "todo": {"title": "before"}}, operation, {"op": "create", "todo": {"title": "after"}}
    )

    assert (before["status"], failed["status"], after["status"]) == (201, 422, 201)
    assert [error["pointer"] for error in failed["problem"]["errors"]] == [pointer]
    assert await ada.titles() == ["before", "after"]


async def test_an_escaped_backslash_before_u0000_is_text(ada: Person) -> None:
    results = await batch(ada, {"op": "create", "todo": {"title": "a\\u0000b"}})

    assert results[0]["todo"]["title"] == "a\\u0000b"


async def test_a_repeated_batch_with_a_nul_has_the_same_results(ada: Person) -> None:
    body = {"operations": [{"op": "create", "todo": {"title": title}} for title in ("a", "b\0", "c")]}
    key = {"Idempotency-Key": "a-batch-with-a-nul"}

    first, repeated = [await ada.post("/v1/todos/batch", json=body, headers=key) for _ in range(2)]

    assert first.status_code == repeated.status_code == 200
    assert repeated.json() == first.json()
    assert await ada.titles() == ["a", "c"]


def test_repeating_a_batch_after_a_crash_applies_each_operation_once(tmp_path: Path, mongodb_url: str) -> None:
    run_on_both_stores(repeat_batch_after_a_crash, tmp_path, mongodb_url)


async def repeat_batch_after_a_crash(folder: Path, store_url: str) -> None:
    """The batch completes one todo a hundred times; the process is killed halfway."""
    variables = {"STORE_URL": store_url, "SECRET_KEY": SECRET_KEY}
    due = datetime(2027, 1, 1, 9, tzinfo=UTC)
    key = {"Idempotency-Key": "a-batch-that-is-killed"}
    with running_service(folder, variables) as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            ada = await Person.register(client)
            todo = await ada.todo(due_at=due.isoformat(), recurrence="FREQ=DAILY")
            path = f"/v1/todos/{todo['id']}"
            body = {"operations": [{"op": "complete", "id": todo["id"]}] * 100}
            sending = asyncio.create_task(ada.post("/v1/todos/batch", json=body, headers=key))
            # kill the process between the first and the last operation
            while (await ada.get(path)).json()["version"] < 30:
                assert not sending.done()
            service.process.kill()
            service.process.wait()
            with contextlib.suppress(httpx.TransportError):
                await sending
    with running_service(folder, variables) as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            ada.client = client
            assert (await ada.get(path)).json()["version"] < 101
            # real time: the lease of the killed process has to expire first
            while (response := await ada.post("/v1/todos/batch", json=body, headers=key)).status_code == 409:  # noqa: ASYNC110
                await asyncio.sleep(float(response.headers["Retry-After"]))
            after = (await ada.get(path)).json()

    assert response.status_code == 200
    assert [result["status"] for result in response.json()["results"]] == [200] * 100
    assert after["version"] == 101
    assert datetime.fromisoformat(after["due_at"]) == due + timedelta(days=100)


async def test_applied_change_ids_are_bounded_and_expire(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    todo = await ada.todo(due_at="2027-01-01T09:00:00Z", recurrence="FREQ=DAILY")
    body = {"operations": [{"op": "complete", "id": todo["id"]}] * 100}
    this = Todo.id == ObjectId(todo["id"])

    for number in range(3):
        assert (await ada.post("/v1/todos/batch", json=body, headers={"Idempotency-Key": str(number)})).is_success
    busy = await store.get(Todo, this)
    assert busy is not None
    assert len(busy.applied_change_ids) == APPLIED_CHANGES
    old = [encode_change(now() - timedelta(hours=26), each) for each in busy.applied_change_ids]
    await store.update(Todo, this, changes={"applied_change_ids": old})
    await ada.post(f"/v1/todos/{todo['id']}/complete", headers={"Idempotency-Key": "x"})

    later = await store.get(Todo, this)
    assert later is not None
    assert len(later.applied_change_ids) == 1
