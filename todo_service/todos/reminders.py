"""The rules of a todo's reminders: at a moment, or some minutes before the todo is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from todo_service.bounds.todos import REMINDER_MINUTES, REMINDERS
from todo_service.errors import Invalid, ValidationIssue
from todo_service.timestamps import is_storable
from todo_service.todos.documents import Reminder
from todo_service.todos.reminder_types import ReminderCreate
from todo_service.todos.validation import TIME_RANGE


def validate_reminders(given: Sequence[ReminderCreate]) -> list[Reminder]:
    """Return the distinct reminders, in their order."""
    if len(given) > REMINDERS:
        raise ValueError(f"Expected at most {REMINDERS} reminders")
    issues: list[ValidationIssue] = []
    reminders: list[Reminder] = []
    for index, each in enumerate(given):
        if (each.at is UNSET) == (each.minutes_before is UNSET):
            issues.append(ValidationIssue(f"/{index}", "Expected either `at` or `minutes_before`"))
        elif each.at is not UNSET and not is_storable(each.at):
            issues.append(ValidationIssue(f"/{index}/at", TIME_RANGE))
        elif each.minutes_before is not UNSET and not 0 <= each.minutes_before <= REMINDER_MINUTES:
            # a file of another program: requests are checked by the type
            issues.append(ValidationIssue(f"/{index}/minutes_before", f"Expected 0 to {REMINDER_MINUTES} minutes"))
        else:
            reminder = Reminder(
                at=each.at if each.at is not UNSET else None,
                minutes_before=each.minutes_before if each.minutes_before is not UNSET else None,
            )
            if reminder not in reminders:
                reminders.append(reminder)
    if issues:
        raise Invalid(issues)
    return reminders


def check_reminders(changes: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """Check that a todo with a `minutes_before` reminder has a due date.

    Does nothing if neither the reminders nor the due date change.

    Args:
        changes: The fields that change.
        fields: All fields after the change.

    Raises:
        Invalid: The todo has such a reminder, but no due date.
    """
    if not {"reminders", "due_at", "due_on"} & changes.keys():
        return
    if fields["due_at"] is not None or fields["due_on"] is not None:
        return
    before = [index for index, each in enumerate(fields["reminders"]) if each.minutes_before is not None]
    if before and "reminders" in changes:
        issues = [ValidationIssue(f"/reminders/{index}/minutes_before", "Expected a due date") for index in before]
    elif before:
        cleared = next(name for name in ("due_at", "due_on") if name in changes)
        issues = [
            ValidationIssue(f"/{cleared}", "Expected a due date, because the todo has reminders with `minutes_before`")
        ]
    else:
        return
    raise Invalid(issues)
