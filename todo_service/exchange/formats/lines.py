"""Content lines of iCalendar (RFC 5545, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from icalendar.parser import Contentline, Parameters, unescape_backslash

from todo_service.bounds.exchange import IMPORT_RECORD_BYTES
from todo_service.exchange.formats.source import Source


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


def read_lines(source: Source) -> Iterator[tuple[int, str | None]]:
    """Yield the number and the unfolded text of each content line, or None instead of the text if it is too long."""
    while source.skip_blank_lines():
        number, start = source.line, source.position
        end = source.find_content_line_end()
        text = None
        if end - start <= IMPORT_RECORD_BYTES:
            line = source.copy(start, end).rstrip(b"\r\n")
            if b"\n" in line:
                for fold in (b"\r\n ", b"\r\n\t", b"\n ", b"\n\t"):
                    line = line.replace(fold, b"")
            text = line.decode()
        source.advance(end)
        yield number, text


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
