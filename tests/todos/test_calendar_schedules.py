"""Starts, due dates, series, time zones and alarms that other programs write."""

from __future__ import annotations

from typing import Any

import pytest

from tests.todos.test_calendar_import import calendar, fields, names, read, read_drafts, read_todo, vtodo
from todo_service.exchange.formats.base import Draft

BERLIN_9 = {"due_at": "2027-01-31T08:00:00.000Z"}
NEW_YORK_9 = {"due_at": "2027-01-31T14:00:00.000Z", "time_zone": "America/New_York"}


@pytest.mark.parametrize(
    ("lines", "expected", "warnings"),
    [
        (["DUE;VALUE=DATE:20270131"], {"due_on": "2027-01-31"}, []),
        (["DUE;VALUE=DATE-TIME:20270131T090000Z"], {"due_at": "2027-01-31T09:00:00.000Z"}, []),
        (["DUE:20270131"], {"due_on": "2027-01-31"}, []),
        (["DTSTART;VALUE=DATE:20270131"], {"start_on": "2027-01-31"}, []),
        (
            ["DTSTART:20270130T080000Z", "DURATION:P1DT1H"],
            {"start_at": "2027-01-30T08:00:00.000Z", "due_at": "2027-01-31T09:00:00.000Z"},
            [],
        ),
        # a day has 23 hours
        (
            ["DTSTART;TZID=Europe/Berlin:20270327T090000", "DURATION:P1D"],
            {"start_at": "2027-03-27T08:00:00.000Z", "due_at": "2027-03-28T07:00:00.000Z"},
            [],
        ),
        (
            ["DTSTART;TZID=Europe/Berlin:20270327T090000", "DURATION:PT25H"],
            {"start_at": "2027-03-27T08:00:00.000Z", "due_at": "2027-03-28T09:00:00.000Z"},
            [],
        ),
        (["DTSTART:20270130T080000Z", "DURATION:-PT1H"], {"start_at": "2027-01-30T08:00:00.000Z"}, ["DURATION"]),
        (["DTSTART;VALUE=DATE:20270131", "DUE:20270131T080000Z"],
         BERLIN_9 | {"start_at": "2027-01-30T23:00:00.000Z"}, []),
        (["DTSTART:20270130T233000Z", "DUE;VALUE=DATE:20270201"],
         {"start_on": "2027-01-31", "due_on": "2027-02-01"}, []),
        (["DTSTART;TZID=Asia/Tokyo:20270131T010000", "DUE;VALUE=DATE:20270201"],
         {"start_on": "2027-01-31", "due_on": "2027-02-01"}, []),
        (["DTSTART;VALUE=DATE:20270201", "DUE:20270131T080000Z"], BERLIN_9, ["DTSTART"]),
        (["DTSTART;TZID=Europe/Paris:20040101T120000", "DUE;VALUE=DATE:20270131"], {"due_on": "2027-01-31"}, []),
        (["DUE;VALUE=DATE:20270131T000000"], {"due_on": "2027-01-31"}, []),
        (["DUE;VALUE=DATE:20270131T090000"], BERLIN_9, []),
        (["DURATION:PT1H"], {}, ["DURATION"]),
        (["DTSTART:20270130T080000Z", "DUE:20270131T080000Z", "DURATION:PT1H"],
         BERLIN_9 | {"start_at": "2027-01-30T08:00:00.000Z"}, ["DURATION"]),
        (["DTSTART:20270201T080000Z", "DUE:20270131T080000Z"], BERLIN_9, ["DTSTART"]),
        (["DTSTART:20270130T080000Z", "DUE:soon"], {"start_at": "2027-01-30T08:00:00.000Z"}, ["DUE"]),
    ],
)  # fmt: skip
def test_start_and_due(lines: list[str], expected: dict[str, Any], warnings: list[str]) -> None:
    draft = read_todo("SUMMARY:x", *lines)

    assert fields(draft) == expected
    assert names(draft.warnings) == warnings


WEEKLY = ["DTSTART;VALUE=DATE:20270104", "DUE;VALUE=DATE:20270108", "RRULE:FREQ=WEEKLY;BYDAY=MO"]
FIRST = {"start_on": "2027-01-04", "due_on": "2027-01-08", "recurrence": "FREQ=WEEKLY;BYDAY=MO"}
SECOND = FIRST | {"start_on": "2027-01-11", "due_on": "2027-01-15"}
DAILY = ["DUE;TZID=Europe/Berlin:20270104T090000", "RRULE:FREQ=DAILY;COUNT=5"]


