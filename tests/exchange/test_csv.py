"""CSV as people and spreadsheets write it."""

from __future__ import annotations

import csv
import io
import itertools
from typing import Any

import pytest

from tests.exchange.reading import describe, read_drafts, read_file
from tests.people import Person
from todo_service.errors import Invalid
from todo_service.exchange.formats.base import RejectedRecord
from todo_service.exchange.formats.csv_format import CsvFormat
from todo_service.exchange.formats.spreadsheets import protect, restore

CSV = CsvFormat()


@pytest.mark.parametrize(
    "body",
    [
        "title,tags,due_on\nSow,garden,2027-01-31\n",
        "title;tags;due_on\nSow;garden;2027-01-31\n",
        "title\ttags\tdue_on\r\nSow\tgarden\t2027-01-31\r\n",
        "\ufeffTITLE;Tags;Due On\rSow;garden;31.01.2027\r",
        "sep=;\r\ntitle;tags;due_on\r\nSow;garden;2027-01-31\r\n",
        '"sep=;";;\r\n"title";"tags";"due_on"\r\n"Sow";"garden";"2027-01-31"\r\n',
        '\n\n,,\ntitle,tags,due-on\n,,\n\n"",,\nSow,garden,2027-01-31\n,,',
        'due_on,"title, the",tags,title\n2027-01-31,,garden,Sow',
        "title,tags,due_at\nSow,garden,2027-01-31",
        "title,tags,due_on\nSow,garden,2027-01-31 00:00:00",
    ],
)
def test_a_table_is_read_whatever_separates_its_cells(body: str) -> None:
    (draft,) = read_drafts(CSV, body)

    assert describe(draft) == {"title": "Sow", "tags": ["garden"], "due_on": "2027-01-31"}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("2027-01-31T09:00:00+02:00", {"due_at": "2027-01-31T07:00:00.000Z"}),
        ("2027-01-31T09:00:00.123456Z", {"due_at": "2027-01-31T09:00:00.123Z"}),
        ("2027-01-31 09:00", {"due_at": "2027-01-31T08:00:00.000Z"}),
        ("2027-07-31T09:00:30", {"due_at": "2027-07-31T07:00:30.000Z"}),
        ("31.01.2027 9:00", {"due_at": "2027-01-31T08:00:00.000Z"}),
        ("31.1.27, 9:00", {"due_at": "2027-01-31T08:00:00.000Z"}),
        ("1/31/2027 9:05 PM", {"due_at": "2027-01-31T20:05:00.000Z"}),
        ("31/01/2027 21:05", {"due_at": "2027-01-31T20:05:00.000Z"}),
        ("12/31/27 12:00 a.m.", {"due_at": "2027-12-30T23:00:00.000Z"}),
        ("2027/1/31", {"due_on": "2027-01-31"}),
        ("31-Jan-27", {"due_on": "2027-01-31"}),
        ("1 Sept. 2027", {"due_on": "2027-09-01"}),
        ("January 31, 2027", {"due_on": "2027-01-31"}),
        ("Jan. 31 2027 9:00 am", {"due_at": "2027-01-31T08:00:00.000Z"}),
        ("1/2/2027", {"due_on": "2027-01-02"}),
    ],
)
def test_a_due_date_is_a_day_or_a_moment(text: str, fields: dict[str, str]) -> None:
    (draft,) = read_drafts(CSV, f'title,due_at\nSow,"{text}"\n')

    assert describe(draft) == {"title": "Sow"} | fields
    assert draft.warnings == ()


def test_one_date_tells_the_order_of_all() -> None:
    first, second = read_drafts(CSV, "title,due_on\nSow,1/2/2027\nMow,31/1/2027\n")

    assert (first.todo.due_on, second.todo.due_on) == ("2027-02-01", "2027-01-31")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("priority", "Urgent", "urgent"),
        ("priority", "Hoch", "high"),
        ("priority", "élevée", "high"),
        ("priority", "5.0", "medium"),
        ("priority", "1", "urgent"),
        ("priority", "4", "high"),
        ("priority", "5", "medium"),
        ("priority", "9", "low"),
        ("priority", "0", "none"),
        ("completed", "WAHR", True),
        ("completed", "x", True),
        ("completed", "Sí", True),
        ("completed", "No", False),
        ("position", '"-1,5"', -1.5),
        ("position", '"1.024,5"', 1024.5),
        ("position", '"1,024.5"', 1024.5),
        ("tags", '"home, ""a,b"" ,,garden"', ["home", "a,b ", "garden"]),
        ("recurrence_from", "Completion", "completion"),
    ],
)
def test_a_cell_is_read_as_people_write_it(name: str, text: str, value: Any) -> None:
    (draft,) = read_drafts(CSV, f"title,{name}\nSow,{text}\n")

    assert getattr(draft.todo, name) == value
    assert draft.warnings == ()


