"""Recurrence rules: a subset of RFC 5545, section 3.3.10.

A rule has `FREQ` (DAILY, WEEKLY, MONTHLY or YEARLY), `INTERVAL`, `BYDAY`, `BYMONTHDAY`, `BYMONTH`, and `COUNT` or
`UNTIL`. It applies to the local time of the account, so that 09:00 stays 09:00 when summer time begins or ends. `COUNT`
is the number of occurrences left, including the current one; each completion decrements it.

The search for the next occurrence visits a bounded number of periods (days, weeks, months or years), so that a rule
that never occurs costs milliseconds. python-dateutil, which the tests compare the results with, would search until the
year 9999.
"""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from todo_service.bounds.todos import RECURRENCE_COUNT, RECURRENCE_INTERVAL, RECURRENCE_LENGTH, RECURRENCE_YEARS
from todo_service.errors import Invalid, ValidationIssue
from todo_service.executors import UNLIMITED, Budget
from todo_service.timestamps import LATEST

_YEARS: Final[Mapping[str, float]] = {"DAILY": 1 / 365, "WEEKLY": 7 / 365, "MONTHLY": 1 / 12, "YEARLY": 1}
"""The length of a period of each frequency, in years."""
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY: Final = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_UNTIL: Final = re.compile(r"(\d{4})(\d{2})(\d{2})(?:T(\d{2})(\d{2})(\d{2})Z)?", re.ASCII)
_LAST_YEAR: Final = 9999
_LEAP_YEAR: Final = 2028


class Occurrence(NamedTuple):
    """The next occurrence of a rule.

    Attributes:
        due_at: The time, in UTC.
        local: The intended local time in ISO 8601, if the start of summer time skips it on that day; else None.
        recurrence: The rule for the occurrences after this one.
    """

    due_at: datetime
    local: str | None
    recurrence: str


def require_occurrence(recurrence: str | None, due_at: datetime | None, budget: Budget = UNLIMITED) -> None:
    """Check that a rule occurs on or after a due date. Takes milliseconds: call it in a thread.

    Args:
        recurrence: The rule, or None.
        due_at: The due date, or None.
        budget: The budget of the task.

    Raises:
        Invalid: the rule never occurs.
        BudgetExceededError: the budget is exhausted.
    """
    if recurrence is not None and due_at is not None and not Rule(recurrence).occurs_on_or_after(due_at, budget):
        raise Invalid([ValidationIssue("/recurrence", "Expected a rule that occurs on or after the due date")])


class _Weekday(NamedTuple):
    """An item of BYDAY.

    Attributes:
        weekday: The weekday; 0 is Monday.
        number: Which of these weekdays in the month or year, negative from the end; 0 for all of them.
    """

    weekday: int
    number: int