@pytest.mark.parametrize(
    ("lines", "expected", "warnings"),
    [
        (WEEKLY, FIRST, []),
        ([*WEEKLY, "EXDATE;VALUE=DATE:20270104"], SECOND, []),
        ([*WEEKLY, "EXDATE;VALUE=DATE:20270118,20270104", "EXDATE;VALUE=DATE:20270125"],
         SECOND | {"recurrence_except": ["2027-01-18", "2027-01-25"]}, []),
        ([*WEEKLY, "EXDATE:20270104T000000Z"], SECOND, []),
        ([*WEEKLY, "EXDATE:never"], FIRST, ["EXDATE"]),
        (
            [*DAILY, "EXDATE;TZID=Europe/Berlin:20270104T090000,20270105T090000,20270107T090000"],
            {
                "due_at": "2027-01-06T08:00:00.000Z",
                "recurrence": "FREQ=DAILY;COUNT=3",
                "recurrence_except": ["2027-01-07T08:00:00.000Z"],
            },
            [],
        ),
        # another time of that day is not the occurrence
        (
            [*DAILY, "EXDATE:20270104T000000Z"],
            {
                "due_at": "2027-01-04T08:00:00.000Z",
                "recurrence": "FREQ=DAILY;COUNT=5",
                "recurrence_except": ["2027-01-04T00:00:00.000Z"],
            },
            [],
        ),
        ([*DAILY, "EXDATE;VALUE=DATE:20270104,20270105,20270106,20270107,20270108"],
         {"due_at": "2027-01-04T08:00:00.000Z", "recurrence": "FREQ=DAILY;COUNT=5"}, ["EXDATE"]),
        (["DTSTART:20270104T080000Z", "RRULE:FREQ=DAILY"],
         {"due_at": "2027-01-04T08:00:00.000Z", "recurrence": "FREQ=DAILY"}, []),
        (["DUE;VALUE=DATE:20270131", "RRULE:FREQ=HOURLY"], {"due_on": "2027-01-31"}, ["RRULE"]),
        (["DUE;VALUE=DATE:20270131", "RRULE:FREQ=DAILY;UNTIL=20260101"], {"due_on": "2027-01-31"}, ["RRULE"]),
        (["DUE;VALUE=DATE:20270131", "RRULE:FREQ=DAILY;BYHOUR=7"], {"due_on": "2027-01-31"}, ["RRULE"]),
        (["RRULE:FREQ=DAILY"], {}, ["RRULE"]),
        (["DTSTART;VALUE=DATE:20270104", "DUE;TZID=Europe/Berlin:20270104T090000", "RRULE:FREQ=DAILY"],
         {"start_at": "2027-01-03T23:00:00.000Z", "due_at": "2027-01-04T08:00:00.000Z", "recurrence": "FREQ=DAILY"},
         []),
        (["DTSTART;VALUE=DATE:20270104", "DUE;TZID=Europe/Berlin:20270105T090000", "RRULE:FREQ=WEEKLY;COUNT=3",
          "EXDATE;VALUE=DATE:20270104,20270118"],
         {"start_at": "2027-01-10T23:00:00.000Z", "due_at": "2027-01-12T08:00:00.000Z",
          "recurrence": "FREQ=WEEKLY;COUNT=2", "recurrence_except": ["2027-01-18"]}, []),
        (["DUE;VALUE=DATE:20270131", "EXDATE;VALUE=DATE:20270131"], {"due_on": "2027-01-31"}, ["EXDATE"]),
        ([*WEEKLY, "RDATE;VALUE=DATE:20270106"], FIRST, ["RDATE"]),
        ([*WEEKLY, "X-KDE-LIBKCAL-DTRECURRENCE;VALUE=DATE:20270115"], SECOND, []),
        ([*WEEKLY, "X-KDE-LIBKCAL-DTRECURRENCE;VALUE=DATE:20270108"], FIRST, []),
        ([*WEEKLY, "X-KDE-LIBKCAL-DTRECURRENCE;VALUE=DATE:20270109", "EXDATE;VALUE=DATE:20270111"],
         FIRST | {"start_on": "2027-01-18", "due_on": "2027-01-22"}, []),
        ([*DAILY, "X-KDE-LIBKCAL-DTRECURRENCE:20270106T080000Z"],
         {"due_at": "2027-01-06T08:00:00.000Z", "recurrence": "FREQ=DAILY;COUNT=3"}, []),
    ],
)  # fmt: skip
def test_series(lines: list[str], expected: dict[str, Any], warnings: list[str]) -> None:
    draft = read_todo("SUMMARY:x", *lines)

    assert fields(draft) == expected
    assert names(draft.warnings) == warnings