def test_steps_are_json_or_one_a_line() -> None:
    lines = '"Buy seeds\r\n- [x] Dig\n[ ] Water\n\n* Wait"'
    array = '"[{""title"": ""Buy seeds"", ""completed"": false}, ""Dig""]"'

    by_line, by_json = read_drafts(CSV, f"title,steps\nSow,{lines}\nSow,{array}\n")

    assert [(step.title, step.completed) for step in by_line.todo.steps] == [
        ("Buy seeds", False),
        ("Dig", True),
        ("Water", False),
        ("Wait", False),
    ]
    assert [step.title for step in by_json.todo.steps] == ["Buy seeds", "Dig"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("completed", "maybe"),
        ("due_at", "tomorrow"),
        ("due_at", "2027-02-30"),
        ("due_at", "2027-01-01T00:00:00+99:99"),
        ("due_on", "1.13.2027"),
        ("due_on", "31 Foo 2027"),
        ("position", "1e999"),
        ("position", "first"),
        ("priority", "10"),
        ("steps", f'"{"[" * 5000}{"]" * 5000}"'),
        ("reminders", "soon"),
        ("recurrence_from", "start"),
    ],
)
def test_a_cell_that_is_not_understood_is_left_out_with_a_warning(name: str, text: str) -> None:
    (draft,) = read_drafts(CSV, f"title,{name},tags\nSow,{text},garden\n")

    assert describe(draft) == {"title": "Sow", "tags": ["garden"]}
    (warning,) = draft.warnings
    assert warning.startswith((f"{name} was left out: ", f"{name} were left out: "))


def test_columns_without_a_meaning_are_named() -> None:
    drafts = read_drafts(CSV, "title,Colour,,tags\nSow,red,,garden\nMow,green,,\n")

    assert [draft.warnings for draft in drafts] == [(), ()]
    assert {draft.file_warnings for draft in drafts} == {('Columns were not imported: "Colour", 3 (without a name)',)}


def test_only_rows_that_cannot_be_read_are_rejected() -> None:
    body = b'title,tags\nSow\n ,garden\nMow,a,b\nDi\xdfel,\n"un\nclosed\nRest,,,\n'

    records = read_file(CSV, body)

    rejected = [(each.line, each.issues[0].pointer) for each in records if isinstance(each, RejectedRecord)]
    assert rejected == [(3, "/title"), (4, ""), (5, ""), (6, "")]
    assert len(records) == 7


def test_a_long_cell_is_one_cell() -> None:
    lines = "- Water\n" * 20_000

    (draft,) = read_drafts(CSV, f'title,description\nSow,"{lines}"\n')

    assert draft.todo.description == lines


def test_a_start_fits_the_due_date() -> None:
    header = "title,start_at,due_at\n"

    day, moment, late = read_drafts(
        CSV,
        header
        + "Sow,2027-01-30 09:00,2027-01-31\n"
        + "Mow,2027-01-31,2027-01-31 09:00\n"
        + "Dig,2027-02-01,2027-01-31\n",
    )

    assert describe(day) == {"title": "Sow", "start_on": "2027-01-30", "due_on": "2027-01-31"}
    assert describe(moment) == {
        "title": "Mow",
        "start_at": "2027-01-30T23:00:00.000Z",
        "due_at": "2027-01-31T08:00:00.000Z",
    }
    assert describe(late) == {"title": "Dig", "due_on": "2027-01-31"}
    assert late.warnings == ("Start was left out: it is after the due date",)


def test_a_uid_and_a_list_are_kept() -> None:
    (draft,) = read_drafts(CSV, "uid,title,list\nabc-1,Sow,'=Garden\n")

    assert draft.uid == "abc-1"
    assert draft.list is not None
    assert draft.list.name == "=Garden"


def test_a_completion_time_alone_completes() -> None:
    alone, reopened = read_drafts(
        CSV, "title,completed,completed_at\nSow,,2027-01-31\nMow,false,2027-01-31T09:00:00Z\n"
    )

    assert describe(alone) == {"title": "Sow", "completed": True, "completed_at": "2027-01-30T23:00:00.000Z"}
    assert describe(reopened) == {"title": "Mow"}
    assert len(reopened.warnings) == 1


def test_a_table_in_utf_16_is_refused() -> None:
    with pytest.raises(Invalid) as raised:
        read_file(CSV, "\ufefftitle\tdue_on\n".encode("utf-16-le"))

    assert raised.value.issues[0].detail == "Expected a file in UTF-8, not in UTF-16"


@pytest.mark.parametrize("body", ["", "\n\n", "name\nx\n", "sep=;\n", "title,title\nx,y\n", '"title\n', "title\0\n"])
def test_a_file_without_a_header_is_refused(body: str) -> None:
    with pytest.raises(Invalid):
        read_file(CSV, body)


