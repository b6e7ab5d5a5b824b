"""When the due date and the reminders of a todo fire, in time zones with and without summer time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from odmantic import ObjectId

from todo_service.timestamps import Timestamp, end_of_day
from todo_service.todos.creation import build_document
from todo_service.todos.documents import Todo
from todo_service.todos.dto import TodoCreate
from todo_service.todos.firing_times import derive_next_fire, list_firing_times
from todo_service.todos.reminder_types import ReminderCreate

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOON = Timestamp.parse("2027-01-31T12:00:00Z")


def build(moment: datetime = EPOCH, zone: str = "UTC", **fields: Any) -> Todo:
    return build_document(TodoCreate(title="x", **fields), ObjectId(), ObjectId(), moment, zone, 0.0)


def at(moment: datetime) -> ReminderCreate:
    return ReminderCreate(at=Timestamp.fromtimestamp(moment.timestamp(), UTC))


def before(minutes: int) -> ReminderCreate:
    return ReminderCreate(minutes_before=minutes)


def list_moments(todo: Todo, zone: str = "UTC") -> list[str]:
    return [each.moment.isoformat() for each in list_firing_times(todo, ZoneInfo(zone))]


def test_a_todo_without_due_date_and_reminders_never_fires() -> None:
    assert list_moments(build()) == []
    assert build().next_fire is None


def test_a_moment_counts_for_the_due_date_and_the_reminders_before_it() -> None:
    todo = build(due_at=NOON, reminders=[before(90), before(0), at(NOON + HOUR)])

    assert list_moments(todo) == [
        "2027-01-31T12:00:00+00:00",
        "2027-01-31T10:30:00+00:00",
        "2027-01-31T12:00:00+00:00",
        "2027-01-31T13:00:00+00:00",
    ]
    assert todo.next_fire == NOON - 1.5 * HOUR


@pytest.mark.parametrize(
    ("zone", "day", "morning"),
    [
        ("UTC", "2027-01-31", "2027-01-31T09:00:00+00:00"),
        ("Europe/Berlin", "2027-01-31", "2027-01-31T08:00:00+00:00"),
        ("Europe/Berlin", "2027-03-28", "2027-03-28T07:00:00+00:00"),  # summer time begins
        ("Europe/Berlin", "2027-10-31", "2027-10-31T08:00:00+00:00"),  # it ends
        ("America/New_York", "2027-03-14", "2027-03-14T13:00:00+00:00"),
        ("America/Santiago", "2027-09-05", "2027-09-05T12:00:00+00:00"),  # there is no midnight
        ("America/Santiago", "2027-04-03", "2027-04-03T12:00:00+00:00"),  # there are two at the end of the day
        ("Australia/Lord_Howe", "2027-10-03", "2027-10-02T22:00:00+00:00"),  # by half an hour
        ("Pacific/Kiritimati", "2027-01-31", "2027-01-30T19:00:00+00:00"),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T19:00:00+00:00"),  # a day that does not exist
    ],
)
def test_the_reminders_of_a_day_count_from_nine_in_its_time_zone(zone: str, day: str, morning: str) -> None:
    end = end_of_day(date.fromisoformat(day), ZoneInfo(zone)).isoformat()
    counted = (datetime.fromisoformat(morning) - 2 * HOUR).isoformat()
    for todo in (
        build(zone=zone, due_on=day, reminders=[before(120)]),
        build(time_zone=zone, due_on=day, reminders=[before(120)]),
    ):
        assert list_moments(todo, zone) == [end, counted]
        assert todo.next_fire == min(datetime.fromisoformat(end), datetime.fromisoformat(counted))


def test_what_is_past_when_it_is_set_does_not_fire() -> None:
    fields: dict[str, Any] = {"due_at": NOON, "reminders": [before(60), before(30)]}

    assert build(NOON - 2 * HOUR, **fields).next_fire == NOON - HOUR
    assert build(NOON - HOUR, **fields).next_fire == NOON - HOUR / 2
    assert build(NOON - HOUR / 2, **fields).next_fire == NOON
    assert build(NOON, **fields).next_fire is None


def test_a_completed_todo_does_not_fire() -> None:
    todo = build(due_at=NOON, completed=True, reminders=[at(NOON + HOUR)])

    assert list_moments(todo) == []
    assert todo.next_fire is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, NOON - HOUR),
        ({"reminders": [before(60)]}, NOON - HOUR),
        ({"reminders": [before(60), before(15)]}, NOON - HOUR),
        ({"reminders": [before(15)]}, NOON - HOUR / 4),
        ({"reminders": [before(45)]}, NOON),  # it is past when it is set
        ({"reminders": [at(NOON - HOUR)]}, NOON),  # so is this one, although another reminder has its moment
        ({"due_at": Timestamp.parse("2027-01-31T18:00:00Z")}, NOON + 5 * HOUR),
        ({"due_at": Timestamp.parse("2027-01-31T11:15:00Z")}, None),
        ({"completed": True}, None),
    ],
)
def test_a_change_keeps_what_is_due_and_has_not_fired_yet(changes: dict[str, Any], expected: datetime | None) -> None:
    fields: dict[str, Any] = {"due_at": NOON, "reminders": [before(60)]}
    todo, changed = build(**fields), build(**fields | changes)

    # the process that would have fired the reminder is late
    assert derive_next_fire(todo, changed, (UTC, UTC), NOON - HOUR / 2) == expected


def test_what_has_fired_does_not_fire_again_after_a_change() -> None:
    fields: dict[str, Any] = {"due_at": NOON, "reminders": [before(60)]}
    todo = build(NOON - HOUR, **fields)

    assert derive_next_fire(todo, todo, (UTC, UTC), NOON - HOUR / 2) == NOON
    todo = build(NOON, **fields)
    assert derive_next_fire(todo, todo, (UTC, UTC), NOON + HOUR) is None
