"""The occurrences of recurring todos: time zones, starts, the end of a rule, exceptions, and bounds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from todo_service.errors import Invalid
from todo_service.executors import Budget, BudgetExceededError
from todo_service.todos.recurrence import (
    LocalTime,
    Occurrence,
    Recurrence,
    Schedule,
    read_local_time,
    resolve_local_time,
)
from todo_service.todos.recurrence_rule import WEEKDAYS, Rule

BERLIN, NEW_YORK, TOKYO = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo")
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
REJECTION_SECONDS = 0.05
"""The maximum CPU time of a rejected request."""


def parse_local(text: str) -> date | datetime:
    """Return a local time, or a day, without an offset."""
    return datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)


def find_occurrence(
    rule: str,
    due: str,
    zone: ZoneInfo = BERLIN,
    *,
    start: str | None = None,
    now: datetime = LONG_AGO,
    exceptions: Sequence[date | datetime] = (),
) -> Occurrence | None:
    schedule = Schedule(parse_local(due), parse_local(start) if start is not None else None)
    return Recurrence(Rule.parse(rule), schedule, zone).find_next(now, exceptions)


def find_next(
    rule: str,
    due: str,
    zone: ZoneInfo = BERLIN,
    *,
    start: str | None = None,
    now: datetime = LONG_AGO,
    exceptions: Sequence[date | datetime] = (),
) -> str:
    """Return the due date and the rule of the next occurrence."""
    found = find_occurrence(rule, due, zone, start=start, now=now, exceptions=exceptions)
    return "" if found is None else f"{found.schedule.due.isoformat()} {found.rule}"


def occurs(rule: str, due: str, zone: ZoneInfo, start: str | None = None) -> bool:
    schedule = Schedule(parse_local(due), parse_local(start) if start is not None else None)
    try:
        Recurrence(Rule.parse(rule), schedule, zone).require_occurrence()
    except Invalid:
        return False
    return True


@pytest.mark.parametrize(
    ("rule", "due", "following"),
    [
        ("FREQ=DAILY", "2026-03-28T09:00", "2026-03-29T09:00:00"),
        ("FREQ=DAILY;COUNT=3", "2026-03-28", "2026-03-29"),
        ("FREQ=MONTHLY", "2027-01-31", "2027-03-31"),
        ("FREQ=YEARLY", "2028-02-29T09:00", "2032-02-29T09:00:00"),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "2027-01-29", "2027-02-26"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=MO", "1997-08-10", "1997-08-19"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=SU", "1997-08-05", "1997-08-17"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=TU;INTERVAL=7", "2027-01-03T09:00", "2524-02-29T09:00:00"),
    ],
)
def test_the_next_occurrence_keeps_the_local_time(rule: str, due: str, following: str) -> None:
    assert find_next(rule, due).split()[0] == following


def test_a_local_time_that_summer_time_skips_returns_on_the_next_day() -> None:
    skipped = resolve_local_time(datetime.fromisoformat("2026-03-29T02:30"), BERLIN)
    assert skipped == LocalTime(datetime(2026, 3, 29, 1, 30, tzinfo=UTC), "2026-03-29T02:30:00")

    assert read_local_time(*skipped, BERLIN) == parse_local("2026-03-29T02:30")
    assert read_local_time(skipped.moment, None, BERLIN) == parse_local("2026-03-29T03:30")
    # the account has moved to another time zone
    assert read_local_time(*skipped, TOKYO) == parse_local("2026-03-29T10:30")
    assert find_next("FREQ=DAILY", "2026-03-29T02:30") == "2026-03-30T02:30:00 FREQ=DAILY"


def test_of_two_equal_local_times_the_first_counts() -> None:
    assert resolve_local_time(datetime.fromisoformat("2026-10-25T02:30"), BERLIN).moment == datetime(
        2026, 10, 25, 0, 30, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("rule", "due", "zone"),
    [
        ("FREQ=WEEKLY;BYDAY=MO;UNTIL=20271120", "2027-11-15T20:00", NEW_YORK),
        ("FREQ=DAILY;UNTIL=20271115", "2027-11-15T20:00", NEW_YORK),
        ("FREQ=DAILY;UNTIL=20271115", "2027-11-15", TOKYO),
        ("FREQ=DAILY;UNTIL=20271115T200000", "2027-11-15T20:00:00.500", NEW_YORK),
        ("FREQ=DAILY;UNTIL=20271116T010000Z", "2027-11-15T20:00", NEW_YORK),
        ("FREQ=DAILY;UNTIL=20271114T150000Z", "2027-11-15", TOKYO),
        ("FREQ=DAILY;UNTIL=20271115T000000", "2027-11-15", TOKYO),
        ("FREQ=DAILY;UNTIL=99991231T235959Z", "2027-11-15", TOKYO),
        ("FREQ=YEARLY", "9999-12-30T10:00", NEW_YORK),
    ],
)
def test_the_end_of_a_rule_is_in_the_time_zone_of_the_todo(rule: str, due: str, zone: ZoneInfo) -> None:
    assert occurs(rule, due, zone)


@pytest.mark.parametrize(
    ("rule", "due", "zone"),
    [
        ("FREQ=DAILY;UNTIL=20271114", "2027-11-15T20:00", NEW_YORK),
        ("FREQ=DAILY;UNTIL=20271115T195959", "2027-11-15T20:00", NEW_YORK),
        ("FREQ=DAILY;UNTIL=20271116T005959Z", "2027-11-15T20:00", NEW_YORK),
        ("FREQ=DAILY;UNTIL=20271114T145959Z", "2027-11-15", TOKYO),
        ("FREQ=WEEKLY;BYDAY=MO;UNTIL=20271120", "2027-11-16", NEW_YORK),
        ("FREQ=MONTHLY;BYMONTHDAY=31;BYMONTH=2", "2027-11-16", NEW_YORK),
        ("FREQ=DAILY;INTERVAL=7;BYDAY=MO", "2027-01-31", NEW_YORK),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=6", "2027-01-31", NEW_YORK),
        ("FREQ=MONTHLY;BYDAY=6MO,-53TU", "2027-01-31", NEW_YORK),
    ],
)
def test_a_rule_that_never_occurs_is_rejected(rule: str, due: str, zone: ZoneInfo) -> None:
    assert not occurs(rule, due, zone)


def test_missed_occurrences_are_passed_over_and_use_up_the_count() -> None:
    now = datetime(2027, 1, 20, 8, 0, 0, 1000, tzinfo=UTC)

    assert find_next("FREQ=DAILY;COUNT=30", "2027-01-04T09:00", now=now) == "2027-01-21T09:00:00 FREQ=DAILY;COUNT=13"
    assert find_next("FREQ=DAILY", "2027-01-04T09:00", now=now) == "2027-01-21T09:00:00 FREQ=DAILY"
    assert find_next("FREQ=DAILY", "2027-01-04T09:00", now=datetime(2027, 1, 20, 8, tzinfo=UTC)).startswith(
        "2027-01-20"
    )
    assert find_next("FREQ=DAILY;COUNT=16", "2027-01-04", now=now) == ""
    assert find_next("FREQ=DAILY;COUNT=17", "2027-01-04", now=now) == "2027-01-20 FREQ=DAILY;COUNT=1"
    # in Tokyo it is already the next day
    late = datetime(2027, 1, 20, 15, tzinfo=UTC)
    assert find_next("FREQ=DAILY", "2027-01-04", TOKYO, now=late) == "2027-01-21 FREQ=DAILY"
    assert find_next("FREQ=DAILY", "2027-01-04", NEW_YORK, now=late) == "2027-01-20 FREQ=DAILY"
    # an occurrence of the future is completed early
    assert find_next("FREQ=DAILY;COUNT=2", "2027-05-01", now=now) == "2027-05-02 FREQ=DAILY;COUNT=1"


def test_a_due_date_that_does_not_match_the_rule_does_not_use_up_the_count() -> None:
    assert find_next("FREQ=WEEKLY;BYDAY=MO;COUNT=2", "2027-01-05") == "2027-01-11 FREQ=WEEKLY;BYDAY=MO;COUNT=2"
    assert find_next("FREQ=WEEKLY;BYDAY=MO;COUNT=2", "2027-01-11") == "2027-01-18 FREQ=WEEKLY;BYDAY=MO;COUNT=1"
    assert find_next("FREQ=WEEKLY;BYDAY=MO;COUNT=1", "2027-01-18") == ""


def test_a_rule_counts_from_the_start_and_the_due_date_keeps_its_distance() -> None:
    found = find_occurrence("FREQ=MONTHLY;BYDAY=1FR", "2027-03-08T17:00", start="2027-03-05T09:00")
    assert found is not None
    assert found.schedule == Schedule(parse_local("2027-04-05T17:00"), parse_local("2027-04-02T09:00"))

    found = find_occurrence("FREQ=MONTHLY", "2027-02-02", start="2027-01-31")
    assert found is not None
    assert found.schedule == Schedule(date(2027, 4, 2), date(2027, 3, 31))

    # UNTIL ends the starts, as in iCalendar
    assert occurs("FREQ=DAILY;UNTIL=20270305", "2027-03-08", BERLIN, start="2027-03-05")
    assert find_next("FREQ=DAILY;UNTIL=20270305", "2027-03-08", start="2027-03-05") == ""
    # the due date is not in the past, although the start is
    now = datetime(2027, 1, 20, 8, tzinfo=UTC)
    found = find_occurrence("FREQ=DAILY;COUNT=40", "2027-01-06", start="2027-01-01", now=now)
    assert found is not None
    assert (found.schedule.start, found.schedule.due, found.rule.count) == (date(2027, 1, 15), date(2027, 1, 20), 26)


@pytest.mark.parametrize(
    ("start", "due", "following"),
    [
        ("1970-01-01", "9000-01-01", "9000-01-02"),
        ("1970-01-01T00:00", "9000-01-01T09:00", "9000-01-02T09:00:00"),
        ("1970-01-01", "9999-12-30", ""),
    ],
)
def test_the_distance_between_start_and_due_date_may_be_thousands_of_years(
    start: str, due: str, following: str
) -> None:
    now = datetime(2027, 1, 20, 8, tzinfo=UTC)
    expected = f"{following} FREQ=DAILY" if following else ""

    assert find_next("FREQ=DAILY", due, start=start, now=now) == expected


def test_exceptions_are_skipped_and_use_up_the_count() -> None:
    moments = [date(2027, 1, 5), datetime(2027, 1, 6, 8, tzinfo=UTC), datetime(2027, 1, 7, 9, tzinfo=UTC)]
    assert find_next("FREQ=DAILY;COUNT=9", "2027-01-04T09:00", exceptions=moments) == (
        "2027-01-07T09:00:00 FREQ=DAILY;COUNT=6"
    )
    days = [date(2027, 1, 5), datetime(2027, 1, 5, 23, 30, tzinfo=UTC)]
    assert find_next("FREQ=DAILY", "2027-01-04", exceptions=days) == "2027-01-07 FREQ=DAILY"
    assert find_next("FREQ=DAILY;COUNT=2", "2027-01-04", exceptions=[date(2027, 1, 5)]) == ""
    # with a start, the exception is its day
    assert find_next("FREQ=DAILY", "2027-01-05", start="2027-01-04", exceptions=[date(2027, 1, 5)]).startswith(
        "2027-01-07"
    )


@pytest.mark.parametrize(
    ("rule", "due", "completed_on", "following"),
    [
        ("FREQ=DAILY;INTERVAL=3", "2027-01-04T09:00", "2027-01-10", "2027-01-13T09:00:00 FREQ=DAILY;INTERVAL=3"),
        ("FREQ=DAILY;INTERVAL=3", "2027-01-30", "2027-01-10", "2027-01-13 FREQ=DAILY;INTERVAL=3"),
        ("FREQ=DAILY;INTERVAL=3;COUNT=2", "2027-01-04", "2027-01-10", "2027-01-13 FREQ=DAILY;INTERVAL=3;COUNT=1"),
        ("FREQ=DAILY;INTERVAL=3;COUNT=1", "2027-01-04", "2027-01-10", ""),
        ("FREQ=DAILY;INTERVAL=3;UNTIL=20270112", "2027-01-04", "2027-01-10", ""),
        ("FREQ=MONTHLY", "2027-01-04", "2027-01-31", "2027-03-31 FREQ=MONTHLY"),
        ("FREQ=WEEKLY;BYDAY=MO", "2027-01-04", "2027-01-11", "2027-01-18 FREQ=WEEKLY;BYDAY=MO"),
        # completed before the day on which it is due
        ("FREQ=WEEKLY;BYDAY=MO;COUNT=5", "2027-01-11", "2027-01-07", "2027-01-18 FREQ=WEEKLY;BYDAY=MO;COUNT=3"),
    ],
)
def test_a_rule_can_count_from_the_day_of_completion(rule: str, due: str, completed_on: str, following: str) -> None:
    recurrence = Recurrence(Rule.parse(rule), Schedule(parse_local(due)), BERLIN)

    found = recurrence.find_next_from(date.fromisoformat(completed_on))

    assert ("" if found is None else f"{found.schedule.due.isoformat()} {found.rule}") == following


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=MONTHLY;BYMONTHDAY=31;BYMONTH=2",
        "FREQ=DAILY;INTERVAL=999;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
        "FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR,SA;BYSETPOS=2",
        "FREQ=WEEKLY;INTERVAL=999;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=-9",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR,SA;BYSETPOS=366",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=TU;INTERVAL=7",
        "FREQ=YEARLY;BYWEEKNO=53,-53,1,2,3;BYDAY=MO;BYYEARDAY=200",
        f"FREQ=YEARLY;BYYEARDAY={','.join(map(str, range(1, 110)))};BYMONTH=9",
        f"FREQ=YEARLY;BYMONTHDAY={','.join(map(str, range(1, 29)))};BYDAY={','.join(['53MO'] * 75)}",
        f"FREQ=YEARLY;BYMONTHDAY=1;BYDAY={','.join(f'53{day}' for day in WEEKDAYS * 13)}",
        f"FREQ=MONTHLY;BYMONTHDAY={','.join(map(str, range(1, 29)))};BYDAY={','.join(['5MO'] * 90)}",
        f"FREQ=MONTHLY;BYMONTHDAY={','.join(['1', '28'] * 90)};BYDAY=5MO",
    ],
)
def test_a_sparse_rule_and_one_that_never_occurs_are_cheap(rule: str) -> None:
    costs = []

    for _ in range(3):
        begun = time.process_time()
        occurs(rule, "2027-01-02T09:00", BERLIN)
        costs.append(time.process_time() - begun)

    assert min(costs) < REJECTION_SECONDS


def test_a_search_stops_when_the_budget_is_exhausted() -> None:
    budget = Budget(60)
    recurrence = Recurrence(Rule.parse("FREQ=DAILY;BYMONTHDAY=31"), Schedule(date(2027, 1, 2)), BERLIN, budget)
    assert recurrence.find_next(LONG_AGO) is not None

    budget.cancel()

    with pytest.raises(BudgetExceededError):
        recurrence.find_next(LONG_AGO)
    with pytest.raises(BudgetExceededError):
        recurrence.find_next_from(date(2027, 1, 2))
    with pytest.raises(BudgetExceededError):
        recurrence.require_occurrence()
