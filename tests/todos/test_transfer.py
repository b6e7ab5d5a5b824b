"""Export and import: `GET /v1/todos/export` and `POST /v1/todos/import`, in each format."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from typing import Any

import httpx
import icalendar
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.people import Person, TodoCreateFactory, assert_problem, build_report
from todo_service.text import normalize_lines, normalize_text

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
FORMATS = {"json": "application/json", "csv": "text/csv", "ics": "text/calendar"}
OWN = {"id", "version", "updated_at", "list_id"}
"""The fields that an import assigns."""
HARD_TEXTS = (
    "plain",
    "comma, semicolon; colon: \"quotes\" 'n' \\backslash \\n \\N \\, %2C ^n",
    "Gärten gießen 🌱🏳️‍🌈 مرحبا بالعالم שלום",
    '=HYPERLINK("http://example.com")',
    "'=1+1",
    "-5",
    "@home",
    "line\u2028paragraph\u2029end",
    "a\u200bb\u202ec",
    "\ufeffa byte order mark\ufeff",
    "x" * 200,
    "ü" * 200,
)


async def export_todos(person: Person, file_format: str) -> httpx.Response:
    response = await person.get("/v1/todos/export", params={"format": file_format})
    assert response.status_code == 200, response.text
    return response


async def import_todos(
    person: Person, file_format: str, body: bytes | str, headers: dict[str, str] | None = None, **parameters: str
) -> Any:
    response = await person.post(
        "/v1/todos/import",
        content=body,
        headers={"Content-Type": FORMATS[file_format]} | (headers or {}),
        params=parameters,
    )
    assert response.status_code == 200, response.text
    return response.json()


async def list_todos(person: Person) -> list[dict[str, Any]]:
    """Return all todos in the order of creation, without assigned fields, and with the names of their lists."""
    lists = (await person.get("/v1/lists", params={"limit": "200"})).json()["items"]
    names = {each["id"]: each["name"] for each in lists}
    response = await person.get("/v1/todos", params={"limit": "200"})
    assert response.json()["next_cursor"] is None
    return [
        {name: value for name, value in todo.items() if name not in OWN} | {"list": names.get(todo["list_id"])}
        for todo in response.json()["items"]
    ]


async def furnish(person: Person) -> None:
    """Create todos of every kind."""
    await person.patch("/v1/users/me", json={"time_zone": "Europe/Berlin"})
    garden = (await person.post("/v1/lists", json={"name": 'Garden; "wild", =1', "color": "#2e8b57"})).json()["id"]
    for text in HARD_TEXTS:
        await person.todo(
            title=text[:200], description=text * 3, tags=[text[:40], "b,c"], steps=[{"title": text[:200]}]
        )
    await person.todo(description="line\nline\r\n\tline\n\n ")
    await person.todo(list_id=garden, completed=True, priority="urgent", position=-1.5e-7)
    for priority in ("low", "medium", "high"):
        await person.todo(priority=priority, due_at="2027-03-27T09:00:00.123+01:00", list_id=garden)
    for rule in (
        "BYDAY=1MO,-1FR;FREQ=MONTHLY;COUNT=7",
        "FREQ=MONTHLY;WKST=SU;BYSETPOS=-1;BYDAY=MO,TU,WE,TH,FR;UNTIL=20301231T120000",
        "FREQ=DAILY;UNTIL=20301231",
        "FREQ=YEARLY;UNTIL=20301231T235959Z",
    ):
        for due_at in ("2027-10-31T02:30:00.5+01:00", "2027-10-31T02:30:00+02:00", "2027-06-30T22:00:00Z"):
            await person.todo(recurrence=rule, due_at=due_at)
    await person.todo(due_at="1970-01-01T00:00:00Z")
    await person.todo(due_at="9999-12-30T23:59:59.999Z")


@pytest.mark.parametrize("file_format", FORMATS)
async def test_import_of_an_export_is_lossless(ada: Person, bob: Person, file_format: str) -> None:
    await furnish(ada)

    response = await export_todos(ada, file_format)
    result = await import_todos(bob, file_format, response.content)

    assert response.headers["content-type"].split(";")[0] == FORMATS[file_format]
    assert response.headers["content-disposition"] == f'attachment; filename="todos.{file_format}"'
    assert response.headers["cache-control"] == "no-store"
    before = await list_todos(ada)
    assert result == build_report(imported=len(before), lists_created=1)
    assert await list_todos(bob) == before


@pytest.mark.parametrize("file_format", FORMATS)
async def test_copies_of_todos_are_in_the_lists_of_the_account(ada: Person, file_format: str) -> None:
    garden = (await ada.post("/v1/lists", json={"name": "Garden"})).json()["id"]
    first = await ada.todo(list_id=garden)

    await import_todos(ada, file_format, (await export_todos(ada, file_format)).content, existing="copy")

    todos = (await ada.get("/v1/todos")).json()["items"]
    assert [todo["list_id"] for todo in todos] == [garden, garden]
    assert len({first["id"], *(todo["id"] for todo in todos)}) == 2
    assert len((await ada.get("/v1/lists")).json()["items"]) == 1


def is_valid_text(text: str) -> bool:
    try:
        return bool(normalize_text(text, 120))
    except ValueError:
        return False


def are_valid_lines(text: str) -> bool:
    try:
        normalize_lines(text, 120)
    except ValueError:
        return False
    return True


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40).filter(is_valid_text)
LINES = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n"), max_size=40).filter(
    are_valid_lines
)
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)).map(  # noqa: DTZ001  # the zone is added
    lambda moment: moment.replace(tzinfo=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
)
TODOS = st.fixed_dictionaries(
    {"title": TEXTS},
    optional={
        "description": LINES,
        "tags": st.lists(TEXTS, max_size=4),
        "steps": st.lists(st.fixed_dictionaries({"title": TEXTS, "completed": st.booleans()}), max_size=3),
        "due_at": MOMENTS,
        "completed": st.booleans(),
        "priority": st.sampled_from(["none", "low", "medium", "high", "urgent"]),
        "position": st.floats(allow_nan=False, allow_infinity=False),
    },
)


@pytest.mark.parametrize("file_format", FORMATS)
@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(todos=st.lists(TODOS, min_size=1, max_size=8))
async def test_any_todo_survives_export_and_import(
    client: httpx.AsyncClient, file_format: str, todos: list[dict[str, Any]]
) -> None:
    ada, bob = await Person.register(client), await Person.register(client)
    for todo in todos:
        await ada.todo(**todo)

    result = await import_todos(bob, file_format, (await export_todos(ada, file_format)).content)

    assert result["rejected"] == []
    assert await list_todos(bob) == await list_todos(ada)


async def test_the_json_export_contains_every_list_and_todo_as_the_api_shows_them(ada: Person) -> None:
    await ada.post("/v1/lists", json={"name": "Empty"})
    for _ in range(3):
        await ada.post("/v1/todos", json={"title": "Water the plants"})

    archive = (await export_todos(ada, "json")).json()

    assert archive["todos"] == (await ada.get("/v1/todos")).json()["items"]
    assert archive["lists"] == (await ada.get("/v1/lists")).json()["items"]


@pytest.mark.parametrize("file_format", FORMATS)
async def test_an_account_without_todos_is_exported_and_imported(ada: Person, bob: Person, file_format: str) -> None:
    response = await export_todos(ada, file_format)

    assert await import_todos(bob, file_format, response.content) == build_report(imported=0)


async def test_more_todos_than_a_page_are_exported_once_each_in_order(ada: Person) -> None:
    titles = [f"todo {number}" for number in range(450)]
    await import_todos(ada, "json", json.dumps([{"title": title} for title in titles]))

    rows = list(csv.DictReader(io.StringIO((await export_todos(ada, "csv")).text)))

    assert sorted(row["title"] for row in rows) == sorted(titles)
    assert len({row["id"] for row in rows}) == 450
    by_place = (await ada.get("/v1/todos", params={"sort": "position", "limit": "200"})).json()["items"]
    assert [todo["title"] for todo in by_place] == titles[:200]


async def test_the_calendar_export_conforms_to_rfc_5545(ada: Person) -> None:
    await furnish(ada)

    text = (await export_todos(ada, "ics")).content

    assert text.endswith(b"END:VCALENDAR\r\n")
    assert b"\n" not in text.replace(b"\r\n", b"")
    assert all(len(line) <= 75 for line in text.split(b"\r\n"))
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text)
    calendar: Any = icalendar.Calendar.from_ical(text)
    assert calendar["VERSION"] == "2.0"
    assert calendar["PRODID"]
    todos: list[Any] = [todo for todo in calendar.walk("VTODO") if "RELATED-TO" not in todo]
    assert [str(zone["TZID"]) for zone in calendar.walk("VTIMEZONE")] == ["Europe/Berlin"]
    expected = (await ada.get("/v1/todos", params={"limit": "200"})).json()["items"]
    assert len({str(todo["UID"]) for todo in todos}) == len(expected)
    for todo, wanted in zip(todos, expected, strict=True):
        assert todo["DTSTAMP"].dt.utcoffset().total_seconds() == 0
        assert todo["STATUS"] == ("COMPLETED" if wanted["completed"] else "NEEDS-ACTION")
        assert int(todo.get("PRIORITY", 0)) == {"urgent": 1, "high": 3, "medium": 5, "low": 9}.get(
            wanted["priority"], 0
        )
        assert ("DUE" in todo) is (wanted["due_at"] is not None)
        if wanted["due_at"] is not None:
            due_at = datetime.fromisoformat(wanted["due_at"]).replace(microsecond=0)
            # icalendar picks the first of two ambiguous hours; compare the local times
            wall = due_at.astimezone(todo["DUE"].dt.tzinfo).replace(tzinfo=None)
            assert todo["DUE"].dt.replace(tzinfo=None) == wall
        if wanted["recurrence"] is not None:
            assert todo["DTSTART"].dt <= todo["DUE"].dt
            assert todo["DTSTART"].dt.date() == todo["DUE"].dt.date()
            until = todo["RRULE"].get("UNTIL")
            assert until is None or until[0].utcoffset().total_seconds() == 0
    plain = next(todo for todo in todos if todo["SUMMARY"] == "plain")
    assert [str(tag) for tag in plain["CATEGORIES"].cats] == ["plain", "b,c"]


ANOTHER_PROGRAM_S = r"""BEGIN:VCALENDAR
PRODID:-//Another//Program//EN
VERSION:2.0
BEGIN:VTIMEZONE
TZID:Custom Zone
BEGIN:STANDARD
DTSTART:19700101T000000
TZOFFSETFROM:+0300
TZOFFSETTO:+0300
END:STANDARD
END:VTIMEZONE
BEGIN:VTODO
UID:1
SUMMARY;LANGUAGE=en:Folded te
 xt\, escaped\; and
  more
