"""The error for a field of a resource that its requests do not have says that it is read-only."""

from __future__ import annotations

import json

import pytest

from tests.openapi.document import Json, Operation, iterate_operations, resolve
from tests.people import Person, assert_problem
from todo_service.app import render_openapi_document

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
EXAMPLES = {
    "{todo_id}": ("todos", {"title": "x"}),
    "{list_id}": ("lists", {"name": "x"}),
    "{webhook_id}": ("webhooks", {"url": "https://192.0.66.1/hook", "events": ["todo.changed"]}),
}
"""For each parameter of a path, the collection and the fields of a new document."""
DOCUMENT: Json = json.loads(render_openapi_document("json"))


def find_body(operation: Operation) -> str:
    """Return the name of the component that the body of an operation is, or an empty text."""
    content = operation.raw.get("requestBody", {}).get("content", {}).get("application/json", {})
    return str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]


def list_read_only(operation: Operation) -> list[str]:
    """Return the fields of the response that the request does not have."""
    status = next(status for status in operation.responses if status.startswith("2"))
    response = resolve(operation.responses[status]["content"]["application/json"]["schema"], DOCUMENT)
    request = resolve(operation.raw["requestBody"]["content"]["application/json"]["schema"], DOCUMENT)
    return sorted(set(response["properties"]) - set(request["properties"]))


OPERATIONS = [each for each in iterate_operations(DOCUMENT) if find_body(each).endswith(("Create", "Update"))]


def test_every_resource_that_can_be_created_or_updated_is_tried() -> None:
    assert {each.path.split("/")[2] for each in OPERATIONS} == {"users", "todos", "lists", "api-keys", "webhooks"}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
async def test_a_read_only_field_is_called_read_only(ada: Person, operation: Operation) -> None:
    path = operation.path
    for name, created in EXAMPLES.items():
        if name in path:
            path = path.replace(name, (await ada.post(f"/v1/{created[0]}", json=created[1])).json()["id"])
    names = list_read_only(operation)
    assert names
    for name in names:
        problem = assert_problem(await ada.ask(operation.method, path, json={name: None}), 422, f"/{name}")
        assert problem["errors"][0]["detail"] == "this field is read-only"
    problem = assert_problem(await ada.ask(operation.method, path, json={"colour": None}), 422, "/colour")
    assert problem["errors"][0]["detail"] == "unknown field"


async def test_a_read_only_field_in_a_batch_is_called_read_only(ada: Person) -> None:
    operations = [{"op": "create", "todo": {"title": "x", "version": 1}}]

    (result,) = (await ada.post("/v1/todos/batch", json={"operations": operations})).json()["results"]

    (error,) = result["problem"]["errors"]
    assert error["detail"] == "this field is read-only"
    assert error["pointer"].endswith("/version")
