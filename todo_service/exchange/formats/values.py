"""Values as people, spreadsheets and other programs write them: dates, numbers, flags, priorities and checklists.

The functions return None, or raise `ValueError`, for a text that they do not understand.
"""

from __future__ import annotations

import csv
import math
import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Final

from todo_service.text import trim
from todo_service.timestamps import Timestamp, format_timestamp
from todo_service.todos.dto import StepImport

DateOrTime = datetime | date
"""A time with a time zone, or a day."""

UNTITLED: Final = "Untitled"
"""The title of a todo that has none."""
CALENDAR_PRIORITIES: Final = ("none", "urgent", "high", "high", "high", "medium", "low", "low", "low", "low")
"""The priorities for 0 to 9 in iCalendar (RFC 5545, section 3.8.1.9)."""
_PRIORITIES: Final = (
    {"none": "none", "no": "none", "low": "low", "medium": "medium", "normal": "medium", "high": "high"}
    | {"urgent": "urgent", "highest": "urgent", "critical": "urgent", "lowest": "low"}
    | {"keine": "none", "niedrig": "low", "mittel": "medium", "hoch": "high", "dringend": "urgent"}
    | {"aucune": "none", "basse": "low", "faible": "low", "moyenne": "medium", "normale": "medium"}
    | {"haute": "high", "élevée": "high", "urgente": "urgent"}
    | {"ninguna": "none", "baja": "low", "media": "medium", "alta": "high"}
    | {str(number): name for number, name in enumerate(CALENDAR_PRIORITIES)}
)
_TRUE: Final = frozenset(
    {"true", "1", "yes", "y", "x", "on", "done", "✓", "✔", "☑", "wahr", "ja", "ein", "vrai", "oui", "verdadero"}
    | {"sí", "si"}
)
_FALSE: Final = frozenset({"false", "0", "no", "n", "off", "falsch", "nein", "aus", "faux", "non", "falso"})
_DATE: Final = (
    r"(?:(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})"
    r"|(?P<german_day>\d{1,2})\.\s?(?P<german_month>\d{1,2})\.\s?(?P<german_year>\d{4}|\d{2})"
    r"|(?P<first>\d{1,2})[/-](?P<second>\d{1,2})[/-](?P<last_year>\d{4}|\d{2})"
    r"|(?P<named_day>\d{1,2})[ -](?P<name>[A-Za-z]{3,9})\.?,?[ -](?P<named_year>\d{4}|\d{2})"
    r"|(?P<first_name>[A-Za-z]{3,9})\.? (?P<second_day>\d{1,2}),? (?P<second_year>\d{4}))"
)
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_TIME: Final = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second_of_minute>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"\s?(?P<meridiem>[AaPp]\.?[Mm]\.?)?\s?(?P<zone>[Zz]|[+-]\d{2}:?\d{2})?"
)
_DATE_OR_TIME: Final = re.compile(rf"{_DATE}(?:(?:[Tt]|,?\s)\s?{_TIME})?", re.ASCII)
_CLOCK: Final = re.compile(_TIME, re.ASCII)
_MAX_LENGTH: Final = 64
"""The maximum length of a date or a time."""
_STEP: Final = re.compile(r"\s*(?:[-*•]\s+)?(?:\[(?P<mark>[ xX✓]?)\]\s*|(?P<box>[☐☑✓✔▫▪])\s*)?(?P<title>.*)")
_BOX: Final = re.compile(r"\s*[☐☑✓✔▫▪]")
_STEP_LINES: Final = re.compile(r"\r\n|\r|\n")


def parse_date_or_time(text: str, zone: tzinfo, *, day_first: bool = False) -> DateOrTime | None:
    """Parse a day, or a day and a time.

    Args:
        text: The text, such as `2027-01-31`, `31.01.2027 9:00`, `1/31/2027 9:00 AM`, `31-Jan-27` or an RFC 3339
            timestamp.
        zone: The time zone of a time without an offset.
        day_first: Whether `1/2/2027` is 1 February. Ignored where only the other order is a valid date.
    """
    text = text.strip()
    match = _DATE_OR_TIME.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None:
        return None
    try:
        day = _build_date(match, day_first)
        return day if match["hour"] is None else _build_moment(day, match, zone)
    except (ValueError, OverflowError):
        return None


def is_day_first(text: str) -> bool | None:
    """Return whether the day precedes the month in a text such as `31/1/2027`, or None if the text does not show it."""
    match = _DATE_OR_TIME.fullmatch(text.strip()) if len(text) <= _MAX_LENGTH else None
    if match is None or match["first"] is None or (int(match["first"]) <= 12 and int(match["second"]) <= 12):
        return None
    return int(match["first"]) > 12


def parse_clock(text: str) -> time | None:
    """Parse a time of day without an offset, such as `9:00 AM`."""
    text = text.strip()
    match = _CLOCK.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None or match["zone"] is not None:
        return None
    try:
        return _build_time(match)
    except ValueError:
        return None


def combine(day: date, clock: time, zone: tzinfo) -> datetime:
    """Return a local time as UTC. A time that a DST change skips is moved forward by the length of the gap."""
    return datetime.combine(day, clock, zone).astimezone(UTC)


def to_timestamp(moment: datetime) -> Timestamp:
    """Convert a moment to the type of the todos' fields.

    Raises:
        ValueError: It is outside the years 1 to 9999 in UTC.
    """
    try:
        return Timestamp.parse(format_timestamp(moment))
    except OverflowError:
        raise ValueError("Expected a time in the years 1 to 9999 in UTC") from None