DESCRIPTION:one\ntwo \\n
DUE;TZID=Custom Zone:20270131T090000
PRIORITY:2
CATEGORIES:home,a\,b
CATEGORIES:garden
STATUS:IN-PROCESS
BEGIN:VALARM
ACTION:DISPLAY
DESCRIPTION:not the todo's
TRIGGER:-PT15M
END:VALARM
END:VTODO
begin:vtodo
summary:All day
due;value=date:20270131
completed:20260130T120000Z
end:vtodo
BEGIN:VTODO
SUMMARY:By its start
DTSTART:20270131T090000
DURATION:PT1H
RRULE:FREQ=WEEKLY;BYDAY=SU
END:VTODO
END:VCALENDAR
"""


async def test_a_calendar_of_another_program_is_read(ada: Person) -> None:
    await ada.patch("/v1/users/me", json={"time_zone": "America/New_York"})
    result = await import_todos(ada, "ics", ANOTHER_PROGRAM_S.replace("\n", "\r\n"))

    assert result == build_report(imported=3)
    folded, all_day, by_start = (await ada.get("/v1/todos", params={"sort": "position"})).json()["items"]
    assert folded["title"] == "Folded text, escaped; and more"
    assert folded["description"] == "one\ntwo \\n"
    assert folded["due_at"] == "2027-01-31T06:00:00.000Z"
    assert folded["priority"] == "high"
    assert folded["tags"] == ["home", "a,b", "garden"]
    assert (all_day["due_at"], all_day["due_on"]) == (None, "2027-01-31")
    assert all_day["completed_at"] == "2026-01-30T12:00:00.000Z"
    assert by_start["due_at"] == "2027-01-31T15:00:00.000Z"
    assert by_start["recurrence"] == "FREQ=WEEKLY;BYDAY=SU"


async def test_changes_of_another_program_to_an_exported_calendar_win(ada: Person, bob: Person) -> None:
    await ada.todo(title="Old \\N title", due_at="2027-01-31T09:00:00.500Z", steps=[{"title": "kept"}])
    text = (await export_todos(ada, "ics")).text

    changed = text.replace("SUMMARY:Old \\n title", "SUMMARY:New title").replace(
        "DUE:20270131T090000Z", "DUE:20270201T090000Z"
    )
    await import_todos(bob, "ics", changed)

    (todo,) = (await bob.get("/v1/todos")).json()["items"]
    assert todo["title"] == "New title"
    assert todo["due_at"] == "2027-02-01T09:00:00.000Z"
    assert [step["title"] for step in todo["steps"]] == ["kept"]


async def test_three_broken_todos_in_a_calendar_of_ten_thousand_lines_are_rejected_alone(ada: Person) -> None:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0"]
    for number in range(1999):
        lines += ["BEGIN:VTODO", f"UID:{number}", f"SUMMARY:todo {number}", "DUE:20270131T090000Z", "END:VTODO"]
    lines += ["END:VCALENDAR"]
    broken = [2 + 5 * 10 + 2, 5004, 2 + 5 * 1500 + 2]
    for number in broken:
        assert lines[number].startswith("SUMMARY")
        lines[number] = "SUMMARY:Straße"

    result = await import_todos(ada, "ics", ("\r\n".join(lines) + "\r\n").encode("cp1252"))

    assert result["imported"] == 1996
    assert [rejection["line"] for rejection in result["rejected"]] == [number + 1 for number in broken]
    assert {rejection["errors"][0]["detail"] for rejection in result["rejected"]} == {"Expected UTF-8"}
    assert (await ada.get("/v1/todos/summary")).json()["open"] == 1996


async def test_a_truncated_calendar_is_reported_and_events_are_passed_over(ada: Person) -> None:
    text = (
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:party\nEND:VEVENT\nBEGIN:VTODO\nSUMMARY:a\n"
        "BEGIN:VTODO\nSUMMARY:b\nEND:VTODO\nBEGIN:VTODO"
    )

    result = await import_todos(ada, "ics", text)

    assert [(each["line"], each["errors"][0]["detail"]) for each in result["rejected"]] == [
        (5, "Expected END:VTODO"),
        (10, "Expected END:VTODO"),
    ]
    assert await ada.titles() == ["b"]


async def test_a_csv_file_of_another_program_is_read(ada: Person) -> None:
    text = (
        "\ufeffTitle,Description,Tags,Completed,Due_At,List\r\n"
        '"Water ""all""","the\r\nplants","home, ""a,b""",TRUE,2027-01-31T09:00:00+01:00,Garden\r\n'
        "\r\n"
        "'=1+1,,,,,\r\n"
        ",,,,,\r\n"
        "too,few\r\n"
        'un"quoted,,,maybe,,\r\n'
        "last,,,,tomorrow,\r\n"
        ",no title,,,,\r\n"
        "one,too,many,,,,,cells\r\n"
    )

    result = await import_todos(ada, "csv", text)

    assert result["imported"] == 5
    assert [(each["line"], each["errors"][0].get("pointer")) for each in result["rejected"]] == [
        (10, "/title"),
        (11, None),
    ]
    plants, formula, *others = (await ada.get("/v1/todos", params={"sort": "position"})).json()["items"]
    assert [todo["title"] for todo in others] == ["too", 'un"quoted', "last"]
    assert (plants["title"], plants["description"]) == ('Water "all"', "the\nplants")
    assert plants["tags"] == ["home", "a,b"]
    assert plants["completed"] is True
    assert plants["due_at"] == "2027-01-31T08:00:00.000Z"
    assert formula["title"] == "=1+1"
    (garden,) = (await ada.get("/v1/lists")).json()["items"]
    assert garden["name"] == "Garden"
    assert plants["list_id"] == garden["id"]


