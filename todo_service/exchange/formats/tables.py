"""Tables as spreadsheets and other programs write them: a header and rows (RFC 4180, read leniently).

Cells are separated by commas, semicolons or tabs, as the header or a line such as `sep=;` before it tells. Rows may be
shorter than the header. Rows without any text are skipped.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Final, NamedTuple

from todo_service.bounds.exchange import IMPORT_RECORD_BYTES
from todo_service.errors import Invalid, ValidationIssue
from todo_service.exchange.formats.base import RejectedRecord
from todo_service.exchange.formats.source import CHUNK_BYTES, Source
from todo_service.exchange.formats.values import is_day_first

csv.field_size_limit(IMPORT_RECORD_BYTES)  # of all tables in the process; a longer cell would be read as several rows
_DELIMITERS: Final = (b",", b";", b"\t")
_SNIFFED_BYTES: Final = 64 * 1024
"""The part of the header that determines the delimiter."""
_QUOTED: Final = re.compile(rb'"[^"]*+"')
_SEPARATOR_LINE: Final = re.compile(rb'"?sep=([,;\t])"?[,;\t]*(?:\r\n|\r|\n)', re.IGNORECASE)
_PREAMBLE_ROWS: Final = 10
"""How many rows may precede the header."""
_DATE_ROWS: Final = 10_000
"""How many rows are searched for a date that tells whether the day precedes the month."""
_SPACE: Final = re.compile(r"[\s_-]+")


class Record(NamedTuple):
    """A row of a table.

    Attributes:
        line: The line on which it starts, from 1.
        cells: The texts of the cells by column. Cells that a short row lacks are absent.
    """

    line: int
    cells: Mapping[str, str]


class Table:
    """A table whose header has been read.

    Args:
        source: The body, positioned after the header.
        delimiter: The character between cells.
        header: The cells of the header.

    Attributes:
        header: The cells of the header, trimmed.
        columns: The names of the columns: the header in lower case, with underscores for spaces and hyphens.
    """

    def __init__(self, source: Source, delimiter: bytes, header: list[str]) -> None:
        self._source = source
        self._delimiter = delimiter
        self.header = [name.strip() for name in header]
        self.columns = [_SPACE.sub("_", name.lower()) for name in self.header]

    def read(self) -> Iterator[Record | RejectedRecord]:
        """Yield the rows that follow, one at a time."""
        for row in _RowReader(self._source, self._delimiter).read():
            if isinstance(row, RejectedRecord):
                yield row
                continue
            line, cells = row
            if any(cells[len(self.columns) :]):
                detail = f"Expected at most {len(self.columns)} cells, not {len(cells)}"
                yield RejectedRecord(line, [ValidationIssue("", detail)])
            elif any(cells):
                yield Record(line, dict(zip(self.columns, cells, strict=False)))

    @contextmanager
    def keep_place(self) -> Iterator[None]:
        """Return to the current row at the end of the block, so that the rows can be read again."""
        position, line = self._source.position, self._source.line
        try:
            yield
        finally:
            self._source.position, self._source.line = position, line


def open_table(source: Source, required: Collection[str], preamble: bool = False) -> Table:
    """Read up to the header of a table.

    Args:
        source: The body. It is positioned after the header.
        required: The names of columns that the header has.
        preamble: Whether some rows may precede the header.

    Raises:
        Invalid: There is no such header.
    """
    delimiter = _read_delimiter(source)
    rows = _RowReader(source, delimiter).read()
    for _, row in zip(range(_PREAMBLE_ROWS if preamble else 1), rows, strict=False):
        if isinstance(row, RejectedRecord):
            detail = f"Expected a header in line {row.line}: {row.issues[0].detail}"
            break
        table = Table(source, delimiter, row[1])
        if set(required) <= set(table.columns):
            return table
    else:
        detail = f"Expected a header with {', '.join(sorted(required))}"
    raise Invalid([ValidationIssue("", detail)])


def has_header(source: Source, required: Collection[str], preamble: bool = False) -> bool:
    """Return whether a body starts with the header of a table, without moving. See `open_table`."""
    try:
        open_table(source.fork(source.position, source.line), required, preamble)
    except Invalid:
        return False
    return True


def find_day_first(table: Table, columns: Sequence[str]) -> bool:
    """Return whether the day precedes the month in the dates of a table, without moving.

    Args:
        table: The table. Only its first 10 000 rows are searched.
        columns: The columns with dates.
    """
    if not columns:
        return False
    with table.keep_place():
        for row in islice(table.read(), _DATE_ROWS):
            if isinstance(row, Record):
                for name in columns:
                    if (answer := is_day_first(row.cells.get(name, ""))) is not None:
                        return answer
    return False


def _read_delimiter(source: Source) -> bytes:
    """Consume a line such as `sep=;`, and return the character between cells."""
    source.skip_blank_lines()
    beginning = source.copy(source.position, source.position + _SNIFFED_BYTES)
    if (separator := _SEPARATOR_LINE.match(beginning)) is not None:
        source.position += separator.end()
        source.line += 1
        return separator[1]
    header = _QUOTED.sub(b"", beginning)
    header = re.split(rb"[\r\n]", header, maxsplit=1)[0]
    return max(_DELIMITERS, key=header.count)


class _TooLongError(Exception):
    """A row exceeds `IMPORT_RECORD_BYTES`."""


class _RowReader:
    """Splits a body into rows.

    After an unclosed quote, only its own line is rejected, and the lines that follow are read again. All repeated
    reading together is limited to the size of the body, which keeps the work linear.
    """

    def __init__(self, source: Source, delimiter: bytes) -> None:
        self._source = source
        self._delimiter = delimiter.decode()
        cell = rb'(?:"")?+'
        self._empty_rows = re.compile(rb"(?:%b(?:%b%b)*+(?:\r\n|\r|\n))*+" % (cell, re.escape(delimiter), cell))
        self._repeated_bytes = 0
        self._second_line = (0, 0)
        self._is_utf8 = True

    def read(self) -> Iterator[tuple[int, list[str]] | RejectedRecord]:
        """Yield the line and the cells of each row that is not empty."""
        source = self._source
        while self._skip_empty_rows():
            line = source.line
            self._is_utf8 = True
            try:
                cells = next(csv.reader(self._lines(), strict=True, delimiter=self._delimiter))
                yield (line, cells) if self._is_utf8 else RejectedRecord(line, [ValidationIssue("", "Expected UTF-8")])
                continue
            except csv.Error as error:
                reason = f"Expected separated values: {error}"
            except _TooLongError:
                reason = f"Expected rows of at most {IMPORT_RECORD_BYTES} bytes"
            yield RejectedRecord(line, [ValidationIssue("", reason)])
            position, line_number = self._second_line
            self._repeated_bytes += source.position - position
            source.position, source.line = position, line_number
            if self._repeated_bytes > len(source.data):
                detail = "Expected closed quotes: this line and all lines after it were not imported"
                yield RejectedRecord(source.line, [ValidationIssue("", detail)])
                return

    def _skip_empty_rows(self) -> bool:
        """Move forward to the next row with text. Return False at the end of the body."""
        source = self._source
        while source.position < len(source.data):
            source.budget.check()
            match = self._empty_rows.match(source.data, source.position, source.position + CHUNK_BYTES)
            assert match is not None  # the pattern matches the empty string
            end = match.end()
            if end == source.position:
                return True
            if source.copy(end - 1, end + 1) == b"\r\n":
                end += 1  # the chunk has ended within a line break
            rows = source.copy(source.position, end)
            source.line += rows.count(b"\n") + rows.count(b"\r") - rows.count(b"\r\n")
            source.position = end
        return False

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
            text = source.copy(start, end)
            try:
                yield text.decode()
            except UnicodeDecodeError:
                self._is_utf8 = False
                yield text.decode(errors="replace")
