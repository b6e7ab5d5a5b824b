"""Other programs read our calendars."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import icalendar
import pytest

from tests.exchange.expectations import register_in_berlin
from tests.exchange.reading import BERLIN
from tests.people import Person

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.shared_app,
    # an export is the same on both stores
    pytest.mark.parametrize("store_url", ["embedded"], indirect=True),
]


@pytest.fixture
async def exported(client: httpx.AsyncClient, tmp_path: Path) -> Path:
    """A calendar with todos of all kinds, in a folder of its own."""
    ada = await register_in_berlin(client)
    await create_todos(ada)
    folder = tmp_path / "calendars" / "Exported"
    folder.mkdir(parents=True)
    response = await ada.get("/v1/todos/export", params={"format": "ics"})
    (folder / "todos.ics").write_bytes(response.content)
    return folder


async def create_todos(ada: Person) -> None:
    garden = (await ada.post("/v1/lists", json={"name": "Garden"})).json()["id"]
    await ada.todo(title="Day", due_on="2027-01-31", priority="urgent", tags=["home"], list_id=garden)
    await ada.todo(title="Moment", due_at="2027-01-31T09:00:00Z", priority="low", steps=[{"title": "Step"}])
    await ada.todo(title="Größe 🌱, x; y\\z", start_on="2027-01-30", description="one\ntwo")
    done = await ada.todo(title="Done")
    await ada.post(f"/v1/todos/{done['id']}/complete", json={"completed_at": "2026-11-01T12:00:00Z"})
    await ada.todo(
        title="Weekly",
        due_at="2027-02-01T14:00:00Z",
        priority="medium",
        recurrence="FREQ=WEEKLY;BYDAY=MO",
        time_zone="America/New_York",
    )


async def run_todoman(folder: Path, *arguments: str) -> str:
    """Run todoman on the calendars in a folder, in Berlin, and return what it prints."""
    configuration, cache = (folder.parents[1] / name for name in ("todoman.py", "todoman.sqlite3"))
    configuration.write_text(
        f"path = {str(folder.parent / '*')!r}\ncache_path = {str(cache)!r}\n"
        'date_format = "%Y-%m-%d"\ntime_format = "%H:%M"\n'
    )
    command = [sys.executable, "-m", "todoman", "--color", "never", "--config", str(configuration), *arguments]
    environment = os.environ | {"TZ": "Europe/Berlin", "LC_ALL": "C.UTF-8"}
    return (await anyio.run_process(command, env=environment)).stdout.decode()


async def test_todoman_shows_titles_due_dates_priorities_and_completion(exported: Path) -> None:
    shown = await run_todoman(exported, "list", "--status", "ANY", "--sort", "summary", "--no-reverse")

    # the second word is a number that todoman gives the todo
    assert [re.sub(r"^(\[.\]) \d+ ", r"\1 ", line).rstrip() for line in shown.splitlines()] == [
        "[ ] !!! 2027-01-31 Day  [Garden, home]",
        "[X]  (no due date) Done  (100%)",
        "[ ]  (no due date) Größe 🌱, x; y\\z",
        "[ ] ! 2027-01-31 10:00 Moment",
        "[ ]  (no due date) Step",
        "[ ] !! 2027-02-01 15:00 ⟳Weekly",
    ]


async def test_todoman_reads_lists_descriptions_starts_and_times_of_completion(exported: Path) -> None:
    read = json.loads(await run_todoman(exported, "--porcelain", "list", "--status", "ANY"))
    todos = {todo["summary"]: todo for todo in read}

    assert todos["Größe 🌱, x; y\\z"]["description"] == "one\ntwo"
    assert todos["Größe 🌱, x; y\\z"]["start"] == datetime(2027, 1, 30, tzinfo=BERLIN).timestamp()
    assert todos["Done"]["completed_at"] == datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()
    assert sorted(todos["Day"]["categories"]) == ["Garden", "home"]


async def test_icalendar_reads_the_types_of_the_properties(exported: Path) -> None:
    calendar: Any = icalendar.Calendar.from_ical((exported / "todos.ics").read_bytes())
    todos = {str(todo["SUMMARY"]): todo for todo in calendar.todos}

    assert todos["Day"].decoded("DUE") == date(2027, 1, 31)
    assert todos["Moment"].decoded("DUE") == datetime(2027, 1, 31, 9, tzinfo=UTC)
    weekly = todos["Weekly"].decoded("DUE")
    assert (weekly.hour, weekly.tzinfo.key) == (9, "America/New_York")
    assert todos["Weekly"]["RRULE"].to_ical() == b"FREQ=WEEKLY;BYDAY=MO"
    assert [int(todos[title].get("PRIORITY", 0)) for title in ("Day", "Weekly", "Moment", "Done")] == [1, 5, 9, 0]
    assert str(todos["Step"]["RELATED-TO"]) == str(todos["Moment"]["UID"])
    assert {str(todo["STATUS"]) for title, todo in todos.items() if title != "Done"} == {"NEEDS-ACTION"}
    assert todos["Done"].decoded("COMPLETED") == datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert not calendar.errors
    assert not [error for todo in calendar.todos for error in todo.errors]
