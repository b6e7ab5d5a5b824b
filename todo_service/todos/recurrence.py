"""Recurrence rules: a part of RFC 5545, section 3.3.10, worked out by python-dateutil.

`FREQ` (DAILY, WEEKLY, MONTHLY, YEARLY), `INTERVAL`, `BYDAY`, `BYMONTHDAY`, `BYMONTH`, and `COUNT` or `UNTIL`. A rule is
applied to the local time of the account, so that 09:00 stays 09:00 when summer time comes or goes. `COUNT` says how
many times are left, the present one included; each completion lowers it.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from dateutil import rrule

from todo_service.bounds import RECURRENCE_LENGTH
from todo_service.timestamps import LATEST

MAXIMUM_INTERVAL: Final = 999
MAXIMUM_COUNT: Final = 9999
_FREQUENCIES: Final[Mapping[str, tuple[Any, float]]] = {
    "DAILY": (rrule.DAILY, 1 / 365),
    "WEEKLY": (rrule.WEEKLY, 7 / 365),
    "MONTHLY": (rrule.MONTHLY, 1 / 12),
    "YEARLY": (rrule.YEARLY, 1),
}
_WEEKDAYS: Final = {
    "MO": rrule.MO,
    "TU": rrule.TU,
    "WE": rrule.WE,
    "TH": rrule.TH,
    "FR": rrule.FR,
    "SA": rrule.SA,
    "SU": rrule.SU,
}
_DAY: Final = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_UNTIL: Final = re.compile(r"(\d{4})(\d{2})(\d{2})(?:T(\d{2})(\d{2})(\d{2})Z)?", re.ASCII)
# every pairing of weekdays and leap days comes again within 40 years, but for the turn of three centuries in four
_HORIZON_YEARS: Final = 40
_LAST_YEAR: Final = 9999
_LAST_START: Final = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001  # local times have no offset
_LEAP_YEAR: Final = [datetime(2028, 1, 1) + timedelta(days=day) for day in range(366)]  # noqa: DTZ001  # as above


class Occurrence(NamedTuple):
    """The next time of a rule.

    Attributes:
        due_at: The moment, in UTC.
        local: The local time that is meant, as ISO 8601, where summer time skips it that day, else None.
        recurrence: The rule from then on.
    """

    due_at: datetime
    local: str | None
    recurrence: str


class Rule:
    """A recurrence rule.

    Args:
        text: As RFC 5545 writes it, with or without `RRULE:` before it, whatever the case.

    Raises:
        ValueError: it is no rule, or uses what is not supported. The message is meant for the caller.
    """

    def __init__(self, text: str) -> None:
        if len(text) > RECURRENCE_LENGTH:
            raise ValueError(f"Expected {RECURRENCE_LENGTH} characters at most")
        self._parts: dict[str, str] = {}
        for part in text.strip().upper().removeprefix("RRULE:").split(";"):
            name, separator, value = part.partition("=")
            if not separator or not value:
                raise ValueError("Expected parts such as FREQ=WEEKLY, separated by semicolons")
            if name not in _READERS and name != "FREQ":
                raise ValueError("Expected FREQ, INTERVAL, BYDAY, BYMONTHDAY, BYMONTH, COUNT and UNTIL, nothing else")
            if name in self._parts:
                raise ValueError(f"Expected {name} once")
            self._parts[name] = value
        if self._parts.get("FREQ") not in _FREQUENCIES:
            raise ValueError("Expected FREQ to be DAILY, WEEKLY, MONTHLY or YEARLY")
        self._options = {name: _READERS[name](value) for name, value in self._parts.items() if name != "FREQ"}
        self._check()

    def __str__(self) -> str:
        return ";".join(f"{name}={value}" for name, value in self._parts.items())

    def fires(self, due_at: datetime) -> bool:
        """Tell whether the rule has any time from a due date on, that date included."""
        return self._first(due_at.replace(tzinfo=None, microsecond=0), UTC, inclusive=True) is not None

    def next(self, due_at: datetime, local: str | None, zone: ZoneInfo) -> Occurrence | None:
        """Return the time after a due date.

        Args:
            due_at: The due date, with an offset.
            local: What the occurrence before said of the local time that is meant.
            zone: Where it is local.

        Returns:
            The next time, or None when the rule has ended.
        """
        count = self._options.get("COUNT")
        if count == 1:
            return None
        meant = datetime.fromisoformat(local) if local else due_at.astimezone(zone).replace(tzinfo=None)
        found = self._first(meant.replace(microsecond=0), zone, inclusive=False)
        if found is None:
            return None
        wall = found.replace(microsecond=meant.microsecond)
        try:
            moment = wall.replace(tzinfo=zone).astimezone(UTC)
        except OverflowError:
            return None
        if moment > LATEST:
            return None
        skipped = moment.astimezone(zone).replace(tzinfo=None) != wall
        rest = self._parts | ({"COUNT": str(count - 1)} if count is not None else {})
        return Occurrence(
            moment, wall.isoformat() if skipped else None, ";".join(f"{name}={value}" for name, value in rest.items())
        )

    def _first(self, start: datetime, zone: Any, *, inclusive: bool) -> datetime | None:
        """Return the rule's first time from a local time on, or the one after it; None where there is none in sight."""
        if not any(self._allows(day) for day in _LEAP_YEAR):
            return None
        if self._parts["FREQ"] == "DAILY":
            # dateutil takes seconds for years of days that nothing falls on
            step = timedelta(days=self._options.get("INTERVAL", 1))
            days = range(0 if inclusive else 1, int(_HORIZON_YEARS * 366 / min(step.days, 366)) + 2)
            reachable = (start + step * number for number in days if start <= _LAST_START - step * number)
            found = next((day for day in reachable if self._allows(day) and self._allows_weekday(day)), None)
            if found is None:
                return None
            start, inclusive = found, True
        first: datetime | None = self._rule(start, zone).after(start, inc=inclusive)
        return first

    def _allows(self, day: datetime) -> bool:
        """Tell whether the rule may have a time on this day, as far as month and day of the month say."""
        months, days = self._options.get("BYMONTH"), self._options.get("BYMONTHDAY")
        if months is not None and day.month not in months:
            return False
        return days is None or day.day in days or day.day - monthrange(day.year, day.month)[1] - 1 in days

    def _allows_weekday(self, day: datetime) -> bool:
        weekdays = self._options.get("BYDAY")
        return weekdays is None or any(day.weekday() == weekday.weekday for weekday in weekdays)

    def _rule(self, start: datetime, zone: Any) -> rrule.rruleset:
        frequency, years = _FREQUENCIES[self._parts["FREQ"]]
        interval = self._options.get("INTERVAL", 1)
        # a rule that never fires would be tried until the end of the calendar
        last_year = min(start.year + int(_HORIZON_YEARS * max(1, interval * years)), _LAST_YEAR)
        until = datetime(last_year, 12, 31, 23, 59, 59)  # noqa: DTZ001  # local times have no offset
        if "UNTIL" in self._options:
            until = min(until, _local_end(self._options["UNTIL"], zone))
        weekdays = self._options.get("BYDAY", ())
        # dateutil wants a day to be of both sorts where there are both, and RFC 5545 of one of them
        sorts: list[list[Any]] = [[day for day in weekdays if bool(day.n) is numbered] for numbered in (False, True)]
        rules = rrule.rruleset()
        for sort in [sort for sort in sorts if sort] or [[]]:
            rules.rrule(
                rrule.rrule(
                    frequency,
                    dtstart=start,
                    interval=interval,
                    byweekday=sort or None,
                    bymonthday=self._options.get("BYMONTHDAY"),
                    bymonth=self._options.get("BYMONTH"),
                    until=until,
                )
            )
        return rules

    def _check(self) -> None:
        frequency = self._parts["FREQ"]
        if "COUNT" in self._parts and "UNTIL" in self._parts:
            raise ValueError("Expected COUNT or UNTIL, not both")
        if frequency == "WEEKLY" and "BYMONTHDAY" in self._parts:
            raise ValueError("Expected no BYMONTHDAY in a weekly rule")
        if frequency in ("DAILY", "WEEKLY") and any(day.n for day in self._options.get("BYDAY", ())):
            raise ValueError("Expected a number before a weekday only in a monthly or yearly rule")