def parse_flag(text: str) -> bool | None:
    """Parse a yes or no, in the words of English, German, French and Spanish spreadsheets."""
    word = text.strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def parse_number(text: str) -> float | None:
    """Parse a finite number with a decimal point or a decimal comma, such as `1.5`, `1,5` or `1.024,5`."""
    text = text.strip().replace("\u00a0", "").replace(" ", "")
    if text.rfind(",") > text.rfind("."):
        text = text.replace(".", "").replace(",", ".")
    elif "." in text:
        text = text.replace(",", "")
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def parse_priority(text: str) -> str | None:
    """Parse the name of a priority, in the languages of `parse_flag`, or a number from 0 to 9 as in iCalendar."""
    return _PRIORITIES.get(text.strip().lower().removesuffix(".0"))


def parse_tags(text: str) -> list[str]:
    """Parse tags separated by commas. A tag with a comma is in double quotes."""
    try:
        tags = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error:
        tags = text.split(",")
    return [tag for tag in tags if tag.strip()]


def parse_steps(text: str) -> list[StepImport]:
    """Parse a checklist with one step on each line, such as `Buy seeds`, `- Buy seeds` or `[x] Buy seeds`."""
    steps = []
    for line in _STEP_LINES.split(text):
        match = _STEP.fullmatch(line)
        if match is not None and match["title"].strip():
            completed = (match["mark"] or "").strip() != "" or (match["box"] or "☐") not in "☐▫"
            steps.append(StepImport(title=match["title"].strip(), completed=completed))
    return steps


def truncate(text: str, max_length: int) -> str:
    """Trim a text, and truncate it to four times its maximum length.

    The rules of todos and lists then shorten or reject it as they would the whole text, but it takes little memory.

    Args:
        text: The text.
        max_length: The maximum length.
    """
    return trim(text)[: 4 * max_length]


def split_checklist(text: str) -> tuple[str, list[StepImport]]:
    """Return the text of a task with a checklist, and the steps.

    If some lines are marked by a box, as in `▫Buy seeds`, the others are the text. Otherwise each line is a step.
    """
    lines = _STEP_LINES.split(text)
    marked = [line for line in lines if _BOX.match(line)]
    if not marked:
        return "", parse_steps(text)
    return "\n".join(line for line in lines if not _BOX.match(line)).strip(), parse_steps("\n".join(marked))


def choose_title(title: str, description: str, warnings: list[str]) -> str:
    """Return a title, or the first line of the description if it is blank, or `UNTITLED`.

    Args:
        title: The title.
        description: The description.
        warnings: Is extended if the title is blank.
    """
    if title.strip():
        return title
    if not description.strip():
        warnings.append(f"Title was missing: the todo is {UNTITLED}")
        return UNTITLED
    warnings.append("Title was missing: the first line of the description took its place")
    return description.strip().splitlines()[0]


def build_schedule(
    start: DateOrTime | None, due: DateOrTime | None, zone: tzinfo, warnings: list[str]
) -> dict[str, Any]:
    """Return the fields of a start and a due date, which are both times or both days.

    Args:
        start: When it starts.
        due: When it is due.
        zone: The time zone in which a day begins.
        warnings: Is extended if the start does not fit the due date.
    """
    if start is not None and due is not None:
        if isinstance(start, datetime) and not isinstance(due, datetime):
            start = start.astimezone(zone).date()
        elif isinstance(due, datetime) and not isinstance(start, datetime):
            start = combine(start, time(), zone)
        if start > due:
            warnings.append("Start was left out: it is after the due date")
            start = None
    fields: dict[str, Any] = {}
    for name, value in (("start", start), ("due", due)):
        if isinstance(value, datetime):
            fields[f"{name}_at"] = to_timestamp(value)
        elif value is not None:
            fields[f"{name}_on"] = value.isoformat()
    return fields


def _build_date(match: re.Match[str], day_first: bool) -> date:
    if match["year"] is not None:
        return date(int(match["year"]), int(match["month"]), int(match["day"]))
    if match["german_year"] is not None:
        return date(_expand_year(match["german_year"]), int(match["german_month"]), int(match["german_day"]))
    if match["named_year"] is not None:
        return date(_expand_year(match["named_year"]), _parse_month(match["name"]), int(match["named_day"]))
    if match["second_year"] is not None:
        return date(int(match["second_year"]), _parse_month(match["first_name"]), int(match["second_day"]))
    first, second = int(match["first"]), int(match["second"])
    if first > 12 or (day_first and second <= 12):
        first, second = second, first
    return date(_expand_year(match["last_year"]), first, second)


def _parse_month(name: str) -> int:
    """Return the number of a month by its English name, or the first three or more letters of it."""
    return next((number for number, month in enumerate(_MONTHS, 1) if month.startswith(name.lower())), 0)


def _expand_year(text: str) -> int:
    year = int(text)
    return year if len(text) == 4 else 2000 + year if year < 70 else 1900 + year


def _build_time(match: re.Match[str]) -> time:
    hour = int(match["hour"])
    if match["meridiem"] is not None:
        if not 1 <= hour <= 12:
            raise ValueError("Expected an hour from 1 to 12")
        hour = hour % 12 + 12 * (match["meridiem"][0] in "Pp")
    milliseconds = int((match["fraction"] or "0")[:3].ljust(3, "0"))
    return time(hour, int(match["minute"]), int(match["second_of_minute"] or 0), milliseconds * 1000)


def _build_moment(day: date, match: re.Match[str], zone: tzinfo) -> datetime:
    clock, text = _build_time(match), match["zone"]
    if text is None:
        return combine(day, clock, zone)
    moment = datetime.combine(day, clock, UTC)
    if text in "Zz":
        return moment
    sign, hours, minutes = text[0], int(text[1:3]), int(text[-2:])
    if hours > 23 or minutes > 59:
        raise ValueError("Expected an existing offset")
    offset = timedelta(hours=hours, minutes=minutes)
    return moment + offset if sign == "-" else moment - offset