async def test_an_unclosed_quote_rejects_only_its_own_line(ada: Person) -> None:
    result = await import_todos(ada, "csv", 'title,description\none,1\n"two,2\nthree,3\nfour,"4\n')

    assert [each["line"] for each in result["rejected"]] == [3, 5]
    assert await ada.titles(sort="position") == ["one", "three"]


@pytest.mark.parametrize(
    ("file_format", "body", "status", "word"),
    [
        ("csv", "title\nok\n".encode("utf-16"), 422, "UTF-16"),
        ("csv", b"", 422, "title"),
        ("csv", b"name\nx\n", 422, "title"),
        ("csv", b"title,title\nx,y\n", 422, "duplicate"),
        ("csv", b"description\nx\n", 422, "title"),
        ("csv", b'"title\n', 422, "line 1"),
        ("ics", "BEGIN:VCALENDAR\nEND:VCALENDAR\n".encode("utf-16"), 422, "VCALENDAR"),
        ("ics", b"", 422, "VCALENDAR"),
        ("ics", b"BEGIN:VTODO\nEND:VTODO\n", 422, "VCALENDAR"),
        ("json", b"", 400, "JSON"),
        ("json", b'[{"title": "a"}', 400, "JSON"),
        ("json", '[{"title": "Straße"}]'.encode("cp1252"), 400, "JSON"),
        ("json", b'[{"title": "\\ud800"}]', 400, "JSON"),
        ("json", b"[" * 65 + b"]" * 65, 400, "64"),
        ("json", b'{"items": [], "more": 1}', 422, "unknown field"),
        ("json", b'{"items": 1}', 422, "Expected"),
        ("json", b'"todos"', 422, "Expected"),
    ],
)
async def test_a_malformed_body_is_refused_and_nothing_is_imported(
    ada: Person, file_format: str, body: bytes, status: int, word: str
) -> None:
    response = await ada.post("/v1/todos/import", content=body, headers={"Content-Type": FORMATS[file_format]})

    problem = assert_problem(response, status)
    assert word in json.dumps([problem["detail"], problem.get("errors")])
    assert await ada.titles() == []


