"""Finds the elements of a JSON array without decoding it as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from todo_service.bounds.exchange import IMPORT_RECORD_BYTES
from todo_service.bounds.requests import JSON_DEPTH
from todo_service.errors import Invalid, Malformed, ValidationIssue
from todo_service.exchange.formats.source import CHUNK_BYTES, Source

# possessive repetitions and no alternatives: neither expression ever goes back
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BETWEEN_BRACKETS: Final = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+', re.DOTALL)
_SCALAR: Final = re.compile(rb'[^",:\[\]{}\s]*+')
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_OPENING, _CLOSING, _QUOTE = b"[{", b"]}", ord('"')
END: Final = -1
"""What `peek` returns at the end of the body."""


class Scanner:
    """Goes through JSON value by value, in linear time. It finds where values end; decoding them checks them.

    Args:
        source: The body, from its position on.

    Attributes:
        position: The offset up to which it has gone.
        depth: How many containers are open around it.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data = source.data
        self.position = source.position
        self.depth = 0

    def peek(self) -> int:
        """Go forward to the next byte that is no white space, and return it, or `END`."""
        while self.position < len(self._data):
            self._source.budget.check()
            window = self.position + CHUNK_BYTES
            match = _SPACE.match(self._data, self.position, window)
            assert match is not None  # it matches the empty text
            self.position = match.end()
            if self.position < window:
                break
        return self._data[self.position] if self.position < len(self._data) else END

    def take(self, mark: bytes) -> bool:
        """Pass the next byte if it is this one, and tell whether it is."""
        found = self.peek() == mark[0]
        self.position += found
        return found

    def expect(self, mark: bytes) -> None:
        """Pass the next byte.

        Raises:
            Malformed: it is another one.
        """
        if not self.take(mark):
            raise _malformed()

    def expect_end(self) -> None:
        """Check that nothing but white space follows.

        Raises:
            Malformed: something does.
        """
        if self.peek() != END:
            raise _malformed()

    def value(self, place: str, most: int) -> tuple[int, int]:
        """Pass a value, and return the offsets of its beginning and its end.

        Args:
            place: JSON pointer to the value.
            most: How many bytes it may have.

        Raises:
            Invalid: it is larger.
            Malformed: it is no JSON value.
        """
        first, start = self.peek(), self.position
        if first == END:
            raise _malformed()
        limit = min(start + most, len(self._data))
        if first in _OPENING:
            end = self._end_of_container(start, limit)
        else:
            match = (_STRING if first == _QUOTE else _SCALAR).match(self._data, start, limit)
            end = match.end() if match is not None else limit
            if end == start or (match is None and limit == len(self._data)):
                raise _malformed()
        if end >= limit and limit < len(self._data):
            raise Invalid([ValidationIssue(place, f"Expected {most} bytes at most")])
        self.position = end
        return start, end

    def elements(self, place: str) -> Iterator[tuple[int, int]]:
        """Pass an array, and return the offsets of the beginning and the end of each element.

        Args:
            place: JSON pointer to the array.

        Raises:
            Invalid: an element is larger than `IMPORT_RECORD_BYTES`.
            Malformed: it is no array.
        """
        self.expect(b"[")
        if self.take(b"]"):
            return
        self.depth += 1
        index = 0
        while True:
            yield self.value(f"{place}/{index}", IMPORT_RECORD_BYTES)
            index += 1
            if not self.take(b","):
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
            assert match is not None  # it matches the empty text
            position = match.end()
            if position == limit or self._data[position] == _QUOTE:
                # the value, or a string in it, goes on beyond the limit
                if limit == len(self._data):
                    raise _malformed()
                return limit


def _malformed() -> Malformed:
    return Malformed("the body is not well-formed JSON in UTF-8")
