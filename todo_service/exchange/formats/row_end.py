"""Finds the end of a row of a table without decoding its cells, in linear time and bounded steps."""

from __future__ import annotations

import re
from typing import Final

from todo_service.exchange.formats.source import CHUNK_BYTES, Source

_QUOTE: Final = ord('"')
_QUOTED_TEXT: Final = re.compile(rb'[^"]*+(?:""[^"]*+)*+')


class RowEndFinder:
    """Finds the ends of rows.

    Args:
        source: The body.
        delimiter: The character between cells.

    Attributes:
        searched: The offset up to which the last call has searched.
    """

    def __init__(self, source: Source, delimiter: bytes) -> None:
        self._source = source
        escaped = re.escape(delimiter)
        # possessive quantifiers, and alternatives that differ in their first character, so that no pattern backtracks
        self._cells = re.compile(rb'(?:(?:"[^"]*+(?:""[^"]*+)*+"|[^"%b\r\n][^%b\r\n]*+|)%b)*+' % ((escaped,) * 3))
        """Matches cells that a delimiter follows."""
        self._cell_end = re.compile(rb"[%b\r\n]" % escaped)
        self._last_quote: int | None = None
        self.searched = 0

    def find(self, start: int) -> int | None:
        """Return the offset after a row and its line break, or None if a quote in the row is not closed properly.

        A quote is closed properly if a delimiter, a line break or the end of the body follows.

        Args:
            start: The offset of the row.
        """
        data = self._source.data
        position = start
        while True:
            self._source.budget.check()
            match = self._cells.match(data, position, position + CHUNK_BYTES)
            assert match is not None  # the pattern matches the empty string
            # this cell is the last one of the row, or extends beyond the chunk
            end = self._find_cell_end(match.end())
            if end is None:
                return None
            if end == len(data) or data[end] in b"\r\n":
                return self._skip_line_break(end)
            position = end + 1

    def _skip_line_break(self, position: int) -> int:
        following = self._source.copy(position, position + 2)
        return position + (2 if following == b"\r\n" else len(following[:1]))

    def _find_cell_end(self, position: int) -> int | None:
        """Return the offset after a cell, or None if its quote is not closed properly."""
        data = self._source.data
        if position == len(data) or data[position] != _QUOTE:
            return self._find_unquoted_end(position)
        closing = self._find_closing_quote(position + 1)
        if closing is None:
            return None
        self.searched = end = closing + 1
        is_proper = end == len(data) or self._cell_end.match(data, end) is not None
        return end if is_proper else None

    def _find_unquoted_end(self, position: int) -> int:
        while position < len(self._source.data):
            self._source.budget.check()
            match = self._cell_end.search(self._source.data, position, position + CHUNK_BYTES)
            if match is not None:
                return match.start()
            position += CHUNK_BYTES
        return len(self._source.data)

    def _find_closing_quote(self, position: int) -> int | None:
        """Return the offset of the quote that closes a cell, or None if there is none.

        Args:
            position: The offset after the opening quote.
        """
        data = self._source.data
        self.searched = position
        if position > self._find_last_quote():
            return None  # known without a search, which would be repeated for each of the following lines
        while True:
            self._source.budget.check()
            match = _QUOTED_TEXT.match(data, position, position + CHUNK_BYTES)
            assert match is not None  # the pattern matches the empty string
            self.searched = position = match.end()
            if position == len(data):
                return None
            # otherwise the chunk has ended before a quote, or between two
            if data[position] == _QUOTE and (position + 1 == len(data) or data[position + 1] != _QUOTE):
                return position

    def _find_last_quote(self) -> int:
        """Return the offset of the last quote in the body, or -1."""
        if self._last_quote is None:
            end, self._last_quote = len(self._source.data), -1
            while end > 0 and self._last_quote < 0:
                self._source.budget.check()
                start = max(0, end - CHUNK_BYTES)
                found = self._source.copy(start, end).rfind(b'"')
                self._last_quote = start + found if found >= 0 else -1
                end = start
        return self._last_quote
