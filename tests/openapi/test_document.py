"""The OpenAPI document is complete, strict and matches the running service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus

import httpx
import pytest
import yaml
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.openapi.document import (
    Json,
    Operation,
    follow_pointer,
    iterate_operations,
    iterate_references,
    iterate_schemas,
    resolve,
)
from tests.people import Person
from todo_service.app import render_openapi_document

pytestmark = pytest.mark.shared_app
PROBLEM = ("application/problem+json", "Problem")
TOKEN_PROBLEM = ("application/json", "TokenProblem")


def find_schema_errors(schema: Json, value: object, document: Json) -> list[str]:
    """Return the errors of a value by a schema of the document."""
    whole = {**schema, "components": document["components"]}
    validator = OAS31Validator(whole, format_checker=OAS31Validator.FORMAT_CHECKER)
    return [error.message for error in validator.iter_errors(value)]


def iterate_media(operation: Operation) -> Iterator[tuple[str, Json]]:
    """Yield the bodies of an operation's request and responses."""
    bodies = {"request": operation.raw.get("requestBody", {}), **operation.responses}
    for place, body in bodies.items():
        for media in body.get("content", {}).values():
            yield f"{operation.id} {place}", media


def test_it_is_valid_openapi_3_1(document: Json) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_it_describes_the_service(document: Json) -> None:
    info = document["info"]
    assert info["title"] == "todo_service"
    assert info["contact"]["name"]
    assert info["license"]["identifier"] == "Apache-2.0"
    assert info["description"]
    assert document["servers"]
    assert all(tag["description"] for tag in document["tags"])


def test_every_operation_has_a_name_one_tag_and_texts(document: Json) -> None:
    operations = list(iterate_operations(document))
    tags = {tag["name"] for tag in document["tags"]}

    names = [operation.id for operation in operations]
    assert len(names) == len(set(names))
    for operation in operations:
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", operation.id)
        assert len(operation.raw["tags"]) == 1
        assert set(operation.raw["tags"]) <= tags
        assert operation.raw["summary"]
        assert operation.raw["description"]
        assert all(parameter["description"] for parameter in operation.parameters.values()), operation.id
    assert tags == {operation.raw["tags"][0] for operation in operations}


def test_every_error_is_a_problem_and_every_response_has_its_headers(document: Json) -> None:
    for operation in iterate_operations(document):
        for status, response in operation.responses.items():
            headers = set(response["headers"])
            assert "X-Request-ID" in headers
            if status[0] in "45":
                media_type, component = TOKEN_PROBLEM if operation.path.startswith("/v1/auth/") else PROBLEM
                assert set(response["content"]) == {media_type}, operation.id
                media = response["content"][media_type]
                assert media["schema"] == {"$ref": f"#/components/schemas/{component}"}
                assert media["examples"]
            if status in ("429", "503"):
                assert "Retry-After" in headers
            if status == "401":
                assert "WWW-Authenticate" in headers
            if status == "201" and operation.id != "createEventTicket":  # a ticket has no URL
                assert "Location" in headers
            if status in ("200", "201", "429") and operation.path.startswith("/v1"):
                assert {"RateLimit", "RateLimit-Policy"} <= headers
        if "cursor" in operation.parameters:
            assert "Link" in operation.responses["200"]["headers"]
        if "If-Match" in operation.parameters:
            assert "412" in operation.responses


def test_every_reference_resolves_and_every_component_is_used(document: Json) -> None:
    references = set(iterate_references(document))
    for reference in references:
        follow_pointer(reference, document)

    for kind in ("schemas", "responses", "parameters", "headers"):
        for name in document["components"][kind]:
            assert f"#/components/{kind}/{name}" in references


def test_components_have_plain_names(document: Json) -> None:
    names = set(document["components"]["schemas"])

    assert all(re.fullmatch(r"([A-Z][a-z]+)+", name) for name in names)
    assert {"User", "Todo", "TodoPage", "TodoList", "TodoListPage", "Session", "ApiKey", "Problem"} <= names


def test_components_have_no_defaults_and_every_field_a_description(document: Json) -> None:
    for name, component in document["components"]["schemas"].items():
        assert component["description"], name
        for place, schema in iterate_schemas(component, name):
            assert "default" not in schema, place
            assert {"type", "$ref", "anyOf", "const"} & set(schema), place
            assert len(schema.get("anyOf", [1, 2])) > 1, place


def test_strict_schemas_are_closed(document: Json) -> None:
    for operation in iterate_operations(document):
        for kind, media in operation.raw.get("requestBody", {}).get("content", {}).items():
            if "json" in kind:
                for reference in list_reachable(media["schema"], document):
                    schema = follow_pointer(reference, document)
                    if schema.get("type") == "object":
                        assert schema["additionalProperties"] is False, reference


