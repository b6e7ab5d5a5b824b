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
        number: The number of the line of the body that it begins with.
        name: Its name, in upper case.
        parameters: Its parameters.
        value: Its value as it is written.
    """

    number: int
    name: str
    parameters: Parameters
    value: str

    @property
    def text(self) -> str:
        """The value as a text, without escapes."""
        return str(unescape_backslash(self.value))

    @property
    def keyword(self) -> str:
        """The value as a word that is the same in any case."""
        return self.value.strip().upper()


def read_lines(source: Source) -> Iterator[tuple[int, str | None]]:
    """Return each content line that is not blank, unfolded, with its number; None for one that is too long."""
    while source.skip_blank_lines():
        number, start = source.line, source.position
        end = source.find_content_line_end()
        text = None
        if end - start <= IMPORT_RECORD_BYTES:
            line = source.part(start, end).rstrip(b"\r\n")
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
        text: The line, unfolded.

    Raises:
        ValueError: it has no name or no colon, or parameters that cannot be read.
    """
    head, colon, value = text.partition(":")
    if not colon:
        raise ValueError("no colon")
    if '"' in head or "\\" in head:
        # the first colon may stand in a quoted parameter
        name, parameters, value = Contentline(text).raw_parts()  # type: ignore[no-untyped-call]  # the library's own
    else:
        # the library goes through a line character by character, which is not needed for the value
        name, parameters, _ = Contentline(head + ":").raw_parts()  # type: ignore[no-untyped-call]  # as above
    return ContentLine(number, name.upper(), parameters, value)