async def test_rejected_json_records_are_reported_with_line_and_pointer(ada: Person, bob: Person) -> None:
    theirs = (await bob.post("/v1/lists", json={"name": "Theirs"})).json()["id"]
    body = (
        '{"lists": [],\n"items": [\n{"title": "ok"},\n {"title": " "},\n{"title": "x", "owner": "me"},\n'
        '{"title": "x", "list_id": "' + theirs + '"}, {"title": "a\\u0000b"},\n\n{"title": "x", "completed_at":'
        ' "2027-01-01T00:00:00Z"},\n7,\n{"title": "last",\n "tags": ["a", "a"]}]}'
    )

    result = await import_todos(ada, "json", body)

    assert result["imported"] == 2
    assert result["rejected_count"] == 6
    assert [(each["line"], each["errors"][0]["pointer"]) for each in result["rejected"]] == [
        (4, "/items/1/title"),
        (5, "/items/2/owner"),
        (6, "/items/3/list_id"),
        (6, "/items/4/title"),
        (8, "/items/5/completed_at"),
        (9, "/items/6"),
    ]
    assert await ada.titles(sort="position") == ["ok", "last"]
    assert await bob.titles() == []


async def test_ids_and_owners_of_others_cannot_be_taken_by_an_import(ada: Person, bob: Person) -> None:
    theirs = await bob.todo(title="Bob's")

    result = await import_todos(ada, "json", json.dumps([theirs | {"title": "Ada's", "version": 7}]))

    assert result["imported"] == 1
    (mine,) = (await ada.get("/v1/todos")).json()["items"]
    assert mine["id"] != theirs["id"]
    assert mine["version"] == 1
    assert (await bob.get(f"/v1/todos/{theirs['id']}")).json() == theirs


