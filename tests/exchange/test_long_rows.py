"""A record that exceeds the size limit is rejected as one record, and nothing inside of it is read as a record."""

from __future__ import annotations

import pytest

from tests.exchange.reading import read_file
from todo_service.bounds.exchange import IMPORT_RECORD_BYTES
from todo_service.exchange.formats.base import Draft, RejectedRecord
from todo_service.exchange.formats.registry import IMPORT_FORMATS
from todo_service.exchange.formats.source import CHUNK_BYTES

TABLES = {
    "csv": ("title,description\n", '{},"{}"\n'),
    "todoist": ("TYPE,CONTENT,DESCRIPTION,PRIORITY\n", 'task,{},"{}",4\n'),
    "ticktick": ("List Name,Title,Content,Status,taskId\n", 'l,{},"{}",0,\n'),
    "microsoft": ("Subject,Due Date,Notes\n", '{},,"{}"\n'),
}
"""The header of each table format, and a row with a title and a quoted cell."""
CELLS = {
    "plain lines": "{row}\n",
    "quoted cells": '{row},""quoted"",\n',
    "quotes at the ends of lines": '{row}""\n',
    "carriage returns": "{row}\r",
    "both": "{row}\r\n",
    "only quotes": '""',
    "one line": "x",
}
"""What a cell is filled with. Most of it looks like rows."""


def count_lines(text: str) -> int:
    return text.replace("\r\n", "\n").replace("\r", "\n").count("\n")


def describe(records: list[Draft | RejectedRecord]) -> list[tuple[int, str]]:
    """Return the line of each record and its title, or why it was rejected, by line."""
    return sorted(
        (record.line, record.todo.title if isinstance(record, Draft) else record.issues[0].detail) for record in records
    )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", TABLES)
def test_a_row_that_is_too_long_is_rejected_as_one(name: str, cell: str) -> None:
    header, row = TABLES[name]
    unit = CELLS[cell].format(row="task,y,,4")
    for size in (5 * CHUNK_BYTES - 1, 5 * CHUNK_BYTES):
        # the cell ends at different offsets within a chunk
        long = row.format("Mow", "z" * (size % len(unit)) + unit * (size // len(unit)))

        records = read_file(IMPORT_FORMATS[name], header + row.format("Sow", "") + long + row.format("Dig", ""))

        assert describe(records) == [
            (2, "Sow"),
            (3, f"Expected rows of at most {IMPORT_RECORD_BYTES} bytes"),
            (3 + count_lines(long), "Dig"),
        ]


@pytest.mark.parametrize("name", TABLES)
def test_a_row_of_many_cells_or_at_the_end_of_the_file_is_rejected_as_one(name: str) -> None:
    header, row = TABLES[name]
    cells = 'x,"y\n",' * (IMPORT_RECORD_BYTES // 4)

    records = read_file(IMPORT_FORMATS[name], header + cells + "\n" + row.format("Dig", "") + cells + '"z\nz"')

    long = f"Expected rows of at most {IMPORT_RECORD_BYTES} bytes"
    lines = count_lines(cells)
    assert describe(records) == [(2, long), (3 + lines, "Dig"), (4 + lines, long)]


@pytest.mark.parametrize("closing", ["", ' "x\n', '"x\n'])
@pytest.mark.parametrize("name", TABLES)
def test_only_the_line_of_a_quote_that_is_not_closed_properly_is_rejected(name: str, closing: str) -> None:
    header, row = TABLES[name]
    unclosed = row.format("Mow", "").replace('""', '"')
    number = IMPORT_RECORD_BYTES // 4000
    others = row.replace('"', "").format("Dig", "z" * 4000) * number

    records = read_file(IMPORT_FORMATS[name], header + unclosed + others + closing)

    assert min(record.line for record in records if isinstance(record, RejectedRecord)) == 2
    drafts = [record.line for record in records if isinstance(record, Draft)]
    assert drafts[:number] == list(range(3, 3 + number))
