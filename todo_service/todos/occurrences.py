"""The next occurrence of a recurring todo, as changes of its document."""

from __future__ import annotations

from datetime import UTC, date, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from todo_service.executors import UNLIMITED, Budget
from todo_service.timestamps import end_of_day
from todo_service.todos.documents import Todo
from todo_service.todos.recurrence import Rule
from todo_service.todos.schedule import get_due_moment


def find_next_occurrence(todo: Todo, zone: ZoneInfo, budget: Budget = UNLIMITED) -> dict[str, Any] | None:
    """Return the changes that move a recurring todo to its next occurrence, or None when its rule is exhausted.

    A start keeps its distance from the due date: in days, and for moments in local clock time.

    Args:
        todo: A todo with a rule and a due date.
        zone: Its time zone.
        budget: The budget of the task; it is polled.

    Raises:
        BudgetExceededError: the budget is exhausted.
    """
    assert todo.recurrence is not None
    current = get_due_moment(todo.due_at, todo.due_on)
    assert current is not None  # a recurring todo has a due date
    rule_zone = zone if todo.due_on is None else ZoneInfo("UTC")
    found = Rule(todo.recurrence).next(current, todo.due_local, rule_zone, budget)
    if found is None:
        return None
    if todo.due_on is not None:
        changes = _move_days(todo.due_on, todo.start_on, found.due_at.date(), zone)
    else:
        changes = {"due_at": found.due_at, "due_end": found.due_at, "due_local": found.local}
        if todo.start_at is not None:
            distance = _to_local(current, todo.due_local, zone) - _to_local(todo.start_at, todo.start_local, zone)
            changes |= _place_start(_to_local(found.due_at, found.local, zone) - distance, found.due_at, zone)
    return changes | {"recurrence": found.recurrence}


def _move_days(due_on: str, start_on: str | None, following: date, zone: tzinfo) -> dict[str, Any]:
    changes: dict[str, Any] = {"due_on": following.isoformat(), "due_end": end_of_day(following, zone)}
    if start_on is not None:
        distance = date.fromisoformat(due_on) - date.fromisoformat(start_on)
        changes["start_on"] = (following - distance).isoformat()
    return changes


def _place_start(local: datetime, due_at: datetime, zone: tzinfo) -> dict[str, Any]:
    start_at = local.replace(tzinfo=zone).astimezone(UTC)
    skipped = start_at.astimezone(zone).replace(tzinfo=None) != local
    return {"start_at": min(start_at, due_at), "start_local": local.isoformat() if skipped else None}


def _to_local(moment: datetime, local: str | None, zone: tzinfo) -> datetime:
    return datetime.fromisoformat(local) if local else moment.astimezone(zone).replace(tzinfo=None)