def test_a_rule_that_is_wrong_is_left_out_with_the_reason() -> None:
    draft = read_todo("SUMMARY:x", "DUE;VALUE=DATE:20270131", "RRULE:W2 MO #0")

    assert draft.warnings == ("RRULE was left out: expected parts such as FREQ=WEEKLY, separated by semicolons",)


def test_more_exceptions_than_a_todo_may_have() -> None:
    days = [f"{2028 + number // 28}{1 + number % 12:02}{1 + number % 28:02}" for number in range(200)]

    draft = read_todo("SUMMARY:x", *WEEKLY, f"EXDATE;VALUE=DATE:{','.join(days)}")

    assert len(draft.todo.recurrence_except) == 100
    assert names(draft.warnings) == ["EXDATE"]


def occurrence(day: str, *lines: str) -> list[str]:
    return vtodo("UID:series", "SUMMARY:x", f"RECURRENCE-ID;VALUE=DATE:{day}", *lines)


SERIES = vtodo("UID:series", "SUMMARY:x", *WEEKLY)
DONE = ["STATUS:COMPLETED", "PERCENT-COMPLETE:100", "COMPLETED:20250109T120000Z"]


@pytest.mark.parametrize(
    ("components", "expected", "warnings"),
    [
        ([SERIES, occurrence("20270104", *DONE)], SECOND | {"last_completed_at": "2025-01-09T12:00:00.000Z"}, []),
        ([occurrence("20270104", *DONE), SERIES], SECOND | {"last_completed_at": "2025-01-09T12:00:00.000Z"}, []),
        (
            [SERIES, occurrence("20270111", "PERCENT-COMPLETE:100")],
            FIRST | {"recurrence_except": ["2027-01-11"]},
            [],
        ),
        ([SERIES, occurrence("20270104", "STATUS:CANCELLED")], SECOND, []),
        (
            [SERIES, vtodo("UID:series", "RECURRENCE-ID;VALUE=DATE:20270104", "SUMMARY:y", "STATUS:CANCELLED")],
            SECOND,
            ["RECURRENCE-ID"],
        ),
        (
            [SERIES, occurrence("20270104", "STATUS:CANCELLED", "DESCRIPTION:a note", "PRIORITY:1", "CATEGORIES:tag")],
            SECOND,
            ["RECURRENCE-ID", "RECURRENCE-ID", "RECURRENCE-ID"],
        ),
        ([SERIES, occurrence("20270111", "DUE;VALUE=DATE:20270116")], FIRST, ["RECURRENCE-ID"]),
        (
            [SERIES, vtodo("UID:series", "RECURRENCE-ID;RANGE=THISANDFUTURE;VALUE=DATE:20270104", *DONE)],
            FIRST,
            ["RECURRENCE-ID"],
        ),
    ],
)
def test_occurrences_of_a_series(components: list[list[str]], expected: dict[str, Any], warnings: list[str]) -> None:
    (draft,) = read_drafts(*(line for component in components for line in component))

    assert fields(draft) == expected
    assert names(draft.warnings) == warnings
    assert draft.uid == "series"


def test_a_series_is_completed_with_its_last_occurrence() -> None:
    series = vtodo("UID:series", "SUMMARY:x", *WEEKLY[:2], "RRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=2")

    (draft,) = read_drafts(*series, *occurrence("20270104", "STATUS:COMPLETED"), *occurrence("20270111", *DONE))

    assert draft.todo.completed
    assert fields(draft)["completed_at"] == "2025-01-09T12:00:00.000Z"


def test_an_occurrence_without_its_series_is_a_todo() -> None:
    (draft,) = read_drafts(*occurrence("20270104", *DONE))

    assert draft.todo.completed
    assert draft.uid is None
    assert names(draft.warnings) == ["RECURRENCE-ID"]


