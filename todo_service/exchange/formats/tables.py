"""Tables as spreadsheets and other programs write them: a header and rows (RFC 4180, read leniently).

Cells are separated by commas, semicolons or tabs, as the header, or a line such as `sep=;` before it, determines. Rows
may be shorter than the header. Rows without any text are skipped.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from todo_service.bounds.exchange import IMPORT_RECORD_BYTES, IMPORT_RECORDS
from todo_service.errors import Invalid, ValidationIssue
from todo_service.exchange.formats.base import RejectedRecord
from todo_service.exchange.formats.row_end import RowEndFinder
from todo_service.exchange.formats.source import CHUNK_BYTES, Source
from todo_service.exchange.formats.values import is_day_first
from todo_service.text import compose

# process-wide; without it, the lines of a cell above 128 KiB would be reread as rows
csv.field_size_limit(IMPORT_RECORD_BYTES)
_DELIMITERS: Final = (b",", b";", b"\t")
_SNIFFED_BYTES: Final = 64 * 1024
"""The part of the header that determines the delimiter."""
_QUOTED: Final = re.compile(rb'"[^"]*+"')
_SEPARATOR_LINE: Final = re.compile(rb'"?sep=([,;\t])"?[,;\t]*(?:\r\n|\r|\n)', re.IGNORECASE)
_PREAMBLE_ROWS: Final = 10
"""How many rows may precede the header."""
_DATE_ROWS: Final = 10_000
"""How many rows are searched for a date that shows whether the day precedes the month."""
_SPACE: Final = re.compile(r"[\s_-]+")
_EMPTY: Final = re.compile("")
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


class Record(NamedTuple):
    """A row of a table.

    Attributes:
        line: The line on which it starts, from 1.
        cells: The contents of the cells by column. Cells that a short row lacks are absent.
        is_utf8: Whether it is in UTF-8, and not in the other encoding of the table.
    """

    line: int
    cells: Mapping[str, str]
    is_utf8: bool = True


class Table:
    """A table whose header has been read.

    Args:
        source: The body, positioned after the header.
        layout: How the body is divided into rows and cells.
        header: The cells of the header.
        translations: The names of columns by their names in the header.

    Attributes:
        header: The cells of the header, trimmed.
        columns: The translated names of the columns, in lower case and with underscores for spaces and hyphens.
        is_translated: Whether a column has been translated.
    """

    def __init__(self, source: Source, layout: _Layout, header: list[str], translations: Mapping[str, str]) -> None:
        self._source = source
        self._layout = layout
        self.header = [name.strip() for name in header]
        names = [_SPACE.sub("_", compose(name.lower())) for name in self.header]
        self.columns = [translations.get(name, name) for name in names]
        self.is_translated = self.columns != names

    def get_ignored_columns(self, read: Collection[str]) -> Mapping[str, str]:
        """Return the columns that a format ignores, with their names in the header.

        Args:
            read: The columns that it reads, or leaves out without a warning.
        """
        names = zip(self.columns, self.header, strict=True)
        return {column: name for column, name in names if column and column not in read}

    def read(self, limit: int = IMPORT_RECORDS) -> Iterator[Record | RejectedRecord]:
        """Yield the rows that follow, one at a time.

        Args:
            limit: The maximum number of rows. All rows after it are rejected as one.
        """
        for number, row in enumerate(_RowReader(self._source, self._layout).read()):
            if number == limit:
                line = row.line if isinstance(row, RejectedRecord) else row[0]
                detail = f"Expected at most {limit} rows: this one and all after it were not imported"
                yield RejectedRecord(line, [ValidationIssue("", detail)])
                return
            if isinstance(row, RejectedRecord):
                yield row
                continue
            line, cells, is_utf8 = row
            if any(cells[len(self.columns) :]):
                detail = f"Expected at most {len(self.columns)} cells, not {len(cells)}"
                yield RejectedRecord(line, [ValidationIssue("", detail)])
            elif any(map(str.strip, cells)):
                yield Record(line, dict(zip(self.columns, cells, strict=False)), is_utf8)

    @contextmanager
    def restore_position(self) -> Iterator[None]:
        """Return to the current row at the end of the block, so that the rows can be read again."""
        position, line = self._source.position, self._source.line
        try:
            yield
        finally:
            self._source.position, self._source.line = position, line


def open_table(
    source: Source,
    required: Collection[str],
    *,
    preamble: bool = False,
    encoding: str | None = None,
    translations: Mapping[str, str] = MappingProxyType({}),
) -> Table:
    """Read up to the header of a table.

    Args:
        source: The body. It is positioned after the header.
        required: The names of columns that the header has.
        preamble: Whether some rows may precede the header.
        encoding: The encoding of rows that are not in UTF-8. By default they are rejected.
        translations: The names of columns by their names in the header, in lower case and with underscores for spaces
            and hyphens.

    Raises:
        Invalid: There is no such header.
    """
    if source.copy(0, 2) in _UTF_16:
        raise Invalid([ValidationIssue("", "Expected a file in UTF-8, not in UTF-16")])
    layout = _Layout(_read_delimiter(source, _PREAMBLE_ROWS if preamble else 1), encoding)
    rows = _RowReader(source, layout).read()
    for _, row in zip(range(_PREAMBLE_ROWS if preamble else 1), rows, strict=False):
        if isinstance(row, RejectedRecord):
            detail = f"Expected a header in line {row.line}: {row.issues[0].detail}"
            break
        table = Table(source, layout, row[1], translations)
        if set(required) <= set(table.columns):
            return table
    else:
        detail = f"Expected a header with {', '.join(sorted(required))}"
    raise Invalid([ValidationIssue("", detail)])


def has_header(source: Source, required: Collection[str], **options: Any) -> bool:
    """Return whether a body starts with the header of a table. The source does not move. The arguments are those of
    `open_table`."""
    try:
        open_table(source.fork(source.position, source.line), required, **options)
    except Invalid:
        return False
    return True


def detect_day_first(table: Table, columns: Sequence[str], default: bool = False) -> bool:
    """Return whether the day precedes the month in the dates of a table. The table does not move.

    Args:
        table: The table. Only its first 10 000 rows are searched.
        columns: The columns with dates.
        default: The result if no date decides.
    """
    if not columns:
        return default
    with table.restore_position():
        for row in islice(table.read(), _DATE_ROWS):
            if isinstance(row, Record):
                for name in columns:
                    if (answer := is_day_first(row.cells.get(name, ""))) is not None:
                        return answer
    return default


def warn_about_ignored_cells(
    row: Record, ignored: Mapping[str, str], empty_values: re.Pattern[str] = _EMPTY
) -> list[str]:
    """Return a warning for each cell that is left out because its column is ignored.

    Args:
        row: The row.
        ignored: See `Table.get_ignored_columns`.
        empty_values: Matches cells without information, in lower case. They are left out without a warning.
    """
    cells = ((name, row.cells.get(column, "").strip().lower()) for column, name in ignored.items())
    return [f"Column {name[:50]} was left out" for name, cell in cells if not empty_values.fullmatch(cell)]


def _read_delimiter(source: Source, rows: int) -> bytes:
    """Consume a line such as `sep=;`, and return the character between cells.

    Without such a line, return the most frequent delimiter of the first row that contains one.

    Args:
        source: The body.
        rows: How many rows the header may be in.
    """
    source.skip_blank_lines()
    beginning = source.copy(source.position, source.position + _SNIFFED_BYTES)
    if (separator := _SEPARATOR_LINE.match(beginning)) is not None:
        source.position += separator.end()
        source.line += 1
        return separator[1]
    lines = re.split(rb"[\r\n]+", _QUOTED.sub(b"", beginning), maxsplit=rows)[:rows]
    header = next((line for line in lines if any(each in line for each in _DELIMITERS)), b"")
    return max(_DELIMITERS, key=header.count)


class _Layout(NamedTuple):
    """How a body is divided into rows and cells.

    Attributes:
        delimiter: The character between cells.
        encoding: The encoding of rows that are not in UTF-8; None if they are rejected.
    """

    delimiter: bytes
    encoding: str | None


class _TooLongError(Exception):
    """A row exceeds `IMPORT_RECORD_BYTES`."""


class _RowReader:
    """Splits a body into rows.

    A row that is too long is rejected as a whole. If a quote in a row is not closed properly, only the first line of
    the row is rejected, and reading resumes at its second line. Rereading is limited to the size of the body in total,
    so the work stays linear.
    """

    def __init__(self, source: Source, layout: _Layout) -> None:
        delimiter = layout.delimiter
        self._source = source
        self._delimiter = delimiter.decode()
        self._encoding = layout.encoding
        cell = rb' *+(?:"")?+ *+'
        self._empty_rows = re.compile(rb"(?:%b(?:%b%b)*+(?:\r\n|\r|\n))*+" % (cell, re.escape(delimiter), cell))
        self._row_ends = RowEndFinder(source, delimiter)
        self._repeated_bytes = 0
        self._second_line = (0, 0)
        self._is_utf8 = True

    def read(self) -> Iterator[tuple[int, list[str], bool] | RejectedRecord]:
        """Yield each row that is not empty: its line, its cells, and whether it is in UTF-8."""
        source = self._source
        while self._skip_empty_rows():
            start, line = source.position, source.line
            self._is_utf8 = True
            try:
                cells = next(csv.reader(self._lines(), strict=True, delimiter=self._delimiter))
                if self._is_utf8 or self._encoding is not None:
                    yield line, cells, self._is_utf8
                else:
                    yield RejectedRecord(line, [ValidationIssue("", "Expected UTF-8")])
                continue
            except csv.Error as error:
                reason = f"Expected separated values: {error}"
            except _TooLongError:
                reason = f"Expected rows of at most {IMPORT_RECORD_BYTES} bytes"
                if (end := self._row_ends.find(start)) is not None:
                    yield RejectedRecord(line, [ValidationIssue("", reason)])
                    source.advance_counting_line_breaks(end)
                    continue
                self._repeated_bytes += max(0, self._row_ends.searched - source.position)
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
            source.advance_counting_line_breaks(end)
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
                yield text.decode(self._encoding or "utf-8", errors="replace")
