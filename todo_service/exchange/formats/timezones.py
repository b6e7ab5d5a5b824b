"""Time zones that a calendar file defines (VTIMEZONE, RFC 5545, section 3.6.5).

icalendar's own conversion expands any recurrence rule without a limit, and keeps every zone under its name for the
whole process, so that one account's file would decide what times in another's mean. Here a definition is read with
bounds, for one file: yearly rules, as all programs write them, and lists of moments, for the years 1970 to 2100.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from icalendar.prop import vDDDTypes, vRecur, vUTCOffset
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from todo_service.bounds.exchange import IMPORT_ZONES, ZONE_BYTES, ZONE_OBSERVANCES, ZONE_TRANSITIONS
from todo_service.exchange.formats.lines import ContentLine

_YEARS: Final = range(1970, 2101)
_DAY: Final = timedelta(days=1)
_NAME_LENGTH: Final = 255
_KNOWN_NAMES: Final = 1000
_WEEKDAYS: Final = {"MO": 0, "TU": 1, "WE": 2, "TH": 3, "FR": 4, "SA": 5, "SU": 6}
_RULE_PARTS: Final = {"FREQ", "INTERVAL", "BYMONTH", "BYDAY", "BYMONTHDAY", "UNTIL", "WKST"}


class _Transition(NamedTuple):
    """A change of the offset from UTC: when, in UTC, and the offsets before and after."""

    moment: datetime
    before: timedelta
    after: timedelta


class DefinedZone(tzinfo):
    """A time zone that a file defines.

    Args:
        name: Its TZID.
        transitions: Its changes, at least one.
    """

    def __init__(self, name: str, transitions: list[_Transition]) -> None:
        self._name = name
        self._transitions = sorted(transitions)
        self._moments = [transition.moment for transition in self._transitions]
        # the local time from which the offset after a change holds, for each value of `fold`
        self._local = [
            [each.moment + choose(each.before, each.after) for each in self._transitions] for choose in (max, min)
        ]

    def utcoffset(self, moment: datetime | None) -> timedelta:
        """Return the offset from UTC at a local time. A time that is skipped has the offset before the change."""
        if moment is None:
            return self._transitions[0].before
        return self._offset(bisect_right(self._local[moment.fold], moment.replace(tzinfo=None, fold=0)))

    def dst(self, moment: datetime | None) -> None:
        """Return None: what is daylight saving time is not known."""

    def tzname(self, moment: datetime | None) -> str:
        """Return the TZID."""
        return self._name

    def fromutc(self, moment: datetime) -> datetime:
        """Return the local time of a moment whose fields are in UTC."""
        naive = moment.replace(tzinfo=None)
        number = bisect_right(self._moments, naive)
        local = naive + self._offset(number)
        fold = number > 0 and local < self._local[0][number - 1]
        return local.replace(tzinfo=self, fold=int(fold))

    def _offset(self, number: int) -> timedelta:
        """Return the offset after a number of changes."""
        return self._transitions[number - 1].after if number else self._transitions[0].before


class FileZones:
    """The time zones that one file's times may name: those that it defines, and those that are known anyway."""

    def __init__(self) -> None:
        self._defined: dict[str, tzinfo | None] = {}
        self._known: dict[str, tzinfo | None] = {}
        self._guessed: dict[str, tzinfo | None] = {}

    def define(self, lines: list[ContentLine]) -> None:
        """Read a definition; one that cannot be used is remembered as such.

        Args:
            lines: Those between `BEGIN:VTIMEZONE` and its end.
        """
        if len(self._defined) >= IMPORT_ZONES:
            return
        name = next((line.text.strip() for line in lines if line.name == "TZID"), "")
        if not 1 <= len(name) <= _NAME_LENGTH:
            return
        try:
            transitions = list(_transitions(lines))
            self._defined[name] = DefinedZone(name, transitions) if transitions else None
        except (ValueError, KeyError, TypeError, IndexError, OverflowError, AttributeError):
            self._defined[name] = None

    def get(self, name: Any) -> tzinfo | None:
        """Return a time zone by its TZID, or None where it is not known.

        The names of the IANA database mean what they mean there, since many files define them for some years only.
        """
        if not isinstance(name, str) or not 1 <= len(name) <= _NAME_LENGTH:
            return None
        return (
            _remember(self._known, name, _iana_zone)
            or self._defined.get(name)
            or _remember(self._guessed, name, _similar_zone)
        )


def _remember(zones: dict[str, tzinfo | None], name: str, find: Callable[[str], tzinfo | None]) -> tzinfo | None:
    """Look a zone up once in a file, and as long as there are not too many."""
    if name not in zones and len(zones) < _KNOWN_NAMES:
        zones[name] = find(name)
    return zones.get(name)


def _similar_zone(name: str) -> tzinfo | None:
    """Return the zone of a name of Windows, or of one with a prefix, such as `/example.org/Europe/Berlin`."""
    if name in WINDOWS_TO_OLSON:
        return _iana_zone(WINDOWS_TO_OLSON[name])
    if not name.startswith("/"):
        return None
    parts = name.strip("/").split("/")[-3:]
    return next((zone for start in range(len(parts)) if (zone := _iana_zone("/".join(parts[start:])))), None)