def list_reachable(schema: Json, document: Json) -> set[str]:
    """Return the references reachable from a schema."""
    found: set[str] = set()
    waiting = set(iterate_references(schema))
    while waiting:
        reference = waiting.pop()
        if reference not in found:
            found.add(reference)
            waiting |= set(iterate_references(follow_pointer(reference, document)))
    return found


def test_every_string_of_a_request_is_bounded(document: Json) -> None:
    """Except for strings that are compared to stored values: passwords, tokens and the ids of a batch."""
    matched = {"UserDelete", "PasswordChange/current_password", "TokenRequest", "TokenRevocation", "BatchOperation"}
    for operation in iterate_operations(document):
        for media in operation.raw.get("requestBody", {}).get("content", {}).values():
            for reference in list_reachable(media["schema"], document):
                name = reference.rpartition("/")[2]
                for place, schema in iterate_schemas(follow_pointer(reference, document), name):
                    if "string" in schema.get("type", ()) and name not in matched and place not in matched:
                        bounds = {"maxLength", "pattern", "enum", "format"} & set(schema)
                        assert bounds - {"format"} or schema["format"] in ("date-time", "date"), place


def test_examples_are_valid(document: Json) -> None:
    shown = 0
    for operation in iterate_operations(document):
        for place, media in iterate_media(operation):
            given = [media["example"]] if "example" in media else []
            given += [example["value"] for example in media.get("examples", {}).values()]
            assert given, place
            for example in given:
                assert find_schema_errors(media["schema"], example, document) == [], place
                shown += 1
        for parameter in operation.parameters.values():
            for example in parameter["schema"].get("examples", ()):
                assert find_schema_errors(parameter["schema"], example, document) == [], parameter["name"]
    for name, component in document["components"]["schemas"].items():
        for place, schema in iterate_schemas(component, name):
            for example in schema.get("examples", ()):
                assert find_schema_errors(schema, example, document) == [], place
    assert shown > 100


def test_links_match_operations_and_their_parameters(document: Json) -> None:
    operations = {operation.id: operation for operation in iterate_operations(document)}
    linked = set()
    for operation in operations.values():
        for response in operation.responses.values():
            for link in response.get("links", {}).values():
                target = operations[link["operationId"]]
                linked.add(target.id)
                for name, expression in link["parameters"].items():
                    assert name.partition(".")[2] in target.parameters
                    body = response["content"]["application/json"]["schema"]
                    schema = resolve(body, document)
                    assert expression.removeprefix("$response.body#/") in schema["properties"]

    assert {"getTodo", "updateTodo", "deleteTodo", "completeTodo", "listTodos", "getList", "deleteApiKey"} <= linked


def test_yaml_is_equivalent(document: Json) -> None:
    assert yaml.safe_load(render_openapi_document("yaml")) == document


@pytest.mark.anyio
async def test_the_service_serves_the_document(client: httpx.AsyncClient, document: Json) -> None:
    as_json = await client.get("/schema/openapi.json")
    as_yaml = await client.get("/schema/openapi.yaml")

    assert as_json.json() == document
    assert yaml.safe_load(as_yaml.text) == document
    assert as_json.headers["content-type"] == "application/json"
    assert as_yaml.headers["content-type"].startswith("application/yaml")


@pytest.mark.anyio
async def test_security_matches_the_service(client: httpx.AsyncClient, document: Json) -> None:
    for operation in iterate_operations(document):
        path = re.sub(r"\{\w+\}", "0" * 24, operation.path)
        response = await client.request(operation.method, path)

        needs_a_token = operation.raw.get("security", document["security"]) != []
        assert (response.status_code == HTTPStatus.UNAUTHORIZED) is needs_a_token, operation.id
        assert ("401" in operation.responses) is needs_a_token
        if needs_a_token:
            assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "path"), [("createTodo", "/v1/todos"), ("createList", "/v1/lists")])
async def test_an_example_can_be_sent_as_it_stands(ada: Person, document: Json, name: str, path: str) -> None:
    operation = next(found for found in iterate_operations(document) if found.id == name)
    example = operation.raw["requestBody"]["content"]["application/json"]["example"]

    response = await ada.post(path, json=example)

    assert response.status_code == HTTPStatus.CREATED, response.text
    schema = operation.responses["201"]["content"]["application/json"]["schema"]
    assert find_schema_errors(schema, response.json(), document) == []


@pytest.mark.anyio
async def test_errors_of_every_route_are_documented(ada: Person, document: Json) -> None:
    """The errors for a malformed query, and for an unknown parameter."""
    for operation in iterate_operations(document):
        path = re.sub(r"\{\w+\}", "0" * 24, operation.path)
        for query in ("q=%ff", "nonsense=1"):
            response = await ada.ask(operation.method, f"{path}?{query}")
            assert str(response.status_code) in operation.responses, (operation.id, query, response.status_code)