def zone(name: str, offset: str, *lines: str) -> list[str]:
    own = ["DTSTART:19700101T000000", f"TZOFFSETFROM:{offset}", f"TZOFFSETTO:{offset}"]
    return ["BEGIN:VTIMEZONE", f"TZID:{name}", *lines, "BEGIN:STANDARD", *own, "END:STANDARD", "END:VTIMEZONE"]


@pytest.mark.parametrize(
    ("due", "components", "expected", "warnings"),
    [
        ("DUE:20270131T090000", [], BERLIN_9, []),
        ("DUE;TZID=Europe/Berlin:20270131T090000", [], BERLIN_9, []),
        ("DUE;TZID=W. Europe Standard Time:20270131T090000", [], BERLIN_9, []),
        ('DUE;TZID="W. Europe Standard Time":20270131T090000', [], BERLIN_9, []),
        ("DUE;TZID=/mozilla.org/20050126_1/Europe/Berlin:20270131T090000", [], BERLIN_9, []),
        ("DUE;TZID=/freeassociation.sourceforge.net/Europe/Berlin:20270131T090000", [], BERLIN_9, []),
        ("DUE;TZID=Eastern Standard Time:20270131T090000", [], NEW_YORK_9, []),
        ("DUE;TZID=/citadel.org/20210210_1/America/New_York:20270131T090000", [], NEW_YORK_9, []),
        ("DUE:20270131T090000", ["X-WR-TIMEZONE:America/New_York"], NEW_YORK_9, []),
        ("DUE:20270131T090000", ["X-WR-TIMEZONE:nowhere"], BERLIN_9, ["X-WR-TIMEZONE"]),
        ("DUE:20270131T090000Z", ["X-WR-TIMEZONE:nowhere"], {"due_at": "2027-01-31T09:00:00.000Z"}, []),
        ("DUE;TZID=Europe/Berlin:20270131T090000", ["X-WR-TIMEZONE:America/New_York"], BERLIN_9, []),
        ("DUE;TZID=Mine:20270131T090000", zone("Mine", "+0300"), {"due_at": "2027-01-31T06:00:00.000Z"}, []),
        ("DUE;TZID=Mine:20270131T090000", zone("Mine", "-0500"), {"due_at": "2027-01-31T14:00:00.000Z"}, []),
        ("DUE;TZID=Mine:20270131T090000", zone("Mine", "-0400", "X-LIC-LOCATION:America/New_York"), NEW_YORK_9, []),
        ("DUE:20270131T090000", [*zone("Mine", "+0300"), "X-WR-TIMEZONE:Mine"],
         {"due_at": "2027-01-31T06:00:00.000Z"}, []),
        ("DUE;TZID=Mars:20270131T090000", [], BERLIN_9, ["DUE"]),
        ("DUE;TZID=Mars:20270131T090000", ["X-WR-TIMEZONE:America/New_York"], NEW_YORK_9, ["DUE"]),
    ],
)  # fmt: skip
def test_time_zones(due: str, components: list[str], expected: dict[str, Any], warnings: list[str]) -> None:
    before, after = (
        read_drafts(*lines)
        for lines in ([*components, *vtodo("SUMMARY:x", due)], [*vtodo("SUMMARY:x", due), *components])
    )

    assert before[0].todo == after[0].todo
    assert fields(before[0]) == expected
    assert names(before[0].warnings) == warnings


def test_a_series_recurs_in_its_own_time_zone() -> None:
    lines = ["DUE;TZID=America/New_York:20270101T230000", "RRULE:FREQ=WEEKLY;BYDAY=FR"]

    draft = read_todo("SUMMARY:x", *lines, "EXDATE;TZID=America/New_York:20270101T230000")

    assert fields(draft) == {
        "due_at": "2027-01-09T04:00:00.000Z",
        "time_zone": "America/New_York",
        "recurrence": "FREQ=WEEKLY;BYDAY=FR",
    }


def test_a_series_in_a_time_zone_of_the_file_recurs_in_that_of_the_account() -> None:
    lines = vtodo("SUMMARY:x", "DUE;TZID=Mine:20270101T090000", "RRULE:FREQ=DAILY")

    (draft,) = read_drafts(*lines, *zone("Mine", "+0300"))

    assert fields(draft) == {"due_at": "2027-01-01T06:00:00.000Z", "recurrence": "FREQ=DAILY"}
    assert names(draft.warnings) == ["RRULE"]


MOMENT = ["DUE:20270131T090000Z"]
DAY = ["DUE;VALUE=DATE:20270131"]


