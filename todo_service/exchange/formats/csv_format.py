"""CSV (RFC 4180): a header, then a row for each todo.

One cell holds all tags, separated by commas, and one holds all steps, as JSON. If a spreadsheet would convert a text,
the writer prefixes it with an apostrophe, which the reader removes (see `spreadsheets`).

The reader accepts tables that people or spreadsheets have written (see `tables` and `values`). A cell that it cannot
parse is left out with a warning. A row is rejected only if it has no title, has more cells than the header, or cannot
be read as a row at all (not UTF-8, too long, quotes that are not closed).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, time, tzinfo
from typing import Any, Final, get_args
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, UnsetType

from todo_service.decoding import decode_json
from todo_service.errors import Invalid, Malformed, ValidationIssue
from todo_service.exchange.formats.base import Draft, Format, RejectedRecord, Writer, read_record
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.spreadsheets import protect, restore
from todo_service.exchange.formats.tables import Record, Table, detect_day_first, open_table
from todo_service.exchange.formats.values import (
    DateOrTime,
    build_schedule,
    combine,
    parse_date_or_time,
    parse_flag,
    parse_number,
    parse_priority,
    parse_steps,
    parse_tags,
    to_timestamp,
)
from todo_service.field_table import FieldKind
from todo_service.lists.dto import TodoList, TodoListCreate
from todo_service.todos import dto
from todo_service.todos.field_types import RecurrenceFrom, StepId
from todo_service.todos.fields import FIELDS
from todo_service.todos.import_records import list_missing
from todo_service.todos.reminder_types import ReminderCreate

_LIST: Final = "list"
"""The column with the name of a todo's list."""
COLUMNS: Final = tuple(
    column for field in FIELDS for column in ((field.name, _LIST) if field.name == "list_id" else (field.name,))
)
_FIELDS: Final = {field.name: field for field in FIELDS}
_TEXTS: Final = frozenset({_LIST, *(field.name for field in FIELDS if field.kind in (FieldKind.TEXT, FieldKind.TEXTS))})
"""The columns that may contain any text."""
_PROTECTED: Final = _TEXTS | {"id", "list_id"}
"""The columns whose text a spreadsheet may convert. It takes an id that consists of digits for a number."""
_DEPENDENT_FIELDS: Final = {
    **dict.fromkeys(("due_on", "due_at"), ("due_on", "due_at")),
    **dict.fromkeys(("start_on", "start_at"), ("start_on", "start_at")),
    **dict.fromkeys(("completed", "completed_at"), ("completed", "completed_at")),
    "position": (),
    "created_at": (),
}
"""The fields that an update leaves unchanged if the cell of a column cannot be read. By default, the column's own."""
_SCIENTIFIC_FROM: Final = 10**11
"""From this value on, spreadsheets show integers in scientific notation, without their last digits."""
_PLURAL_COLUMNS: Final = frozenset({"steps", "reminders"})
_IGNORED: Final = frozenset({"version", "updated_at"})
_SCHEDULE: Final = ("start_on", "start_at", "due_on", "due_at")
_RECURRENCE_ORIGINS: Final[tuple[str, ...]] = get_args(get_args(RecurrenceFrom)[0])
_LISTED_COLUMNS: Final = 10


class _CsvWriter(Writer):
    def __init__(self, lists: Sequence[TodoList]) -> None:
        self._names = {each.id: each.name for each in lists}

    def write_opening(self) -> bytes:
        return _encode_rows([COLUMNS])

    def write_todos(self, todos: Iterable[dto.Todo]) -> bytes:
        return _encode_rows(self._get_cells(todo) for todo in todos)

    def write_closing(self) -> bytes:
        return b""

    def _get_cells(self, todo: dto.Todo) -> Iterator[str]:
        for name in COLUMNS:
            if name == _LIST:
                cell = self._names.get(todo.list_id or "", "")
            else:
                cell = _encode_cell(_FIELDS[name].kind, getattr(todo, name))
            yield protect(cell) if name in _PROTECTED else cell


class CsvFormat(Format):
    """CSV with a header. Only the column `title` is required."""

    media_type = "text/csv"
    content_type = "text/csv; header=present"

    def create_writer(self, lists: Sequence[TodoList], zone: ZoneInfo) -> Writer:
        """See `Format.create_writer`."""
        return _CsvWriter(lists)

    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | RejectedRecord]:
        """See `Format.read`."""
        table = open_table(source, ["title"])
        known = [name for name in table.columns if name in COLUMNS]
        if len(set(known)) < len(known):
            raise Invalid([ValidationIssue("", "Expected a header without duplicate columns")])
        return _read_drafts(table, zone)


def _read_drafts(table: Table, zone: tzinfo) -> Iterator[Draft | RejectedRecord]:
    day_first = detect_day_first(table, [name for name in table.columns if name in (*_SCHEDULE, "completed_at")])
    warnings = _describe_unknown_columns(table)
    missing = list_missing(table.columns)
    for row in table.read():
        if isinstance(row, RejectedRecord):
            yield row
            continue
        record = read_record(row.line, _RowParser(row, zone, day_first).parse)
        if isinstance(record, Draft):
            record = record._replace(file_warnings=warnings, missing=record.missing | missing)
        yield record


def _describe_unknown_columns(table: Table) -> tuple[str, ...]:
    """Return a warning that names the columns that are not imported, or nothing."""
    names = [
        f'"{table.header[index][:50]}"' if name else f"{index + 1} (without a name)"
        for index, name in enumerate(table.columns)
        if name not in COLUMNS
    ]
    if not names:
        return ()
    more = f" and {len(names) - _LISTED_COLUMNS} more" if len(names) > _LISTED_COLUMNS else ""
    return (f"Columns were not imported: {', '.join(names[:_LISTED_COLUMNS])}{more}",)