@pytest.mark.parametrize("future", ["2999-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("name", ["created_at", "completed_at", "last_completed_at"])
async def test_a_time_in_the_future_is_replaced_by_that_of_the_import(ada: Person, name: str, future: str) -> None:
    record = {"title": "x", "uid": "1", "completed": True, name: future}
    if name == "last_completed_at":
        record |= {"completed": False, "due_on": "2027-01-31", "recurrence": "FREQ=DAILY"}
    body = json.dumps([record])

    dry_run = await import_todos(ada, "json", body, dry_run="true")
    report = await import_todos(ada, "json", body)
    (todo,) = (await ada.get("/v1/todos")).json()["items"]
    again = await import_todos(ada, "json", body, existing="update")

    warning = {"line": 1, "detail": f"{name} was replaced: it is in the future"}
    assert dry_run == report == build_report(imported=1, warnings=[warning], warnings_count=1)
    assert todo[name] == todo["updated_at"]
    assert again == build_report(unchanged=1, warnings=[warning], warnings_count=1)
    assert (await ada.get("/v1/todos")).json()["items"] == [todo]


async def test_an_update_replaces_a_time_in_the_future_of_a_table(ada: Person) -> None:
    old = await ada.todo(uid="1", due_on="2027-01-31", recurrence="FREQ=DAILY")
    table = "uid,title,last_completed_at\n1,x,2999-01-01T00:00:00Z\n"

    for expected in ("updated", "unchanged"):
        report = await import_todos(ada, "csv", table, existing="update")
        assert (report[expected], report["warnings_count"]) == (1, 1)

    (todo,) = (await ada.get("/v1/todos")).json()["items"]
    assert old["created_at"] <= todo["last_completed_at"] <= todo["updated_at"]


async def test_an_import_with_an_idempotency_key_has_one_effect(ada: Person) -> None:
    body = json.dumps([{"title": "one"}, {"title": " "}, {"title": "two"}])
    first = await import_todos(ada, "json", body, {"Idempotency-Key": "import-1"})

    again = await ada.post(
        "/v1/todos/import",
        content=body,
        headers={"Content-Type": "application/json", "Idempotency-Key": "import-1"},
    )

    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first
    assert len(await ada.titles()) == 2


@pytest.mark.parametrize(
    ("content_type", "parameters", "status"),
    [
        ("text/csv", {"format": "csv"}, 200),
        ("Text/CSV; charset=UTF-8; header=present", {}, 200),
        ("text/csv; charset=windows-1252", {}, 415),
        ("application/json", {"format": "csv"}, 200),
        ("text/plain", {}, 415),
        ("multipart/form-data; boundary=x", {}, 415),
        ("application/octet-stream", {"format": "csv"}, 200),
        ("text/csv", {"format": "xml"}, 422),
        ("text/csv", {"sort": "title"}, 422),
    ],
)
async def test_the_parameter_or_the_media_type_determines_the_format(
    ada: Person, content_type: str, parameters: dict[str, str], status: int
) -> None:
    response = await ada.post(
        "/v1/todos/import", content=b"title\nx\n", headers={"Content-Type": content_type}, params=parameters
    )

    assert response.status_code == status, response.text


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv; header=present; charset=utf-8"),
        ("text/csv; charset=utf-8", "text/csv; header=present; charset=utf-8"),
        ("text/calendar", "text/calendar; component=VTODO; charset=utf-8"),
        ("text/calendar;q=0.5, text/csv;q=0.8", "text/csv; header=present; charset=utf-8"),
        ("text/*", "text/csv; header=present; charset=utf-8"),
        ("image/png", "application/json"),
        ("text/html, text/csv;q=0", "application/json"),
        ("*/*;q=0.1, text/calendar;q=0", "application/json"),
        ("*/*, application/json;q=0", "text/csv; header=present; charset=utf-8"),
        ("application/json;q=inf, text/csv", "application/json"),
        ("application/json;q=1e999", "application/json"),
        ("text/csv;q=-inf", "text/csv; header=present; charset=utf-8"),
        ("," * 30_000, "application/json"),
        (";," * 15_000, "application/json"),
        ("a;b=c;d=e," * 3_000, "application/json"),
    ],
)
async def test_accept_determines_the_format_of_an_export(ada: Person, accept: str | None, content_type: str) -> None:
    response = await ada.get("/v1/todos/export", headers={"Accept": accept} if accept else {"Accept": ""})

    assert response.headers["content-type"] == content_type
    assert response.headers["vary"] == "Accept"


