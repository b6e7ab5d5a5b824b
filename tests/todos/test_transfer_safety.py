"""Files of other programs break no import, no export and no other account."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from typing import Any

import pytest
from odmantic import ObjectId

from tests.people import Person, assert_problem
from tests.todos.test_transfer import FORMATS, export_todos, import_todos
from todo_service.bounds.exchange import IMPORT_LISTS
from todo_service.bounds.todos import MAX_LISTS
from todo_service.exchange.formats.registry import FORMATS as TRANSFER_FORMATS
from todo_service.exchange.service import Transfer, TransferCapacity
from todo_service.lists.documents import TodoList
from todo_service.lists.service import Lists
from todo_service.services import MODELS
from todo_service.store.registry import create_store
from todo_service.todos.documents import Todo
from todo_service.todos.service import Todos

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


def calendar(*lines: str) -> str:
    return "\r\n".join(["BEGIN:VCALENDAR", *lines, "END:VCALENDAR", ""])


def zone(*observances: list[str], name: str = "Custom Zone") -> list[str]:
    lines = [line for observance in observances for line in observance]
    return ["BEGIN:VTIMEZONE", f"TZID:{name}", *lines, "END:VTIMEZONE"]


def observance(
    *lines: str, to: str = "+0300", before: str = "+0300", start: str = "19700101T000000", kind: str = "STANDARD"
) -> list[str]:
    own = [f"DTSTART:{start}", f"TZOFFSETFROM:{before}", f"TZOFFSETTO:{to}"]
    return [f"BEGIN:{kind}", *own, *lines, f"END:{kind}"]


def todo(due: str, name: str = "Custom Zone", title: str = "x") -> list[str]:
    return ["BEGIN:VTODO", f"SUMMARY:{title}", f"DUE;TZID={name}:{due}", "END:VTODO"]


async def due_times(person: Person) -> list[str]:
    response = await person.get("/v1/todos", params={"sort": "position"})
    return [item["due_at"] for item in response.json()["items"]]


async def test_time_zones_of_a_file_do_not_affect_other_accounts(ada: Person, bob: Person) -> None:
    for person, offset in ((ada, "+0300"), (bob, "-0500")):
        await import_todos(
            person, "ics", calendar(*zone(observance(to=offset, before=offset)), *todo("20270131T090000"))
        )

    assert await due_times(ada) == ["2027-01-31T06:00:00.000Z"]
    assert await due_times(bob) == ["2027-01-31T14:00:00.000Z"]
    await import_todos(ada, "ics", calendar(*todo("20270131T090000")))
    assert (await due_times(ada))[1:] == ["2027-01-31T09:00:00.000Z"]


SUMMER = observance(
    "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU", start="16010101T020000", before="+0100", to="+0200", kind="DAYLIGHT"
)
WINTER = observance("RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10", start="16010101T030000", before="+0200", to="+0100")
BY_DAYS = observance(
    "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=SU;BYMONTHDAY=25,26,27,28,29,30,31",
    start="19700329T020000",
    before="+0100",
    to="+0200",
    kind="DAYLIGHT",
)
ENDED = observance("RRULE:FREQ=YEARLY;BYMONTH=3;UNTIL=20250101T000000Z", start="20200329T020000", to="+0200")
DATES = observance("RDATE:20270328T020000,20280326T020000", start="20260329T020000", before="+0100", to="+0200")


@pytest.mark.parametrize(
    ("observances", "due", "expected"),
    [
        ([SUMMER, WINTER], "20270131T090000", "2027-01-31T08:00:00.000Z"),
        ([SUMMER, WINTER], "20270701T090000", "2027-07-01T07:00:00.000Z"),
        ([SUMMER, WINTER], "20270328T015959", "2027-03-28T00:59:59.000Z"),
        ([SUMMER, WINTER], "20270328T023000", "2027-03-28T01:30:00.000Z"),
        ([SUMMER, WINTER], "20271031T023000", "2027-10-31T00:30:00.000Z"),
        ([SUMMER, WINTER], "20271031T030000", "2027-10-31T02:00:00.000Z"),
        ([SUMMER, WINTER], "20991231T090000", "2099-12-31T08:00:00.000Z"),
        ([BY_DAYS, WINTER], "20270328T030000", "2027-03-28T01:00:00.000Z"),
        ([ENDED], "20270701T090000", "2027-07-01T07:00:00.000Z"),
        ([DATES, WINTER], "20270701T090000", "2027-07-01T07:00:00.000Z"),
        ([observance()], "19700101T000000", None),
    ],
)
async def test_a_defined_time_zone_has_the_offsets_of_rfc_5545(
    ada: Person, observances: list[list[str]], due: str, expected: str | None
) -> None:
    result = await import_todos(ada, "ics", calendar(*zone(*observances), *todo(due)))

    assert result["imported"] == 1
    assert await due_times(ada) == [expected]


@pytest.mark.parametrize(
    "definition",
    [
        observance("RRULE:FREQ=SECONDLY"),
        observance("RRULE:FREQ=YEARLY;BYSECOND=1,2"),
        observance("RRULE:FREQ=YEARLY;BYHOUR=25"),
        observance("RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=SU;BYSETPOS=1,2"),
        observance("RRULE:FREQ=YEARLY;INTERVAL=2"),
        observance("RRULE:FREQ=YEARLY;BYMONTH=1,2"),
        observance("RRULE:FREQ=YEARLY", "RRULE:FREQ=YEARLY"),
        observance("RDATE:" + ",".join(["20270101T000000"] * 5000)),
        [line for _ in range(500) for line in observance()],
        observance(start="yesterday"),
        observance(to="+9900"),
        observance("RDATE;VALUE=PERIOD:20270101T000000Z/PT1H"),
        ["BEGIN:STANDARD", "END:STANDARD"],
        [],
    ],
)
async def test_an_invalid_or_unbounded_time_zone_definition_is_ignored(ada: Person, definition: list[str]) -> None:
    text = calendar(*zone(definition), *todo("20270131T090000"), *todo("20270131T090000", "Europe/Berlin", "known"))

    result = await import_todos(ada, "ics", text)

    assert result["imported"] == 2
    assert await due_times(ada) == ["2027-01-31T09:00:00.000Z", "2027-01-31T08:00:00.000Z"]


@pytest.mark.parametrize("name", ["W. Europe Standard Time", "/example.org/Europe/Berlin", "Europe/Berlin"])
async def test_a_well_known_time_zone_needs_no_definition(ada: Person, name: str) -> None:
    definition = zone(observance("RRULE:FREQ=SECONDLY"), name=name)

    await import_todos(ada, "ics", calendar(*definition, *todo("20270131T090000", name)))

    assert await due_times(ada) == ["2027-01-31T08:00:00.000Z"]


@pytest.mark.parametrize(
    ("file_format", "text"),
    [
        ("json", '[{"title": "x", "position": 1e999}, {"title": "y"}]'),
    ],
)
async def test_an_exception_of_a_parser_rejects_only_its_record(ada: Person, file_format: str, text: str) -> None:
    result = await import_todos(ada, file_format, text)

    assert (result["imported"], result["rejected_count"]) == (1, 1)


@pytest.mark.parametrize(
    "lines",
    [
        ["DUE;TZID=a,b:20270131T090000"],
        ["DUE:P1D/P1D/P1D"],
        ["DTSTART:99991231T000000", "DURATION:P999999D"],
        ["DTSTART:2027", f"DURATION:P{'9' * 5000}D"],
    ],
)
async def test_an_exception_of_a_parser_leaves_out_only_its_property(ada: Person, lines: list[str]) -> None:
    result = await import_todos(ada, "ics", calendar("BEGIN:VTODO", "SUMMARY:x", *lines, "END:VTODO"))

    assert (result["imported"], result["rejected_count"]) == (1, 0)


async def test_a_due_date_at_the_end_of_the_calendar_breaks_no_export(ada: Person) -> None:
    await ada.patch("/v1/users/me", json={"time_zone": "Pacific/Auckland"})
    last = "9999-12-30T23:59:59.999Z"
    body = json.dumps([{"title": "x", "due_at": last, "recurrence": "FREQ=DAILY"}, {"title": "y"}])

    await import_todos(ada, "json", body)

    for file_format in FORMATS:
        assert (await export_todos(ada, file_format)).content
    (first, _) = (await ada.get("/v1/todos", params={"sort": "position"})).json()["items"]
    assert (await ada.post(f"/v1/todos/{first['id']}/complete")).status_code == 200


async def test_the_report_of_an_import_stays_small(ada: Person) -> None:
    record = {"title": "x", "steps": [{"title": " "}] * 100, "priority": "p" * 10_000}

    response = await ada.post("/v1/todos/import", json=[record | {"priority": "low"}] * 1500 + [record] * 10)

    assert len(response.content) < 2 * 2**20
    result = response.json()
    assert result["rejected_count"] == 1510
    assert 1 <= len(result["rejected"]) <= 1000
    for rejection in result["rejected"]:
        assert len(rejection["errors"]) <= 20
        assert all(len(error["detail"]) <= 200 for error in rejection["errors"])


SEEDS = {
    "json": '{"lists": [{"id": "65f1a2b3c4d5e6f708192a3b", "name": "Garden"}], "items": [{"title": "x", "tags": ["a"],'
    ' "list_id": "65f1a2b3c4d5e6f708192a3b", "due_at": "2027-01-31T09:00:00Z", "recurrence": "FREQ=DAILY;COUNT=3",'
    ' "steps": [{"title": "s", "completed": true}], "position": 1.5}, {"title": "y"}]}',
    "csv": 'title,tags,steps,due_at,recurrence,list,position\nx,"a,""b""","[{""title"": ""s""}]",2027-01-31T09:00:00Z,'
    "FREQ=WEEKLY;BYDAY=MO,Garden,1\n'=y,,,,,,\n",
    "ics": calendar(
        *zone(SUMMER, WINTER),
        *["BEGIN:VTODO", "SUMMARY:x", "DTSTART;TZID=Custom Zone:20270131T090000", "DURATION:PT1H"],
        *["RRULE:FREQ=MONTHLY;BYDAY=-1FR;UNTIL=20301231", "CATEGORIES:a,b", "PRIORITY:2", "STATUS:COMPLETED"],
        *["COMPLETED:20250130T120000Z", 'X-TODO-SERVICE:{"position":1\\,"list_name":"Garden"}', "END:VTODO"],
    ),
}
PIECES = [*'"\\,;:\n\r \t[]{}=-0é🌱\x00', "9" * 30, "BEGIN:VTODO\n", "END:VTODO\n", "BEGIN:VTIMEZONE\n", "TZID=a,b"]
PIECES += ["00010101T000000", "99991231T235959", "FREQ=SECONDLY"]
PIECES += ["FREQ=MONTHLY;INTERVAL=2;BYDAY=53SA", "P9999999W", "+2359", "1e999", "null", "\\u0000", "\ufeff", "'"]


