"""Completing todos, and undoing completions.

A recurring todo moves to its next occurrence when it is completed. The document keeps its last completions, and for the
last one the state before it, so that it can be undone. Both are encoded as JSON, because a todo in a page of a list
is read with all its completions: each takes about 60 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET

from todo_service.bounds.todos import COMPLETIONS
from todo_service.errors import Invalid, ValidationIssue
from todo_service.executors import UNLIMITED, Budget
from todo_service.timestamps import Timestamp, format_timestamp, is_storable, parse_date
from todo_service.todos import dto
from todo_service.todos.documents import Step, Todo
from todo_service.todos.recurrence import (
    Occurrence,
    Recurrence,
    Schedule,
    get_time,
    read_local_time,
    resolve_local_time,
)
from todo_service.todos.recurrence_rule import Rule
from todo_service.todos.schedule import derive_due_end
from todo_service.todos.validation import TIME_RANGE


class _Completion(msgspec.Struct, frozen=True, array_like=True):
    """A completion of an occurrence.

    Attributes:
        completed_at: When it was completed.
        due_at: When it was due, if at a moment.
        due_on: The day on which it was due, if on a day.
    """

    completed_at: datetime
    due_at: datetime | None
    due_on: str | None


class _State(msgspec.Struct, frozen=True):
    """The state of a todo before its last completion."""

    due_at: datetime | None
    due_on: str | None
    due_local: str | None
    start_at: datetime | None
    start_on: str | None
    start_local: str | None
    recurrence: str | None
    last_completed_at: datetime | None


class _Undo(_State, frozen=True):
    """How to undo the last completion.

    Attributes:
        completed_steps: The ids of the steps that were completed.
    """

    completed_steps: list[str]


def canonicalize_rule(todo: Todo, zone: ZoneInfo, budget: Budget = UNLIMITED) -> str:
    """Return the rule of a recurring todo in the notation in which it is stored. Takes milliseconds.

    Args:
        todo: The todo. It has a due date.
        zone: Its time zone.
        budget: The budget of the task. It is polled.

    Raises:
        Invalid: The rule states another time than the todo, or never occurs.
        BudgetExceededError: The budget is exceeded.
    """
    schedule = _read_schedule(todo, zone)
    times = [get_time(schedule.due)] + ([] if schedule.start is None else [get_time(schedule.start)])
    try:
        rule = _parse_rule(todo).drop_time(*times)
    except ValueError as error:
        raise Invalid([ValidationIssue("/recurrence", str(error))]) from None
    Recurrence(rule, schedule, zone, budget).require_occurrence()
    return str(rule)


def check_completion_time(completed_at: datetime | None, moment: datetime) -> None:
    """Check that a given time of completion can be stored, and is not in the future.

    Raises:
        Invalid: It is in the future or outside the range.
    """
    if completed_at is None:
        return
    if completed_at > moment:
        raise Invalid([ValidationIssue("/completed_at", "Expected a time that is not in the future")])
    if not is_storable(completed_at):
        raise Invalid([ValidationIssue("/completed_at", TIME_RANGE)])


def build_completion(
    todo: Todo, completed_at: datetime, moment: datetime, zone: ZoneInfo | None, budget: Budget = UNLIMITED
) -> dict[str, Any]:
    """Return the changes that complete an open todo. For a recurring todo this takes a millisecond.

    Args:
        todo: The todo.
        completed_at: When it was completed.
        moment: The current time.
        zone: Its time zone; None unless it recurs.
        budget: The budget of the task. It is polled.

    Returns:
        The fields that change, as the document stores them.

    Raises:
        Invalid: An earlier release stored a rule that is no longer supported.
        BudgetExceededError: The budget is exceeded.
    """
    recorded = {"completion_recorded_at": moment, "completed_version": todo.version + 1}
    completed = {"completed": True, "completed_at": completed_at}
    if todo.recurrence is None or zone is None:
        return recorded | completed
    state = {name: getattr(todo, name) for name in _State.__struct_fields__}
    undo = _Undo(**state, completed_steps=[step.id for step in todo.steps if step.completed])
    record = _Completion(completed_at, todo.due_at, todo.due_on)
    changes = recorded | {
        "last_completed_at": completed_at,
        "completions": [*todo.completions, _encode(record)][-COMPLETIONS:],
        "undo": _encode(undo),
    }
    following = _find_next(todo, completed_at, moment, zone, budget)
    if following is None:
        return changes | completed
    schedule = _write_schedule(following.schedule, zone)
    return changes | schedule | {"recurrence": str(following.rule), "steps": _set_steps(todo, ())}


def build_reopening(todo: Todo, zone: ZoneInfo | None) -> dict[str, Any]:
    """Return the changes that reopen a completed todo and undo the last completion of a recurring one.

    They are empty if there is neither.

    Args:
        todo: The todo.
        zone: Its time zone; None if it has no completion to undo.

    Returns:
        The fields that change, as the document stores them.
    """
    opened: dict[str, Any] = {"completed": False, "completed_at": None} if todo.completed else {}
    if todo.completion_recorded_at is not None and (opened or todo.undo is not None):
        opened["completion_recorded_at"] = None
    if todo.undo is None or zone is None:
        return opened
    undo = msgspec.json.decode(todo.undo, type=_Undo)
    fields = {name: getattr(undo, name) for name in _State.__struct_fields__}
    return {
        **opened,
        **fields,
        "due_end": derive_due_end(fields, zone),
        "steps": _set_steps(todo, undo.completed_steps),
        "completions": todo.completions[:-1],
        "undo": None,
    }


def correct_completion_time(todo: Todo, completed_at: datetime) -> dict[str, Any]:
    """Return the changes that correct when a completed todo was completed."""
    changes: dict[str, Any] = {"completed_at": completed_at}
    if todo.undo is None:
        return changes
    *others, last = todo.completions
    record = msgspec.structs.replace(msgspec.json.decode(last, type=_Completion), completed_at=completed_at)
    return changes | {"last_completed_at": completed_at, "completions": [*others, _encode(record)]}


def drop_undo(todo: Todo) -> dict[str, Any]:
    """Return the changes that make the last completion of a recurring todo final, because its rule is removed.

    If the todo is completed, the last entry of `completions` is dropped, because `completed_at` then represents it, as
    in a todo that never recurred.
    """
    return {"undo": None} | ({"completions": todo.completions[:-1]} if todo.completed else {})


def list_completions(todo: Todo) -> list[dto.Completion]:
    """Return the last completions of a todo, the newest first.

    A todo that has never recurred has exactly one while it is completed.
    """
    found = [msgspec.json.decode(record, type=_Completion) for record in reversed(todo.completions)]
    if todo.completed_at is not None and todo.undo is None:
        found.insert(0, _Completion(todo.completed_at, todo.due_at, todo.due_on))
    found.sort(key=lambda record: record.completed_at, reverse=True)
    return [
        dto.Completion(
            format_timestamp(record.completed_at),
            UNSET if record.due_at is None else format_timestamp(record.due_at),
            UNSET if record.due_on is None else record.due_on,
        )
        for record in found[:COMPLETIONS]
    ]


def _find_next(
    todo: Todo, completed_at: datetime, moment: datetime, zone: ZoneInfo, budget: Budget
) -> Occurrence | None:
    recurrence = Recurrence(_parse_rule(todo), _read_schedule(todo, zone), zone, budget)
    exceptions: list[date | datetime] = [
        Timestamp.parse(text) if "T" in text else parse_date(text) for text in todo.recurrence_except
    ]
    if todo.recurrence_from == "completion":
        return recurrence.find_next_from(completed_at.astimezone(zone).date(), exceptions)
    return recurrence.find_next(moment, exceptions)


def _parse_rule(todo: Todo) -> Rule:
    """Return the rule of a recurring todo.

    Raises:
        Invalid: An earlier release stored a rule that is no longer supported.
    """
    assert todo.recurrence is not None
    try:
        return Rule.parse(todo.recurrence)
    except ValueError as error:
        raise Invalid([ValidationIssue("/recurrence", str(error))]) from None


def _read_schedule(todo: Todo, zone: ZoneInfo) -> Schedule:
    """Return when a todo is due and starts, in local time."""
    if todo.due_on is not None:
        start = date.fromisoformat(todo.start_on) if todo.start_on is not None else None
        return Schedule(date.fromisoformat(todo.due_on), start)
    assert todo.due_at is not None  # a recurring todo has a due date
    due = read_local_time(todo.due_at, todo.due_local, zone)
    if todo.start_at is None:
        return Schedule(due)
    return Schedule(due, read_local_time(todo.start_at, todo.start_local, zone))


def _write_schedule(schedule: Schedule, zone: ZoneInfo) -> dict[str, Any]:
    """Return the fields that state when a todo is due and starts."""
    due, start = schedule
    if not isinstance(due, datetime):
        fields: dict[str, Any] = {"due_at": None, "due_on": due.isoformat()}
        if start is not None:
            fields["start_on"] = start.isoformat()
        return fields | {"due_end": derive_due_end(fields, zone)}
    due_at, due_local = resolve_local_time(due, zone)
    fields = {"due_at": due_at, "due_end": due_at, "due_local": due_local}
    if isinstance(start, datetime):
        start_at, start_local = resolve_local_time(start, zone)
        # when daylight saving time begins between the two, the start may be moved past the due date
        fields |= {"start_at": min(start_at, due_at), "start_local": start_local}
    return fields


def _set_steps(todo: Todo, completed: Sequence[str]) -> list[Step]:
    """Return the steps of a todo with only the given ones completed."""
    return [Step(id=step.id, title=step.title, completed=step.id in completed) for step in todo.steps]


def _encode(record: msgspec.Struct) -> str:
    # times from a request are of a subclass of `datetime`, which msgspec does not encode
    return msgspec.json.encode(record, enc_hook=format_timestamp).decode()
