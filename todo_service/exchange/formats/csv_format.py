"""CSV (RFC 4180): a header, then a row for each todo.

One cell holds all tags, separated by commas, and one holds all steps, as JSON. If a spreadsheet would evaluate a text
as a formula, the writer prefixes it with an apostrophe, which the reader removes.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from todo_service.bounds.exchange import IMPORT_RECORD_BYTES
from todo_service.decoding import convert, decode_json
from todo_service.errors import Invalid, Malformed, ValidationIssue
from todo_service.exchange.formats.base import Draft, Format, RejectedRecord, Writer, read_record
from todo_service.exchange.formats.source import Source
from todo_service.field_table import REQUIRED, Field, Kind
from todo_service.lists.dto import List, ListCreate
from todo_service.todos import dto
from todo_service.todos.fields import FIELDS

_LIST: Final = "list"
"""The column with the name of a todo's list."""
COLUMNS: Final = tuple(
    column for field in FIELDS for column in ((field.name, _LIST) if field.name == "list_id" else (field.name,))
)
_FIELDS: Final = {field.name: field for field in FIELDS}
_TEXTS: Final = frozenset({_LIST, *(field.name for field in FIELDS if field.kind in (Kind.TEXT, Kind.TEXTS))})
"""The columns that may contain any text."""
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class _CsvWriter(Writer):
    def __init__(self, lists: Sequence[List]) -> None:
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
            yield "'" + cell if name in _TEXTS and _FORMULA.match(cell) else cell


class CsvFormat(Format):
    """CSV with a header. Only the column `title` is required."""

    media_type = "text/csv"
    content_type = "text/csv; charset=utf-8; header=present"

    def create_writer(self, lists: Sequence[List], zone: ZoneInfo) -> Writer:
        """See `Format.create_writer`."""
        return _CsvWriter(lists)

    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | RejectedRecord]:
        """See `Format.read`."""
        source.check_encoding()
        rows = _RowReader(source).read()
        line, header = next(rows, (1, []))
        if isinstance(header, str):
            raise Invalid([ValidationIssue("", f"Expected a header in line {line}: {header}")])
        columns = [name.strip().lower() for name in header]
        if unknown := [name for name in columns if name not in COLUMNS]:
            raise Invalid([ValidationIssue("", f"Unknown column {unknown[0][:100]!r}: expected {', '.join(COLUMNS)}")])
        if "title" not in columns or len(set(columns)) < len(columns):
            raise Invalid([ValidationIssue("", "Expected a header with a column title and no duplicate columns")])
        return _read_records(rows, columns)


def _read_records(rows: Iterator[tuple[int, list[str] | str]], columns: list[str]) -> Iterator[Draft | RejectedRecord]:
    for line, row in rows:
        if isinstance(row, str):
            yield RejectedRecord(line, [ValidationIssue("", row)])
        elif len(row) != len(columns):
            yield RejectedRecord(line, [ValidationIssue("", f"Expected {len(columns)} cells, not {len(row)}")])
        else:
            cells = dict(zip(columns, row, strict=True))
            yield read_record(line, partial(_parse_draft, line, cells))


def _parse_draft(line: int, cells: Mapping[str, str]) -> Draft:
    fields: dict[str, Any] = {}
    named: ListCreate | None = None
    for name, cell in cells.items():
        text = cell[1:] if name in _TEXTS and cell.startswith("'") and _FORMULA.match(cell) else cell
        if name == _LIST:
            named = convert({"name": text}, ListCreate) if text else None
        elif text or _FIELDS[name].default is REQUIRED:
            fields[name] = _parse_cell(_FIELDS[name], text)
    return Draft(line, convert(fields, dto.TodoImport), named)


def _encode_cell(kind: Kind, value: Any) -> str:
    if value is None or value == []:
        return ""
    match kind:
        case Kind.FLAG:
            return "true" if value else "false"
        case Kind.NUMBER | Kind.INTEGER:
            return repr(value)
        case Kind.TEXTS:
            return _encode_rows([value]).decode().removesuffix("\r\n")
        case Kind.STEPS | Kind.REMINDERS:
            return msgspec.json.encode(value).decode()
    return str(value)


def _parse_cell(field: Field, text: str) -> Any:
    match field.kind:
        case Kind.TEXT:
            return text
        case Kind.FLAG:
            if (boolean := _BOOLEANS.get(text.strip().lower())) is None:
                raise Invalid([ValidationIssue(f"/{field.name}", "Expected true or false")])
            return boolean
        case Kind.NUMBER | Kind.INTEGER:
            try:
                number = float(text)
            except ValueError:
                number = math.nan
            if not math.isfinite(number):
                raise Invalid([ValidationIssue(f"/{field.name}", "Expected a number")])
            return number if field.kind is Kind.NUMBER else int(number)
        case Kind.TEXTS:
            try:
                return next(csv.reader([text], strict=True, skipinitialspace=True), [])
            except csv.Error:
                detail = f"Expected {field.name} separated by commas"
                raise Invalid([ValidationIssue(f"/{field.name}", detail)]) from None
        case Kind.STEPS | Kind.REMINDERS:
            try:
                return decode_json(text.encode(), Any)
            except Invalid as error:
                raise error.prefix_pointers(f"/{field.name}") from None
            except Malformed:
                raise Invalid([ValidationIssue(f"/{field.name}", f"Expected {field.name} as JSON")]) from None
    return text.strip()


def _encode_rows(rows: Iterable[Iterable[str]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue().encode()


class _TooLongError(Exception):
    """A row exceeds `IMPORT_RECORD_BYTES`."""


class _RowReader:
    """Splits a body into rows.

    After an unclosed quote, only its own line is rejected, and the lines that follow are read again. All repeated
    reading together is limited to the size of the body, which keeps the work linear.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._repeated_bytes = 0
        self._second_line = (0, 0)

    def read(self) -> Iterator[tuple[int, list[str] | str]]:
        """Yield the first line of each row that is not empty, and its cells or an error message."""
        source = self._source
        while source.skip_blank_lines():
            line = source.line
            try:
                yield line, next(csv.reader(self._lines(), strict=True))
                continue
            except csv.Error as error:
                reason = f"Expected comma-separated values: {error}"
            except _TooLongError:
                reason = f"Expected rows of at most {IMPORT_RECORD_BYTES} bytes"
            yield line, reason
            position, line_number = self._second_line
            self._repeated_bytes += source.position - position
            source.position, source.line = position, line_number
            if self._repeated_bytes > len(source.data):
                yield source.line, "Expected closed quotes: this line and all lines after it were not imported"
                return

    def _lines(self) -> Iterator[str]:
        """Yield the lines from the current one on, up to the size limit of a row."""
        source, row_start = self._source, self._source.position
        while source.position < len(source.data):
            start, end = source.position, source.find_line_end()
            source.position, source.line = end, source.line + 1
            if start == row_start:
                self._second_line = (end, source.line)
            if end - row_start > IMPORT_RECORD_BYTES:
                raise _TooLongError
            yield source.copy(start, end).decode()