@pytest.mark.parametrize("file_format", FORMATS)
async def test_no_mutation_of_a_file_causes_a_server_error(ada: Person, file_format: str) -> None:
    chance = random.Random(16)  # noqa: S311  # no secret
    for _ in range(60):
        text = SEEDS[file_format]
        for _ in range(chance.randint(1, 5)):
            place = chance.randrange(len(text))
            piece = chance.choice(PIECES) if chance.random() < 0.8 else text[place : place + 40]
            text = text[:place] + piece + text[place + chance.choice([0, 1, len(piece)]) :]
        body = text.encode()
        response = await ada.post("/v1/todos/import", content=body, headers={"Content-Type": FORMATS[file_format]})
        assert response.status_code in (200, 400, 422), (response.text, text)
    for other in FORMATS:
        assert (await ada.get("/v1/todos/export", params={"format": other})).status_code == 200


async def test_concurrent_attempts_of_an_import_with_a_key_create_each_list_and_todo_once(store_url: str) -> None:
    store, owner, capacity = create_store(store_url), ObjectId(), TransferCapacity()
    await store.open(*MODELS)
    body = ("title,list\n" + "".join(f"todo {number},list {number % 3}\n" for number in range(9))).encode()

    async def time_zone() -> str:
        return "UTC"

    async def read_body() -> bytes:
        return body

    def make_id(number: int) -> ObjectId:
        return ObjectId(hashlib.sha256(str(number).encode()).digest()[:12])

    async def run() -> int:
        todos = Todos(store, owner, time_zone)
        transfer = Transfer(todos, Lists(store, owner, todos), time_zone, owner, capacity)
        return (await transfer.import_file(TRANSFER_FORMATS["csv"], read_body, make_id)).imported

    try:
        assert list(await asyncio.gather(run(), run())) == [9, 9]
        assert await run() == 9

        assert await store.count(TodoList, TodoList.owner == owner) == 3
        assert await store.count(Todo, Todo.owner == owner) == 9
    finally:
        capacity.close()
        await store.close()


