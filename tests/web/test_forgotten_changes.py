"""`Idempotency-Key`: retries of changes of a todo or a list that had many other changes since."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person, assert_problem
from tests.web.attempts import KEY, crash_before_the_response
from todo_service.applied_changes import encode_change
from todo_service.bounds.todos import APPLIED_CHANGES
from todo_service.lists.documents import TodoList
from todo_service.store.base import DocumentStore
from todo_service.timestamps import now
from todo_service.todos.documents import Todo

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
MODELS: dict[str, Any] = {"todos": Todo, "lists": TodoList}


async def create_pair(ada: Person, kind: str) -> list[str]:
    """Create two todos or two lists, and return their ids."""
    if kind == "lists":
        return [(await ada.post("/v1/lists", json={"name": name})).json()["id"] for name in "ab"]
    daily = {"due_at": "2027-01-01T09:00:00Z", "recurrence": "FREQ=DAILY"}
    return [(await ada.todo(title=title, uid=f"uid-{title}", **daily))["id"] for title in "ab"]


async def record_changes(app: Litestar, kind: str, document_id: str, ago: timedelta) -> None:
    """Record as many changes of a document as it has room for."""
    store: DocumentStore = app.state.store
    recorded = [encode_change(now() - ago, ObjectId()) for _ in range(APPLIED_CHANGES)]
    model = MODELS[kind]
    assert await store.update(model, model.id == ObjectId(document_id), changes={"applied_change_ids": recorded})


def build_request(operation: str, first: str, second: str) -> tuple[str, Any]:
    """Return the path and the body of a request that changes the first of two documents."""
    match operation:
        case "complete":
            return f"/v1/todos/{first}/complete", {}
        case "move":
            return f"/v1/todos/{first}/move", {"after": second}
        case "move a list":
            return f"/v1/lists/{first}/move", {"after": second}
        case "import":
            return "/v1/todos/import?existing=update", [{"uid": "uid-a", "title": "imported"}]
    return "/v1/todos/batch", {"operations": [{"op": "complete", "id": first}]}


class Attempt(NamedTuple):
    """The first attempt of a request whose effect was undone, and whose response was lost.

    Attributes:
        path: The path of the request.
        body: The body of the request.
        document: The path of the document that it changes.
        field: A field that it changes.
        value: The value of the field before the attempt and after the effect was undone.
    """

    path: str
    body: Any
    document: str
    field: str
    value: Any


OPERATIONS = ["complete", "move", "move a list", "batch", "import"]


async def make_attempt(ada: Person, app: Litestar, operation: str, ago: timedelta) -> Attempt:
    """Make the first attempt of a request, and undo it.

    The document then records as many changes as it can, none of them that of the request.

    Args:
        ada: The client.
        app: The application.
        operation: One of `OPERATIONS`.
        ago: The age of the recorded changes.
    """
    kind = "lists" if operation == "move a list" else "todos"
    first, second = await create_pair(ada, kind)
    path, body = build_request(operation, first, second)
    document = f"/v1/{kind}/{first}"
    field = {"complete": "due_at", "batch": "due_at", "import": "title"}.get(operation, "position")
    value = (await ada.get(document)).json()[field]
    assert (await ada.post(path, json=body, headers=KEY)).status_code == 200
    await crash_before_the_response(app)
    await record_changes(app, kind, first, ago)
    assert (await ada.patch(document, json={field: value})).status_code == 200
    return Attempt(path, body, document, field, value)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_retry_has_no_second_effect_however_many_changes_followed(
    ada: Person, app: Litestar, operation: str
) -> None:
    attempt = await make_attempt(ada, app, operation, timedelta(0))
    later = (await ada.get(attempt.document)).json()

    for _ in range(2):
        again = await ada.post(attempt.path, json=attempt.body, headers=KEY)

        if operation == "batch":
            assert again.json()["results"][0]["problem"]["status"] == 410
        elif operation == "import":
            assert again.json()["rejected_count"] == 1
        else:
            assert_problem(again, 410)
    assert (await ada.get(attempt.document)).json() == later


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_retry_is_executed_if_the_first_attempt_had_no_effect(
    ada: Person, app: Litestar, operation: str
) -> None:
    """The document records as many changes as it can, but all of them are older than the first attempt."""
    attempt = await make_attempt(ada, app, operation, timedelta(minutes=2))

    again = await ada.post(attempt.path, json=attempt.body, headers=KEY)

    assert again.status_code == 200
    assert (await ada.get(attempt.document)).json()[attempt.field] != attempt.value


async def test_a_change_without_effect_is_recorded_for_a_day(ada: Person, app: Litestar) -> None:
    """The todo was changed last more than a day ago, which is no reason to forget the change."""
    store: DocumentStore = app.state.store
    todo = await ada.todo()
    path = f"/v1/todos/{todo['id']}"
    await store.update(Todo, Todo.id == ObjectId(todo["id"]), changes={"updated_at": now() - timedelta(hours=30)})

    await ada.post(f"{path}/reopen", headers=KEY)
    await crash_before_the_response(app)
    await ada.post(f"{path}/complete", headers={"Idempotency-Key": "another"})
    again = await ada.post(f"{path}/reopen", headers=KEY)

    assert again.json()["completed"] is True
    assert (await ada.get(path)).json()["completed"] is True
