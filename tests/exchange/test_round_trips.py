"""Random accounts survive an export and an import into an empty account, except for what docs/moving.md lists.

`ROUND_TRIP_ACCOUNTS` is the number of accounts; `pdm run test-round-trips` tries 1 000.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.exchange.random_accounts import furnish
from tests.people import Person, build_report
from tests.todos.test_fields import create_full_todo
from tests.todos.test_transfer import FORMATS, export_todos, import_todos

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
ACCOUNTS: Final = int(os.environ.get("ROUND_TRIP_ACCOUNTS", "12"))
FIRST: Final = int(os.environ.get("ROUND_TRIP_FIRST", "0"))
"""The number of the first account, to repeat a failure."""
ASSIGNED: Final = frozenset({"id", "version", "created_at", "updated_at"})
"""The fields of a list that an import assigns; those of a todo are the same, except for the time of creation."""
Json = dict[str, Any]


async def read_account(person: Person) -> Json:
    """Return all lists and todos as the API shows them, without pages."""
    lists = (await person.get("/v1/lists", params={"limit": "200"})).json()["items"]
    todos = (await person.get("/v1/todos", params={"limit": "200"})).json()["items"]
    return {"lists": lists, "todos": todos}


def describe(account: Json, file_format: str) -> Json:
    """Return what a file of a format says about an account.

    Todos are in the order of creation. A list is represented by what the format keeps of it: a list in JSON by its
    values, in the other formats by its name, if it has todos.
    """
    names = {each["id"]: each["name"] for each in account["lists"]}
    lists = [drop_fields(each, ASSIGNED) for each in account["lists"]]
    uids = {each["id"]: each["uid"] for each in account["lists"]}
    used = {names[todo["list_id"]] for todo in account["todos"] if todo["list_id"] is not None}
    labels = uids if file_format == "json" else names
    return {
        "lists": lists if file_format == "json" else sorted(used),
        "todos": [
            drop_fields(todo, ASSIGNED - {"created_at"}) | {"list_id": labels.get(todo["list_id"])}
            for todo in account["todos"]
        ],
    }


def drop_fields(document: Json, names: frozenset[str]) -> Json:
    return {name: value for name, value in document.items() if name not in names}


async def assert_round_trip(ada: Person, client: httpx.AsyncClient, file_format: str) -> None:
    """Assert that an import into an empty account restores an account, and that its repetitions change nothing."""
    before = await read_account(ada)
    body = (await export_todos(ada, file_format)).content
    bob = await Person.register(client)
    zone = (await ada.get("/v1/users/me")).json()["time_zone"]
    await bob.patch("/v1/users/me", json={"time_zone": zone})
    expected = describe(before, file_format)

    report = await import_todos(bob, file_format, body)

    assert report == build_report(imported=len(before["todos"]), lists_created=len(expected["lists"]))
    after = await read_account(bob)
    assert describe(after, file_format) == expected
    assert await find_order(bob) == await find_order(ada)
    for existing in ("skip", "update"):
        assert await import_todos(bob, file_format, body, existing=existing) == build_report(
            unchanged=len(before["todos"])
        )
        assert await read_account(bob) == after
    again = (await export_todos(bob, file_format)).content
    assert again.count(b"\n") == body.count(b"\n")


async def find_order(person: Person) -> list[str]:
    """Return the uids of all todos in the manual order. Equal positions have no order that lasts."""
    todos = (await person.get("/v1/todos", params={"sort": "position", "limit": "200"})).json()["items"]
    positions = Counter(todo["position"] for todo in todos)
    return [todo["uid"] for todo in todos if positions[todo["position"]] == 1]


async def test_random_accounts_survive_export_and_import(
    client: httpx.AsyncClient, figure: Callable[[str], None]
) -> None:
    counts: Counter[str] = Counter()
    for number in range(FIRST, FIRST + ACCOUNTS):
        ada = await Person.register(client)
        counts["todos"] += await furnish(ada, random.Random(number))  # noqa: S311  # no secret
        for file_format in FORMATS:
            try:
                await assert_round_trip(ada, client, file_format)
            except AssertionError as error:
                error.add_note(f"account {number} as {file_format}")
                raise
    figure(f"{ACCOUNTS} accounts with {counts['todos']} todos")


@pytest.mark.parametrize("file_format", FORMATS)
async def test_descriptions_of_white_space_survive(ada: Person, client: httpx.AsyncClient, file_format: str) -> None:
    for description in ("\t", " ", "\n", "\t\n", "\u3000", " x "):
        await ada.todo(description=description)

    await assert_round_trip(ada, client, file_format)


def read_losses() -> dict[str, list[str]]:
    """Return what docs/moving.md says that an import loses, by format."""
    page = (Path(__file__).parents[2] / "docs" / "moving.md").read_text()
    (table,) = re.findall(r"<!-- losses -->\n(.*?)<!-- /losses -->", page, re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    names = {"JSON": "json", "CSV": "csv", "iCalendar": "ics"}
    return {names[name]: [row[0] for row in rows[2:] if row[index]] for index, name in enumerate(rows[0]) if name}


def list_lost_fields(lost: list[str], kind: str) -> set[str]:
    """Return the fields of a todo or a list in the rows of the table."""
    return {name for row in lost if row.endswith(f"of a {kind}") for name in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize("file_format", FORMATS)
async def test_the_docs_list_what_an_import_loses(ada: Person, bob: Person, file_format: str) -> None:
    await create_full_todo(ada)
    daily = await ada.todo(due_on="2027-01-31", recurrence="FREQ=DAILY")
    await ada.post(f"/v1/todos/{daily['id']}/complete")
    for name in ("Twice", "Twice", "Empty"):
        created = (await ada.post("/v1/lists", json={"name": name})).json()
        if name == "Twice":
            await ada.todo(list_id=created["id"])
    garden = (await ada.get("/v1/lists")).json()["items"][0]
    await ada.patch(f"/v1/lists/{garden['id']}", json={"color": "#ffffff"})  # its second version
    lost = read_losses()[file_format]

    await import_todos(bob, file_format, (await export_todos(ada, file_format)).content)

    before, after = await read_account(ada), await read_account(bob)
    for kind, field in (("todo", "title"), ("list", "name")):
        old, new = (next(each for each in account[f"{kind}s"] if each[field] != "Twice") for account in (before, after))
        changed = {name for name in old if old[name] != new[name]} - {"list_id"}
        assert changed == list_lost_fields(lost, kind)
    names = Counter(each["name"] for each in after["lists"])
    assert ("lists without todos" in lost) is ("Empty" not in names)
    assert ("which of several lists with one name a todo was in" in lost) is (names["Twice"] == 1)
    moved = next(each for each in after["todos"] if each["uid"] == daily["uid"])
    assert moved["last_completed_at"] is not None
    assert (await bob.get(f"/v1/todos/{moved['id']}/completions")).json()["items"] == []
    assert any("completions" in row for row in lost)