class Rule:
    """A recurrence rule.

    Args:
        text: The rule as in RFC 5545, in any case, with or without an `RRULE:` prefix.

    Raises:
        ValueError: the rule is invalid or uses an unsupported part. The message is safe to show to clients.
    """

    def __init__(self, text: str) -> None:
        if len(text) > RECURRENCE_LENGTH:
            raise ValueError(f"Expected at most {RECURRENCE_LENGTH} characters")
        self._parts: dict[str, str] = {}
        for part in text.strip().upper().removeprefix("RRULE:").split(";"):
            name, separator, value = part.partition("=")
            if not separator or not value:
                raise ValueError("Expected parts such as FREQ=WEEKLY, separated by semicolons")
            if name not in _PARSERS and name != "FREQ":
                raise ValueError("Expected only FREQ, INTERVAL, BYDAY, BYMONTHDAY, BYMONTH, COUNT and UNTIL")
            if name in self._parts:
                raise ValueError(f"Expected {name} at most once")
            self._parts[name] = value
        if self._parts.get("FREQ") not in _YEARS:
            raise ValueError("Expected FREQ to be DAILY, WEEKLY, MONTHLY or YEARLY")
        self._options = {name: _PARSERS[name](value) for name, value in self._parts.items() if name != "FREQ"}
        self._check_combination()

    def __str__(self) -> str:
        return ";".join(f"{name}={value}" for name, value in self._parts.items())

    def occurs_on_or_after(self, due_at: datetime, budget: Budget = UNLIMITED) -> bool:
        """Return whether the rule occurs on or after a due date. Polls the budget."""
        return self._find_first(due_at.replace(tzinfo=None, microsecond=0), UTC, budget, inclusive=True) is not None

    def next(
        self, due_at: datetime, local: str | None, zone: ZoneInfo, budget: Budget = UNLIMITED
    ) -> Occurrence | None:
        """Return the occurrence after a due date.

        Args:
            due_at: The due date, with a UTC offset.
            local: `Occurrence.local` of the current occurrence.
            zone: The time zone of the account.
            budget: The budget of the task; it is polled.

        Returns:
            The next occurrence, or None when the rule is exhausted.

        Raises:
            BudgetExceededError: the budget is exhausted.
        """
        count = self._options.get("COUNT")
        if count == 1:
            return None
        try:
            intended = datetime.fromisoformat(local) if local else due_at.astimezone(zone).replace(tzinfo=None)
            found = self._find_first(intended.replace(microsecond=0), zone, budget, inclusive=False)
            if found is None:
                return None
            wall = found.replace(microsecond=intended.microsecond)
            moment = wall.replace(tzinfo=zone).astimezone(UTC)
            skipped = moment.astimezone(zone).replace(tzinfo=None) != wall
        except OverflowError:
            return None  # beyond the year 9999 in that zone
        if moment > LATEST:
            return None
        rest = self._parts | ({"COUNT": str(count - 1)} if count is not None else {})
        return Occurrence(
            moment, wall.isoformat() if skipped else None, ";".join(f"{name}={value}" for name, value in rest.items())
        )

    def _find_first(self, start: datetime, zone: Any, budget: Budget, *, inclusive: bool) -> datetime | None:
        """Return the first occurrence from a local time, or None if there is none within the horizon.

        Args:
            start: The local time.
            zone: Its time zone.
            budget: The budget of the task; it is polled.
            inclusive: Whether an occurrence on the day of `start` counts.
        """
        end = datetime(_LAST_YEAR, 12, 31, 23, 59, 59)  # noqa: DTZ001  # local times have no offset
        if "UNTIL" in self._options:
            end = _resolve_end(self._options["UNTIL"], zone)
        first = start.date() if inclusive else _next_day(start.date())
        if first is None or start > end or not self._is_possible():
            return None
        for days in self._iterate_periods(start.date()):
            budget.check()
            found = min((day for day in days if day >= first), default=None)
            if found is not None:
                occurrence = datetime.combine(found, start.time())
                return occurrence if occurrence <= end else None
        return None

    def _is_possible(self) -> bool:
        """Return False for most of the rules that never occur. Takes microseconds."""
        weekdays: frozenset[_Weekday] = self._options.get("BYDAY", frozenset())
        if weekdays and self._numbers_within_month and all(abs(day.number) > 5 for day in weekdays):
            return False
        months = self._options.get("BYMONTH", range(1, 13))
        return any(self._allowed_days(_LEAP_YEAR, month) for month in months)

    @property
    def _numbers_within_month(self) -> bool:
        """Whether the number of a weekday counts within the month instead of the year."""
        return self._parts["FREQ"] != "YEARLY" or "BYMONTH" in self._options

    def _iterate_periods(self, start: date) -> Iterator[Iterable[date]]:
        """Yield the days of each period on which the rule may occur, from the period of a day to the horizon."""
        frequency, interval = self._parts["FREQ"], self._options.get("INTERVAL", 1)
        years = int(RECURRENCE_YEARS * max(1, interval * _YEARS[frequency]))
        last_year = min(start.year + years, _LAST_YEAR)
        match frequency:
            case "DAILY":
                for year in range(start.year, last_year + 1):
                    for month in range(1, 13):
                        before = date(year, month, 1).toordinal() - start.toordinal() - 1
                        days = (day for day in self._allowed_days(year, month) if (before + day) % interval == 0)
                        yield [day for day in self._filter_by_weekday(year, month, days) if day >= start]
            case "WEEKLY":
                for monday in range(start.toordinal() - start.weekday(), date.max.toordinal() - 6, 7 * interval):
                    week = [date.fromordinal(monday + day) for day in range(7)]
                    if week[0].year > last_year:
                        return
                    yield [day for day in week if self._occurs_on(day, start.weekday())]
            case "MONTHLY":
                for number in range(start.year * 12 + start.month - 1, last_year * 12 + 12, interval):
                    yield self._matching_days(number // 12, number % 12 + 1, start.day)
            case _:
                for year in range(start.year, last_year + 1, interval):
                    yield self._matching_year_days(year, start)

    def _matching_year_days(self, year: int, start: date) -> list[date]:
        given = self._options.keys() & {"BYDAY", "BYMONTHDAY"}
        months = self._options.get("BYMONTH", range(1, 13) if given else [start.month])
        return [day for month in months for day in self._matching_days(year, month, start.day)]

    def _matching_days(self, year: int, month: int, default: int) -> list[date]:
        """Return the days of a month on which the rule may occur. Without BYDAY and BYMONTHDAY that is `default`."""
        if self._options.keys() & {"BYDAY", "BYMONTHDAY"}:
            return self._filter_by_weekday(year, month, self._allowed_days(year, month))
        return self._filter_by_weekday(year, month, [default] if default in self._allowed_days(year, month) else [])

    def _allowed_days(self, year: int, month: int) -> Sequence[int]:
        """Return the days of a month that BYMONTH and BYMONTHDAY allow."""
        if month not in self._options.get("BYMONTH", (month,)):
            return ()
        last = monthrange(year, month)[1]
        named = self._options.get("BYMONTHDAY")
        if named is None:
            return range(1, last + 1)
        return sorted({day if day > 0 else day + last + 1 for day in named} & set(range(1, last + 1)))

    def _filter_by_weekday(self, year: int, month: int, days: Iterable[int]) -> list[date]:
        """Return the given days of a month that BYDAY allows."""
        weekdays: frozenset[_Weekday] | None = self._options.get("BYDAY")
        found = (date(year, month, day) for day in days)
        if weekdays is None:
            return list(found)
        counted = (date(year, month, 1), monthrange(year, month)[1])
        if not self._numbers_within_month:
            counted = (date(year, 1, 1), 366 if isleap(year) else 365)
        first, length = counted[0].toordinal(), counted[1]
        return [day for day in found if _matches_weekday(day, day.toordinal() - first, length, weekdays)]

    def _occurs_on(self, day: date, default: int) -> bool:
        """Return whether a weekly rule occurs on a day of one of its weeks. `default` is the weekday without BYDAY."""
        weekdays = {weekday.weekday for weekday in self._options.get("BYDAY", ())} or {default}
        return day.weekday() in weekdays and day.month in self._options.get("BYMONTH", (day.month,))

    def _check_combination(self) -> None:
        frequency = self._parts["FREQ"]
        if "COUNT" in self._parts and "UNTIL" in self._parts:
            raise ValueError("Expected COUNT or UNTIL, not both")
        if frequency == "WEEKLY" and "BYMONTHDAY" in self._parts:
            raise ValueError("Expected no BYMONTHDAY in a weekly rule")
        if frequency in ("DAILY", "WEEKLY") and any(day.number for day in self._options.get("BYDAY", ())):
            raise ValueError("Expected numbers before weekdays only in a monthly or yearly rule")


def _matches_weekday(day: date, place: int, length: int, weekdays: frozenset[_Weekday]) -> bool:
    """Return whether a day is one of the items of BYDAY. Takes constant time.

    Args:
        day: The day.
        place: The number of days before it in the month or year within which weekdays are numbered.
        length: The number of days of that month or year.
        weekdays: The items of BYDAY.
    """
    weekday = day.weekday()
    return (
        (weekday, 0) in weekdays
        or (weekday, place // 7 + 1) in weekdays
        or (weekday, -((length - 1 - place) // 7 + 1)) in weekdays
    )


def _parse_number(least: int, most: int, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 5 and least <= int(text) <= most):
        raise ValueError(f"Expected a number from {least} to {most}, not {text[:20]}")
    return int(text)


def _parse_month_day(text: str) -> int:
    day = _parse_number(1, 31, text.lstrip("+-") if text[:1] in ("+", "-") else text)
    return -day if text.startswith("-") else day


def _parse_weekday(text: str) -> _Weekday:
    match = _DAY.fullmatch(text)
    if match is None or (match[1] and not 1 <= abs(int(match[1])) <= 53):
        raise ValueError("Expected BYDAY to name weekdays, such as MO or -1FR")
    return _Weekday(_WEEKDAYS.index(match[2]), int(match[1] or 0))


def _next_day(day: date) -> date | None:
    """Return the day after a day, or None at the end of the calendar."""
    return None if day == date.max else day + timedelta(days=1)


def _parse_until(text: str) -> datetime:
    match = _UNTIL.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        numbers = [int(number) for number in match.groups() if number is not None]
        moment = datetime(*numbers)  # type: ignore[arg-type]  # noqa: DTZ001  # three numbers or six; the zone follows
    except ValueError:
        raise ValueError("Expected UNTIL as 20261231 or 20261231T235959Z") from None
    return moment.replace(tzinfo=UTC) if len(numbers) == 6 else moment


def _resolve_end(until: datetime, zone: Any) -> datetime:
    """Return the local time of UNTIL. A date includes the whole day."""
    if until.tzinfo is None:
        return datetime.combine(until.date(), time(23, 59, 59))
    try:
        return until.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return until.replace(tzinfo=None) - timedelta(days=1)


_PARSERS: Final[Mapping[str, Any]] = {
    "INTERVAL": lambda text: _parse_number(1, RECURRENCE_INTERVAL, text),
    "COUNT": lambda text: _parse_number(1, RECURRENCE_COUNT, text),
    "UNTIL": _parse_until,
    "BYDAY": lambda text: frozenset(_parse_weekday(part) for part in text.split(",")),
    "BYMONTHDAY": lambda text: frozenset(_parse_month_day(part) for part in text.split(",")),
    "BYMONTH": lambda text: frozenset(_parse_number(1, 12, part) for part in text.split(",")),
}
