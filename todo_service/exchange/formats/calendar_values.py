"""Conversions between the fields of a todo and the properties of a VTODO."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any, Final

import msgspec
from icalendar.parser import split_on_unescaped_comma, unescape_backslash
from icalendar.prop import vCategory, vRecur, vText

from todo_service.bounds.todos import RECURRENCE_LENGTH
from todo_service.decoding import decode_json
from todo_service.errors import Invalid, ValidationIssue
from todo_service.exchange.formats.values import UNTITLED
from todo_service.field_table import Field, FieldKind, Origin
from todo_service.text import drop_controls, normalize_text
from todo_service.timestamps import format_timestamp, is_storable
from todo_service.todos import dto
from todo_service.todos.fields import FIELDS
from todo_service.todos.recurrence_rule import Rule
from todo_service.todos.reminder_types import Reminder

EXTENSION_NAME: Final = "X-TODO-SERVICE"
LAST_SECOND: Final = time(23, 59, 59)
_ENCODING: Final = "utf-8-sig"
"""The encoding with which icalendar decodes values before it writes them: it drops a leading byte order mark."""
_BREAKS: Final = re.compile(r"[\t-\r]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
LIST_NAME: Final = "list_name"
"""The key of the name of a todo's list among the exact values."""
TEXT_PROPERTIES: Final = {
    field.name: field.calendar_property
    for field in FIELDS
    if field.kind is FieldKind.TEXT and field.calendar_property is not None
}
"""The property of each free text."""
_EXACT_PROPERTIES: Final = frozenset({"STATUS", "PRIORITY"})
"""The properties that represent every value of their field exactly."""
EXACT_FIELDS: Final = tuple(
    field for field in FIELDS if field.origin is not Origin.SERVICE and field.calendar_property not in _EXACT_PROPERTIES
)
"""The fields whose exact values the non-standard property stores."""
_TYPES: Final[Mapping[FieldKind, Any]] = {
    FieldKind.FLAG: bool,
    FieldKind.NUMBER: float,
    FieldKind.INTEGER: int,
    FieldKind.TEXTS: list[str],
    FieldKind.STEPS: list[dto.Step],
    FieldKind.REMINDERS: list[Reminder],
}
_EXACT_TYPES: Final = {field.name: _TYPES.get(field.kind, str) | None for field in EXACT_FIELDS} | {
    LIST_NAME: str | None
}


def encode_exact_values(todo: dto.Todo, list_name: str | None) -> str:
    """Return the content of the non-standard property: the values that the other properties do not represent exactly.

    Args:
        todo: The todo.
        list_name: The name of its list, if it has one.
    """
    values = {
        field.name: value
        for field in EXACT_FIELDS
        if (value := getattr(todo, field.name)) != field.default and not _is_represented(field, value)
    }
    if list_name is not None:
        values[LIST_NAME] = list_name
    # icalendar replaces a backslash before an N by a line break
    return msgspec.json.encode(values).decode().replace("\\N", "\\\\u004e").replace("\x7f", "\\u007f")


def decode_exact_values(text: str) -> dict[str, Any]:
    """Decode the content of the non-standard property.

    Returns:
        The exact values by field, as JSON types, without null. `LIST_NAME` is the name of the list.

    Raises:
        Malformed, Invalid: This service did not write it.
    """
    given: dict[str, msgspec.Raw] = decode_json(text.encode(), dict[str, msgspec.Raw], parts_later=True)
    values = {name: decode_json(bytes(given[name]), kind) for name, kind in _EXACT_TYPES.items() if name in given}
    return {name: msgspec.to_builtins(value) for name, value in values.items() if value is not None}


def _is_represented(field: Field, value: Any) -> bool:
    """Return whether the property of a field reads as it was written."""
    if field.calendar_property is None:
        return False
    match field.kind:
        case FieldKind.STEPS:
            return all(round_trip(step.title).strip() == step.title for step in value)
        case FieldKind.TEXT:
            # a property of whitespace counts as absent
            return bool(value.strip()) and round_trip(value) == str(value)
        case FieldKind.TEXTS:
            return field.calendar_property == "CATEGORIES" and round_trip_tags(value) == list(value)
        case FieldKind.DATE:
            # DTSTART may be an implied one
            return field.calendar_property != "DTSTART"
    return False


def parse_timestamp(text: str) -> datetime:
    """Parse a timestamp in the format of the API."""
    return datetime.fromisoformat(text)


