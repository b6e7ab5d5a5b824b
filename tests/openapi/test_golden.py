"""The OpenAPI document changes only on purpose, and breaks clients only with notice."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable

import pytest

from tests.openapi.breaking import find_breaking_changes, is_allowed
from tests.openapi.document import Json
from tests.openapi.golden import GOLDEN, find_forbidden_changes, golden
from todo_service.app import render_openapi_document


def test_the_document_is_the_golden_copy() -> None:
    kept, made = GOLDEN.read_text(encoding="utf-8").splitlines(), render_openapi_document("json").splitlines()

    difference = "\n".join(difflib.unified_diff(kept, made, "golden.json", "the service", lineterm="", n=4))

    assert not difference, f"{difference}\n\n`pdm run golden` regenerates the golden copy"


def test_breaking_changes_require_notice(document: Json) -> None:
    assert find_forbidden_changes(document) == [], (
        'CHANGELOG.md needs an entry under "Changed" or "Removed", and a version'
    )


def remove_operation(document: Json) -> None:
    del document["paths"]["/v1/tags"]


def rename_operation(document: Json) -> None:
    document["paths"]["/v1/tags"]["get"]["operationId"] = "getTags"


def remove_response_property(document: Json) -> None:
    schema = document["components"]["schemas"]["Todo"]
    del schema["properties"]["tags"]
    schema["required"].remove("tags")


def remove_input_property(document: Json) -> None:
    del document["components"]["schemas"]["StepCreate"]["properties"]["id"]


def remove_status(document: Json) -> None:
    del document["paths"]["/v1/todos"]["post"]["responses"]["409"]


def remove_header(document: Json) -> None:
    del document["paths"]["/v1/todos"]["get"]["responses"]["200"]["headers"]["Link"]


def remove_value(document: Json) -> None:
    document["components"]["schemas"]["Priority"]["enum"].remove("urgent")


def remove_parameter(document: Json) -> None:
    parameters = document["paths"]["/v1/todos"]["get"]["parameters"]
    parameters[:] = [parameter for parameter in parameters if parameter.get("name") != "overdue"]


def remove_media_type(document: Json) -> None:
    del document["paths"]["/v1/todos/{todo_id}"]["patch"]["requestBody"]["content"]["application/json"]


def require_input(document: Json) -> None:
    document["components"]["schemas"]["TodoCreate"]["required"].append("priority")


def require_new_input(document: Json) -> None:
    schema = document["components"]["schemas"]["StepCreate"]
    schema["properties"]["weight"] = {"type": "integer"}
    schema["required"].append("weight")


def require_parameter(document: Json) -> None:
    document["paths"]["/v1/tags"]["get"].setdefault("parameters", []).append(
        {"name": "tz", "in": "query", "required": True, "schema": {"type": "string"}}
    )


def require_token(document: Json) -> None:
    del document["paths"]["/v1/users"]["post"]["security"]


def close_bound(document: Json) -> None:
    document["components"]["schemas"]["TodoCreate"]["properties"]["title"]["maxLength"] = 100


def make_property_nullable(document: Json) -> None:
    document["components"]["schemas"]["Todo"]["properties"]["title"]["type"] = ["string", "null"]


def leave_out_property(document: Json) -> None:
    document["components"]["schemas"]["Todo"]["required"].remove("tags")


BREAKING = {
    remove_operation: "listTags: the operation is removed",
    rename_operation: "listTags: the operation is renamed to getTags",
    remove_response_property: "response Todo: the property tags is removed",
    remove_input_property: "request StepCreate: the property id is removed",
    remove_status: "createTodo: the status 409 is removed",
    remove_header: "listTodos 200: the header Link is removed",
    remove_value: "request Priority: the value urgent is removed",
    remove_parameter: "listTodos: the parameter overdue is removed",
    remove_media_type: "updateTodo request: the media type application/json is removed",
    require_input: "request TodoCreate: the property priority is required now",
    require_new_input: "request StepCreate: the property weight is required now",
    require_parameter: "listTags: the parameter tz is required now",
    require_token: "createUser: a token is required now",
    close_bound: "request TodoCreate/title: maxLength is 100 now",
    make_property_nullable: "response Todo/title: the type changes (null)",
    leave_out_property: "response Todo: the property tags may be missing now",
}


@pytest.mark.parametrize(("change", "expected"), BREAKING.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_breaking_changes_are_detected(change: Callable[[Json], None], expected: str) -> None:
    changed = copy.deepcopy(golden())
    change(changed)

    assert expected in find_breaking_changes(golden(), changed)


def add_operation(document: Json) -> None:
    document["paths"]["/v1/colours"] = {
        "get": {"operationId": "listColours", "tags": ["Lists"], "responses": {"200": {"description": "Colours."}}}
    }


def add_property(document: Json) -> None:
    for name in ("Todo", "TodoCreate"):
        document["components"]["schemas"][name]["properties"]["colour"] = {"type": "string"}


def add_value(document: Json) -> None:
    document["components"]["schemas"]["Priority"]["enum"].append("critical")


def add_parameter(document: Json) -> None:
    document["paths"]["/v1/tags"]["get"].setdefault("parameters", []).append(
        {"name": "tz", "in": "query", "schema": {"type": "string"}}
    )


def widen_bound(document: Json) -> None:
    document["components"]["schemas"]["TodoCreate"]["properties"]["title"]["maxLength"] = 300


def change_description(document: Json) -> None:
    document["components"]["schemas"]["Todo"]["description"] = "Something to do."


@pytest.mark.parametrize(
    "change",
    [add_operation, add_property, add_value, add_parameter, widen_bound, change_description],
)
def test_compatible_changes_are_allowed(change: Callable[[Json], None]) -> None:
    changed = copy.deepcopy(golden())
    change(changed)

    assert find_breaking_changes(golden(), changed) == []


NOTICE = "# Changelog\n\n## [Unreleased]\n\n### Removed\n\n- Tags.\n\n## [0.1.0]\n\n### Added\n\n- All.\n"


@pytest.mark.parametrize(
    ("changelog", "new_version", "allowed"),
    [
        (NOTICE, "0.2.0", True),
        (NOTICE.replace("Removed", "Changed"), "0.2.0", True),
        (NOTICE.replace("Unreleased", "0.2.0"), "0.2.0", True),
        (NOTICE, "0.1.0", False),
        (NOTICE.replace("Removed", "Added"), "0.2.0", False),
        (NOTICE.replace("Unreleased", "0.0.9"), "0.2.0", False),
        (NOTICE.replace("- Tags.\n", ""), "0.2.0", False),
    ],
)
def test_notice_requires_a_changelog_entry_and_a_version(changelog: str, new_version: str, allowed: bool) -> None:
    assert is_allowed(changelog, "0.1.0", new_version) is allowed
