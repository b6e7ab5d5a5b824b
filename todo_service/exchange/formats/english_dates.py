"""Dates in English words, as Todoist writes them into its CSV templates.

Todoist's help documents the forms: a day (`tomorrow`, `next monday`, `in 3 days`, `27 Jan 2027`) or a recurrence
(`every other week`, `every! 3 days`, `every 15th`), each with a time of day if needed (`at 9am`), and a recurrence with
a first and a last day (`starting 1 Mar until 1 Jun`).
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple

from dateutil.rrule import rrulestr

from todo_service.exchange.formats.values import DateOrTime, combine, parse_clock, parse_date_or_time

_MAX_LENGTH: Final = 200
"""The maximum length of the words."""
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CODES: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAY: Final = r"(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?s?"
_MONTH: Final = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]*+"
_ORDINAL: Final = r"\d{1,2}(?:st|nd|rd|th)?"
_ORDINALS: Final = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": -1}
_UNITS: Final = {"day": "DAILY", "week": "WEEKLY", "month": "MONTHLY", "year": "YEARLY"}
_SYNONYMS: Final = {
    "daily": "every day",
    "weekly": "every week",
    "monthly": "every month",
    "yearly": "every year",
    "annually": "every year",
}
_PARTS_OF_DAY: Final = {"morning": time(9), "afternoon": time(12), "evening": time(19), "night": time(22)}
_CLOCK: Final = re.compile(
    r"(?:^|\s)(?:at|@)\s*(?P<clock>\d{1,2}(?::\d{2})?\s?(?:[ap]m)?|noon|midnight)$"
    r"|(?:^|\s)(?P<bare>\d{1,2}:\d{2}\s?(?:[ap]m)?|\d{1,2}\s?[ap]m|noon)$"
)
_RECURRENCE: Final = re.compile(r"(?:every|ev|each)(?P<completion>!)?\s+(?P<rest>.+)|after\s+(?P<after>.+)")
_START: Final = re.compile(r"\s(?:starting|from|beginning)\s+(?:on\s+)?(?P<day>.+)$")
_END: Final = re.compile(r"\s(?:until|ending|to)\s+(?:on\s+)?(?P<day>.+)$")
_DAY_OF_MONTH: Final = re.compile(rf"(?P<day>{_ORDINAL})\s+(?P<month>{_MONTH})(?:,?\s+(?P<year>\d{{4}}))?")
_MONTH_AND_DAY: Final = re.compile(rf"(?P<month>{_MONTH})\s+(?P<day>{_ORDINAL})(?:,?\s+(?P<year>\d{{4}}))?")
_DISTANCE: Final = re.compile(r"(?:in\s+)?\+?(?P<number>\d{1,3}|a|an|one)\s+(?P<unit>day|week|month|year)s?")
_NAMED_WEEKDAY: Final = re.compile(rf"(?:on\s+)?(?P<next>next\s+|this\s+)?(?P<weekday>{_WEEKDAY})")
_INTERVAL: Final = re.compile(r"(?:(?P<number>\d{1,3})\s+|(?P<other>other)\s+)?(?P<unit>day|week|month|year)s?")
_WEEKDAY_LIST: Final = re.compile(rf"(?P<other>other\s+)?(?P<days>{_WEEKDAY}(?:(?:\s*,\s*|\s+and\s+|\s+){_WEEKDAY})*)")
_DAY_LIST: Final = re.compile(rf"{_ORDINAL}(?:(?:\s*,\s*|\s+and\s+){_ORDINAL})*")
_NTH_WEEKDAY: Final = re.compile(
    rf"(?P<number>first|second|third|fourth|last|[1-4](?:st|nd|rd|th))\s+(?P<weekday>{_WEEKDAY})"
)
_WORDS: Final = re.compile(r"[a-z]+|\d+")


class TaskSchedule(NamedTuple):
    """When a task is due.

    Attributes:
        due: The due date; the first one if it recurs.
        recurrence: The rule by which it recurs (RFC 5545), if it does.
        from_completion: Whether the rule counts from the day on which the task is completed.
    """

    due: DateOrTime
    recurrence: str | None = None
    from_completion: bool = False


def parse_schedule(text: str, zone: tzinfo, today: date) -> TaskSchedule | None:
    """Parse a date in English words.

    Args:
        text: The words, in any case.
        zone: The time zone of the times of day.
        today: The day from which relative dates count.

    Returns:
        The schedule, or None if the words are not among the documented forms.
    """
    words = " ".join(text.lower().split())
    if not words or len(words) > _MAX_LENGTH:
        return None
    if (due := parse_date_or_time(text, zone)) is not None:
        return TaskSchedule(due)
    try:
        return _parse_words(words, zone, today)
    except (ValueError, OverflowError):  # a date that does not exist
        return None


def _parse_words(words: str, zone: tzinfo, today: date) -> TaskSchedule | None:
    first_word, _, others = words.partition(" ")
    words = f"{_SYNONYMS.get(first_word, first_word)} {others}".strip()
    recurrence = _RECURRENCE.fullmatch(words)
    if recurrence is not None:
        return _parse_recurrence(recurrence, zone, today)
    words, clock = _split_clock(words)
    day = today if not words and clock is not None else _parse_day(words, today)
    return TaskSchedule(_at(day, clock, zone)) if day is not None else None


def _parse_recurrence(match: re.Match[str], zone: tzinfo, today: date) -> TaskSchedule | None:
    words = match["after"] or match["rest"]
    words, end = _split_day(_END, words, today)
    words, start = _split_day(_START, words, today)
    words, clock = _split_clock(words)
    rule = _parse_rule(words)
    if rule is None and words in _PARTS_OF_DAY:
        rule, clock = "FREQ=DAILY", _PARTS_OF_DAY[words]
    if rule is None:
        return None
    first = start or today
    if end is not None:
        rule += f";UNTIL={end:%Y%m%d}"
    occurrence = next(iter(rrulestr(rule, dtstart=datetime.combine(first, time()))), None)
    if occurrence is None:
        return None
    return TaskSchedule(_at(occurrence.date(), clock, zone), rule, bool(match["completion"] or match["after"]))


def _parse_rule(words: str) -> str | None:
    """Return the rule for the words after `every`."""
    if words in ("weekday", "weekdays", "workday", "workdays"):
        return "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"
    if words in ("weekend", "weekends"):
        return "FREQ=WEEKLY;BYDAY=SA"
    if words == "last day":
        return "FREQ=MONTHLY;BYMONTHDAY=-1"
    if words == "quarter":
        return "FREQ=MONTHLY;INTERVAL=3"
    if (match := _INTERVAL.fullmatch(words)) is not None:
        number = 2 if match["other"] else int(match["number"] or 1)
        return f"FREQ={_UNITS[match['unit']]}" + (f";INTERVAL={number}" if number > 1 else "") if number else None
    if (match := _WEEKDAY_LIST.fullmatch(words)) is not None:
        days = {_WEEKDAYS.index(word[:3]) for word in _WORDS.findall(match["days"]) if word[:3] in _WEEKDAYS}
        interval = ";INTERVAL=2" if match["other"] else ""
        return f"FREQ=WEEKLY{interval};BYDAY={','.join(_CODES[day] for day in sorted(days))}"
    if (match := _NTH_WEEKDAY.fullmatch(words)) is not None:
        number = _ORDINALS.get(match["number"]) or int(match["number"][0])
        return f"FREQ=MONTHLY;BYDAY={number}{_CODES[_WEEKDAYS.index(match['weekday'][:3])]}"
    if _DAY_LIST.fullmatch(words) is not None:
        numbers = sorted({int(each) for each in re.findall(r"\d+", words)})
        return (
            f"FREQ=MONTHLY;BYMONTHDAY={','.join(map(str, numbers))}" if 1 <= numbers[0] <= numbers[-1] <= 31 else None
        )
    match = _DAY_OF_MONTH.fullmatch(words) or _MONTH_AND_DAY.fullmatch(words)
    if match is not None and match["year"] is None:
        day = date(2000, _MONTHS.index(match["month"][:3]) + 1, int(re.sub(r"\D", "", match["day"])))
        return f"FREQ=YEARLY;BYMONTH={day.month};BYMONTHDAY={day.day}"
    return None


def _parse_day(words: str, today: date) -> date | None:
    """Return the day that words name. They contain no time of day."""
    words = words.strip(" ,")
    named = {"today": 0, "tod": 0, "tomorrow": 1, "tom": 1, "tmr": 1, "yesterday": -1}
    if words in named:
        return today + timedelta(days=named[words])
    if words == "next week":
        return today + timedelta(days=7 - today.weekday())
    if words == "next month":
        return (today.replace(day=1) + timedelta(days=31)).replace(day=1)
    if (match := _DISTANCE.fullmatch(words)) is not None:
        number = int(match["number"]) if match["number"].isdigit() else 1
        return _add(today, number, match["unit"])
    if words in ("weekend", "this weekend"):
        words = "saturday"
    if (match := _NAMED_WEEKDAY.fullmatch(words)) is not None:
        weekday = _WEEKDAYS.index(match["weekday"][:3])
        return today + timedelta(days=(weekday - today.weekday() - 1) % 7 + 1)
    match = _DAY_OF_MONTH.fullmatch(words) or _MONTH_AND_DAY.fullmatch(words)
    if match is None:
        value = parse_date_or_time(words, UTC)
        return None if isinstance(value, datetime) else value
    month, number = _MONTHS.index(match["month"][:3]) + 1, int(re.sub(r"\D", "", match["day"]))
    if match["year"] is not None:
        return date(int(match["year"]), month, number)
    day = date(today.year, month, number)
    return day if day >= today else date(today.year + 1, month, number)


def _add(day: date, number: int, unit: str) -> date:
    if unit in ("day", "week"):
        return day + timedelta(days=number * (7 if unit == "week" else 1))
    months = day.year * 12 + day.month - 1 + number * (12 if unit == "year" else 1)
    year, month = divmod(months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _split_clock(words: str) -> tuple[str, time | None]:
    """Split off a time of day at the end."""
    match = _CLOCK.search(words)
    if match is None:
        return words, None
    text = match["clock"] or match["bare"]
    clock = {"noon": time(12), "midnight": time()}.get(text)
    if clock is None:
        hour = re.fullmatch(r"(\d{1,2})\s?([ap]m)?", text)
        clock = parse_clock(f"{hour[1]}:00{hour[2] or ''}" if hour is not None else text)
    if clock is None:
        raise ValueError("Expected an existing time of day")
    return words[: match.start()].strip(" ,"), clock


def _split_day(pattern: re.Pattern[str], words: str, today: date) -> tuple[str, date | None]:
    """Split off the first or the last day of a recurrence at the end."""
    match = pattern.search(words)
    if match is None:
        return words, None
    day = _parse_day(match["day"], today)
    if day is None:
        raise ValueError("Expected a date")
    return words[: match.start()], day


def _at(day: date, clock: time | None, zone: tzinfo) -> DateOrTime:
    return combine(day, clock, zone) if clock is not None else day
