"""Walks through JSON value by value, for files whose records are nested in other values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from todo_service.bounds.exchange import IMPORT_RECORD_BYTES
from todo_service.decoding import decode_json
from todo_service.errors import Malformed
from todo_service.exchange.formats.scanner import Scanner
from todo_service.exchange.formats.source import Source

_NAME_BYTES: Final = 1000
_PLAIN_NAME: Final = re.compile(rb'"[\w .-]*+"', re.ASCII)


class Walker:
    """A scanner that enters objects and arrays. The caller consumes each value before it asks for the next one.

    Args:
        source: The body. Walking starts at its position, and does not move it.
        max_bytes: The number of bytes after which walking raises `Malformed`; None for no limit.
    """

    def __init__(self, source: Source, max_bytes: int | None = None) -> None:
        self._source = source
        self.scanner = Scanner(source)
        self._end = len(source.data) if max_bytes is None else source.position + max_bytes

    def next_is(self, byte: bytes) -> bool:
        """Return whether the next value starts with a character."""
        return self.scanner.peek() == byte[0]

    def enter_object(self) -> Iterator[str]:
        """Yield the names of an object's members.

        Raises:
            Malformed: There is no JSON object.
        """
        self._open(b"{")
        more = not self.scanner.accept(b"}")
        while more:
            name = self._read_name()
            self.scanner.expect(b":")
            yield name
            more = self.scanner.accept(b",")
            if not more:
                self.scanner.expect(b"}")
        self.scanner.depth -= 1

    def enter_array(self) -> Iterator[int]:
        """Yield the indexes of an array's elements.

        Raises:
            Malformed: There is no JSON array.
        """
        self._open(b"[")
        more = not self.scanner.accept(b"]")
        index = 0
        while more:
            yield index
            index += 1
            more = self.scanner.accept(b",")
            if not more:
                self.scanner.expect(b"]")
        self.scanner.depth -= 1

    def scan(self) -> tuple[int, int]:
        """Consume a value of at most `IMPORT_RECORD_BYTES`, and return the offsets of its start and its end.

        Raises:
            Invalid: It is larger.
            Malformed: There is no JSON value, or it is too far away.
        """
        self._check_end()
        return self.scanner.scan_value("", IMPORT_RECORD_BYTES)

    def decode(self, kind: Any) -> Any:
        """Consume a value of at most `IMPORT_RECORD_BYTES`, and decode it.

        Raises:
            Invalid: It is larger, or of another type.
            Malformed: There is no JSON value.
        """
        return decode_json(self._source.copy(*self.scan()), kind)

    def skip(self) -> None:
        """Consume a value. A container may have any size. It is not validated. See `scan` for errors."""
        self._check_end()
        self.scanner.skip_value()

    def _check_end(self) -> None:
        self._source.budget.check()
        if self.scanner.position > self._end:
            raise Malformed("the body does not have the expected structure")

    def _read_name(self) -> str:
        raw = self._source.copy(*self.scanner.scan_value("", _NAME_BYTES))
        # decoding takes longer than everything else, and most names are plain
        return str(raw[1:-1], "ascii") if _PLAIN_NAME.fullmatch(raw) is not None else decode_json(raw, str)

    def _open(self, byte: bytes) -> None:
        if not self.scanner.accept(byte):
            raise Malformed("the body is not well-formed JSON of the expected structure")
        self.scanner.depth += 1
