"""LibreOffice opens and saves the CSV export, and the file comes in again unchanged.

The tests need `soffice`, from Debian's package `libreoffice-calc`.
"""

from __future__ import annotations

import csv
import io
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.people import Person, build_report

pytestmark = pytest.mark.anyio
_PROFILE: Final = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Setup/L10N"><prop oor:name="ooSetupSystemLocale" oor:op="fuse"><value>{}</value></prop>
</item></oor:items>
"""
TEXTS: Final = (
    *("007", "1E5", "12345678901", "123456789012", "12345678901234567890", "1.5", "1,5", "1.024,5", "1,024.5", "1.000"),
    *("2027-01-31", "31.01.2027", "1/31/2027", "31/1/2027", "1/2", "1-2", "1.2.", "27", "1 1/2", "2027-01-31 09:00"),
    *(
        "12:30",
        "9:00 PM",
        "9am",
        "26:00",
        "50%",
        "5 %",
        "$5",
        "5 €",
        "€5",
        "5,- €",
        "(5)",
        "5-",
        ".5",
        "5.",
        "-5",
        "+5",
    ),
    *(
        "true",
        "TRUE",
        "false",
        "wahr",
        "Falsch",
        "Jan 5",
        "5 Jan",
        "5. Januar",
        "1. Mai",
        "Mai 2027",
        "January 5, 2027",
    ),
    *("=1+1", "=A1", '=HYPERLINK("http://example.com")', "@x", "-", "--x", "'=1", "'5", "''5", "'quoted'", "'"),
    *(
        "3 apples",
        "Room 5",
        'say "hello"',
        "a;b",
        "a,b",
        "Gärten gießen 🌱",
        "سلام",
        "買牛乳",
        "x" * 200,
        "a\u2028b",
        "NaN",
    ),
    *(
        "6740000000000000000000a1",
        "67400000e000000000000012",
        "674000000000000000000012",
        "#REF!",
        "[1, 2]",
        '{"a": 1}',
    ),
)
POSITIONS: Final = (1024.0, -1024.0, 1536.125, 0.1, 1.5e-07, 1234567890.123, 1e15, 1.0000000000000002)
OWN: Final = frozenset({"id", "list_id", "version", "updated_at"})
"""The fields that an import assigns."""


class Locale(NamedTuple):
    """A language and region.

    Attributes:
        name: Its name.
        code: Its number in the options of LibreOffice's filters.
        separator: The character between the cells of a table that is saved.
    """

    name: str
    code: int
    separator: str


LOCALES: Final = (Locale("en-US", 1033, ","), Locale("de-DE", 1031, ";"))


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """The embedded store: the store does not matter."""
    return f"lmdb://{tmp_path / 'store'}"


def save_again(table: bytes, folder: Path, locale: Locale, *, detects_numbers: bool) -> bytes:
    """Open a table with LibreOffice Calc and save it as CSV, with the cells as shown.

    Args:
        table: The table.
        folder: An empty folder.
        locale: The language of the program.
        detects_numbers: Whether dates, times, percentages and truth values are detected, too.
    """
    profile = folder / "profile" / "user"
    profile.mkdir(parents=True)
    (profile / "registrymodifications.xcu").write_text(_PROFILE.format(locale.name))
    (folder / "todos.csv").write_bytes(table)
    # separator, quote, encoding, first line, columns, language, quote all texts, detect numbers
    opened = f"Text - txt - csv (StarCalc):44,34,76,1,,{locale.code},false,{str(detects_numbers).lower()}"
    # separator, quote, encoding, first line, columns, language, quote all texts, as shown
    saved = f"csv:Text - txt - csv (StarCalc):{ord(locale.separator)},34,76,1,,{locale.code},false,true"
    options = [f"-env:UserInstallation=file://{folder / 'profile'}", f"--infilter={opened}"]
    conversion = ["--convert-to", saved, "--outdir", str(folder / "saved"), str(folder / "todos.csv")]
    program = ["soffice", "--headless", "--norestore"]
    subprocess.run([*program, *options, *conversion], check=True, timeout=120, capture_output=True)
    return (folder / "saved" / "todos.csv").read_bytes()


async def export(person: Person) -> list[dict[str, Any]]:
    """Return all todos in the order of creation, without assigned fields, and with the names of their lists."""
    archive = (await person.get("/v1/todos/export")).json()
    names = {each["id"]: each["name"] for each in archive["lists"]}
    return [
        {name: value for name, value in todo.items() if name not in OWN} | {"list": names.get(todo["list_id"])}
        for todo in archive["todos"]
    ]


async def furnish(person: Person) -> None:
    """Create todos with texts and numbers that spreadsheets convert, and one with every field."""
    todos: list[dict[str, Any]] = [
        {"title": text, "description": f"{text}\n{text}", "uid": text, "tags": [text[:50]], "steps": [{"title": text}]}
        for text in TEXTS
    ]
    todos += [{"title": "position", "position": position} for position in POSITIONS]
    todos += [{"title": "description", "description": text} for text in TEXTS]
    todos.append(
        {
            "title": "everything",
            "description": " white space \n\ttab\n\n",
            "due_on": "2027-01-31",
            "start_on": "2027-01-01",
            "time_zone": "Asia/Tokyo",
            "recurrence": "FREQ=MONTHLY;BYMONTHDAY=-1",
            "recurrence_from": "completion",
            "recurrence_except": ["2027-02-28"],
            "last_completed_at": "2025-11-30T09:00:00.123Z",
            "created_at": "2025-11-01T08:00:00Z",
            "reminders": [{"minutes_before": 30}, {"at": "2027-01-30T08:00:00Z"}],
            "tags": ["2027", "1,5", 'a "b"'],
            "steps": [{"title": "one", "completed": True}, {"title": "2"}],
            "priority": "urgent",
        }
    )
    todos.append(
        {"title": "done", "completed": True, "completed_at": "2025-11-20T09:00:00Z", "due_at": "2025-11-19T09:00:00Z"}
    )
    # no cell of an export exceeds the 65 535 characters that LibreOffice keeps
    todos.append({"title": "long", "description": "x" * 10_000, "steps": [{"title": '"' * 200}] * 100})
    lists = [{"id": f"67400000000000000000{number:04}", "name": text[:100]} for number, text in enumerate(TEXTS)]
    todos += [{"title": "list", "list_id": each["id"]} for each in lists]
    response = await person.post("/v1/todos/import", json={"lists": lists, "todos": todos})
    assert response.json() == build_report(imported=len(todos), lists_created=len(lists)), response.json()


@pytest.mark.parametrize("detects_numbers", [False, True], ids=["plain", "detecting numbers"])
@pytest.mark.parametrize("locale", LOCALES, ids=lambda locale: locale.name)
async def test_an_export_survives_a_spreadsheet(
    ada: Person, bob: Person, tmp_path: Path, locale: Locale, detects_numbers: bool
) -> None:
    await furnish(ada)
    before = await export(ada)
    table = (await ada.get("/v1/todos/export", params={"format": "csv"})).content
    (tmp_path / "spreadsheet").mkdir()

    saved = save_again(table, tmp_path / "spreadsheet", locale, detects_numbers=detects_numbers)

    header = next(csv.reader(io.StringIO(saved.decode("utf-8-sig")), delimiter=locale.separator))
    assert "title" in header
    csv_file = {"content": saved, "headers": {"Content-Type": "text/csv"}}
    imported = (await bob.post("/v1/todos/import", **csv_file)).json()
    assert (imported["imported"], imported["rejected"], imported["warnings"]) == (len(before), [], [])
    assert await export(bob) == before
    again = (await ada.post("/v1/todos/import", params={"existing": "update"}, **csv_file)).json()
    assert again == build_report(unchanged=len(before))
