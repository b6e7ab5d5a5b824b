"""Recurrence rules have the same occurrences as in python-dateutil, at a bounded cost."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil import rrule
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cost import Lowest
from todo_service.todos.recurrence import Rule

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
SEARCH_SECONDS = 0.05
HORIZON = timedelta(days=365 * 30)


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Return a rule without COUNT that dateutil can evaluate."""
    frequency = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]))
    parts = [f"FREQ={frequency}", f"INTERVAL={draw(st.integers(1, 12))}"]
    months = draw(st.lists(st.integers(1, 12), max_size=4, unique=True))
    if months:
        parts.append("BYMONTH=" + ",".join(map(str, months)))
    if frequency != "WEEKLY" and draw(st.booleans()):
        days = draw(st.lists(st.integers(-31, 31).filter(bool), min_size=1, max_size=4))
        parts.append("BYMONTHDAY=" + ",".join(map(str, days)))
    if draw(st.booleans()):
        most = {"MONTHLY": 4, "YEARLY": 4 if months else 52}.get(frequency, 0)
        # dateutil combines numbered and plain weekdays with AND instead of OR
        numbers = st.just(0) if most == 0 or draw(st.booleans()) else st.integers(-most, most).filter(bool)
        days_of_week = draw(st.lists(st.tuples(numbers, st.sampled_from(WEEKDAYS)), min_size=1, max_size=3))
        parts.append("BYDAY=" + ",".join(f"{number or ''}{day}" for number, day in days_of_week))
    return ";".join(parts)


STARTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(  # noqa: DTZ001  # the zone is added
    lambda moment: moment.replace(microsecond=0)
)


@settings(max_examples=300, deadline=None)
@given(text=rules(), start=STARTS)
def test_the_next_occurrence_matches_dateutil(text: str, start: datetime) -> None:
    found = Rule(text).next(start.replace(tzinfo=UTC), None, ZoneInfo("UTC"))

    until = start + HORIZON
    parsed = rrule.rrulestr(text, dtstart=start, cache=False)
    if found is not None and found.due_at.replace(tzinfo=None) <= until:
        assert parsed.after(start) == found.due_at.replace(tzinfo=None)


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=MONTHLY;BYDAY=-53SA",
        "FREQ=MONTHLY;INTERVAL=2;BYDAY=53SA",
        "FREQ=MONTHLY;BYDAY=5MO;BYMONTHDAY=1",
        "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
        "FREQ=DAILY;INTERVAL=999;BYDAY=WE;BYMONTHDAY=29,1;UNTIL=20280101",
        "FREQ=WEEKLY;INTERVAL=52;BYMONTH=7",
        "FREQ=YEARLY;BYDAY=1MO,1WE;BYMONTHDAY=31,15",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYMONTHDAY=" + ",".join(["-31"] * 100) + ";BYDAY=5MO",
        "FREQ=YEARLY;BYDAY=" + ",".join(["53SA"] * 80),
    ],
)
def test_a_search_for_the_next_occurrence_takes_milliseconds(text: str) -> None:
    seconds = Lowest(SEARCH_SECONDS)

    for _ in seconds:
        begun = time.process_time()
        Rule(text).occurs_on_or_after(datetime.fromisoformat("2027-01-30T09:00:00+00:00"))
        seconds.add(time.process_time() - begun)

    assert seconds.value <= SEARCH_SECONDS
