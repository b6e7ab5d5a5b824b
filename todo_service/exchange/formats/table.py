"""Comma-separated values (RFC 4180): a header, then a record for each todo.

Tags stand in one cell, as comma-separated values themselves; steps as JSON. A text that a spreadsheet would take for a
formula has an apostrophe before it, which is taken off again when it is read.
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
from todo_service.exchange.formats.base import Draft, Format, Rejected, Writer, read_record
from todo_service.exchange.formats.source import Source
from todo_service.lists.dto import List, ListCreate
from todo_service.todos import dto

COLUMNS: Final = (
    "id",
    "title",
    "description",
    "completed",
    "completed_at",
    "priority",
    "due_at",
    "tags",
    "list_id",
    "list",
    "steps",
    "recurrence",
    "position",
    "version",
    "created_at",
    "updated_at",
)
_TEXTS: Final = frozenset({"title", "description", "tags", "list"})
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
_TRUTH: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class _TableWriter(Writer):
    def __init__(self, lists: Sequence[List]) -> None:
        self._names = {each.id: each.name for each in lists}

    def opening(self) -> bytes:
        return _written([COLUMNS])

    def todos(self, todos: Iterable[dto.Todo]) -> bytes:
        return _written(self._cells(todo) for todo in todos)

    def closing(self) -> bytes:
        return b""

    def _cells(self, todo: dto.Todo) -> Iterator[str]:
        cells: dict[str, str | None] = {
            **{name: value for name, value in msgspec.structs.asdict(todo).items() if isinstance(value, str)},
            "completed": "true" if todo.completed else "false",
            "tags": _written([todo.tags]).decode().removesuffix("\r\n") if todo.tags else None,
            "list": self._names.get(todo.list_id or ""),
            "steps": msgspec.json.encode(todo.steps).decode() if todo.steps else None,
            "position": repr(todo.position),
            "version": str(todo.version),
        }
        for name in COLUMNS:
            cell = cells.get(name) or ""
            yield "'" + cell if name in _TEXTS and _FORMULA.match(cell) else cell


class TableFormat(Format):
    """Comma-separated values with a header; `title` is the one column that is needed."""

    media_type = "text/csv"
    content_type = "text/csv; charset=utf-8; header=present"

    def writer(self, lists: Sequence[List], zone: ZoneInfo) -> Writer:
        """See `Format.writer`."""
        return _TableWriter(lists)

    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | Rejected]:
        """See `Format.read`."""
        source.check_encoding()
        rows = _Rows(source).read()
        line, header = next(rows, (1, []))
        if isinstance(header, str):
            raise Invalid([ValidationIssue("", f"Expected a header in line {line}: {header}")])
        columns = [name.strip().lower() for name in header]
        if unknown := [name for name in columns if name not in COLUMNS]:
            raise Invalid(
                [ValidationIssue("", f"Expected no column {unknown[0][:100]!r}; known are {', '.join(COLUMNS)}")]
            )
        if "title" not in columns or len(set(columns)) < len(columns):
            raise Invalid([ValidationIssue("", "Expected a header with the column title, and no column twice")])
        return _records(rows, columns)


def _records(rows: Iterator[tuple[int, list[str] | str]], columns: list[str]) -> Iterator[Draft | Rejected]:
    for line, row in rows:
        if isinstance(row, str):
            yield Rejected(line, [ValidationIssue("", row)])
        elif len(row) != len(columns):
            yield Rejected(line, [ValidationIssue("", f"Expected {len(columns)} cells, not {len(row)}")])
        else:
            cells = dict(zip(columns, row, strict=True))
            yield read_record(line, partial(_draft, line, cells))


def _draft(line: int, cells: Mapping[str, str]) -> Draft:
    fields: dict[str, Any] = {}
    named: ListCreate | None = None
    for name, cell in cells.items():
        text = cell[1:] if name in _TEXTS and cell.startswith("'") and _FORMULA.match(cell) else cell
        if name == "title":
            fields[name] = text
        elif name == "list":
            named = convert({"name": text}, ListCreate) if text else None
        elif text:
            fields[name] = _value(name, text)
    return Draft(line, convert(fields, dto.TodoImport), named)


def _value(name: str, text: str) -> Any:
    match name:
        case "completed" if (truth := _TRUTH.get(text.strip().lower())) is not None:
            return truth
        case "completed":
            raise Invalid([ValidationIssue("/completed", "Expected true or false")])
        case "tags":
            try:
                return next(csv.reader([text], strict=True, skipinitialspace=True), [])
            except csv.Error:
                raise Invalid([ValidationIssue("/tags", "Expected tags separated by commas")]) from None
        case "steps":
            try:
                return decode_json(text.encode(), Any)
            except Invalid as error:
                raise error.below("/steps") from None
            except Malformed:
                raise Invalid([ValidationIssue("/steps", "Expected steps as JSON")]) from None
        case "position" | "version":
            try:
                number = float(text)
            except ValueError:
                number = math.nan
            if not math.isfinite(number):
                raise Invalid([ValidationIssue(f"/{name}", "Expected a number")])
            return number if name == "position" else int(number)
        case "description":
            return text
    return text.strip()


def _written(rows: Iterable[Iterable[str]]) -> bytes:
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\r\n").writerows(rows)
    return written.getvalue().encode()


class _TooLongError(Exception):
    """A row is longer than a row may be."""


class _Rows:
    """Splits a body into rows.

    A quote that is never closed would swallow all that follows: it spoils its own line, and reading goes on after it.
    What follows is then read again, but in all no more than the body once more, so that the work stays linear.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._read_again = 0
        self._second_line = (0, 0)

    def read(self) -> Iterator[tuple[int, list[str] | str]]:
        """Return each row that is not empty with its first line, or what is wrong with it."""
        source = self._source
        while source.skip_blank_lines():
            line = source.line
            try:
                yield line, next(csv.reader(self._lines(), strict=True))
                continue
            except csv.Error as error:
                reason = f"Expected comma-separated values: {error}"
            except _TooLongError:
                reason = f"Expected rows of {IMPORT_RECORD_BYTES} bytes at most"
            yield line, reason
            position, following = self._second_line
            self._read_again += source.position - position
            source.position, source.line = position, following
            if self._read_again > len(source.data):
                yield source.line, "Expected quotes that are closed: this line and what follows it was given up"
                return

    def _lines(self) -> Iterator[str]:
        """Return the lines from the present one on, as far as a row may reach."""
        source, begun = self._source, self._source.position
        while source.position < len(source.data):
            start, end = source.position, source.find_line_end()
            source.position, source.line = end, source.line + 1
            if start == begun:
                self._second_line = (end, source.line)
            if end - begun > IMPORT_RECORD_BYTES:
                raise _TooLongError
            yield source.part(start, end).decode()
