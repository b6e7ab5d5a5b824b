"""The records of an import, and the documents that they become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET
from odmantic import ObjectId

from todo_service.errors import Invalid, ValidationIssue
from todo_service.executors import Budget
from todo_service.timestamps import Timestamp, format_timestamp
from todo_service.todos import dto
from todo_service.todos.completion import canonicalize_rule
from todo_service.todos.creation import build_document
from todo_service.todos.documents import Reminder, Todo
from todo_service.todos.fields import SETTABLE
from todo_service.todos.reminder_types import ReminderCreate

_ESSENTIAL: Final = frozenset({"title", "uid", "list_id"})
"""A record is invalid if one of these fields is."""
_DEFAULTS: Final = dto.TodoImport(title="")
_ALTERNATIVES: Final = {"due_at": "due_on", "due_on": "due_at", "start_at": "start_on", "start_on": "start_at"}


@dataclass(slots=True)
class ImportRecord:
    """A todo to import.

    Attributes:
        todo: The todo. Fields that break a rule are left out unless the record is strict.
        strict: Whether a field that breaks a rule makes the record invalid.
        missing: The fields that the file cannot represent, and those that were left out as a whole. An update leaves
            them as they are.
        left_out: Why fields were left out.
        replaced: The times that were in the future. See `replace_future_times`.
    """

    todo: dto.TodoImport
    strict: bool = True
    missing: frozenset[str] = frozenset()
    left_out: list[ValidationIssue] = field(default_factory=list)
    replaced: frozenset[str] = frozenset()


def replace_future_times(record: ImportRecord, moment: datetime) -> None:
    """Replace the times of creation and completion that are in the future by the time of the import.

    Args:
        record: The record.
        moment: The time of the import.
    """
    todo = record.todo
    # a document has the time of the import by default
    defaults: dict[str, Any] = {"created_at": UNSET, "last_completed_at": Timestamp.parse(format_timestamp(moment))}
    if todo.completed:
        defaults["completed_at"] = None
    given = {name: getattr(todo, name) for name in defaults}
    future = {name for name, value in given.items() if isinstance(value, datetime) and value > moment}
    if future:
        record.todo = msgspec.structs.replace(todo, **{name: defaults[name] for name in future})
        record.replaced = frozenset(future)


def build_documents(
    records: Sequence[ImportRecord],
    owner: ObjectId,
    todo_ids: Sequence[ObjectId | None],
    moment: datetime,
    account_zone: str | None,
    budget: Budget,
) -> Iterator[Todo | Invalid]:
    """Yield the documents of records, each with its rule in canonical notation, or why it is invalid.

    A document has the position 0 unless its todo states one.

    Args:
        records: The records.
        owner: Their account.
        todo_ids: The ids of the documents; None for a new one.
        moment: See `build_document`.
        account_zone: See `build_document`.
        budget: The budget of the task.
    """
    for record, todo_id in zip(records, todo_ids, strict=True):
        while True:
            budget.check()
            try:
                yield _build(record.todo, owner, todo_id, moment, account_zone, budget)
            except Invalid as error:
                reduced = None if record.strict else leave_out(record.todo, error.issues)
                if reduced is not None:
                    record.missing |= _list_differing(record.todo, reduced)
                    record.todo = reduced
                    record.left_out = [*record.left_out, *error.issues]
                    continue
                yield error
            break


def fill_missing(record: ImportRecord, todo: Todo) -> ImportRecord:
    """Return a record with the fields that it lacks taken from a todo, as the store returns it.

    A day that the record states replaces the moment of the todo, and the other way round.
    """
    given = {name for name in SETTABLE if getattr(record.todo, name) != getattr(_DEFAULTS, name)}
    replaced = {_ALTERNATIVES[name] for name in given & _ALTERNATIVES.keys()}
    if "completed" not in record.missing and not record.todo.completed:
        replaced.add("completed_at")
    fields: dict[str, Any] = {name: getattr(todo, name) for name in record.missing - given - replaced}
    if "steps" in fields:
        fields["steps"] = [dto.StepImport(step.title, step.completed, step.id) for step in todo.steps]
    if "reminders" in fields:
        fields["reminders"] = [_to_given(each) for each in todo.reminders]
    todo_filled = msgspec.structs.replace(record.todo, **fields)
    return ImportRecord(todo_filled, record.strict, record.missing, replaced=record.replaced)


def drop_fields(
    record: ImportRecord, issues: Iterable[ValidationIssue], names: frozenset[str]
) -> list[ValidationIssue]:
    """Drop fields from a record, so that an update leaves them as they are.

    Args:
        record: The record.
        issues: Why fields were left out of it.
        names: The fields.

    Returns:
        The issues of these fields.
    """
    record.missing |= names
    record.todo = msgspec.structs.replace(record.todo, **{name: getattr(_DEFAULTS, name) for name in names})
    return [issue for issue in issues if issue.pointer.split("/")[1] in names]


def list_missing(present: Iterable[str]) -> frozenset[str]:
    """Return the fields that a file cannot represent.

    Args:
        present: The fields that it can represent.
    """
    # the position, the time of creation and the list of a todo are kept anyway
    return frozenset(SETTABLE).difference(present, ("uid", "position", "created_at", "list_id"))


def leave_out(todo: dto.TodoImport, issues: Iterable[ValidationIssue]) -> dto.TodoImport | None:
    """Return a todo without the fields, or items of fields, that break rules; None if it needs one of them."""
    fields: dict[str, Any] = {}
    items: dict[str, set[int]] = {}
    for issue in issues:
        name, _, rest = issue.pointer.removeprefix("/").partition("/")
        index = rest.partition("/")[0]
        if name not in SETTABLE or name in _ESSENTIAL:
            return None
        if index.isdecimal():
            items.setdefault(name, set()).add(int(index))
        else:
            fields[name] = getattr(_DEFAULTS, name)
    for name, indexes in items.items():
        fields.setdefault(name, [each for index, each in enumerate(getattr(todo, name)) if index not in indexes])
    return msgspec.structs.replace(todo, **fields)


def _list_differing(todo: dto.TodoImport, reduced: dto.TodoImport) -> frozenset[str]:
    """Return the fields that `leave_out` has set to their defaults."""
    return frozenset(
        name
        for name in SETTABLE
        if (value := getattr(reduced, name)) != getattr(todo, name) and value == getattr(_DEFAULTS, name)
    )


def _build(
    todo: dto.TodoImport,
    owner: ObjectId,
    todo_id: ObjectId | None,
    moment: datetime,
    account_zone: str | None,
    budget: Budget,
) -> Todo:
    document = build_document(todo, owner, todo_id or ObjectId(), moment, account_zone, 0.0)
    if document.recurrence is not None:
        zone = ZoneInfo(document.time_zone or account_zone or "UTC")
        document.recurrence = canonicalize_rule(document, zone, budget)
    return document


def _to_given(reminder: Reminder) -> ReminderCreate:
    if reminder.at is None:
        return ReminderCreate(minutes_before=UNSET if reminder.minutes_before is None else reminder.minutes_before)
    return ReminderCreate(at=Timestamp.parse(format_timestamp(reminder.at)))
