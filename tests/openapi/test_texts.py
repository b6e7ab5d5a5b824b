"""Every text of every operation is normalized and validated alike. The fields are those of the OpenAPI document."""

from __future__ import annotations

import copy
import json
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from odmantic import ObjectId

from tests.openapi.document import Json, iterate_operations, resolve
from tests.people import Person, assert_problem
from todo_service.api_types import NOT_BLANK
from todo_service.app import render_openapi_document

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
NOT_JSON = {"importTodos", "createToken", "revokeToken"}
NO_TEXTS = {"batchTodos"}
"""A batch contains todos, which `test_texts_of_a_batch_are_normalized` covers."""
LINES = {"description"}
"""The texts of several lines, which are not trimmed and not composed."""
CONTROLS = "\x01\x07\t\n\r\x1f\x7f\x80\x85\x9f"
INVISIBLE = ["\u200b", "\ufeff", "\u00ad", "\u200d\ufe0f", "\u3164", "\u2800", "\u202e\u2069", "\U000e0041", " \u200b "]


class Text(NamedTuple):
    """A text in the body of an operation.

    Attributes:
        operation: The operationId.
        method: The HTTP method.
        path: The path template.
        pointer: The JSON pointer to the text.
        longest: The maximum length.
        body: A valid body that contains the text.
    """

    operation: str
    method: str
    path: str
    pointer: str
    longest: int
    body: Json

    @property
    def name(self) -> str:
        """The name of the field."""
        return next(part for part in reversed(self.pointer.split("/")) if not part.isdecimal())

    def fill(self, value: str) -> Json:
        """Return the body with another value of the text."""
        body = copy.deepcopy(self.body)
        body.pop("uid", None)  # only one document may have it
        part: Any = body
        *steps, last = self.pointer[1:].split("/")
        for step in steps:
            part = part[int(step) if step.isdecimal() else step]
        part[int(last) if last.isdecimal() else last] = value
        return body

    def read(self, answer: Json) -> str:
        """Return the text in a response."""
        part: Any = answer
        for step in self.pointer[1:].split("/"):
            part = part[int(step) if step.isdecimal() else step]
        assert isinstance(part, str)
        return part


def find_texts(schema: Json, document: Json, pointer: str = "") -> Iterator[tuple[str, int]]:
    """Yield the pointer to each free text of a schema, in lists to the first element, and its maximum length."""
    schema = resolve(schema, document)
    kinds = schema.get("type", ())
    if "object" in kinds:
        for name, part in schema["properties"].items():
            yield from find_texts(part, document, f"{pointer}/{name}")
    elif "array" in kinds:
        yield from find_texts(schema["items"], document, f"{pointer}/0")
    elif (
        "string" in kinds
        and not {"format", "enum", "const"} & set(schema)
        and schema.get("pattern", NOT_BLANK) == NOT_BLANK
    ):
        yield pointer, schema["maxLength"]


def list_texts() -> list[Text]:
    document: Json = json.loads(render_openapi_document("json"))
    found = []
    for operation in iterate_operations(document):
        content = operation.raw.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None or operation.id in NOT_JSON | NO_TEXTS:
            continue
        for pointer, longest in find_texts(content["schema"], document):
            found.append(Text(operation.id, operation.method, operation.path, pointer, longest, content["example"]))
    return found


TEXTS = list_texts()
by_text = pytest.mark.parametrize("text", TEXTS, ids=lambda text: f"{text.operation}{text.pointer}")


async def send(person: Person, text: Text, value: str) -> httpx.Response:
    """Send the operation with a text, to a new document where it changes one."""
    body = text.fill(value)
    path = text.path
    if "{todo_id}" in path:
        path = path.replace("{todo_id}", (await person.todo())["id"])
    if "{list_id}" in path:
        path = path.replace("{list_id}", (await person.post("/v1/lists", json={"name": "x"})).json()["id"])
    if "{webhook_id}" in path:
        hook = {"url": "https://192.0.66.1/hook", "events": ["todo.changed"]}
        path = path.replace("{webhook_id}", (await person.post("/v1/webhooks", json=hook)).json()["id"])
    unique = f"person-{ObjectId()}"
    for name, changed in {"username": unique, "email": f"{unique}@example.com"}.items():
        if name in body:
            body[name] = changed
    return await person.ask(text.method, path, json=body)