@pytest.mark.parametrize(
    ("lines", "triggers", "reminders", "warnings"),
    [
        (MOMENT, ["TRIGGER:-PT15M"], [{"minutes_before": 15}], []),
        (MOMENT, ["TRIGGER;RELATED=END:-P1DT1H"], [{"minutes_before": 1500}], []),
        (MOMENT, ["TRIGGER:PT0S"], [{"minutes_before": 0}], []),
        ([*MOMENT, "DTSTART:20270131T080000Z"], ["TRIGGER:-PT15M"], [{"minutes_before": 75}], []),
        ([*MOMENT, "DTSTART:20270131T080000Z"], ["TRIGGER;RELATED=END:-PT15M"], [{"minutes_before": 15}], []),
        (["DTSTART:20270131T080000Z"], ["TRIGGER:-PT15M"], [{"at": "2027-01-31T07:45:00.000Z"}], []),
        (["DTSTART:20270131T080000Z"], ["TRIGGER;RELATED=END:-PT15M"], [], ["VALARM"]),
        (MOMENT, ["TRIGGER:PT15M"], [{"at": "2027-01-31T09:15:00.000Z"}], []),
        ([*MOMENT, "RRULE:FREQ=DAILY"], ["TRIGGER:PT15M"], [], ["VALARM"]),
        ([*MOMENT, "RRULE:FREQ=DAILY"], ["TRIGGER:-PT15M"], [{"minutes_before": 15}], []),
        (MOMENT, ["TRIGGER;VALUE=DATE-TIME:20270130T120000Z"], [{"at": "2027-01-30T12:00:00.000Z"}], []),
        # programs move the alarm of a series together with its due date
        ([*MOMENT, "RRULE:FREQ=DAILY"], ["TRIGGER;VALUE=DATE-TIME:20270131T083000Z"], [{"minutes_before": 30}], []),
        ([*DAY, "RRULE:FREQ=DAILY"], ["TRIGGER;VALUE=DATE-TIME:20270131T070000Z"], [{"minutes_before": 60}], []),
        ([*MOMENT, "RRULE:FREQ=DAILY"], ["TRIGGER;VALUE=DATE-TIME:20270131T093000Z"],
         [{"at": "2027-01-31T09:30:00.000Z"}], []),
        ([], ["TRIGGER;VALUE=DATE-TIME:20270130T120000Z"], [{"at": "2027-01-30T12:00:00.000Z"}], []),
        # a trigger counts from midnight, a reminder from 09:00
        (DAY, ["TRIGGER:-PT15M"], [{"minutes_before": 555}], []),
        (DAY, ["TRIGGER:PT9H"], [{"minutes_before": 0}], []),
        (DAY, ["TRIGGER:PT10H"], [{"at": "2027-01-31T09:00:00.000Z"}], []),
        ([], ["TRIGGER:-PT15M"], [], ["VALARM"]),
        (MOMENT, ["TRIGGER:soon"], [], ["VALARM"]),
        (MOMENT, ["X-NOTHING:"], [], ["VALARM"]),
        (MOMENT, ["TRIGGER:-PT15M", "TRIGGER;RELATED=END:-PT15M"], [{"minutes_before": 15}], []),
        (MOMENT, [f"TRIGGER:-PT{n}M" for n in range(7)], [{"minutes_before": n} for n in range(5)], ["VALARM"]),
    ],
)  # fmt: skip
def test_alarms(lines: list[str], triggers: list[str], reminders: list[dict[str, Any]], warnings: list[str]) -> None:
    alarms = [line for each in triggers for line in ("BEGIN:VALARM", "ACTION:DISPLAY", each, "END:VALARM")]

    draft = read_todo("SUMMARY:x", *lines, *alarms)

    assert fields(draft).get("reminders", []) == reminders
    assert names(draft.warnings) == warnings


@pytest.mark.parametrize(
    ("line", "warnings"),
    [
        ("ACTION:DISPLAY", []),
        ("ACTION:NONE", []),
        ("X-KDE-KCALCORE-ENABLED:FALSE", []),
        ("X-APPLE-PROXIMITY:ARRIVE", ["VALARM"]),
        ("PROXIMITY:DEPART", ["VALARM"]),
    ],
)
def test_an_alarm_that_is_off_or_at_a_place_is_not_a_reminder(line: str, warnings: list[str]) -> None:
    alarm = ["BEGIN:VALARM", line, "TRIGGER;VALUE=DATE-TIME:19760401T005545Z", "END:VALARM"]

    draft = read_todo("SUMMARY:x", *MOMENT, *alarm)

    assert draft.todo.reminders == []
    assert names(draft.warnings) == warnings


