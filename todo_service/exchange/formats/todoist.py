"""Todoist: the CSV template of a project, as in "Export as template" and in a backup.

A row is a task, a section, or a note about the task above it. A task that is indented is a subtask of the one above.
Labels are words such as `@home` in the content. A section becomes a list; the file does not name its project.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, tzinfo
from functools import partial
from itertools import chain
from typing import Any, Final
from zoneinfo import ZoneInfo

from todo_service.bounds.exchange import IMPORT_LISTS, IMPORT_RECORD_BYTES
from todo_service.bounds.todos import LIST_NAME_LENGTH
from todo_service.errors import ValidationIssue
from todo_service.exchange.formats.base import Draft, FileList, FileLists, ImportFormat, RejectedRecord, read_record
from todo_service.exchange.formats.english_dates import parse_schedule
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.subtasks import PARENT_LOST, limit_steps
from todo_service.exchange.formats.tables import Record, Table, has_header, open_table
from todo_service.exchange.formats.values import build_schedule, choose_title, truncate
from todo_service.lists.dto import TodoListCreate
from todo_service.timestamps import list_time_zones, now
from todo_service.todos.dto import StepImport, TodoImport
from todo_service.todos.field_types import Priority
from todo_service.todos.import_records import list_missing

_COLUMNS: Final = ("type", "content", "priority", "indent")
_PRIORITIES: Final[Mapping[str, Priority]] = {"1": "urgent", "2": "high", "3": "medium", "4": "none", "": "none"}
_SKIPPED_TYPES: Final = ("", "meta", "note")
"""Types of rows that are not todos: settings of the project, and comments on it."""
_LABEL: Final = re.compile(r"(?<!\S)@([^\s@]+)")
_ATTACHMENT: Final = ("[[file {", "}]]")
_ROW_BYTES: Final = 500
"""Estimated overhead per record, besides its strings, in bytes."""
_LOST: Final = ("responsible", "duration", "deadline")
"""Columns without an equivalent in a todo."""
_MISSING: Final = list_missing(
    (
        *("title", "description", "priority", "tags", "steps"),
        *("due_at", "due_on", "time_zone", "recurrence", "recurrence_from"),
    )
)


class _Task:
    """A task with the rows below it that belong to it."""

    def __init__(self, row: Record, list_name: str) -> None:
        self.row = row
        self.parent: _Task | None = None
        self.list_name = list_name
        self.children: list[_Task] = []
        self.notes: list[str] = []
        self.has_lost_notes = False
        text = row.cells.get("content", "")
        self.tags = _LABEL.findall(text)
        self.title = " ".join(_LABEL.sub("", text).split()) or text.strip()

    def add_note(self, text: str, is_kept: bool) -> None:
        """Add a note, or only remember that there is one."""
        if is_kept:
            self.notes.append(text)
        else:
            self.has_lost_notes = True

    def get(self, column: str) -> str:
        """Return the trimmed text of a cell."""
        return self.row.cells.get(column, "").strip()

    @property
    def indent(self) -> int:
        """The level of the task, from 1."""
        text = self.get("indent")
        return int(text) if re.fullmatch(r"\d{1,2}", text, re.ASCII) else 1

    @property
    def is_plain(self) -> bool:
        """Whether the task has a title only."""
        return not (
            self.tags
            or self.notes
            or self.has_lost_notes
            or self.children
            or _PRIORITIES.get(self.get("priority")) != "none"
            or any(self.get(column) for column in ("description", "date", *_LOST))
        )


class TodoistFormat(ImportFormat):
    """The CSV template of Todoist.

    Args:
        clock: Returns the time from which relative dates count.
    """

    media_type = "text/csv"

    def __init__(self, clock: Callable[[], datetime] = now) -> None:
        self._clock = clock

    def recognizes(self, source: Source) -> bool:
        """See `ImportFormat.recognizes`."""
        return has_header(source, _COLUMNS)

    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | RejectedRecord | FileLists]:
        """See `ImportFormat.read`."""
        table = open_table(source, _COLUMNS[:2])
        sections = _find_sections(table)
        return chain([sections], self._read_records(table.read(), zone))

    def _read_records(
        self, rows: Iterator[Record | RejectedRecord], zone: ZoneInfo
    ) -> Iterator[Draft | RejectedRecord]:
        today = self._clock().astimezone(zone).date()
        list_name, size = "", 0
        group: list[_Task] = []
        ancestors: list[_Task] = []
        for row in rows:
            if isinstance(row, RejectedRecord):
                yield row
                continue
            kind, content = row.cells.get("type", "").strip().lower(), row.cells.get("content", "").strip()
            size += sum(map(len, row.cells.values())) + _ROW_BYTES
            if kind == "note" and group:
                group[-1].add_note(content, is_kept=size <= IMPORT_RECORD_BYTES)
                continue
            if kind not in ("task", "section"):
                if kind not in _SKIPPED_TYPES:
                    yield RejectedRecord(row.line, [ValidationIssue("", "Expected the type task, section or note")])
                continue
            task = _Task(row, list_name)
            if kind == "section" or task.indent == 1 or size > IMPORT_RECORD_BYTES:
                yield from _build_drafts(group, zone, today)
                group, ancestors, size = [], [], 0
            if kind == "section":
                list_name = content
                continue
            while ancestors and ancestors[-1].indent >= task.indent:
                ancestors.pop()
            if ancestors:
                task.parent = ancestors[-1]
                task.parent.children.append(task)
            ancestors.append(task)
            group.append(task)
        yield from _build_drafts(group, zone, today)


def _find_sections(table: Table) -> FileLists:
    """Return the first sections of a table, which does not move. Further ones become lists if they have tasks."""
    sections: dict[str, int] = {}
    with table.restore_position():
        for row in table.read():
            if isinstance(row, Record) and row.cells.get("type", "").strip().lower() == "section":
                name = truncate(row.cells.get("content", "").strip(), LIST_NAME_LENGTH)
                if name and len(sections) < IMPORT_LISTS:
                    sections.setdefault(name, row.line)
    return FileLists([FileList(line, TodoListCreate(name)) for name, line in sections.items()])


def _build_drafts(group: list[_Task], zone: tzinfo, today: date) -> Iterator[Draft | RejectedRecord]:
    """Yield a draft for each task of a tree that is not a step."""
    steps = set[int]()
    for task in group:
        steps.update(map(id, limit_steps([child for child in task.children if child.is_plain])))
    for task in group:
        if id(task) not in steps:
            own = [StepImport(child.title) for child in task.children if id(child) in steps]
            yield read_record(task.row.line, partial(_build_draft, task, own, zone, today))


def _build_draft(task: _Task, steps: list[StepImport], zone: tzinfo, today: date) -> Draft:
    warnings = [] if task.parent is None else [PARENT_LOST]
    priority = _PRIORITIES.get(task.get("priority"))
    if priority is None:
        warnings.append("Priority was left out: expected 1 to 4")
    warnings += [f"Column {column.upper()} was left out" for column in _LOST if task.get(column)]
    if task.has_lost_notes:
        warnings.append("Notes were left out: the task and its subtasks are too large")
    paragraphs = [task.row.cells.get("description", "").strip(), *task.notes]
    text = "\n\n".join(filter(None, paragraphs))
    description = "\n".join(map(_drop_attachments, text.split("\n")))
    if description != text:
        description = description.strip()
        warnings.append("Attachment was left out")
    fields = _build_due_date(task, zone, today, warnings)
    todo = TodoImport(
        title=choose_title(task.title, description, warnings),
        description=description,
        priority=priority or "none",
        tags=task.tags,
        steps=steps,
        **fields,
    )
    return Draft(
        task.row.line,
        todo,
        TodoListCreate(task.list_name) if task.list_name else None,
        warnings=tuple(warnings),
        # the words of the file, because a date such as `tomorrow` is another day in the next import
        content="\n".join([task.list_name, *task.row.cells.values(), *task.notes, *(step.title for step in steps)]),
        missing=_MISSING,
    )


def _drop_attachments(line: str) -> str:
    """Return a line of a description without its attachments, which are written as `[[file {...}]]`."""
    opening, closing = _ATTACHMENT
    start, end = line.find(opening), line.rfind(closing)
    return line[:start] + line[end + len(closing) :] if 0 <= start <= end - len(opening) else line


def _build_due_date(task: _Task, zone: tzinfo, today: date, warnings: list[str]) -> dict[str, Any]:
    text, language = task.get("date"), task.get("date_lang").lower()
    if not text:
        return {}
    name = task.get("timezone")
    own_zone = ZoneInfo(name) if name in list_time_zones() else None
    if name and own_zone is None:
        warnings.append(f'Time zone "{name[:50]}" is unknown: the date was read in that of the account')
    schedule = parse_schedule(text, own_zone or zone, today)
    if schedule is None:
        reason = "it is not in English" if language not in ("", "en") else "its words are unknown"
        warnings.append(f'Date "{text[:50]}" was left out: {reason}')
        return {}
    fields = build_schedule(None, schedule.due, own_zone or zone, warnings)
    if schedule.recurrence is not None:
        fields["recurrence"] = schedule.recurrence
        fields["recurrence_from"] = "completion" if schedule.from_completion else "due"
    if own_zone is not None and str(own_zone) != str(zone) and isinstance(schedule.due, datetime):
        fields["time_zone"] = name
    return fields