def strip_control_characters(text: str) -> str:
    """Return a text that a property can represent: without control characters, and with LF as line breaks."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def round_trip(text: str) -> str:
    """Return a text as it is read back from a property."""
    return str(unescape_backslash(vText(strip_control_characters(text)).to_ical().decode(_ENCODING)))


def round_trip_step_title(title: str) -> str:
    """Return the title of a step as it is read back from a property, or `UNTITLED` if that has no text."""
    shown = clean_line(round_trip(title))
    return shown if is_visible(shown) else UNTITLED


def round_trip_tags(tags: list[str]) -> list[str]:
    """Return tags as they are read back from a property."""
    if not tags:
        return []
    return list(
        split_on_unescaped_comma(vCategory([strip_control_characters(tag) for tag in tags]).to_ical().decode(_ENCODING))
    )


def choose_exact(moment: datetime, exact: str | None) -> str:
    """Return the exact timestamp if it denotes the same second of local time, or else the given time, as text."""
    if exact is not None:
        try:
            local = parse_timestamp(exact).astimezone(moment.tzinfo)
        except (ValueError, OverflowError):
            raise Invalid([ValidationIssue("", f"Expected {EXTENSION_NAME} as written by this service")]) from None
        if local.replace(microsecond=0, tzinfo=None) == moment.replace(microsecond=0, tzinfo=None):
            return exact
    return format_timestamp(moment)


def get_implied_start(due: datetime | date) -> datetime | date:
    """Return the DTSTART that is written for a recurring todo without a start, because RRULE needs one.

    It is midnight of DUE's day, or DUE itself if that is a date or the midnight cannot be stored.
    """
    if not isinstance(due, datetime):
        return due
    midnight = due.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if is_storable(midnight) else due


def build_exceptions(
    exceptions: Iterable[str], start: date | datetime, zone: tzinfo, *, implied: bool
) -> list[date | datetime]:
    """Return the EXDATE of a todo: the occurrences of DTSTART that are excluded.

    Args:
        exceptions: The excluded days and times, in the format of the API.
        start: DTSTART.
        zone: The time zone of the todo.
        implied: Whether DTSTART is not the start of the todo, but an implied one (`get_implied_start`).
    """
    values: list[date | datetime] = []
    for text in exceptions:
        local = parse_timestamp(text).replace(microsecond=0).astimezone(zone) if "T" in text else None
        day = date.fromisoformat(text) if local is None else local.date()
        if not isinstance(start, datetime):
            values.append(day)
        elif local is None or implied:
            values.append(datetime.combine(day, start.time(), start.tzinfo))
        else:
            values.append(local.astimezone(start.tzinfo))
    return values


def normalize_until(rule: str, zone: tzinfo, *, day: bool) -> str:
    """Return a rule with UNTIL as RFC 5545 requires it: as a time in UTC, or as a date if DTSTART is a date.

    Args:
        rule: The rule in canonical notation.
        zone: The time zone of the todo.
        day: Whether DTSTART is a date.
    """
    parsed = Rule.parse(rule)
    until = parsed.until
    if until is None:
        return rule
    try:
        if day:
            local = until.astimezone(zone) if isinstance(until, datetime) and until.tzinfo else until
            until = local.date() if isinstance(local, datetime) else local
        else:
            local = until if isinstance(until, datetime) else datetime.combine(until, LAST_SECOND)
            until = (local if local.tzinfo else local.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        return rule
    return str(replace(parsed, until=until))


def is_same_rule(rule: str, written: str, zone: tzinfo, *, day: bool) -> bool:
    """Return whether writing a rule gives this property, ignoring the order of its parts.

    Args:
        rule: The rule.
        written: The property.
        zone: The time zone of the todo.
        day: Whether DTSTART is a date.
    """
    if len(written) > 2 * RECURRENCE_LENGTH or len(rule) > RECURRENCE_LENGTH:
        return False
    try:
        expected = vRecur.from_ical(normalize_until(rule, zone, day=day)).to_ical().decode()
        return set(expected.split(";")) == set(written.split(";"))
    except ValueError:
        return False


def join_lines(text: str) -> str:
    """Return a text with spaces for its line breaks and tabs."""
    return _BREAKS.sub(" ", text)


def clean_line(text: str) -> str:
    """Return a text as one line without control characters, and without whitespace around it."""
    return drop_controls(join_lines(text)).strip()


def is_visible(text: str) -> bool:
    """Return whether a text can be a title or a tag, apart from its length."""
    try:
        normalize_text(text, len(text))
    except ValueError:
        return False
    return True