def child(title: str, *lines: str, parent: str = "parent", uid: str | None = None) -> list[str]:
    return vtodo(f"UID:{uid or title}", f"SUMMARY:{title}", f"RELATED-TO;RELTYPE=PARENT:{parent}", *lines)


PARENT = vtodo("UID:parent", "SUMMARY:parent", "DUE;VALUE=DATE:20270131")


def describe(*lines: str) -> list[tuple[str, list[tuple[str, bool]], list[str]]]:
    """Return the title, the steps and the warnings of each todo."""
    return [
        (draft.todo.title, [(step.title, step.completed) for step in draft.todo.steps], names(draft.warnings))
        for draft in read_drafts(*lines)
    ]


def test_children_are_steps_of_their_parent_in_any_order() -> None:
    one, two = child("one", "STATUS:COMPLETED", "COMPLETED:20270101T000000Z"), child("two", "PRIORITY:0")
    three = vtodo("UID:3", "SUMMARY:three", "RELATED-TO:parent")

    steps = [("one", True), ("two", False), ("three", False)]
    assert describe(*one, *PARENT, *two, *three) == [("parent", steps, [])]


def test_a_child_that_a_step_cannot_represent_is_a_todo() -> None:
    parent: tuple[str, list[tuple[str, bool]], list[str]] = ("parent", [], [])
    for line in ("DUE;VALUE=DATE:20270130", "DESCRIPTION:more", "CATEGORIES:tag", "PRIORITY:1", "LOCATION:Berlin"):
        lost = ["LOCATION"] if line.startswith("LOCATION") else []
        assert describe(*PARENT, *child("one", line)) == [parent, ("one", [], [*lost, "RELATED-TO"])]


def test_a_child_may_have_properties_without_a_value() -> None:
    empty = ["CATEGORIES:", "DESCRIPTION: ", "DUE;VALUE=DATE:", "LOCATION:", "RRULE:", "PRIORITY:"]

    assert describe(*PARENT, *child("one", *empty)) == [("parent", [("one", False)], [])]
    assert describe(*vtodo("SUMMARY:x", "DTSTART:", "COMPLETED:", "EXDATE:", *empty)) == [("x", [], [])]


def test_a_child_with_children_is_a_todo() -> None:
    grandchild = child("grandchild", parent="one")

    assert describe(*PARENT, *grandchild, *child("one")) == [
        ("parent", [], []),
        ("one", [("grandchild", False)], ["RELATED-TO"]),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        child("one", parent="nobody"),
        child("one", parent="one"),
        vtodo("UID:one", "SUMMARY:one", "RELATED-TO;RELTYPE=SIBLING:parent"),
        [*child("one", parent="two"), *child("two", parent="one")],
    ],
)
def test_a_child_without_a_parent_is_a_todo(lines: list[str]) -> None:
    first, *_ = describe(*lines)

    assert first[2] == ["RELATED-TO"]


def test_a_parent_may_name_its_children() -> None:
    parent = vtodo("UID:parent", "SUMMARY:parent", *(f"RELATED-TO;RELTYPE=CHILD:{uid}" for uid in ("one", "two")))
    two, more = vtodo("UID:two", "SUMMARY:two"), vtodo("UID:two", "SUMMARY:two", "LOCATION:Berlin")

    assert describe(*child("one"), *parent, *two) == [("parent", [("one", False), ("two", False)], [])]
    assert describe(*child("one"), *parent) == [("parent", [("one", False)], ["RELATED-TO"])]
    assert describe(*more, *parent, *child("one")) == [
        ("two", [], ["LOCATION"]),
        ("parent", [("one", False)], ["RELATED-TO"]),
    ]


def test_what_a_step_loses_is_a_warning_of_its_todo() -> None:
    children = [
        *child("half", "PERCENT-COMPLETE:50"),
        *child("off", "STATUS:CANCELLED"),
        *vtodo("UID:3", "RELATED-TO:parent"),
    ]

    (draft,) = read_drafts(*PARENT, *children)

    assert [(step.title, step.completed) for step in draft.todo.steps] == [
        ("half", False),
        ("off", True),
        ("Untitled", False),
    ]
    assert [warning.partition(": ")[::2] for warning in draft.warnings] == [
        ('Step "half"', "PERCENT-COMPLETE was left out, because the todo is open"),
        ('Step "off"', "STATUS is CANCELLED, and the step was completed"),
        ('Step "Untitled"', "SUMMARY has no text, so the title is Untitled"),
    ]


