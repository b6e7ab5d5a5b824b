"""Recurrence rules in the notation of RFC 5545, section 3.3.10.

Parsing is lenient: upper or lower case, an `RRULE:` prefix, whitespace, and a semicolon at the end. `str()` returns
the canonical notation: the parts in the order FREQ, INTERVAL, BYDAY, BYMONTHDAY, BYYEARDAY, BYWEEKNO, BYMONTH,
BYSETPOS, WKST, COUNT, UNTIL; each list sorted, without duplicates and with negative numbers last; without the defaults
`INTERVAL=1` and `WKST=MO`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any, Final, Literal, NamedTuple, Self, TypeVar, cast

from todo_service.bounds.todos import RECURRENCE_COUNT, RECURRENCE_INTERVAL, RECURRENCE_LENGTH

ItemT = TypeVar("ItemT")
Frequency = Literal["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]

WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_FREQUENCIES: Final = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_NAME: Final = re.compile(r"[A-Z0-9:-]{1,30}", re.ASCII)
_WEEKDAY: Final = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d{1,4}", re.ASCII)
_UNTIL: Final = re.compile(r"(\d{4})(\d{2})(\d{2})(?:T(\d{2})(\d{2})(\d{2})(Z)?)?", re.ASCII)


class Weekday(NamedTuple):
    """An item of BYDAY.

    Attributes:
        weekday: The weekday; 0 is Monday.
        number: Which of these weekdays in the month or year, negative from the end; 0 for all of them.
    """

    weekday: int
    number: int

    def __str__(self) -> str:
        return f"{self.number or ''}{WEEKDAYS[self.weekday]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A recurrence rule.

    Attributes:
        frequency: FREQ.
        interval: INTERVAL, from 1.
        weekdays: BYDAY. Either all items have a number or none.
        month_days: BYMONTHDAY: 1 to 31, or -31 to -1 from the end of the month.
        year_days: BYYEARDAY: 1 to 366, or -366 to -1 from the end of the year.
        weeks: BYWEEKNO: 1 to 53, or -53 to -1 from the end of the year.
        months: BYMONTH: 1 to 12.
        positions: BYSETPOS: which occurrences of each period remain, negative from its end.
        week_start: WKST; 0 is Monday.
        count: COUNT: the number of occurrences left, including the current one.
        until: UNTIL: a date, a local time (without an offset) or a time in UTC. The rule has no occurrence after it.
        hours: BYHOUR. Like BYMINUTE and BYSECOND, it only restates the time of the todo. `drop_time` checks and
            removes it.
        minutes: BYMINUTE.
        seconds: BYSECOND.
    """

    frequency: Frequency
    interval: int = 1
    weekdays: tuple[Weekday, ...] = ()
    month_days: tuple[int, ...] = ()
    year_days: tuple[int, ...] = ()
    weeks: tuple[int, ...] = ()
    months: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    week_start: int = 0
    count: int | None = None
    until: date | datetime | None = None
    hours: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    seconds: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a rule.

        Raises:
            ValueError: The rule is malformed or contradictory, or has a part that is not supported. The message names
                the part and is for the client.
        """
        if len(text) > RECURRENCE_LENGTH:
            raise ValueError(f"Expected at most {RECURRENCE_LENGTH} characters")
        fields: dict[str, Any] = {}
        for part in "".join(text.upper().split()).removeprefix("RRULE:").rstrip(";").split(";"):
            name, separator, value = part.partition("=")
            if not separator:
                raise ValueError("Expected parts such as FREQ=WEEKLY, separated by semicolons")
            known = _PARTS.get(name)
            if known is None:
                raise ValueError(f"Expected no {name if _NAME.fullmatch(name) else 'unsupported part'}")
            if known.field in fields:
                raise ValueError(f"Expected {name} at most once")
            try:
                fields[known.field] = known.parse(value)
            except ValueError as error:
                raise ValueError(f"Expected {name} to be {error}") from None
        if "frequency" not in fields:
            raise ValueError("Expected FREQ")
        rule = cls(**fields)
        rule._check_combination()
        return rule

    def __str__(self) -> str:
        written = {name: part.write(getattr(self, part.field)) for name, part in _PARTS.items()}
        return ";".join(f"{name}={value}" for name, value in written.items() if value)

    def drop_time(self, *times: time | None) -> Self:
        """Return the rule without BYHOUR, BYMINUTE and BYSECOND.

        Args:
            *times: The local times that these parts may state: those at which the todo is due and starts. None stands
                for a whole day, for which they may state midnight.

        Raises:
            ValueError: The parts state another time. The message names the first of them.
        """
        if not (self.hours or self.minutes or self.seconds):
            return self
        issues: list[str] = []
        for moment in (each or time() for each in times):
            stated = {"BYHOUR": moment.hour, "BYMINUTE": moment.minute, "BYSECOND": moment.second}
            given = {"BYHOUR": self.hours, "BYMINUTE": self.minutes, "BYSECOND": self.seconds}
            wrong = [name for name, values in given.items() if values and values != (stated[name],)]
            if not wrong:
                rest = replace(self, hours=(), minutes=(), seconds=())
                rest._check_combination()
                return rest
            issues += wrong
        raise ValueError(f"Expected no {issues[0]}, or the time at which the todo is due")

    def _check_combination(self) -> None:
        if self.count is not None and self.until is not None:
            raise ValueError("Expected COUNT or UNTIL, not both")
        numbered = {bool(weekday.number) for weekday in self.weekdays}
        if len(numbered) == 2:
            raise ValueError("Expected BYDAY to have numbers before all weekdays or before none")
        if True in numbered and (self.frequency in ("DAILY", "WEEKLY") or self.weeks):
            raise ValueError("Expected BYDAY to have numbers only in a monthly or yearly rule without BYWEEKNO")
        if self.weeks and not self.weekdays:
            raise ValueError("Expected BYDAY in a rule with BYWEEKNO")
        days = self.weekdays or self.month_days or self.year_days or self.weeks or self.months
        if self.positions and not (days or self.hours or self.minutes or self.seconds):
            raise ValueError("Expected BYSETPOS only in a rule with another BY part")


class _Part(NamedTuple):
    """A part of a rule.

    Attributes:
        field: The attribute of `Rule`.
        parse: Parses a value. It raises `ValueError` with the end of a sentence that says what is expected.
        write: Returns the canonical value; empty if the part is left out.
    """

    field: str
    parse: Callable[[str], Any]
    write: Callable[[Any], str]


def _parse_choice(values: tuple[str, ...], text: str) -> str:
    if text not in values:
        raise ValueError(f"{', '.join(values[:-1])} or {values[-1]}")
    return text


def _parse_integer(least: int, most: int, text: str) -> int:
    if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
        raise ValueError(f"a number from {least} to {most}")
    return int(text)


def _parse_signed(most: int, text: str) -> int:
    if not _INTEGER.fullmatch(text) or not 1 <= abs(int(text)) <= most:
        raise ValueError(f"numbers from 1 to {most}, or from -{most} to -1")
    return int(text)


def _parse_weekday(text: str) -> Weekday:
    match = _WEEKDAY.fullmatch(text)
    if match is None or (match[1] and not 1 <= abs(int(match[1])) <= 53):
        raise ValueError("weekdays such as MO or -1FR")
    return Weekday(WEEKDAYS.index(match[2]), int(match[1] or 0))


def _parse_until(text: str) -> date | datetime:
    match = _UNTIL.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        year, month, month_day = map(int, match.group(1, 2, 3))
        day = date(year, month, month_day)
        if match[4] is None:
            return day
        hour, minute, second = map(int, match.group(4, 5, 6))
        return datetime.combine(day, time(hour, minute, second), UTC if match[7] else None)
    except ValueError:
        raise ValueError("a date or a time such as 20261231, 20261231T090000 or 20261231T090000Z") from None


def _write_until(until: date | datetime | None) -> str:
    if until is None:
        return ""
    if isinstance(until, datetime):
        return f"{until.year:04}{until:%m%dT%H%M%S}{'Z' if until.tzinfo else ''}"
    return f"{until.year:04}{until:%m%d}"


def _parse_list(parse: Callable[[str], ItemT], order: Callable[[ItemT], Any], text: str) -> tuple[ItemT, ...]:
    return tuple(sorted({parse(item) for item in text.split(",")}, key=order))


def _declare_numbers(field: str, parse: Callable[[str], int]) -> _Part:
    """Return a part whose value is a list of numbers."""
    return _Part(
        field,
        lambda text: _parse_list(parse, lambda number: (number < 0, number), text),
        lambda numbers: ",".join(map(str, numbers)),
    )


_PARTS: Final[Mapping[str, _Part]] = {
    "FREQ": _Part("frequency", lambda text: cast(Frequency, _parse_choice(_FREQUENCIES, text)), str),
    "INTERVAL": _Part(
        "interval",
        lambda text: _parse_integer(1, RECURRENCE_INTERVAL, text),
        lambda interval: str(interval) if interval != 1 else "",
    ),
    "BYDAY": _Part(
        "weekdays",
        lambda text: _parse_list(_parse_weekday, lambda item: (item.number < 0, item.number, item.weekday), text),
        lambda weekdays: ",".join(map(str, weekdays)),
    ),
    "BYMONTHDAY": _declare_numbers("month_days", lambda text: _parse_signed(31, text)),
    "BYYEARDAY": _declare_numbers("year_days", lambda text: _parse_signed(366, text)),
    "BYWEEKNO": _declare_numbers("weeks", lambda text: _parse_signed(53, text)),
    "BYMONTH": _declare_numbers("months", lambda text: _parse_integer(1, 12, text)),
    "BYSETPOS": _declare_numbers("positions", lambda text: _parse_signed(366, text)),
    "BYHOUR": _declare_numbers("hours", lambda text: _parse_integer(0, 23, text)),
    "BYMINUTE": _declare_numbers("minutes", lambda text: _parse_integer(0, 59, text)),
    "BYSECOND": _declare_numbers("seconds", lambda text: _parse_integer(0, 60, text)),
    "WKST": _Part(
        "week_start",
        lambda text: WEEKDAYS.index(_parse_choice(WEEKDAYS, text)),
        lambda weekday: WEEKDAYS[weekday] if weekday else "",
    ),
    "COUNT": _Part("count", lambda text: _parse_integer(1, RECURRENCE_COUNT, text), lambda count: str(count or "")),
    "UNTIL": _Part("until", _parse_until, _write_until),
}
"""The parts of a rule, in canonical order."""
