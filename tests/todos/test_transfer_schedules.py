"""Starts, due dates and time zones in iCalendar and CSV."""

from __future__ import annotations

from typing import Any, Final

import icalendar
import pytest

from tests.people import Person

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
FIELDS: Final = ("due_at", "due_on", "start_at", "start_on", "time_zone", "recurrence")


def select(todo: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a todo that say when it starts and is due, except null."""
    return {name: todo[name] for name in FIELDS if todo[name] is not None}


async def import_calendar(person: Person, *lines: str) -> dict[str, Any]:
    """Import a VTODO with these lines, and return the schedule of the todo."""
    body = "\r\n".join(["BEGIN:VCALENDAR", "BEGIN:VTODO", "SUMMARY:x", *lines, "END:VTODO", "END:VCALENDAR", ""])
    response = await person.post("/v1/todos/import", headers={"Content-Type": "text/calendar"}, content=body)
    assert response.json()["imported"] == 1, response.text
    [todo] = (await person.get("/v1/todos", params={"sort": "-position", "limit": 1})).json()["items"]
    return select(todo)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["DUE;VALUE=DATE:20270131"], {"due_on": "2027-01-31"}),
        (
            ["DTSTART;VALUE=DATE:20270130", "DUE;VALUE=DATE:20270131"],
            {"due_on": "2027-01-31", "start_on": "2027-01-30"},
        ),
        (
            ["DTSTART:20270130T080000Z", "DUE:20270131T090000Z"],
            {"due_at": "2027-01-31T09:00:00.000Z", "start_at": "2027-01-30T08:00:00.000Z"},
        ),
        (["DTSTART;VALUE=DATE:20270130"], {"start_on": "2027-01-30"}),
        (["DTSTART:20270130T080000Z"], {"start_at": "2027-01-30T08:00:00.000Z"}),
        (
            ["DTSTART;VALUE=DATE:20270130", "DURATION:P2D"],
            {"due_on": "2027-02-01", "start_on": "2027-01-30"},
        ),
        (
            ["DTSTART:20270130T080000Z", "DURATION:PT2H"],
            {"due_at": "2027-01-30T10:00:00.000Z", "start_at": "2027-01-30T08:00:00.000Z"},
        ),
        # DTSTART takes the place of DUE
        (
            ["DTSTART;VALUE=DATE:20270130", "RRULE:FREQ=DAILY"],
            {"due_on": "2027-01-30", "recurrence": "FREQ=DAILY"},
        ),
        (
            ["DTSTART;VALUE=DATE:20270130", "DUE;VALUE=DATE:20270131", "RRULE:FREQ=WEEKLY"],
            {"due_on": "2027-01-31", "start_on": "2027-01-30", "recurrence": "FREQ=WEEKLY"},
        ),
        (
            ["DTSTART;VALUE=DATE:20270130", "DUE:20270131T090000Z"],
            {"due_at": "2027-01-31T09:00:00.000Z", "start_at": "2027-01-30T00:00:00.000Z"},
        ),
        # a start that does not fit the due date is dropped
        (["DTSTART;VALUE=DATE:20270201", "DUE;VALUE=DATE:20270131"], {"due_on": "2027-01-31"}),
    ],
)
async def test_schedules_of_another_program_are_read(ada: Person, lines: list[str], expected: dict[str, Any]) -> None:
    assert await import_calendar(ada, *lines) == expected


DAY: Final = {"due_on": "2027-01-31"}
WEEKLY: Final = {"recurrence": "FREQ=WEEKLY;BYDAY=SU;UNTIL=20270301"}
SCHEDULES: Final[list[dict[str, Any]]] = [
    DAY,
    DAY | {"start_on": "2027-01-31"},
    DAY | WEEKLY,
    DAY | WEEKLY | {"start_on": "2027-01-31"},
    DAY | WEEKLY | {"start_on": "2027-01-29", "time_zone": "Pacific/Apia"},
    {"due_at": "2027-01-31T09:00:00.123Z", "start_at": "2027-01-31T09:00:00.122Z"},
    {"due_at": "2027-01-31T09:00:00.123Z", "time_zone": "Asia/Tokyo"} | WEEKLY,
    {"due_at": "2027-01-31T12:00:00.000Z", "start_at": "2027-01-31T00:00:00.000Z", "time_zone": "UTC"} | WEEKLY,
    {"start_on": "2027-01-31", "time_zone": "Europe/Berlin"},
    {"start_at": "2027-01-31T09:00:00.000Z"},
]


@pytest.mark.parametrize(
    ("file_format", "media_type"), [("json", "application/json"), ("csv", "text/csv"), ("ics", "text/calendar")]
)
async def test_schedules_survive_an_export_and_an_import(
    ada: Person, bob: Person, file_format: str, media_type: str
) -> None:
    await ada.patch("/v1/users/me", json={"time_zone": "America/New_York"})
    for number, schedule in enumerate(SCHEDULES):
        await ada.todo(title=str(number), position=number, **schedule)

    body = (await ada.get("/v1/todos/export", params={"format": file_format})).content
    result = await bob.post("/v1/todos/import", headers={"Content-Type": media_type}, content=body)

    assert result.json()["rejected"] == []
    items = (await bob.get("/v1/todos", params={"sort": "position"})).json()["items"]
    assert list(map(select, items)) == SCHEDULES


async def test_a_calendar_defines_the_time_zones_that_it_names(ada: Person) -> None:
    await ada.patch("/v1/users/me", json={"time_zone": "America/New_York"})
    await ada.todo(title="a", due_at="2027-01-31T09:00:00Z", time_zone="Asia/Tokyo", recurrence="FREQ=DAILY")
    await ada.todo(title="b", due_at="2027-01-31T09:00:00Z", time_zone="Asia/Tokyo", recurrence="FREQ=DAILY")
    await ada.todo(title="c", due_on="2027-01-31", time_zone="Europe/Berlin")

    text = (await ada.get("/v1/todos/export", params={"format": "ics"})).text

    calendar = icalendar.Calendar.from_ical(text)
    assert [str(zone["TZID"]) for zone in calendar.walk("VTIMEZONE")] == ["America/New_York", "Asia/Tokyo"]
    assert "DUE;TZID=Asia/Tokyo:20270131T180000" in text
    assert "DUE;VALUE=DATE:20270131" in text
    by_title = {str(todo["SUMMARY"]): todo["DUE"] for todo in calendar.walk("VTODO")}
    assert by_title["c"].to_ical() == b"20270131"