class _StepCell(msgspec.Struct, frozen=True):
    """A step in a cell. Unlike `dto.StepImport`, it may have unknown fields."""

    title: str
    completed: bool = False
    id: StepId | UnsetType = UNSET


class _RowParser:
    """Parses a row, and collects warnings about cells that are left out."""

    def __init__(self, row: Record, zone: tzinfo, day_first: bool) -> None:
        self._row = row
        self._zone = zone
        self._day_first = day_first
        self._warnings: list[str] = []
        self._unread = set[str]()

    def parse(self) -> Draft:
        cells = self._row.cells
        fields: dict[str, Any] = {}
        for name, field in _FIELDS.items():
            if not (cell := cells.get(name)):
                continue  # most cells of most tables
            cell = cell if name in _TEXTS else cell.strip()
            text = restore(cell) if name in _PROTECTED or field.kind is FieldKind.NUMBER else cell
            if text and name not in (*_IGNORED, *_SCHEDULE):
                value = self._parse_cell(name, field.kind, text)
                if value is not None:
                    fields[name] = value
        if not fields.get("title", "").strip():
            raise Invalid([ValidationIssue("/title", "this field is required")])
        if fields.get("completed_at") and not fields.setdefault("completed", True):
            self._warnings.append("completed_at was left out: the todo is not completed")
            del fields["completed_at"]
        fields |= build_schedule(self._parse_either("start"), self._parse_either("due"), self._zone, self._warnings)
        name = restore(cells.get(_LIST, ""))
        identity = fields.pop("id", None)
        uid = fields.pop("uid", identity)
        return Draft(
            self._row.line,
            dto.TodoImport(**fields),
            TodoListCreate(name) if name.strip() else None,
            uid=uid,
            warnings=tuple(self._warnings),
            missing=frozenset(self._unread),
        )

    def _parse_either(self, name: str) -> DateOrTime | None:
        """Parse a start or a due date. Its two columns may each contain a day or a time."""
        values = [self._parse_date_or_time(column) for column in (f"{name}_on", f"{name}_at")]
        found = [each for each in values if each is not None]
        if len(found) == 2:
            self._warnings.append(f"{name}_on was left out: {name}_at is more precise")
        return found[-1] if found else None

    def _parse_date_or_time(self, name: str) -> DateOrTime | None:
        text = self._row.cells.get(name, "").strip()
        if not text:
            return None
        value = parse_date_or_time(text, self._zone, day_first=self._day_first)
        if value is None:
            self._leave_out(name, "a date or a time, such as 2027-01-31 or 2027-01-31T09:00")
            return None
        if name.endswith("_on") and isinstance(value, datetime):
            local = value.astimezone(self._zone)
            return local.date() if local.time() == time() else value  # a spreadsheet has appended 00:00
        return value

    def _parse_cell(self, name: str, kind: FieldKind, text: str) -> Any:
        match kind:
            case FieldKind.FLAG:
                return self._check(name, parse_flag(text), "true or false")
            case FieldKind.NUMBER | FieldKind.INTEGER:
                return self._check(name, parse_number(text), "a number")
            case FieldKind.TIME:
                value = self._parse_date_or_time(name)
                if value is None or isinstance(value, datetime):
                    return to_timestamp(value) if value is not None else None
                return to_timestamp(combine(value, time(), self._zone))
            case FieldKind.TEXTS:
                return parse_tags(text)
            case FieldKind.STEPS:
                return self._parse_steps(text)
            case FieldKind.REMINDERS:
                return self._decode(name, text, list[ReminderCreate])
        if name == "priority":
            return self._check(name, parse_priority(text), "none, low, medium, high or urgent, or 0 to 9")
        if name == "recurrence_from":
            origin = text.lower() if text.lower() in _RECURRENCE_ORIGINS else None
            return self._check(name, origin, " or ".join(_RECURRENCE_ORIGINS))
        return text

    def _parse_steps(self, text: str) -> list[dto.StepImport] | None:
        if not re.match(r'\s*\[\s*[\[{"\]]', text):
            return parse_steps(text)
        cells = self._decode("steps", text, list[_StepCell | str])
        if cells is None:
            return None
        return [
            dto.StepImport(each) if isinstance(each, str) else dto.StepImport(each.title, each.completed, each.id)
            for each in cells
        ]

    def _decode(self, name: str, text: str, kind: Any) -> Any:
        try:
            return decode_json(text.encode(), kind)
        except (Invalid, Malformed):
            return self._leave_out(name, f"{name} as JSON")

    def _check(self, name: str, value: Any, expected: str) -> Any:
        return self._leave_out(name, expected) if value is None else value

    def _leave_out(self, name: str, expected: str) -> None:
        self._unread.update(_DEPENDENT_FIELDS.get(name, (name,)))
        verb = "were" if name in _PLURAL_COLUMNS else "was"
        self._warnings.append(f"{name} {verb} left out: expected {expected}")


def _encode_cell(kind: FieldKind, value: Any) -> str:
    if value is None or value == []:
        return ""
    match kind:
        case FieldKind.FLAG:
            return "true" if value else "false"
        case FieldKind.NUMBER:
            # an integer reads the same in every locale, but 1536.125 is an integer where a period separates thousands
            return str(int(value)) if value == int(value) and abs(value) < _SCIENTIFIC_FROM else protect(repr(value))
        case FieldKind.TEXTS:
            return _encode_rows([value]).decode().removesuffix("\r\n")
        case FieldKind.STEPS | FieldKind.REMINDERS:
            return msgspec.json.encode(value).decode()
    return str(value)


def _encode_rows(rows: Iterable[Iterable[str]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue().encode()
