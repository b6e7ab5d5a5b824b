"""When a todo starts and when it is due: at a moment, or on a day.

A todo that is due on a day is due when that day ends in its time zone, which is its own or else the account's. The
model stores the last millisecond of the day as `due_end`, so that comparisons of moments put the todo on that day: it
is overdue from midnight on, and due before midnight. For a todo that is due at a moment, `due_end` is that moment.
Filters, sort orders, counts and the summary use `due_end` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, tzinfo
from typing import Any, Final

from todo_service.errors import Invalid, ValidationIssue
from todo_service.timestamps import end_of_day

_DUE: Final = ("due_at", "due_on")
_START: Final = ("start_at", "start_on")
SCHEDULE: Final = frozenset({*_DUE, *_START, "time_zone", "recurrence"})
"""The fields whose values depend on each other."""
DUE_END_SOURCES: Final = frozenset({*_DUE, "time_zone"})
"""The fields from which `due_end` is derived."""


def clear_alternatives(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request. A moment clears the day that it replaces, and a day the moment.

    Args:
        given: The fields that the request sets, as the document stores them.

    Raises:
        Invalid: The request gives both.
    """
    fields = dict(given)
    issues: list[ValidationIssue] = []
    for moment, day in (_DUE, _START):
        if given.get(moment) is not None and given.get(day) is not None:
            detail = f"Expected a value for {moment} or {day}, not for both"
            issues += [ValidationIssue(f"/{name}", detail) for name in (moment, day)]
        elif given.get(moment) is not None:
            fields[day] = None
        elif given.get(day) is not None:
            fields[moment] = None
    if issues:
        raise Invalid(issues)
    return fields


def check_schedule(changes: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """Check that the start is not after the due date and of the same kind, and that a recurring todo has a due date.

    Does nothing if no field of the schedule changes.

    Args:
        changes: The fields that change.
        fields: All fields after the change.

    Raises:
        Invalid: The start is after the due date or of the other kind, or a recurring todo has no due date.
    """
    if SCHEDULE.isdisjoint(changes):
        return
    due, start = _find_set(_DUE, fields), _find_set(_START, fields)
    if due is None:
        if fields["recurrence"] is not None:
            cleared = next((name for name in _DUE if name in changes), "due_at")
            pointer = "recurrence" if changes.get("recurrence") is not None else cleared
            raise Invalid([ValidationIssue(f"/{pointer}", "Expected a due date for a recurring todo")])
        return
    if start is None:
        return
    pointer = start if changes.get(start) is not None else due
    if _DUE.index(due) != _START.index(start):
        raise Invalid(
            [ValidationIssue(f"/{pointer}", "Expected moments for both start and due date, or days for both")]
        )
    if fields[start] > fields[due]:
        raise Invalid([ValidationIssue(f"/{pointer}", "Expected a start that is not after the due date")])


def derive_due_end(fields: Mapping[str, Any], zone: tzinfo) -> datetime | None:
    """Return `due_end`.

    Args:
        fields: The fields of the todo.
        zone: Its time zone, which only a day depends on.
    """
    if fields["due_on"] is not None:
        return end_of_day(date.fromisoformat(fields["due_on"]), zone)
    due_at: datetime | None = fields["due_at"]
    return due_at


def derive_in_zone(todo: Any, zone: tzinfo) -> dict[str, Any]:
    """Return the changes that a new time zone makes to a todo; empty if there are none.

    Args:
        todo: A todo, or a Struct with those of its fields that depend on the time zone.
        zone: The time zone.
    """
    due_end = derive_due_end({name: getattr(todo, name) for name in _DUE}, zone)
    return {} if due_end == todo.due_end else {"due_end": due_end}


def needs_account_zone(due_on: str | None, recurrence: str | None, time_zone: str | None) -> bool:
    """Return whether the time zone of the account matters for a todo: for the end of a day or for a rule."""
    return time_zone is None and (due_on is not None or recurrence is not None)


def _find_set(names: tuple[str, str], fields: Mapping[str, Any]) -> str | None:
    """Return the name of the field that has a value."""
    return next((name for name in names if fields[name] is not None), None)
