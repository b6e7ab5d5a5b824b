"""A table is read up to a number of rows. All rows after it are rejected as one record."""

from __future__ import annotations

import pytest

from todo_service.exchange.formats.base import RejectedRecord
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.tables import open_table

EXCESS = {"a row": b"c\nd\n", "rows that are rejected themselves": b'c,d,e\n"f\n', "an open quote": b'"c\nd\n'}


@pytest.mark.parametrize("excess", EXCESS)
def test_all_rows_after_the_limit_are_rejected_as_one(excess: str) -> None:
    table = open_table(Source(b"title\na\n\nb\n" + EXCESS[excess]), ("title",))

    first, second, rejected = table.read(2)

    assert (first.line, second.line, rejected.line) == (2, 4, 5)
    assert isinstance(rejected, RejectedRecord)
    assert rejected.issues[0].detail == "Expected at most 2 rows: this one and all after it were not imported"


def test_a_table_with_as_many_rows_as_the_limit_is_read_whole() -> None:
    table = open_table(Source(b"title\na\nb\n\n"), ("title",))

    assert [row.line for row in table.read(2)] == [2, 3]
