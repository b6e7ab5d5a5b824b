"""Dates in English words, as Todoist's templates have them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from tests.exchange.reading import BERLIN
from todo_service.exchange.formats.english_dates import parse_schedule

WEDNESDAY = date(2027, 3, 10)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("today", "2027-03-10"),
        ("Tomorrow", "2027-03-11"),
        ("yesterday", "2027-03-09"),
        ("monday", "2027-03-15"),
        ("next Fri", "2027-03-12"),
        ("wednesday", "2027-03-17"),
        ("next week", "2027-03-15"),
        ("next month", "2027-04-01"),
        ("this weekend", "2027-03-13"),
        ("in 3 days", "2027-03-13"),
        ("2 weeks", "2027-03-24"),
        ("in a month", "2027-04-10"),
        ("in 1 year", "2028-03-10"),
        ("27 Mar", "2027-03-27"),
        ("Jan 27", "2028-01-27"),
        ("27th January 2029", "2029-01-27"),
        ("Feb 29, 2028", "2028-02-29"),
        ("2027-12-31", "2027-12-31"),
        ("12/31/2027", "2027-12-31"),
    ],
)
def test_a_day(text: str, day: str) -> None:
    schedule = parse_schedule(text, BERLIN, WEDNESDAY)

    assert schedule is not None
    assert (schedule.due, schedule.recurrence) == (date.fromisoformat(day), None)


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("tomorrow at 9am", 9),
        ("tomorrow 9:00", 9),
        ("tomorrow @ 9", 9),
        ("tom at 9 PM", 21),
        ("tomorrow noon", 12),
        ("11 Mar 2027 21:00", 21),
        ("Mar 11, 2027 at 9:00 am", 9),
        ("2027-03-11T09:00:00", 9),
    ],
)
def test_a_time_of_day(text: str, hour: int) -> None:
    schedule = parse_schedule(text, BERLIN, WEDNESDAY)

    assert schedule is not None
    assert schedule.due == datetime(2027, 3, 11, hour - 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "rule", "day"),
    [
        ("every day", "FREQ=DAILY", "2027-03-10"),
        ("daily", "FREQ=DAILY", "2027-03-10"),
        ("ev 3 days", "FREQ=DAILY;INTERVAL=3", "2027-03-10"),
        ("every other week", "FREQ=WEEKLY;INTERVAL=2", "2027-03-10"),
        ("every quarter", "FREQ=MONTHLY;INTERVAL=3", "2027-03-10"),
        ("every weekday", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "2027-03-10"),
        ("every weekend", "FREQ=WEEKLY;BYDAY=SA", "2027-03-13"),
        ("every monday, friday", "FREQ=WEEKLY;BYDAY=MO,FR", "2027-03-12"),
        ("every tue and thurs", "FREQ=WEEKLY;BYDAY=TU,TH", "2027-03-11"),
        ("every other sunday", "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU", "2027-03-14"),
        ("every 15th", "FREQ=MONTHLY;BYMONTHDAY=15", "2027-03-15"),
        ("every 1st, 15", "FREQ=MONTHLY;BYMONTHDAY=1,15", "2027-03-15"),
        ("every last day", "FREQ=MONTHLY;BYMONTHDAY=-1", "2027-03-31"),
        ("every 2nd tuesday", "FREQ=MONTHLY;BYDAY=2TU", "2027-04-13"),
        ("every last friday", "FREQ=MONTHLY;BYDAY=-1FR", "2027-03-26"),
        ("every 27 jan", "FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=27", "2028-01-27"),
        ("every feb 29", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "2028-02-29"),
        ("every day starting 1 Apr", "FREQ=DAILY", "2027-04-01"),
        ("every day until 2027-04-01", "FREQ=DAILY;UNTIL=20270401", "2027-03-10"),
        ("every monday from 1 Apr ending 1 Jun", "FREQ=WEEKLY;BYDAY=MO;UNTIL=20270601", "2027-04-05"),
    ],
)
def test_a_recurrence(text: str, rule: str, day: str) -> None:
    schedule = parse_schedule(text, BERLIN, WEDNESDAY)

    assert schedule is not None
    assert schedule == (date.fromisoformat(day), rule, False)


@pytest.mark.parametrize("text", ["every! 3 days", "after 3 days"])
def test_a_recurrence_that_counts_from_the_completion(text: str) -> None:
    assert parse_schedule(text, BERLIN, WEDNESDAY) == (WEDNESDAY, "FREQ=DAILY;INTERVAL=3", True)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("every day at 9am", "FREQ=DAILY"),
        ("every morning", "FREQ=DAILY"),
        ("every wed 9:00 starting today", "FREQ=WEEKLY;BYDAY=WE"),
    ],
)
def test_a_recurrence_at_a_time_of_day(text: str, rule: str) -> None:
    assert parse_schedule(text, BERLIN, WEDNESDAY) == (datetime(2027, 3, 10, 8, tzinfo=UTC), rule, False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "jeden Montag",
        "every",
        "every 0 days",
        "every 32nd",
        "every feb 30",
        "every day until soon",
        "30 Feb 2027",
        "tomorrow at 25:00",
        "every other fortnight",
        "every day ending 1 Mar 2020",
        "every " * 50_000,
        "1" * 100_000,
    ],
)
def test_other_words_are_not_understood(text: str) -> None:
    assert parse_schedule(text, BERLIN, WEDNESDAY) is None