def test_a_child_whose_title_is_too_long_for_a_step_is_a_todo() -> None:
    assert describe(*PARENT, *child("x" * 201)) == [("parent", [], []), ("x" * 201, [], ["RELATED-TO"])]


def test_steps_have_the_order_of_the_file_or_the_order_that_it_states() -> None:
    first, second = child("first", "CREATED:20270102T000000Z"), child("second", "CREATED:20270101T000000Z")
    moved = child("moved", "X-APPLE-SORT-ORDER:1")

    (unsorted,), (ordered,) = describe(*PARENT, *first, *second), describe(*PARENT, *first, *second, *moved)

    assert [title for title, _ in unsorted[1]] == ["first", "second"]
    assert [title for title, _ in ordered[1]] == ["moved", "second", "first"]


def test_todos_have_a_position_if_the_file_states_one() -> None:
    one, two = vtodo("SUMMARY:one", "CREATED:20010101T000100Z"), vtodo("SUMMARY:two")
    three, four = vtodo("SUMMARY:three", "X-APPLE-SORT-ORDER:-27"), vtodo("SUMMARY:four", "X-APPLE-SORT-ORDER:last")

    def read_positions(*lines: str) -> list[float | None]:
        return [fields(draft).get("position") for draft in read_drafts(*lines)]

    assert read_positions(*one, *two) == [None, None]
    assert read_positions(*one, *two, *three, *four) == [60, None, -27, None]


def test_each_calendar_of_a_file_has_its_own_time_zone() -> None:
    due = vtodo("SUMMARY:x", "DUE:20270131T090000")
    lines = [*due, "END:VCALENDAR", "BEGIN:VCALENDAR", *due, "X-WR-TIMEZONE:America/New_York", "END:VCALENDAR"]

    berlin, new_york, after = read_drafts(*lines, "BEGIN:VCALENDAR", *due)

    assert [fields(each) for each in (berlin, new_york, after)] == [BERLIN_9, NEW_YORK_9, BERLIN_9]


@pytest.mark.parametrize(
    ("lines", "name", "color"),
    [
        (["X-WR-CALNAME:Garden"], "Garden", None),
        (["X-APPLE-CALENDAR-COLOR:#1E90FFFF", "X-WR-CALNAME: Garden\\, house "], "Garden, house", "#1E90FF"),
        (["NAME:Garden", "X-APPLE-CALENDAR-COLOR:blue"], "Garden", None),
        (["NAME:House", "X-WR-CALNAME:Garden"], "Garden", None),
        ([f"X-WR-CALNAME:{'x' * 1000}"], "x" * 256, None),
        (["X-WR-CALNAME:", "X-APPLE-CALENDAR-COLOR:#1E90FF"], None, None),
        (["X-WR-CALNAME:\u200b"], None, None),
        (["X-WR-CALNAME:Inbox"], None, None),
        ([], None, None),
    ],
)
def test_a_calendar_is_a_list(lines: list[str], name: str | None, color: str | None) -> None:
    other = ["END:VCALENDAR", "BEGIN:VCALENDAR", "X-WR-CALNAME:Other", *vtodo("SUMMARY:y")]

    first, second = read_drafts(*lines, *vtodo("SUMMARY:x"), *other)

    assert (first.list.name, first.list.color) == (name, color) if first.list is not None else name is None
    assert second.list is not None
    assert second.list.name == "Other"


def test_children_beyond_the_steps_of_a_todo_are_todos() -> None:
    children = [line for number in range(105) for line in child(str(number))]

    parent, *others = describe(*children, *PARENT)[::-1]

    assert len(parent[1]) == 100
    assert [title for title, _, _ in others[::-1]] == ["100", "101", "102", "103", "104"]


def test_children_of_a_rejected_parent_are_todos() -> None:
    lines = calendar(*child("one"), *vtodo("UID:parent", "SUMMARY:Straße"))

    rejected, child_draft = read(lines.encode("cp1252"))

    assert isinstance(child_draft, Draft)
    assert not isinstance(rejected, Draft)