def _iana_zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _transitions(lines: list[ContentLine]) -> Iterator[_Transition]:
    """Return the changes that a definition describes.

    Raises:
        ValueError: and the like; it cannot be read, or exceeds a bound.
    """
    if sum(len(line.value) for line in lines) > ZONE_BYTES:
        raise ValueError("the definition is too large")
    observances = list(_observances(lines))
    if len(observances) > ZONE_OBSERVANCES:
        raise ValueError("the definition has too many parts")
    count = 0
    for properties in observances:
        before, after = _offset(properties, "TZOFFSETFROM"), _offset(properties, "TZOFFSETTO")
        for onset in _onsets(properties, before):
            count += 1
            if count > ZONE_TRANSITIONS:
                raise ValueError("the definition has too many transitions")
            yield _Transition(onset - before, before, after)


def _offset(properties: Mapping[str, list[ContentLine]], name: str) -> timedelta:
    offset: timedelta = vUTCOffset.from_ical(properties[name][0].value.strip())  # type: ignore[no-untyped-call]  # the library's own
    return offset


def _observances(lines: list[ContentLine]) -> Iterator[Mapping[str, list[ContentLine]]]:
    """Return the properties of each STANDARD and DAYLIGHT component."""
    properties: dict[str, list[ContentLine]] | None = None
    for line in lines:
        kind = line.value.strip().upper()
        if line.name == "BEGIN" and kind in ("STANDARD", "DAYLIGHT"):
            properties = {}
        elif line.name == "END" and kind in ("STANDARD", "DAYLIGHT") and properties is not None:
            yield properties
            properties = None
        elif properties is not None:
            properties.setdefault(line.name, []).append(line)


def _onsets(properties: Mapping[str, list[ContentLine]], before: timedelta) -> Iterator[datetime]:
    """Return the local times at which an observance begins."""
    start = _local_time(properties["DTSTART"][0].value.strip(), before)
    yield start
    for line in properties.get("RDATE", ()):
        for text in line.value.split(","):
            yield _local_time(text.strip(), before)
    rules = properties.get("RRULE", ())
    if len(rules) > 1:
        raise ValueError("more than one rule")
    for line in rules:
        yield from _yearly(vRecur.from_ical(line.value.strip()), start, before)


def _local_time(text: str, before: timedelta) -> datetime:
    """Return a time in an observance: a local one by the offset before it, where it does not end in Z."""
    value = vDDDTypes.from_ical(text)  # type: ignore[no-untyped-call]  # the library's own
    if isinstance(value, datetime):
        return value.replace(tzinfo=None) if value.tzinfo is None else value.replace(tzinfo=None) + before
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001  # local times have no offset
    raise ValueError("no time")


def _yearly(rule: Mapping[str, list[Any]], start: datetime, before: timedelta) -> Iterator[datetime]:
    """Return the times of a rule: once a year, in one month, on a day or a weekday.

    Raises:
        ValueError: it is a rule of another kind.
    """
    parts = {name.upper(): values for name, values in rule.items()}
    if parts["FREQ"] != ["YEARLY"] or parts.get("INTERVAL", [1]) != [1] or not parts.keys() <= _RULE_PARTS:
        raise ValueError("no yearly rule")
    (month,) = (int(month) for month in parts.get("BYMONTH", [start.month]))
    weekdays = parts.get("BYDAY", [])
    if len(weekdays) > 1:
        raise ValueError("more than one day a year")
    days = {int(day) for day in parts.get("BYMONTHDAY", [] if weekdays else [start.day])}
    until = parts["UNTIL"][0] if "UNTIL" in parts else None
    last = datetime.max if until is None else _local_end(until, before)  # noqa: DTZ901  # local times have no offset
    for year in range(max(start.year, _YEARS.start), _YEARS.stop):
        day = _day_in(year, month, days, weekdays[0] if weekdays else None)
        onset = datetime.combine(day, start.time()) if day is not None else start
        if onset > last:
            return
        if onset > start:
            yield onset


def _local_end(until: Any, before: timedelta) -> datetime:
    """Return until when a rule runs, in local time. A day runs to its end; a moment is in UTC."""
    if isinstance(until, datetime):
        return (
            until.replace(tzinfo=None) if until.tzinfo is None else until.astimezone(UTC).replace(tzinfo=None) + before
        )
    return datetime(until.year, until.month, until.day) + _DAY  # noqa: DTZ001  # local times have no offset


def _day_in(year: int, month: int, days: set[int], weekday: Any) -> date | None:
    """Return the first day of a month that a rule means.

    Args:
        year: The year.
        month: The month.
        days: Days of the month, from its end where they are negative; empty for any.
        weekday: An item of BYDAY, such as `-1SU`, or None for any.
    """
    length = monthrange(year, month)[1]
    found: Iterable[int] = sorted({day if day > 0 else day + length + 1 for day in days} or range(1, length + 1))
    if weekday is not None:
        first = (_WEEKDAYS[weekday.weekday] - date(year, month, 1).weekday()) % 7 + 1
        of_month = range(first, length + 1, 7)
        if weekday.relative is not None:
            place = weekday.relative - 1 if weekday.relative > 0 else weekday.relative
            of_month = of_month[place : place + 1 or None]
        found = [day for day in of_month if day in found]
    number = next((day for day in found if 1 <= day <= length), None)
    return date(year, month, number) if number is not None else None
