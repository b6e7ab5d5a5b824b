"""Finds the elements of a JSON array without decoding the whole array."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from todo_service.bounds.exchange import IMPORT_RECORD_BYTES
from todo_service.bounds.requests import JSON_DEPTH
from todo_service.errors import Invalid, Malformed, ValidationIssue
from todo_service.exchange.formats.source import CHUNK_BYTES, Source

# possessive quantifiers and no alternation, so that no pattern backtracks
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BETWEEN_BRACKETS: Final = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+', re.DOTALL)
_WHOLE_STRINGS: Final = re.compile(rb'[^"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"]*+)*+', re.DOTALL)
_SCALAR: Final = re.compile(rb'[^",:\[\]{}\s]*+')
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_LAST_SPACE: Final = ord(" ")
_OPENING, _CLOSING, _QUOTE = b"[{", b"]}", ord('"')
_NO_BRACKETS: Final = bytes(set(range(256)) - {*_OPENING, *_CLOSING})
_LEVELS: Final = bytes(1 if each in _OPENING else 255 for each in range(256))
"""Brackets as signed bytes: the change of the depth."""
_SHORT_BYTES: Final = 4 * 1024
"""The size up to which a value is skipped bracket by bracket."""
_SKIPPED_BYTES: Final = 64 * 1024
"""How much of a larger value is skipped at once."""
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
        if self.position < len(self._data) and (byte := self._data[self.position]) > _LAST_SPACE:
            return byte
        while self.position < len(self._data):
            self._source.budget.check()
            window = self.position + CHUNK_BYTES
            match = _SPACE.match(self._data, self.position, window)
            assert match is not None  # the pattern matches the empty string
            self.position = match.end()
            if self.position < window:
                break
        return self._data[self.position] if self.position < len(self._data) else END

    def accept(self, byte: bytes) -> bool:
        """Consume the next byte if it is this one, and return whether it is."""
        found = self.peek() == byte[0]
        self.position += found
        return found

    def expect(self, byte: bytes) -> None:
        """Consume the next byte.

        Raises:
            Malformed: The next byte is another one.
        """
        if not self.accept(byte):
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
            end = self._find_end_of_container(start, limit)
        else:
            match = (_STRING if first == _QUOTE else _SCALAR).match(self._data, start, limit)
            end = match.end() if match is not None else limit
            if end == start or (match is None and limit == len(self._data)):
                raise _create_error()
        if end >= limit and limit < len(self._data):
            raise Invalid([ValidationIssue(pointer, f"Expected at most {max_bytes} bytes")])
        self.position = end
        return start, end

    def skip_value(self) -> None:
        """Consume a value. A container may have any size. Only its brackets and the ends of its strings are checked.

        Raises:
            Invalid: A string or a number is larger than `IMPORT_RECORD_BYTES`.
            Malformed: There is no JSON value, or it is nested too deep.
        """
        first, start = self.peek(), self.position
        if first == END or first not in _OPENING:
            self.scan_value("", IMPORT_RECORD_BYTES)
            return
        short = start + _SHORT_BYTES
        end = self._find_end_of_container(start, min(short, len(self._data)))
        self.position = end if end < short else self._find_end_of_large_container(start)

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

    def _find_end_of_container(self, start: int, limit: int, depth: int = 0) -> int:
        """Return the offset after a container, or the limit if the container extends beyond it.

        Args:
            start: The offset of the container, or one within it, but outside of strings.
            limit: The limit.
            depth: How many containers are open at the start, this one included.
        """
        position = start
        while True:
            match = _BETWEEN_BRACKETS.match(self._data, position, limit)
            assert match is not None  # the pattern matches the empty string
            position = match.end()
            if position == limit or self._data[position] == _QUOTE:
                # the value, or a string in it, extends beyond the limit
                if limit == len(self._data):
                    raise _create_error()
                return limit
            depth += 1 if self._data[position] in _OPENING else -1
            self._check_depth(depth)
            position += 1
            if depth == 0:
                return position

    def _find_end_of_large_container(self, start: int) -> int:
        """Return the offset after a container of any size, by looking at many brackets at once."""
        position, depth = start, 0
        while True:
            self._source.budget.check()
            window = min(position + _SKIPPED_BYTES, len(self._data))
            match = _WHOLE_STRINGS.match(self._data, position, window)
            assert match is not None  # the pattern matches the empty string
            if match.end() == position:
                position = self._find_end_of_long_string(position)
                continue
            brackets = _STRING.sub(b"", match[0]).translate(None, _NO_BRACKETS)
            depths = list(accumulate(array("b", brackets.translate(_LEVELS)), initial=depth))
            self._check_depth(max(depths))
            if 0 in depths[1:]:
                return self._find_end_of_container(position, match.end(), depth)
            position, depth = match.end(), depths[-1]

    def _find_end_of_long_string(self, start: int) -> int:
        limit = min(start + IMPORT_RECORD_BYTES, len(self._data))
        match = _STRING.match(self._data, start, limit)
        if match is None and limit < len(self._data):
            raise Invalid([ValidationIssue("", f"Expected at most {IMPORT_RECORD_BYTES} bytes")])
        if match is None:
            raise _create_error()
        return match.end()

    def _check_depth(self, depth: int) -> None:
        if self.depth + depth > JSON_DEPTH:
            raise Malformed(f"the body is nested more than {JSON_DEPTH} levels deep")


def _create_error() -> Malformed:
    return Malformed("the body is not well-formed JSON in UTF-8")
