"""Finds the elements of a JSON array without decoding the whole array."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from todo_service.bounds.exchange import IMPORT_RECORD_BYTES
from todo_service.bounds.requests import JSON_DEPTH
from todo_service.errors import Invalid, Malformed, ValidationIssue
from todo_service.exchange.formats.source import CHUNK_BYTES, Source

# possessive quantifiers and no alternation, so that no pattern backtracks
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BETWEEN_BRACKETS: Final = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+', re.DOTALL)
_SCALAR: Final = re.compile(rb'[^",:\[\]{}\s]*+')
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_OPENING, _CLOSING, _QUOTE = b"[{", b"]}", ord('"')
END: Final = -1
"""The result of `peek` at the end of the body."""


class Scanner:
    """Scans JSON value by value, in linear time. It finds the end of each value; decoding validates the value.

    Args:
        source: The body. Scanning starts at its position.

    Attributes:
        position: The current offset.
        depth: How many containers are open at the offset.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data = source.data
        self.position = source.position
        self.depth = 0

    def peek(self) -> int:
        """Skip whitespace, and return the next byte without consuming it, or `END`."""
        while self.position < len(self._data):
            self._source.budget.check()
            window = self.position + CHUNK_BYTES
            match = _SPACE.match(self._data, self.position, window)
            assert match is not None  # the pattern matches the empty string
            self.position = match.end()
            if self.position < window:
                break
        return self._data[self.position] if self.position < len(self._data) else END

    def accept(self, mark: bytes) -> bool:
        """Consume the next byte if it is this one, and return whether it is."""
        found = self.peek() == mark[0]
        self.position += found
        return found

    def expect(self, mark: bytes) -> None:
        """Consume the next byte.

        Raises:
            Malformed: The next byte is another one.
        """
        if not self.accept(mark):
            raise _create_error()

    def expect_end(self) -> None:
        """Check that only whitespace follows.

        Raises:
            Malformed: Something else follows.
        """
        if self.peek() != END:
            raise _create_error()

    def scan_value(self, pointer: str, max_bytes: int) -> tuple[int, int]:
        """Scan a value, and return the offsets of its start and its end.

        Args:
            pointer: JSON pointer to the value.
            max_bytes: The maximum size of the value.

        Raises:
            Invalid: The value is larger.
            Malformed: There is no JSON value.
        """
        first, start = self.peek(), self.position
        if first == END:
            raise _create_error()
        limit = min(start + max_bytes, len(self._data))
        if first in _OPENING:
            end = self._end_of_container(start, limit)
        else:
            match = (_STRING if first == _QUOTE else _SCALAR).match(self._data, start, limit)
            end = match.end() if match is not None else limit
            if end == start or (match is None and limit == len(self._data)):
                raise _create_error()
        if end >= limit and limit < len(self._data):
            raise Invalid([ValidationIssue(pointer, f"Expected at most {max_bytes} bytes")])
        self.position = end
        return start, end

    def scan_elements(self, pointer: str) -> Iterator[tuple[int, int]]:
        """Scan an array, and yield the offsets of the start and the end of each element.

        Args:
            pointer: JSON pointer to the array.

        Raises:
            Invalid: An element is larger than `IMPORT_RECORD_BYTES`.
            Malformed: There is no JSON array.
        """
        self.expect(b"[")
        if self.accept(b"]"):
            return
        self.depth += 1
        index = 0
        while True:
            yield self.scan_value(f"{pointer}/{index}", IMPORT_RECORD_BYTES)
            index += 1
            if not self.accept(b","):
                self.expect(b"]")
                self.depth -= 1
                return

    def _end_of_container(self, start: int, limit: int) -> int:
        position, depth = start, 0
        while True:
            mark = self._data[position]
            if mark in _OPENING:
                depth += 1
                if self.depth + depth > JSON_DEPTH:
                    raise Malformed(f"the body is nested more than {JSON_DEPTH} levels deep")
            elif mark in _CLOSING:
                depth -= 1
            position += 1
            if depth == 0:
                return position
            match = _BETWEEN_BRACKETS.match(self._data, position, limit)
            assert match is not None  # the pattern matches the empty string
            position = match.end()
            if position == limit or self._data[position] == _QUOTE:
                # the value, or a string in it, extends beyond the limit
                if limit == len(self._data):
                    raise _create_error()
                return limit


def _create_error() -> Malformed:
    return Malformed("the body is not well-formed JSON in UTF-8")
