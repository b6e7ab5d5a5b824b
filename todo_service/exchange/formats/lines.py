"""Content lines of iCalendar (RFC 5545, section 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from icalendar.parser import Contentline, Parameters, unescape_backslash

from todo_service.bounds.exchange import IMPORT_RECORD_BYTES
from todo_service.exchange.formats.source import Source

_NAME: Final = re.compile(rb"([\w. \t-]{1,100})[:;]", re.ASCII)
_NAME_BYTES: Final = 101


class RawLine(NamedTuple):
    """An unfolded content line before it is decoded.

    Attributes:
        number: The number of its first line in the body, from 1.
        offset: The offset of its first byte in the body.
        name: The name of the property, in upper case; empty if the line has none.
        data: The line, or only its name if it is longer than `IMPORT_RECORD_BYTES`.
        is_complete: Whether `data` is the whole line.
    """

    number: int
    offset: int
    name: str
    data: bytes
    is_complete: bool

    @property
    def kind(self) -> str:
        """The name of the component that this line begins or ends, in upper case and at most 50 characters."""
        return self.data.partition(b":")[2].strip().upper()[:50].decode("ascii", "replace")


class ContentLine(NamedTuple):
    """A content line.

    Attributes:
        number: The number of its first line in the body, from 1.
        name: The name of the property, in upper case.
        parameters: The parameters of the property.
        value: The value, with escapes.
    """

    number: int
    name: str
    parameters: Parameters
    value: str

    @property
    def text(self) -> str:
        """The value as text, without escapes."""
        return str(unescape_backslash(self.value))


def read_lines(source: Source) -> Iterator[RawLine]:
    """Yield the content lines. Lines are unfolded before they are decoded, since a fold may split a character."""
    while source.skip_blank_lines():
        number, start = source.line, source.position
        end = source.find_content_line_end()
        is_complete = end - start <= IMPORT_RECORD_BYTES
        line = source.copy(start, end if is_complete else start + _NAME_BYTES).rstrip(b"\r\n")
        if b"\n" in line:
            for fold in (b"\r\n ", b"\r\n\t", b"\n ", b"\n\t"):
                line = line.replace(fold, b"")
        match = _NAME.match(line)
        name = re.sub(r"[ \t]", "", match[1].decode("ascii")).upper() if match is not None else ""
        source.advance(end)
        yield RawLine(number, start, name, line, is_complete)


def parse_line(number: int, text: str) -> ContentLine:
    """Split a content line.

    Args:
        number: Its number.
        text: The unfolded line.

    Raises:
        ValueError: The line has no name, no colon or invalid parameters.
    """
    head, colon, value = text.partition(":")
    if not colon:
        raise ValueError("no colon")
    if '"' in head or "\\" in head:
        # the first colon may be in a quoted parameter
        name, parameters, value = Contentline(text).raw_parts()  # type: ignore[no-untyped-call]  # icalendar is untyped
    else:
        # the library scans a line character by character, so leave out the value
        name, parameters, _ = Contentline(head + ":").raw_parts()  # type: ignore[no-untyped-call]  # icalendar is untyped
    return ContentLine(number, name.upper(), parameters, value)