def _number(least: int, most: int, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 5 and least <= int(text) <= most):
        raise ValueError(f"Expected a number from {least} to {most}, not {text[:20]}")
    return int(text)


def _month_day(text: str) -> int:
    day = _number(1, 31, text.lstrip("+-") if text[:1] in ("+", "-") else text)
    return -day if text.startswith("-") else day


def _weekday(text: str) -> Any:
    match = _DAY.fullmatch(text)
    if match is None or (match[1] and not 1 <= abs(int(match[1])) <= 53):
        raise ValueError("Expected BYDAY to name weekdays, such as MO or -1FR")
    return _WEEKDAYS[match[2]](int(match[1])) if match[1] else _WEEKDAYS[match[2]]


def _until(text: str) -> datetime:
    match = _UNTIL.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        numbers = [int(number) for number in match.groups() if number is not None]
        moment = datetime(*numbers)  # type: ignore[arg-type]  # noqa: DTZ001  # three numbers or six; the zone follows
    except ValueError:
        raise ValueError("Expected UNTIL as 20261231 or 20261231T235959Z") from None
    return moment.replace(tzinfo=UTC) if len(numbers) == 6 else moment


def _local_end(until: datetime, zone: Any) -> datetime:
    """Return until when a rule runs, as a local time; a day runs to its end."""
    if until.tzinfo is None:
        return datetime.combine(until.date(), time(23, 59, 59))
    try:
        return until.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return until.replace(tzinfo=None) - timedelta(days=1)


_READERS: Final[Mapping[str, Any]] = {
    "INTERVAL": lambda text: _number(1, MAXIMUM_INTERVAL, text),
    "COUNT": lambda text: _number(1, MAXIMUM_COUNT, text),
    "UNTIL": _until,
    "BYDAY": lambda text: [_weekday(part) for part in text.split(",")],
    "BYMONTHDAY": lambda text: [_month_day(part) for part in text.split(",")],
    "BYMONTH": lambda text: [_number(1, 12, part) for part in text.split(",")],
}
