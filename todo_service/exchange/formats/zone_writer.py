"""Definitions of time zones for calendars (VTIMEZONE, RFC 5545, section 3.6.5).

Changes of the UTC offset are listed as dates. If those of the last years follow a yearly rule, they are written as a
rule without an end instead. An onset is in local time before the change.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import icalendar

_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 2099
"""The last year whose changes are listed, if they follow no rule."""
_RULE_YEARS: Final = 10
"""For how many years changes must follow a rule."""
_STEP: Final = timedelta(days=14)
"""The minimum distance between two changes."""
_SECOND: Final = timedelta(seconds=1)
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


class _Kind(NamedTuple):
    """The UTC offsets before and after a change, and what applies after it."""

    before: timedelta
    after: timedelta
    name: str
    is_daylight: bool


class _Change(NamedTuple):
    """A change of the UTC offset: its local time, without an offset, before the change."""

    onset: datetime
    kind: _Kind


def build_zone(zone: ZoneInfo) -> icalendar.Timezone:
    """Return the definition of a time zone, from 1970 on."""
    definition = icalendar.Timezone()
    definition.add("tzid", zone.key)
    start = datetime(_FIRST_YEAR, 1, 1, tzinfo=zone)
    offset = _get_offset(start)
    kind = _Kind(offset, offset, start.tzname() or zone.key, bool(start.dst()))
    definition.add_component(_build_observance([start.replace(tzinfo=None)], kind))
    changes: dict[_Kind, list[datetime]] = {}
    for change in _find_changes(zone):
        changes.setdefault(change.kind, []).append(change.onset)
    for kind, onsets in changes.items():
        rule, since = _find_rule(onsets)
        listed = [onset for onset in onsets if rule is None or onset < since]
        if listed:
            definition.add_component(_build_observance(listed, kind))
        if rule is not None:
            observance = _build_observance([since], kind)
            observance.add("rrule", rule)
            definition.add_component(observance)
    return definition


def _build_observance(onsets: Sequence[datetime], kind: _Kind) -> icalendar.Component:
    observance = icalendar.TimezoneDaylight() if kind.is_daylight else icalendar.TimezoneStandard()
    observance.add("tzoffsetfrom", kind.before)
    observance.add("tzoffsetto", kind.after)
    observance.add("tzname", kind.name)
    observance.add("dtstart", onsets[0])
    if len(onsets) > 1:
        observance.add("rdate", list(onsets[1:]))
    return observance


def _find_changes(zone: ZoneInfo) -> Iterator[_Change]:
    moment = datetime(_FIRST_YEAR, 1, 2, tzinfo=UTC)
    offset = _get_offset(moment.astimezone(zone))
    while moment.year <= _LAST_YEAR:
        before, after = moment, moment + _STEP
        moment = after
        if (following := _get_offset(after.astimezone(zone))) != offset:
            while after - before > _SECOND:
                middle = (before + (after - before) / 2).replace(microsecond=0)
                if _get_offset(middle.astimezone(zone)) == offset:
                    before = middle
                else:
                    after = middle
            local = after.astimezone(zone)
            kind = _Kind(offset, _get_offset(local), local.tzname() or zone.key, bool(local.dst()))
            yield _Change(after.replace(tzinfo=None) + offset, kind)
            offset = following


def _get_offset(moment: datetime) -> timedelta:
    offset = moment.utcoffset()
    assert offset is not None  # every zone of the database has one
    return offset


def _find_rule(onsets: Sequence[datetime]) -> tuple[dict[str, Any] | None, datetime]:
    """Return the yearly rule that the last changes of a kind follow, or None, and the first change that follows it."""
    last = onsets[-1]
    if last.year != _LAST_YEAR:
        return None, last
    best: tuple[int, dict[str, Any] | None] = (_RULE_YEARS - 1, None)
    for days, parts in _list_rules(last.date()):
        count = 0
        for onset, year in zip(reversed(onsets), range(_LAST_YEAR, _FIRST_YEAR, -1), strict=False):
            if onset.time() != last.time() or onset.date() != _find_day(year, last, days):
                break
            count += 1
        if count > best[0]:
            best = count, {"freq": "yearly", "bymonth": last.month, **parts}
    return best[1], onsets[-best[0]] if best[1] is not None else last


def _list_rules(day: date) -> Iterator[tuple[range, dict[str, Any]]]:
    """Yield the rules that select a day, each with the days of the month among which it is the one on its weekday."""
    weekday, length = _WEEKDAYS[day.weekday()], monthrange(day.year, day.month)[1]
    if day.day > length - 7:
        yield range(-7, 0), {"byday": f"-1{weekday}"}
    number = (day.day - 1) // 7
    yield range(number * 7 + 1, number * 7 + 8), {"byday": f"{number + 1}{weekday}"}
    for first in range(max(1, day.day - 6), min(day.day, length - 6) + 1):
        days = range(first, first + 7)
        yield days, {"byday": weekday, "bymonthday": list(days)}


def _find_day(year: int, like: datetime, days: range) -> date | None:
    """Return the day of a year in the same month and on the same weekday, among some days of the month."""
    length = monthrange(year, like.month)[1]
    numbers = (day if day > 0 else length + day + 1 for day in days)
    found = (date(year, like.month, number) for number in numbers if 1 <= number <= length)
    return next((day for day in found if day.weekday() == like.weekday()), None)
