"""Conversions between the fields of a todo and the properties of a VTODO."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, tzinfo
from typing import Final

import msgspec
from icalendar.parser import split_on_unescaped_comma, unescape_backslash
from icalendar.prop import vCategory, vRecur, vText
from msgspec import UNSET, UnsetType

from todo_service.bounds.todos import RECURRENCE_LENGTH
from todo_service.errors import Invalid, ValidationIssue
from todo_service.timestamps import format_timestamp
from todo_service.todos import dto

EXTENSION_NAME: Final = "X-TODO-SERVICE"
LAST_SECOND: Final = time(23, 59, 59)
_ENCODING: Final = "utf-8-sig"
"""The encoding with which icalendar decodes values before it writes them: it drops a leading byte order mark."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_UNTIL_DAY: Final = re.compile(r"UNTIL=(\d{4})(\d{2})(\d{2})(?=;|$)", re.ASCII)


class ExtensionProperty(msgspec.Struct, omit_defaults=True):
    """The content of the non-standard property `X-TODO-SERVICE`: the exact values of fields."""

    position: float | UnsetType = UNSET
    list_id: str | None = None
    list_name: str | None = None
    steps: list[dto.Step] = []
    title: str | None = None
    description: str | None = None
    tags: list[str] | None = None
    due_at: str | None = None
    completed_at: str | None = None
    created_at: str | None = None
    recurrence: str | None = None


def parse_timestamp(text: str) -> datetime:
    """Parse a timestamp in the format of the API."""
    return datetime.fromisoformat(text)


def strip_control_characters(text: str) -> str:
    """Return a text that a property can represent: without control characters, and with LF as line breaks."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def round_trip(text: str) -> str:
    """Return a text as it is read back from a property."""
    return str(unescape_backslash(vText(strip_control_characters(text)).to_ical().decode(_ENCODING)))


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


def normalise_until(rule: str, zone: tzinfo | None) -> str:
    """Return a rule with UNTIL as a time in UTC instead of a day, as RFC 5545 requires if DTSTART is a time."""

    def format_until(match: re.Match[str]) -> str:
        day = date(int(match[1]), int(match[2]), int(match[3]))
        try:
            end = datetime.combine(day, LAST_SECOND, zone).astimezone(UTC)
        except OverflowError:
            return match[0]
        return end.strftime("UNTIL=%Y%m%dT%H%M%SZ")

    return _UNTIL_DAY.sub(format_until, rule)


def is_same_rule(rule: str, written: str, zone: tzinfo | None) -> bool:
    """Return whether writing a rule gives this property, ignoring the order of its parts."""
    if len(written) > 2 * RECURRENCE_LENGTH or len(rule) > RECURRENCE_LENGTH:
        return False
    try:
        return set(vRecur.from_ical(normalise_until(rule, zone)).to_ical().decode().split(";")) == set(
            written.split(";")
        )
    except ValueError:
        return False
