"""How the fields of a todo stand in the properties of a VTODO, for writing and reading alike."""

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
from todo_service.timestamps import format_timestamp as time_text
from todo_service.todos import dto

OWN: Final = "X-TODO-SERVICE"
LAST_SECOND: Final = time(23, 59, 59)
_WRITTEN: Final = "utf-8-sig"
"""How the library reads a value before it writes it: a byte order mark at its beginning is lost."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_UNTIL_DAY: Final = re.compile(r"UNTIL=(\d{4})(\d{2})(\d{2})(?=;|$)", re.ASCII)


class OwnProperty(msgspec.Struct, omit_defaults=True):
    """What our own property holds."""

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


def parse_moment(text: str) -> datetime:
    """Read a time as the API writes it."""
    return datetime.fromisoformat(text)


def printable(text: str) -> str:
    """Return a text as a property can hold it."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def read_back(text: str) -> str:
    """Return what is read of a text that was written as a property."""
    return str(unescape_backslash(vText(printable(text)).to_ical().decode(_WRITTEN)))


def read_back_tags(tags: list[str]) -> list[str]:
    """Return what is read of tags that were written as a property."""
    if not tags:
        return []
    return list(split_on_unescaped_comma(vCategory([printable(tag) for tag in tags]).to_ical().decode(_WRITTEN)))


def choose_exact(moment: datetime, exact: str | None) -> str:
    """Return a time as text: the exact one where it shows the same on the same clock."""
    if exact is not None:
        try:
            shown = parse_moment(exact).astimezone(moment.tzinfo)
        except (ValueError, OverflowError):
            raise Invalid([ValidationIssue("", f"Expected {OWN} as this service writes it")]) from None
        if shown.replace(microsecond=0, tzinfo=None) == moment.replace(microsecond=0, tzinfo=None):
            return exact
    return time_text(moment)


def shown_rule(rule: str, zone: tzinfo | None) -> str:
    """Return a rule as RFC 5545 wants it beside a time: UNTIL is a moment in UTC, not a day."""

    def moment(match: re.Match[str]) -> str:
        day = date(int(match[1]), int(match[2]), int(match[3]))
        try:
            end = datetime.combine(day, LAST_SECOND, zone).astimezone(UTC)
        except OverflowError:
            return match[0]
        return end.strftime("UNTIL=%Y%m%dT%H%M%SZ")

    return _UNTIL_DAY.sub(moment, rule)


def is_same_rule(rule: str, shown: str, zone: tzinfo | None) -> bool:
    """Tell whether a rule is what is shown of it, whatever the order of its parts."""
    if len(shown) > 2 * RECURRENCE_LENGTH or len(rule) > RECURRENCE_LENGTH:
        return False
    try:
        return set(vRecur.from_ical(shown_rule(rule, zone)).to_ical().decode().split(";")) == set(shown.split(";"))
    except ValueError:
        return False