async def test_the_parameter_for_the_format_of_an_export_wins_over_accept(ada: Person) -> None:
    response = await ada.get("/v1/todos/export", params={"format": "ics"}, headers={"Accept": "text/csv"})

    assert response.headers["content-type"] == "text/calendar; component=VTODO; charset=utf-8"
    assert "vary" not in response.headers


async def test_an_export_in_an_unknown_format_is_refused(ada: Person) -> None:
    assert_problem(await ada.get("/v1/todos/export", params={"format": "xml"}), 422, "format")
    assert_problem(await ada.get("/v1/todos/export", params={"limit": "1"}), 422, "limit")
    assert (await ada.get("/v1/todos/export")).headers["content-type"] == "application/json"


async def test_all_rejected_records_are_counted_and_the_first_ones_listed(ada: Person) -> None:
    result = await import_todos(ada, "csv", "title,priority\n" + ",low\n" * 1_005)

    assert result["imported"] == 0
    assert result["rejected_count"] == 1_005
    assert len(result["rejected"]) == 1_000


async def test_an_import_accepts_larger_bodies_than_other_routes(ada: Person) -> None:
    todo = TodoCreateFactory.build(title="Big")
    body = json.dumps([{"title": todo.title, "description": "x" * 9_000} for _ in range(150)])
    assert len(body) > 2**20

    assert (await import_todos(ada, "json", body))["imported"] == 150
    huge = await ada.post(
        "/v1/todos/import", content=b"x" * (64 * 2**20 + 1), headers={"Content-Type": "application/json"}
    )
    assert_problem(huge, 413)
