"""The measured calls. Each prepares its data, and checks that the response is correct."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec

from tests.benchmarks.accounts import PASSWORD, Account, UnexpectedResponse
from tests.benchmarks.load import Load
from tests.benchmarks.todos import todos
from todo_service.bounds.accounts import PASSWORDS_OF_ADDRESS

_SPARE: Final = 8
_JSON: Final = {"Content-Type": "application/json"}
_PATCH: Final = {"Content-Type": "application/merge-patch+json"}
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_NEW: Final = {
    "title": "Water the plants",
    "description": "The ficus needs little, the ferns need a lot, and the cactus is to be left alone.",
    "priority": "high",
    "due_at": "2027-01-31T09:00:00+01:00",
    "tags": ["home", "garden"],
    "steps": [{"title": "Fill the can"}, {"title": "Look after the ferns first"}],
}


class Person(NamedTuple):
    """The accounts that a service is measured with.

    Attributes:
        reader: An account whose todos do not change.
        writer: An account that grows.
        visitor: An account that signs in. Its older sessions end, because an account has a limited number of them.
        ids: The reader's todos.
        folder: The folder of the input files for wrk.
    """

    reader: Account
    writer: Account
    visitor: Account
    ids: list[str]
    folder: Path

    @classmethod
    def at(cls, url: str, folder: Path, count: int) -> Person:
        """Register the accounts at a service, and create the reader's todos."""
        reader, writer, visitor = (Account(url, name) for name in ("reader", "writer", "visitor"))
        folder.mkdir(parents=True, exist_ok=True)
        return cls(reader, writer, visitor, reader.create(todos(count)), folder)


Prepare = Callable[[Person, int], Load]


class Measure(NamedTuple):
    """A measured call.

    Attributes:
        name: A short name.
        title: The name in tables.
        prepare: Returns the load for a number of connections, after checking one response.
        whole: Whether the peer lacks the call.
    """

    name: str
    title: str
    prepare: Prepare
    whole: bool = False


def _one(person: Person, _: int) -> Load:
    response = person.reader.ask("GET", f"/v1/todos/{person.ids[0]}", 200).json()
    _must(response["id"] == person.ids[0], response)
    paths = _file(person, "paths", [f"/v1/todos/{todo_id}" for todo_id in person.ids])
    return Load("each", "/v1/todos", (paths,), person.reader.authorization)


def _list(query: str, limit: int, right: Callable[[list[dict[str, Any]]], bool]) -> Prepare:
    def prepare(person: Person, _: int) -> Load:
        path = f"/v1/todos?{query}limit={limit}"
        items = person.reader.ask("GET", path, 200).json()["items"]
        _must(len(items) == min(limit, len(person.ids)) or bool(query), items)
        _must(bool(items) and right(items), items)
        return Load("same", path, ("GET",), person.reader.authorization)

    return prepare


def _filtered_and_sorted(items: list[dict[str, Any]]) -> bool:
    ranks = [("none", "low", "medium", "high", "urgent").index(item["priority"]) for item in items]
    return ranks == sorted(ranks, reverse=True) and all(
        not item["completed"] and "home" in item["tags"] for item in items
    )


def _create(person: Person, _: int) -> Load:
    response = person.writer.ask("POST", "/v1/todos", 201, json=_NEW).json()
    _must(response["title"] == _NEW["title"] and response["tags"] == _NEW["tags"], response)
    body = msgspec.json.encode(_NEW).decode()
    return Load("same", "/v1/todos", ("POST", body), person.writer.authorization | _JSON)


def _patch(person: Person, connections: int) -> Load:
    ids = person.writer.create([_NEW] * (connections + _SPARE))
    seen, *fresh = ids
    path, patch = f"/v1/todos/{seen}", {"title": "Water all the plants"}
    response = person.writer.ask("PATCH", path, 200, json=patch, headers={"If-Match": '"1"'} | _PATCH)
    _must(response.json()["title"] == patch["title"] and response.headers["etag"] == '"2"', response.json())
    # the same tag again, which is now stale
    person.writer.ask("PATCH", path, 412, json=patch, headers={"If-Match": '"1"'} | _PATCH)
    return Load("patch", "/v1/todos", (_file(person, "patched", fresh),), person.writer.authorization | _PATCH)


def _complete(person: Person, connections: int) -> Load:
    seen, *fresh = person.writer.create([_NEW] * (connections + _SPARE))
    for action, completed in (("complete", True), ("reopen", False)):
        response = person.writer.ask("POST", f"/v1/todos/{seen}/{action}", 200).json()
        _must(response["completed"] is completed, response)
    return Load("complete", "/v1/todos", (_file(person, "completed", fresh),), person.writer.authorization)


def _sign_in(person: Person, _: int) -> Load:
    form = {"grant_type": "password", "username": person.visitor.username, "password": PASSWORD}
    response = person.visitor.ask("POST", "/v1/auth/token", 200, data=form).json()
    _must(bool(response["access_token"]), response)
    return Load("same", "/v1/auth/token", ("POST", urlencode(form)), _FORM, PASSWORDS_OF_ADDRESS)


def _changes(person: Person, _: int) -> Load:
    path = "/v1/todos/changes?limit=50"
    response = person.reader.ask("GET", path, 200).json()
    _must(len(response["changed"]) == min(50, len(person.ids)), response)
    return Load("same", path, ("GET",), person.reader.authorization)


MEASURES: Final = (
    Measure("get", "GET one", _one),
    Measure("list20", "list of 20", _list("", 20, bool)),
    Measure("list100", "list of 100", _list("", 100, bool)),
    Measure(
        "filtered",
        "filtered, sorted list of 20",
        _list("completed=false&tag=home&sort=-priority&", 20, _filtered_and_sorted),
    ),
    Measure("create", "create", _create),
    Measure("patch", "patch with If-Match", _patch),
    Measure("complete", "complete, reopen", _complete),
    Measure("signin", "sign-in", _sign_in),
    Measure("changes", "changes, page of 50", _changes, whole=True),
)
CEILING: Final = "ceiling"
"""The name of the call to the ceilings."""
NOTHING: Final = Load("same", "/", ("GET",), {})
"""The load for the ceilings."""


def _file(person: Person, name: str, lines: list[str]) -> str:
    path = person.folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    return str(path)


def _must(right: bool, response: object) -> None:
    if not right:
        raise UnexpectedResponse(f"unexpected response: {str(response)[:500]}")
