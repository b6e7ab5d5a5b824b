"""Time zones defined in a calendar file (VTIMEZONE, RFC 5545, section 3.6.5).

icalendar's own conversion expands recurrence rules without a limit, and caches zones by name for the whole process, so
that one account's file would change the times in another's. This module limits the work, and scopes zones to a file. It
supports yearly rules, which all common programs write, and lists of dates, for the years 1970 to 2100.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import MINYEAR, UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from icalendar.prop import vDDDTypes, vRecur, vUTCOffset
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from todo_service.bounds.exchange import IMPORT_ZONES, ZONE_OBSERVANCES, ZONE_TRANSITIONS
from todo_service.exchange.formats.lines import ContentLine
from todo_service.timestamps import list_time_zones

_YEARS: Final = range(1970, 2101)
_DAY: Final = timedelta(days=1)
_NAME_LENGTH: Final = 255
_MAX_CACHED_NAMES: Final = 1000
_WEEKDAYS: Final = {"MO": 0, "TU": 1, "WE": 2, "TH": 3, "FR": 4, "SA": 5, "SU": 6}
_RULE_PARTS: Final = {"FREQ", "INTERVAL", "BYMONTH", "BYDAY", "BYMONTHDAY", "BYSETPOS", "UNTIL", "WKST"}


class _Transition(NamedTuple):
    """A change of the UTC offset: its time in UTC, and the offsets before and after it."""

    moment: datetime
    before: timedelta
    after: timedelta


class DefinedZone(tzinfo):
    """A time zone that a file defines.

    Args:
        name: The TZID.
        transitions: At least one transition.
    """

    def __init__(self, name: str, transitions: list[_Transition]) -> None:
        self._name = name
        self._transitions = sorted(transitions)
        self._moments = [transition.moment for transition in self._transitions]
        # the local times from which the offset after each transition applies, for each value of `fold`
        self._local = [
            [each.moment + choose(each.before, each.after) for each in self._transitions] for choose in (max, min)
        ]

    def utcoffset(self, moment: datetime | None) -> timedelta:
        """Return the UTC offset at a local time. In a gap, that is the offset before the transition."""
        if moment is None:
            return self._transitions[0].before
        return self._get_offset(bisect_right(self._local[moment.fold], moment.replace(tzinfo=None, fold=0)))

    def dst(self, moment: datetime | None) -> None:
        """Return None: daylight saving time is unknown."""

    def tzname(self, moment: datetime | None) -> str:
        """Return the TZID."""
        return self._name

    def fromutc(self, moment: datetime) -> datetime:
        """Convert a time whose fields are in UTC to local time."""
        naive = moment.replace(tzinfo=None)
        count = bisect_right(self._moments, naive)
        local = naive + self._get_offset(count)
        fold = count > 0 and local < self._local[0][count - 1]
        return local.replace(tzinfo=self, fold=int(fold))

    def _get_offset(self, count: int) -> timedelta:
        """Return the UTC offset after a number of transitions."""
        return self._transitions[count - 1].after if count else self._transitions[0].before


class FileZones:
    """The time zones that the times in one file may name: IANA zones, Windows zones and those that the file defines."""

    def __init__(self) -> None:
        self._definitions = 0
        self._defined: dict[str, tzinfo | None] = {}
        self._known: dict[str, tzinfo | None] = {}

    @property
    def is_full(self) -> bool:
        """Whether further definitions are ignored."""
        return self._definitions >= IMPORT_ZONES

    def has_definition(self, name: str) -> bool:
        """Return whether a valid definition of a name was added. Files that were joined repeat each one."""
        return self._defined.get(name) is not None

    def add_definition(self, lines: list[ContentLine]) -> None:
        """Add a time zone. The first valid definition of a name counts, and a name without one is unknown.

        Args:
            lines: The lines between `BEGIN:VTIMEZONE` and `END:VTIMEZONE`.
        """
        name, location = (
            next((line.text.strip() for line in lines if line.name == wanted), "")
            for wanted in ("TZID", "X-LIC-LOCATION")
        )
        if self.is_full or self.has_definition(name):
            return
        self._definitions += 1
        if not 1 <= len(name) <= _NAME_LENGTH:
            return
        if 1 <= len(location) <= _NAME_LENGTH and (zone := _find_iana_zone(location)) is not None:
            self._defined[name] = zone
            return
        try:
            transitions = list(_parse_transitions(lines))
            self._defined[name] = DefinedZone(name, transitions) if transitions else None
        except (ValueError, KeyError, TypeError, IndexError, OverflowError, AttributeError):
            self._defined[name] = None

    def get(self, name: Any) -> tzinfo | None:
        """Return the time zone with a TZID, or None if it is unknown.

        IANA, Windows and prefixed names take precedence over definitions, because many files define them for a few
        years only, and because a recurring todo needs the name of its time zone.
        """
        if not isinstance(name, str) or not 1 <= len(name) <= _NAME_LENGTH:
            return None
        return _find_cached(self._known, name, _find_named_zone) or self._defined.get(name)


def _find_cached(zones: dict[str, tzinfo | None], name: str, find: Callable[[str], tzinfo | None]) -> tzinfo | None:
    """Return a zone from the cache of a file, or find and cache it, unless the cache is full."""
    if name not in zones and len(zones) < _MAX_CACHED_NAMES:
        zones[name] = find(name)
    return zones.get(name)


def _find_named_zone(name: str) -> tzinfo | None:
    """Return the zone with an IANA or Windows name, or with a prefixed one such as `/example.org/Europe/Berlin`."""
    if name in WINDOWS_TO_OLSON:
        return _find_iana_zone(WINDOWS_TO_OLSON[name])
    if not name.startswith("/"):
        return _find_iana_zone(name)
    parts = name.strip("/").split("/")[-3:]
    return next((zone for start in range(len(parts)) if (zone := _find_iana_zone("/".join(parts[start:])))), None)


def _find_iana_zone(name: str) -> ZoneInfo | None:
    return ZoneInfo(name) if name in list_time_zones() else None


def _parse_transitions(lines: list[ContentLine]) -> Iterator[_Transition]:
    """Yield the transitions of a definition, in no particular order.

    Raises:
        ValueError: The definition is invalid or exceeds a bound. Other exceptions are possible.
    """
    observances = list(_split_observances(lines))
    if len(observances) > ZONE_OBSERVANCES:
        raise ValueError("the definition has too many parts")
    count = 0
    for properties in observances:
        before, after = _parse_offset(properties, "TZOFFSETFROM"), _parse_offset(properties, "TZOFFSETTO")
        for onset in _expand_onsets(properties, before):
            count += 1
            if count > ZONE_TRANSITIONS:
                raise ValueError("the definition has too many transitions")
            if onset.year == MINYEAR:
                # .NET programs write that a rule applies since the year 1, which in UTC may be the year before
                onset = onset.replace(year=MINYEAR + 1)
            yield _Transition(onset - before, before, after)


def _parse_offset(properties: Mapping[str, list[ContentLine]], name: str) -> timedelta:
    offset: timedelta = vUTCOffset.from_ical(properties[name][0].value.strip())  # type: ignore[no-untyped-call]  # icalendar is untyped
    return offset


def _split_observances(lines: list[ContentLine]) -> Iterator[Mapping[str, list[ContentLine]]]:
    """Yield the properties of each STANDARD and DAYLIGHT component."""
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


def _expand_onsets(properties: Mapping[str, list[ContentLine]], before: timedelta) -> Iterator[datetime]:
    """Yield the local times at which an observance starts."""
    start = _parse_local_time(properties["DTSTART"][0].value.strip(), before)
    yield start
    for line in properties.get("RDATE", ()):
        for text in line.value.split(","):
            yield _parse_local_time(text.strip(), before)
    rules = properties.get("RRULE", ())
    if len(rules) > 1:
        raise ValueError("more than one rule")
    for line in rules:
        yield from _expand_yearly_rule(vRecur.from_ical(line.value.strip()), start, before)


def _parse_local_time(text: str, before: timedelta) -> datetime:
    """Parse a time in an observance, and return it as local time before the transition."""
    value = vDDDTypes.from_ical(text)  # type: ignore[no-untyped-call]  # icalendar is untyped
    if isinstance(value, datetime):
        return value.replace(tzinfo=None) if value.tzinfo is None else value.replace(tzinfo=None) + before
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001  # local times have no offset
    raise ValueError("not a time")


def _expand_yearly_rule(rule: Mapping[str, list[Any]], start: datetime, before: timedelta) -> Iterator[datetime]:
    """Yield the times of a rule that recurs once a year, in one month, on a day or a weekday.

    Raises:
        ValueError: The rule is of another kind.
    """
    parts = {name.upper(): values for name, values in rule.items()}
    clock = _pop_time(parts, start)
    if parts["FREQ"] != ["YEARLY"] or parts.get("INTERVAL", [1]) != [1] or not parts.keys() <= _RULE_PARTS:
        raise ValueError("not a yearly rule")
    (month,) = (int(month) for month in parts.get("BYMONTH", [start.month]))
    weekdays = parts.get("BYDAY", [])
    if len(weekdays) > 1:
        raise ValueError("more than one day a year")
    (position,) = (int(position) for position in parts.get("BYSETPOS", [1]))
    days = {int(day) for day in parts.get("BYMONTHDAY", [] if weekdays else [start.day])}
    until = parts["UNTIL"][0] if "UNTIL" in parts else None
    last = datetime.max if until is None else _to_local_end(until, before)  # noqa: DTZ901  # local times have no offset
    for year in range(max(start.year, _YEARS.start), _YEARS.stop):
        day = _find_day(year, month, days, weekdays[0] if weekdays else None, position)
        onset = datetime.combine(day, clock) if day is not None else start
        if onset > last:
            return
        if onset > start:
            yield onset


def _pop_time(parts: dict[str, list[Any]], start: datetime) -> time:
    """Remove the time of day from the parts of a rule, and return it."""
    (hour,), (minute,), (second,) = (
        parts.pop(name, [default])
        for name, default in (("BYHOUR", start.hour), ("BYMINUTE", start.minute), ("BYSECOND", start.second))
    )
    return time(int(hour), int(minute), int(second))


def _to_local_end(until: Any, before: timedelta) -> datetime:
    """Return the end of a rule in local time. A date includes the whole day; a time is in UTC."""
    if isinstance(until, datetime):
        return (
            until.replace(tzinfo=None) if until.tzinfo is None else until.astimezone(UTC).replace(tzinfo=None) + before
        )
    return datetime(until.year, until.month, until.day) + _DAY  # noqa: DTZ001  # local times have no offset


def _find_day(year: int, month: int, days: set[int], weekday: Any, position: int) -> date | None:
    """Return the day of a month that matches a rule, or None.

    Args:
        year: The year.
        month: The month.
        days: Days of the month, negative ones counted from its end; empty for any day.
        weekday: An item of BYDAY, such as `-1SU`, or None for any weekday.
        position: Which of the days that match (BYSETPOS): from 1, or from -1 for the last.
    """
    length = monthrange(year, month)[1]
    found: Iterable[int] = sorted({day if day > 0 else day + length + 1 for day in days} or range(1, length + 1))
    if weekday is not None:
        first = (_WEEKDAYS[weekday.weekday] - date(year, month, 1).weekday()) % 7 + 1
        candidates = range(first, length + 1, 7)
        if weekday.relative is not None:
            index = weekday.relative - 1 if weekday.relative > 0 else weekday.relative
            candidates = candidates[index : index + 1 or None]
        found = [day for day in candidates if day in found]
    matching = [day for day in found if 1 <= day <= length]
    if position == 0 or abs(position) > len(matching):
        return None
    return date(year, month, matching[position - 1 if position > 0 else position])
