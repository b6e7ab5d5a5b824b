"""TickTick: the CSV file of a backup.

Some lines about the backup precede the header. A checklist is in the content, with one item on each line. A subtask
names its parent by `parentId`. Times are in UTC; an all-day task is due on the day of its own time zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from todo_service.bounds.todos import REMINDER_MINUTES
from todo_service.exchange.formats.base import Draft, ImportFormat, RejectedRecord, read_record
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.subtasks import PARENT_LOST, Subtasks
from todo_service.exchange.formats.tables import Record, Table, has_header, open_table, warn_about_ignored_cells
from todo_service.exchange.formats.values import (
    DateOrTime,
    build_schedule,
    choose_title,
    parse_date_or_time,
    parse_flag,
    parse_tags,
    split_checklist,
    to_timestamp,
)
from todo_service.lists.dto import TodoListCreate
from todo_service.timestamps import list_time_zones
from todo_service.todos.dto import TodoImport
from todo_service.todos.field_types import Priority
from todo_service.todos.reminder_types import MORNING, ReminderCreate

_COLUMNS: Final = ("list_name", "title", "content", "status")
_READ: Final = frozenset(
    [
        *("list_name", "title", "content", "kind", "tags", "is_check_list", "priority", "status", "order"),
        *("start_date", "due_date", "is_all_day", "timezone", "reminder", "repeat", "repeat_from"),
        *("created_time", "completed_time", "taskid", "parentid"),
        # what kind of list it is, and how the program shows it
        *("projectkind", "view_mode", "column_order"),
    ]
)
_NO_VALUE: Final = re.compile("|false")
_ORDER: Final = re.compile(r"-?\d{1,18}", re.ASCII)
_PRIORITIES: Final[Mapping[str, Priority]] = {"": "none", "0": "none", "1": "low", "3": "medium", "5": "high"}
_OPEN: Final = ("", "0")
_COMPLETED: Final = ("1", "2")
_ABANDONED: Final = "-1"
_OBJECT_ID: Final = re.compile("[0-9a-f]{24}")
_REMINDER: Final = re.compile(
    r"(?:TRIGGER:)?(?P<sign>-?)P(?:(?P<days>\d{1,3})D)?"
    r"(?:T(?:(?P<hours>\d{1,4})H)?(?:(?P<minutes>\d{1,5})M)?(?:\d{1,2}S)?)?"
)
_MORNING_MINUTES: Final = MORNING // timedelta(minutes=1)
_MAX_REMINDERS: Final = 20
"""The number of reminders after which the rest is left out as a whole."""
_MISSING: Final = frozenset({"recurrence_except", "last_completed_at"})
_FOREIGN_RULE_PART: Final = re.compile(r"TT_[A-Z]+=[^;]*")


class TickTickFormat(ImportFormat):
    """The CSV file of a TickTick backup."""

    media_type = "text/csv"

    def recognizes(self, source: Source) -> bool:
        """See `ImportFormat.recognizes`."""
        return has_header(source, _COLUMNS, preamble=True)

    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | RejectedRecord]:
        """See `ImportFormat.read`."""
        table = open_table(source, _COLUMNS, preamble=True)
        subtasks = _find_subtasks(table)
        return _read_records(table, subtasks, zone)


def _find_subtasks(table: Table) -> Subtasks:
    subtasks = Subtasks()
    if "parentid" in table.columns:
        with table.restore_position():
            for row in table.read():
                if isinstance(row, Record):
                    task = _Task(row)
                    subtasks.add(
                        task.id, task.parent_id, task.get("title"), task.get("status") in _COMPLETED, task.is_plain
                    )
    return subtasks


def _read_records(table: Table, subtasks: Subtasks, zone: tzinfo) -> Iterator[Draft | RejectedRecord]:
    ignored = table.get_ignored_columns(_READ)
    for row in table.read():
        if isinstance(row, RejectedRecord):
            yield row
        elif not subtasks.is_step((task := _Task(row)).id):
            lost = warn_about_ignored_cells(row, ignored, _NO_VALUE)
            yield read_record(row.line, _TaskParser(task, subtasks, zone, lost).parse)


class _Task:
    """A row of the table."""

    def __init__(self, row: Record) -> None:
        self.row = row
        self.id = self.get("taskid")
        self.parent_id = self.get("parentid")

    def get(self, column: str) -> str:
        """Return the trimmed text of a cell."""
        return self.row.cells.get(column, "").strip()

    @property
    def is_plain(self) -> bool:
        """Whether the task has nothing but a title and a status."""
        columns = ("content", "tags", "start_date", "due_date", "reminder", "repeat")
        return self.get("priority") in ("", "0") and not any(map(self.get, columns))


class _TaskParser:
    """Parses a task, and collects warnings in addition to the given ones."""

    def __init__(self, task: _Task, subtasks: Subtasks, zone: tzinfo, warnings: list[str]) -> None:
        name = task.get("timezone")
        self._task = task
        self._subtasks = subtasks
        self._own_zone = name if name in list_time_zones() else None
        self._account_zone = str(zone)
        self._zone = ZoneInfo(name) if self._own_zone else zone
        self._warnings = warnings

    def parse(self) -> Draft:
        task = self._task
        content = task.row.cells.get("content", "").replace("\r\n", "\n").replace("\r", "\n")
        is_checklist = parse_flag(task.get("is_check_list")) or task.get("kind").upper() == "CHECKLIST"
        description, steps = split_checklist(content) if is_checklist else (content, [])
        if task.parent_id:
            self._warnings.append(PARENT_LOST)
        if task.get("kind").upper() == "NOTE":
            self._warnings.append("Kind was changed: the note became a todo")
        priority = _PRIORITIES.get(task.get("priority"))
        if priority is None:
            self._warnings.append("Priority was left out: expected 0, 1, 3 or 5")
        fields = self._parse_dates() | self._parse_status()
        if _ORDER.fullmatch(order := task.get("order")):
            fields["position"] = float(order)
        todo = TodoImport(
            title=choose_title(task.get("title"), description, self._warnings),
            description=description,
            priority=priority or "none",
            tags=parse_tags(task.get("tags")),
            steps=steps + self._subtasks.take_steps(task.id),
            **fields,
        )
        name = task.get("list_name")
        return Draft(
            task.row.line,
            todo,
            TodoListCreate(name) if name and name != "Inbox" else None,
            # older backups number the tasks anew
            uid=task.id if _OBJECT_ID.fullmatch(task.id) else None,
            warnings=tuple(self._warnings),
            missing=_MISSING,
        )

    def _parse_status(self) -> dict[str, Any]:
        status, fields = self._task.get("status"), dict[str, Any]()
        if status in _COMPLETED or status == _ABANDONED:
            fields["completed"] = True
            if isinstance(moment := self._parse_date_or_time("completed_time"), datetime):
                fields["completed_at"] = to_timestamp(moment)
            if status == _ABANDONED:
                self._warnings.append("Status was changed: the abandoned task is completed")
        elif status not in _OPEN:
            self._warnings.append("Status was left out: expected 0, 1, 2 or -1")
        if isinstance(created := self._parse_date_or_time("created_time"), datetime):
            fields["created_at"] = to_timestamp(created)
        return fields

    def _parse_dates(self) -> dict[str, Any]:
        start, due = self._parse_date_or_time("start_date"), self._parse_date_or_time("due_date")
        if parse_flag(self._task.get("is_all_day")):
            start, due = (
                each.astimezone(self._zone).date() if isinstance(each, datetime) else each for each in (start, due)
            )
        if due is None:
            start, due = None, start
        elif start == due:
            start = None
        fields = build_schedule(start, due, self._zone, self._warnings)
        if due is None:
            for column in ("repeat", "reminder"):
                if self._task.get(column):
                    self._warnings.append(f"{column.capitalize()} was left out: the task has no date")
            return fields
        if self._own_zone and self._own_zone != self._account_zone:
            fields["time_zone"] = self._own_zone
        if rule := self._task.get("repeat"):
            fields |= self._parse_rule(rule)
        if reminders := self._parse_reminders(not isinstance(due, datetime)):
            fields["reminders"] = reminders
        return fields

    def _parse_rule(self, text: str) -> dict[str, Any]:
        if text.upper().startswith(("ERULE", "LUNAR")):
            self._warnings.append("Repeat was left out: it is not a standard rule")
            return {}
        rule = _FOREIGN_RULE_PART.sub("", text)
        if rule != text:
            self._warnings.append("Repeat was changed: skipped days are not supported")
        rule = ";".join(filter(None, rule.removeprefix("RRULE:").split(";")))
        from_completion = self._task.get("repeat_from") == "1"
        return {"recurrence": rule, "recurrence_from": "completion" if from_completion else "due"}

    def _parse_reminders(self, is_all_day: bool) -> list[ReminderCreate]:
        reminders = []
        for text in filter(None, re.split(r"[,;\s]+", self._task.get("reminder"), maxsplit=_MAX_REMINDERS)):
            minutes = -1
            if (match := _REMINDER.fullmatch(text)) is not None:
                days, hours, rest = (int(match[name] or 0) for name in ("days", "hours", "minutes"))
                distance = days * 1440 + hours * 60 + rest
                minutes = (distance if match["sign"] else -distance) + (_MORNING_MINUTES if is_all_day else 0)
            if 0 <= minutes <= REMINDER_MINUTES:
                reminders.append(ReminderCreate(minutes_before=minutes))
            else:
                self._warnings.append(f'Reminder "{text[:50]}" was left out')
        return reminders

    def _parse_date_or_time(self, column: str) -> DateOrTime | None:
        text = self._task.get(column)
        if not text:
            return None
        value = parse_date_or_time(text, self._zone)
        if value is None:
            self._warnings.append(f"{column.replace('_', ' ').capitalize()} was left out: expected a date or a time")
        return value
