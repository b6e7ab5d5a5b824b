"""Google Tasks: the file Tasks.json of Google Takeout, which has all lists with their tasks.

A subtask names its parent. Due dates are days, written as midnight in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, tzinfo
from functools import partial
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET

from todo_service.bounds.exchange import IMPORT_LISTS, IMPORT_RECORDS
from todo_service.bounds.todos import LIST_NAME_LENGTH, UID_LENGTH
from todo_service.decoding import decode_json
from todo_service.errors import Invalid, ValidationIssue
from todo_service.exchange.formats.base import Draft, FileList, FileLists, ImportFormat, RejectedRecord, read_record
from todo_service.exchange.formats.json_walk import Walker
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.subtasks import PARENT_LOST, Subtasks
from todo_service.exchange.formats.values import (
    DateOrTime,
    build_schedule,
    choose_title,
    parse_date_or_time,
    to_timestamp,
    truncate,
)
from todo_service.lists.dto import TodoListCreate
from todo_service.todos.dto import StepImport, TodoImport
from todo_service.todos.import_records import list_missing

_SIGNATURE: Final = re.compile(rb'"kind"\s*+:\s*+"tasks#task')
_SIGNATURE_BYTES: Final = 64 * 1024
_MISSING: Final = list_missing(("title", "description", "steps", "due_at", "due_on", "completed", "completed_at"))
_DEFAULT_LISTS: Final = frozenset({"My Tasks", "Tasks", "Meine Aufgaben", "Mes tâches", "Mis tareas"})
"""The title of the list that every account has, in the languages that are known."""


class _Link(msgspec.Struct, frozen=True):
    link: str = ""
    description: str = ""


class _ScheduledTime(msgspec.Struct, frozen=True):
    start: str | None = None
    current: bool = True


class _Task(msgspec.Struct, frozen=True):
    id: str = ""
    title: str = ""
    notes: str | None = ""
    status: str = "needsAction"
    due: str | None = None
    completed: str | None = None
    created: str | None = None
    parent: str | None = None
    deleted: bool = False
    starred: bool = False
    task_recurrence_id: str | None = None
    scheduled_time: list[_ScheduledTime] = []
    links: list[_Link] = []

    @property
    def is_plain(self) -> bool:
        """Whether the task has nothing but a title and a status."""
        parts = (self.notes, self.due, self.scheduled_time, self.links, self.task_recurrence_id, self.starred)
        return not any(parts)


class GoogleFormat(ImportFormat):
    """The file Tasks.json of Google Takeout."""

    media_type = "application/json"

    def recognizes(self, source: Source) -> bool:
        """See `ImportFormat.recognizes`."""
        return _SIGNATURE.search(source.copy(source.position, source.position + _SIGNATURE_BYTES)) is not None

    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | RejectedRecord | FileLists]:
        """See `ImportFormat.read`. The whole body is checked before the first record is read."""
        subtasks, lists = Subtasks(), dict[int, _List]()
        for found in _scan_tasks(source, lists):
            try:
                task: _Task = decode_json(source.copy(found.start, found.end), _Task)
            except Invalid:
                continue  # it is rejected when it is read
            if not task.deleted:
                subtasks.add(task.id, task.parent or "", task.title, task.status == "completed", task.is_plain)
        return _read_records(source, subtasks, lists, zone)


class _List(NamedTuple):
    """A list of tasks."""

    id: str = ""
    title: str = ""

    @property
    def todo_list(self) -> TodoListCreate | None:
        """The list for its todos, or None for the inbox, if it is the default list or has no title."""
        if not self.title or self.title in _DEFAULT_LISTS:
            return None
        return TodoListCreate(self.title, uid=self.id or UNSET)


class _FoundTask(NamedTuple):
    """A task in the body.

    Attributes:
        pointer: JSON pointer to the task.
        list_index: The index of its list.
        start: The offset of its start.
        end: The offset of its end.
    """

    pointer: str
    list_index: int
    start: int
    end: int


def _scan_tasks(source: Source, lists: dict[int, _List]) -> Iterator[_FoundTask]:
    """Yield all tasks.

    Args:
        source: The body.
        lists: Is filled with the lists by index.
    """
    walker, count = Walker(source), 0
    has_lists = False
    for name in walker.enter_object():
        if name != "items" or not walker.next_is(b"["):
            walker.skip()
            continue
        has_lists = True
        for list_index in walker.enter_array():
            if list_index >= IMPORT_LISTS:
                raise Invalid([ValidationIssue("/items", f"Expected at most {IMPORT_LISTS} lists")])
            for member in walker.enter_object():
                known = lists.get(list_index, _List())
                if member == "title":
                    lists[list_index] = known._replace(title=truncate(walker.decode(str), LIST_NAME_LENGTH))
                elif member == "id":
                    lists[list_index] = known._replace(id=truncate(walker.decode(str), UID_LENGTH))
                elif member == "items" and walker.next_is(b"["):
                    for index in walker.enter_array():
                        count += 1
                        if count > IMPORT_RECORDS:
                            raise Invalid([ValidationIssue("/items", f"Expected at most {IMPORT_RECORDS} tasks")])
                        yield _FoundTask(f"/items/{list_index}/items/{index}", list_index, *walker.scan())
                else:
                    walker.skip()
    walker.scanner.expect_end()
    if not has_lists:
        raise Invalid([ValidationIssue("/items", "Expected the lists of Google Takeout")])


def _read_records(
    source: Source, subtasks: Subtasks, lists: dict[int, _List], zone: tzinfo
) -> Iterator[Draft | RejectedRecord | FileLists]:
    found_lists = [(index, named) for index, each in sorted(lists.items()) if (named := each.todo_list) is not None]
    yield FileLists([FileList(1, named, f"/items/{index}") for index, named in found_lists])
    for found in _scan_tasks(source, {}):
        source.advance_counting_lf(found.start)
        try:
            task: _Task = decode_json(source.copy(found.start, found.end), _Task)
        except Invalid as error:
            yield RejectedRecord(source.line, error.prefix_pointers(found.pointer).issues)
            continue
        if task.deleted or subtasks.is_step(task.id):
            continue
        named, steps = lists.get(found.list_index, _List()).todo_list, subtasks.take_steps(task.id)
        build = partial(_build_draft, task, steps, source.line, named, zone)
        yield read_record(source.line, build, found.pointer)


def _build_draft(task: _Task, steps: list[StepImport], line: int, named: TodoListCreate | None, zone: tzinfo) -> Draft:
    warnings = [PARENT_LOST] if task.parent else []
    if task.task_recurrence_id:
        warnings.append("Recurrence was left out: the file does not contain the rule")
    if task.starred:
        warnings.append("Starred was left out")
    notes = "\n".join(filter(None, [task.notes, *(link.link for link in task.links)]))
    todo = TodoImport(
        title=choose_title(task.title, notes, warnings),
        description=notes,
        steps=steps,
        **_build_dates(task, zone, warnings),
    )
    return Draft(line, todo, named, uid=task.id or None, warnings=tuple(warnings), missing=_MISSING)


def _build_dates(task: _Task, zone: tzinfo, warnings: list[str]) -> dict[str, Any]:
    def parse(name: str, text: str | None) -> datetime | None:
        value = parse_date_or_time(text or "", UTC)
        if text and not isinstance(value, datetime):
            warnings.append(f"{name} was left out: expected a time")
        return value if isinstance(value, datetime) else None

    scheduled = [each.start for each in task.scheduled_time if each.current and each.start]
    moment = parse("Due", scheduled[0] if scheduled else task.due)
    due: DateOrTime | None = moment
    if moment is not None and (not scheduled or moment.time() == time()):
        due = moment.date()  # a day is written as midnight in UTC
    fields = build_schedule(None, due, zone, warnings)
    if task.status == "completed":
        fields["completed"] = True
        if (completed := parse("Completed", task.completed)) is not None:
            fields["completed_at"] = to_timestamp(completed)
    if (created := parse("Created", task.created)) is not None:
        fields["created_at"] = to_timestamp(created)
    return fields