def test_the_fields_with_texts_are_found() -> None:
    found = {f"{text.operation}{text.pointer}" for text in TEXTS}

    assert found >= {
        "createUser/display_name",
        "updateMe/display_name",
        "createApiKey/name",
        "createList/name",
        "updateList/name",
        "createTodo/title",
        "createTodo/description",
        "createTodo/tags/0",
        "createTodo/steps/0/title",
        "updateTodo/title",
        "updateTodo/tags/0",
        "updateTodo/steps/0/title",
        "createWebhook/description",
        "updateWebhook/description",
    }


@by_text
async def test_text_is_stored_in_nfc(ada: Person, text: Text) -> None:
    sent = unicodedata.normalize("NFD", "  Café Ǖ 한국어 ガ ệ\u200d❤\ufe0f \ufeff")

    response = await send(ada, text, sent)

    assert response.is_success, response.text
    composed = unicodedata.normalize("NFC", sent)
    assert text.read(response.json()) == (sent if text.name in LINES else composed.strip(" \ufeff"))


@by_text
async def test_length_is_that_of_the_normalized_text(ada: Person, text: Text) -> None:
    """It is measured after trimming, composition, and the conversion of line endings."""
    start, unit, end = ("", "\r\n", "") if text.name in LINES else ("\u3000 \ufeff", "ệ", " \n\u200b")
    sent = unicodedata.normalize("NFD", unit)

    fitting = await send(ada, text, start + sent * text.longest + end)
    too_long = await send(ada, text, start + sent * (text.longest + 1) + end)

    assert fitting.is_success, fitting.text
    assert len(text.read(fitting.json())) == text.longest
    assert_problem(too_long, 422, text.pointer)


@by_text
async def test_control_characters_are_rejected_and_named(ada: Person, text: Text) -> None:
    for control in CONTROLS:
        response = await send(ada, text, f"a{control}b")

        if text.name in LINES and control in "\t\n":
            assert response.is_success, response.text
            assert text.read(response.json()) == f"a{control}b"
        else:
            problem = assert_problem(response, 422, text.pointer)
            detail = f"Expected text without the control character U+{ord(control):04X}"
            assert problem["errors"][0]["detail"] == detail


@by_text
async def test_text_of_invisible_characters_is_rejected(ada: Person, text: Text) -> None:
    for invisible in INVISIBLE:
        response = await send(ada, text, invisible)

        problem = assert_problem(response, 422, text.pointer)
        assert problem["errors"][0]["detail"] == "Expected at least one visible character"


@by_text
async def test_long_run_of_combining_marks_is_rejected(ada: Person, text: Text) -> None:
    response = await send(ada, text, "a" + "\u0316\u0300" * 16)

    problem = assert_problem(response, 422, text.pointer)
    assert problem["errors"][0]["detail"] == "Expected at most 30 combining marks in a row"


@by_text
async def test_crlf_is_stored_as_lf(ada: Person, text: Text) -> None:
    response = await send(ada, text, "one\r\ntwo\r\n")

    if text.name in LINES:
        assert text.read(response.json()) == "one\ntwo\n"
    else:
        assert_problem(response, 422, text.pointer)


async def test_texts_of_a_batch_are_normalized(ada: Person) -> None:
    created = {"op": "create", "todo": {"title": " Cafe\u0301 ", "tags": ["Cafe\u0301", "Café"]}}
    rejected = {"op": "create", "todo": {"title": "x", "steps": [{"title": "a\nb"}]}}

    response = await ada.post("/v1/todos/batch", json={"operations": [created, rejected]})

    done, refused = response.json()["results"]
    assert (done["todo"]["title"], done["todo"]["tags"]) == ("Café", ["Café"])
    assert [error["pointer"] for error in refused["problem"]["errors"]] == ["/operations/1/todo/steps/0/title"]
