"""Calendars over HTTP: what an export shows to other programs, and the report of an import."""

from __future__ import annotations

from typing import Any

import icalendar
import pytest

from tests.people import Person, build_report
from tests.todos.test_calendar_import import calendar, vtodo

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


async def import_calendar(person: Person, body: str | bytes) -> Any:
    response = await person.post("/v1/todos/import", headers={"Content-Type": "text/calendar"}, content=body)
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_repeated_import_changes_nothing_and_names_what_was_lost(ada: Person) -> None:
    parent = vtodo("UID:parent", "SUMMARY:Move", "LOCATION:Berlin", "LOCATION:Bonn", "X-COLOR:red")
    child = vtodo("UID:child", "SUMMARY:Pack", "RELATED-TO:parent", "STATUS:COMPLETED")
    event = ["BEGIN:VEVENT", "UID:event", "SUMMARY:Party", "END:VEVENT"]
    body = calendar(*child, *event, *parent, *vtodo("UID:broken", "SUMMARY:Stra\u00dfe")).encode("cp1252")

    first, second = await import_calendar(ada, body), await import_calendar(ada, body)

    assert (first["imported"], first["unchanged"], second["imported"], second["unchanged"]) == (1, 0, 0, 1)
    assert [rejection["line"] for rejection in first["rejected"]] == [21]
    assert first["warnings"] == [{"line": 12, "detail": "LOCATION has no equivalent in a todo and was left out"}]
    [todo] = (await ada.get("/v1/todos")).json()["items"]
    assert (todo["uid"], todo["title"]) == ("parent", "Move")
    assert [(step["title"], step["completed"]) for step in todo["steps"]] == [("Pack", True)]


async def test_a_series_that_was_imported_moves_on_by_its_rule(ada: Person) -> None:
    lines = ["DTSTART;VALUE=DATE:21270106", "DUE;VALUE=DATE:21270110", "RRULE:FREQ=WEEKLY;BYDAY=MO"]
    await import_calendar(ada, calendar(*vtodo("UID:series", "SUMMARY:Water", *lines)))
    [todo] = (await ada.get("/v1/todos")).json()["items"]

    completed = (await ada.post(f"/v1/todos/{todo['id']}/complete")).json()

    assert (completed["start_on"], completed["due_on"]) == ("2127-01-13", "2127-01-17")


async def test_other_programs_see_steps_lists_reminders_and_exceptions(ada: Person) -> None:
    garden = (await ada.post("/v1/lists", json={"name": "Garden"})).json()["id"]
    steps = [{"title": "one", "completed": True}, {"title": "two"}]
    weekly = {"due_on": "2027-01-08", "start_on": "2027-01-04", "recurrence": "FREQ=WEEKLY;BYDAY=MO"}
    todo = await ada.todo(
        title="Water",
        list_id=garden,
        tags=["home"],
        steps=steps,
        reminders=[{"minutes_before": 60}, {"at": "2027-01-07T12:00:00Z"}],
        recurrence_except=["2027-01-18"],
        **weekly,
    )

    text = (await ada.get("/v1/todos/export", params={"format": "ics"})).content

    exported: Any = icalendar.Calendar.from_ical(text)
    parent, *children = exported.walk("VTODO")
    assert str(parent["UID"]) == todo["uid"]
    assert [str(category) for category in parent["CATEGORIES"].cats] == ["home", "Garden"]
    assert parent["EXDATE"].to_ical() == b"20270118"
    triggers = [alarm["TRIGGER"].to_ical() for alarm in parent.walk("VALARM")]
    assert triggers == [b"PT8H", b"20270107T120000Z"]
    assert [str(child["RELATED-TO"]) for child in children] == [todo["uid"]] * 2
    assert [(str(child["SUMMARY"]), str(child["STATUS"])) for child in children] == [
        ("one", "COMPLETED"),
        ("two", "NEEDS-ACTION"),
    ]


async def test_changes_of_another_program_to_steps_and_reminders_win(ada: Person, bob: Person) -> None:
    todo = await ada.todo(
        title="Water",
        due_at="2027-01-31T09:00:00Z",
        steps=[{"title": "kept"}, {"title": "changed"}],
        reminders=[{"minutes_before": 60}],
    )
    text = (await ada.get("/v1/todos/export", params={"format": "ics"})).text

    await import_calendar(bob, text.replace("SUMMARY:changed", "SUMMARY:new").replace("-PT1H", "-PT2H"))

    [imported] = (await bob.get("/v1/todos")).json()["items"]
    assert imported["reminders"] == [{"minutes_before": 120}]
    assert [step["title"] for step in imported["steps"]] == ["kept", "new"]
    assert [step["id"] for step in imported["steps"]] == [step["id"] for step in todo["steps"]]


@pytest.mark.parametrize(
    "fields",
    [
        # icalendar reads a backslash before an N as a line break
        {"steps": [{"title": "\\N"}]},
        {"uid": "\\N1", "steps": [{"title": "one"}]},
        # midnight of that day is before 1970
        {"due_at": "1970-01-01T00:00:00.000Z", "time_zone": "America/New_York", "recurrence": "FREQ=DAILY"},
        # in the time zone of the account, the rule ends on another day
        {
            "due_on": "2039-01-09",
            "time_zone": "Australia/Lord_Howe",
            "recurrence": "FREQ=MONTHLY;UNTIL=20420929T170000Z",
        },
    ],
)
async def test_values_that_no_property_represents_survive(ada: Person, bob: Person, fields: dict[str, Any]) -> None:
    names = [*fields, "title"]
    todo = await ada.todo(**fields)

    report = await import_calendar(bob, (await ada.get("/v1/todos/export", params={"format": "ics"})).content)

    assert report == build_report(imported=1)
    [imported] = (await bob.get("/v1/todos")).json()["items"]
    assert {name: imported[name] for name in names} == {name: todo[name] for name in names}
