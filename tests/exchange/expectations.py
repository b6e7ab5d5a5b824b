"""Imports the files of the corpus, and writes what they are expected to become. Review the diff of each change.

Run it with `python -m tests.exchange.expectations`, and with folders or files of the corpus to limit it to them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import structlog

from tests.application import CHEAP_COST, build_variables, running_app
from tests.people import Person
from todo_service.settings import load_settings
from todo_service.store.mongodb.store import RESOLVE_AFTER
from todo_service.timestamps import format_timestamp, now
from todo_service.todos.dto import TodoImport

MEDIA: Final = {".csv": "text/csv", ".json": "application/json", ".ics": "text/calendar"}
EXPECTED: Final = ".expected.json"
CORPUS: Final = Path(__file__).parent / "corpus"
_FORMATS: Final = {"icalendar": "ics"}
"""The formats of folders that are not named after their format."""
_HEADER: Final = ("program", "trait")
_TODO_DEFAULTS: Final = msgspec.to_builtins(TodoImport(""), enc_hook=str)
_LIST_DEFAULTS: Final = {"color": None, "archived": False}
_VOLATILE: Final = frozenset({"id", "list_id", "position", "version", "updated_at"})
"""Fields that are not expectations. The order of the todos shows their positions."""
_TIMES: Final = ("created_at", "completed_at", "last_completed_at")
"""Fields that are the time of the import if the file does not state them."""
_DERIVED_UID: Final = re.compile(r"(content|hash)-[0-9a-f]{32}")


def find_files(*roots: Path) -> Iterator[Path]:
    """Yield the files of the corpus in some folders, or the given files, in order."""
    for root in roots:
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.suffix in MEDIA and not path.name.endswith(EXPECTED):
                yield path


FILES: Final = list(find_files(CORPUS))


def get_format(path: Path) -> str:
    """Return the name of a file's format in the API."""
    folder = path.resolve().relative_to(CORPUS).parts[0]
    return _FORMATS.get(folder, folder)


def name_file(path: Path) -> str:
    """Return the name of a file in the corpus, as the id of a test."""
    return str(path.relative_to(CORPUS))


def read_expectation(path: Path) -> dict[str, Any]:
    """Return the expectation of a file, without the header."""
    expected = json.loads(path.with_suffix(EXPECTED).read_text())
    return {name: value for name, value in expected.items() if name not in _HEADER}


def read_header(path: Path) -> dict[str, str]:
    """Return the program that writes files like this one, and what is special about it.

    A calendar states them in non-standard properties, any other file at the start of its expectation.
    """
    if path.suffix == ".ics":
        lines = re.findall(rb"^X-CORPUS-(PROGRAM|TRAIT):(.*?)\r?$", path.read_bytes(), re.MULTILINE)
        return {name.decode().lower(): text.decode() for name, text in lines}
    expected = path.with_suffix(EXPECTED)
    known = json.loads(expected.read_text()) if expected.exists() else {}
    return {name: known.get(name, "") for name in _HEADER}


async def register_in_berlin(client: httpx.AsyncClient) -> Person:
    """Register a user whose time zone is Berlin."""
    return await Person.register(client, time_zone="Europe/Berlin")


async def import_file(person: Person, path: Path) -> dict[str, Any]:
    """Import a file into an empty account.

    Returns:
        The report, the lists and the todos in their manual order, without defaults and volatile fields; or the problem.
    """
    started = now()
    response = await person.post(
        "/v1/todos/import", content=path.read_bytes(), headers={"Content-Type": MEDIA[path.suffix]}
    )
    if response.status_code != 200:
        problem = response.json()
        return {"problem": {name: problem[name] for name in ("status", "detail", "errors") if name in problem}}
    lists = (await person.get("/v1/lists", params={"limit": 200})).json()["items"]
    page = (await person.get("/v1/todos", params={"limit": 200, "sort": "position"})).json()
    assert page["next_cursor"] is None, "a file of the corpus has at most 200 todos"
    outcome = {
        "report": {name: value for name, value in response.json().items() if value},
        "lists": [{"name": each["name"]} | _describe(each, _LIST_DEFAULTS, started) for each in lists],
        "todos": _describe_todos(page["items"], {each["id"]: each["name"] for each in lists}, started),
    }
    return {name: value for name, value in outcome.items() if value or name == "report"}


def _describe_todos(todos: Sequence[dict[str, Any]], lists: dict[str, str], started: datetime) -> list[dict[str, Any]]:
    described = []
    for todo in todos:
        shown = {"title": todo["title"]} | _describe(todo, _TODO_DEFAULTS, started)
        if todo["steps"]:
            shown["steps"] = [
                step["title"] if not step["completed"] else f"[x] {step['title']}" for step in todo["steps"]
            ]
        if todo["list_id"] is not None:
            shown["list"] = lists[todo["list_id"]]
        described.append(shown)
    return described


def _describe(fields: dict[str, Any], defaults: dict[str, Any], started: datetime) -> dict[str, Any]:
    """Return the fields that say something about the file.

    Args:
        fields: The fields of a todo or of a list.
        defaults: The defaults of fields.
        started: When the import began.
    """
    shown = {
        name: value
        for name, value in fields.items()
        if name not in _VOLATILE and (name not in defaults or value != defaults[name])
    }
    for name in _TIMES:
        if (time := shown.get(name)) is not None and format_timestamp(started) <= time <= format_timestamp(now()):
            del shown[name]
    if _DERIVED_UID.match(shown["uid"]):
        del shown["uid"]
    return shown


async def _write_expectations(paths: Sequence[Path]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = load_settings(build_variables(folder, f"lmdb://{folder / 'store'}"))
        async with running_app(settings, CHEAP_COST, RESOLVE_AFTER) as app:
            transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # httpx types scopes as dictionaries
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
                for path in paths:
                    header = read_header(path) if path.suffix != ".ics" else {}
                    outcome = header | await import_file(await register_in_berlin(client), path)
                    text = json.dumps(outcome, indent=1, ensure_ascii=False)
                    path.with_suffix(EXPECTED).write_text(text + "\n")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    roots = [Path(name) for name in sys.argv[1:]] or [CORPUS]
    asyncio.run(_write_expectations(list(find_files(*roots))))