@pytest.mark.parametrize(
    "text",
    [
        *("=1+1", "-5", "'-5", "'5", "007", "123456789012", "67400000e000000000000012", "1.5", "1,024.5", "5 %", "$5"),
        *("2027-01-31", "31.1.", "1/2", "12:30", "9 PM", "Jan 5", "5. Januar 2027", "true", "WAHR", "5\n6"),
    ],
)
def test_a_text_that_a_spreadsheet_converts_is_protected(text: str) -> None:
    assert protect(text) == f"'{text}"
    assert restore(protect(text)) == text


@pytest.mark.parametrize(
    "text", ["", "'", "2027", "12345678901", "3 apples", "Room 5", "'90s music", "a-b", "5 in May"]
)
def test_any_other_text_is_written_as_it_is(text: str) -> None:
    assert protect(text) == text
    assert restore(text) == text


@pytest.mark.anyio
@pytest.mark.shared_app
async def test_formulas_are_written_as_texts_and_read_back_exactly(ada: Person, bob: Person) -> None:
    texts = ["".join(each) for length in (1, 2, 3) for each in itertools.product("'=+-@\tx", repeat=length)]
    todos = [
        {"title": f"{number}", "description": text, "tags": [text.replace("\t", "") + "!"]}
        for number, text in enumerate(texts)
    ]
    await ada.post("/v1/todos/import", json=todos)

    exported = (await ada.get("/v1/todos/export", params={"format": "csv"})).content

    rows = list(csv.DictReader(io.StringIO(exported.decode(), newline="")))
    assert len(rows) == len(texts)
    for row in rows:
        assert not row["description"].startswith(("=", "+", "-", "@", "\t", "\r")), row
        assert not row["tags"].startswith(("=", "+", "-", "@", "\t", "\r")), row
    await bob.post("/v1/todos/import", content=exported, headers={"Content-Type": "text/csv"})
    again = (await bob.get("/v1/todos/export")).json()
    imported = {todo["title"]: (todo["description"], todo["tags"]) for todo in again["todos"]}
    assert imported == {todo["title"]: (todo["description"], todo["tags"]) for todo in todos}


@pytest.mark.anyio
@pytest.mark.shared_app
async def test_lost_columns_are_reported_once_for_the_records_that_are_imported(ada: Person) -> None:
    async def report_warnings(*rows: str) -> list[tuple[int, str]]:
        table = "\n".join(["title,Colour,due_at", *rows])
        response = await ada.post("/v1/todos/import", content=table, headers={"Content-Type": "text/csv"})
        return [(warning["line"], warning["detail"]) for warning in response.json()["warnings"]]

    lost = 'Columns were not imported: "Colour"'
    assert await report_warnings("Sow,red,", "Mow,green,") == [(2, lost)]
    assert await report_warnings("Sow,red,", "Mow,green,") == []
    assert await report_warnings(",blue,", "Sow,red,", "Rake,yellow,", "Dig,,") == [(4, lost)]


@pytest.mark.anyio
@pytest.mark.shared_app
async def test_what_a_cell_has_too_many_of_is_cut(ada: Person) -> None:
    days = [f"{year}-01-{day:02}" for year in range(2028, 2033) for day in range(1, 29)]
    cells = [
        ",".join(days),
        ",".join(f"tag {number}" for number in range(30)),
        "\n".join(f"step {number}" for number in range(120)),
        ",".join(["x"] * 1000),
    ]
    body = io.StringIO()
    rows = csv.writer(body)
    rows.writerow(["title", "due_on", "recurrence", "recurrence_except", "tags", "steps"])
    rows.writerow(["Sow", "2027-01-01", "FREQ=DAILY", *cells[:3]])
    rows.writerow(["Mow", "2027-01-01", "FREQ=DAILY", cells[3], "", ""])

    response = await ada.post("/v1/todos/import", content=body.getvalue(), headers={"Content-Type": "text/csv"})

    report = response.json()
    assert (report["imported"], report["rejected_count"]) == (2, 0)
    details = [warning["detail"] for warning in report["warnings"] if warning["line"] == 2]
    assert list(dict.fromkeys(detail.partition(" left out")[0] for detail in details)) == [
        "Tags beyond the first 20 were",
        "Steps beyond the first 100 were",
        "Exceptions beyond the first 100 were",
    ]
    sow, mow = (await ada.get("/v1/todos", params={"sort": "position"})).json()["items"]
    assert (len(sow["tags"]), len(sow["steps"]), len(sow["recurrence_except"])) == (20, 100, 100)
    assert mow["recurrence_except"] == []


@pytest.mark.anyio
@pytest.mark.shared_app
async def test_a_day_whose_time_zone_is_left_out_ends_in_that_of_the_account(ada: Person) -> None:
    await ada.patch("/v1/users/me", json={"time_zone": "America/New_York"})
    table = "title,due_on,time_zone\nSow,2027-01-31,Mars/Phobos\n"

    response = await ada.post("/v1/todos/import", content=table, headers={"Content-Type": "text/csv"})

    assert response.json()["warnings_count"] == 1
    assert await ada.titles(due_after="2027-02-01T04:00:00Z", due_before="2027-02-01T05:00:00Z") == ["Sow"]