async def test_more_lists_than_an_import_may_name_are_rejected(ada: Person) -> None:
    rows = "".join(f"x,list {number}\n" for number in range(IMPORT_LISTS + 3))

    result = await import_todos(ada, "csv", f"title,list\n{rows}", dry_run="true")

    assert (result["lists_created"], result["rejected_count"]) == (MAX_LISTS, IMPORT_LISTS + 3 - MAX_LISTS)
    assert result["rejected"][-1]["errors"][0]["detail"] == f"Expected at most {IMPORT_LISTS} different lists"


async def test_lists_whose_names_are_cut_stay_apart(ada: Person) -> None:
    table = "title,list\n" + "".join(f"x,{'l' * 110}{number}\n" for number in range(3))

    result = await import_todos(ada, "csv", table)
    again = await import_todos(ada, "csv", table)

    assert (result["imported"], result["lists_created"], result["warnings_count"]) == (3, 3, 3)
    assert (again["unchanged"], again["lists_created"]) == (3, 0)
    lists = (await ada.get("/v1/lists")).json()["items"]
    assert [each["name"] for each in lists] == ["l" * 100] * 3


async def test_a_rule_that_never_occurs_is_refused(ada: Person) -> None:
    fields: dict[str, Any] = {"title": "x", "due_at": "2027-01-31T09:00:00Z"}
    for rule in ("FREQ=MONTHLY;BYDAY=-53SA", "FREQ=MONTHLY;INTERVAL=2;BYDAY=53SA", "FREQ=YEARLY;BYMONTH=2;BYDAY=6MO"):
        assert_problem(await ada.post("/v1/todos", json=fields | {"recurrence": rule}), 422, "/recurrence")
