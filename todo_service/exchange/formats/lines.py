"""Content lines of iCalendar (RFC 5545, section 3.1)."""

from __future__ import annotations

import quopri
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from icalendar.parser import Contentline, Parameters, unescape_backslash

from todo_service.bounds.exchange import IMPORT_RECORD_BYTES
from todo_service.exchange.formats.source import Source

_NAME: Final = re.compile(rb"([\w. \t-]{1,100})[:;]", re.ASCII)
_NAME_BYTES: Final = 101
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9-]+")
_CACHED_NAMES: Final = 1000
_QUOTED_PRINTABLE: Final = "QUOTED-PRINTABLE"
_CHARSETS: Final = frozenset({"us-ascii", "utf-8", "iso-8859-1", "iso-8859-15", "windows-1252"})
"""The charsets of quoted-printable text that are decoded."""
_LINES_PER_SLICE: Final = 64
"""How many lines are read before the budget is checked again."""


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
    def component(self) -> str:
        """The name of the component that this line begins or ends, in upper case and at most 50 characters."""
        return self.data.partition(b":")[2].strip().upper()[:50].decode("ascii", "replace")

    @property
    def is_empty(self) -> bool:
        """Whether the property has no value. False if a parameter contains a colon, even if the value is empty."""
        if not (self.is_complete and self.name and self.data.rstrip().endswith(b":")):
            return False
        return not self.data.partition(b":")[2].strip()


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
    """Yield the content lines. Lines are unfolded before they are decoded, since a fold may split a character.

    The caller may move the source forward to another line; reading continues there.
    """
    names: dict[bytes, str] = {}
    while source.skip_blank_lines():
        lines = source.find_content_lines()
        for index, line in enumerate(lines):
            if index % _LINES_PER_SLICE == 0:
                source.budget.check()
            number, start = source.line, source.position
            end = start + len(line)
            source.advance_by(len(line), line.count(b"\n"))
            if text := line.strip(b"\r\n"):
                yield _unfold(number, start, text, names)
            if source.position != end:
                break
        if not lines:
            yield _read_long_line(source, names)


def _read_long_line(source: Source, names: dict[bytes, str]) -> RawLine:
    """Read a line that is longer than the windows in which others are found."""
    number, start = source.line, source.position
    end = source.find_content_line_end()
    is_complete = end - start <= IMPORT_RECORD_BYTES
    line = source.copy(start, end if is_complete else start + _NAME_BYTES).rstrip(b"\r\n")
    source.advance_counting_lf(end)
    return _unfold(number, start, line, names, is_complete=is_complete)


def _unfold(number: int, start: int, line: bytes, names: dict[bytes, str], *, is_complete: bool = True) -> RawLine:
    """Return an unfolded line.

    Args:
        number: Its number.
        start: Its offset.
        line: The line, with folds.
        names: A cache of the names of properties, by their bytes.
        is_complete: Whether the line is complete.
    """
    if b"\n" in line:
        for fold in (b"\r\n ", b"\r\n\t", b"\n ", b"\n\t"):
            line = line.replace(fold, b"")
    match = _NAME.match(line)
    if match is None:
        return RawLine(number, start, "", line, is_complete)
    name = names.get(match[1])
    if name is None:
        name = re.sub(r"[ \t]", "", match[1].decode("ascii")).upper()
        if len(names) < _CACHED_NAMES:
            names[match[1]] = name
    return RawLine(number, start, name, line, is_complete)


def join_soft_breaks(lines: Iterator[RawLine]) -> Iterator[RawLine]:
    """Yield content lines, joined where a soft line break of quoted-printable text divides them (vCalendar 1.0)."""
    for line in lines:
        if line.data.endswith(b"=") and _QUOTED_PRINTABLE in _get_head(line).upper():
            yield from _join(line, lines)
        else:
            yield line


def _get_head(line: RawLine) -> str:
    """Return the name and the parameters of a line, unless one of them has a colon."""
    return line.data.partition(b":")[0].decode("ascii", "replace")


def _join(first: RawLine, lines: Iterator[RawLine]) -> Iterator[RawLine]:
    """Yield a line joined with those that continue it. If a component begins or ends instead, yield its line too."""
    parts, size, following = [first.data[:-1]], len(first.data), None
    for line in lines:
        if line.name in ("BEGIN", "END"):
            following = line
            break
        size += len(line.data)
        is_last = not line.data.endswith(b"=")
        if size <= IMPORT_RECORD_BYTES:
            parts.append(line.data if is_last else line.data[:-1])
        if is_last:
            break
    yield first._replace(data=b"".join(parts), is_complete=first.is_complete and size <= IMPORT_RECORD_BYTES)
    if following is not None:
        yield following


def parse_line(number: int, text: str) -> ContentLine:
    """Split a content line. Quoted-printable text (vCalendar 1.0) is decoded.

    Args:
        number: Its number.
        text: The unfolded line.

    Raises:
        ValueError: The line has no name, no colon, invalid parameters or an unknown charset.
    """
    head, colon, value = text.partition(":")
    if not colon:
        raise ValueError("no colon")
    if _PLAIN_NAME.fullmatch(head):
        # the library takes ten times as long
        return ContentLine(number, head.upper(), Parameters(), value)
    if '"' in head or "\\" in head:
        # the first colon may be in a quoted parameter
        name, parameters, value = Contentline(text).raw_parts()  # type: ignore[no-untyped-call]  # icalendar is untyped
    else:
        # the library scans a line character by character, so leave out the value
        name, parameters, _ = Contentline(head + ":").raw_parts()  # type: ignore[no-untyped-call]  # icalendar is untyped
    if str(parameters.get("ENCODING", "")).upper() == _QUOTED_PRINTABLE:
        value = _decode_quoted_printable(value, str(parameters.get("CHARSET", "utf-8")))
    return ContentLine(number, name.upper(), parameters, value)


def _decode_quoted_printable(value: str, charset: str) -> str:
    if charset.lower() not in _CHARSETS:
        raise ValueError("unknown charset")
    return quopri.decodestring(value.encode()).decode(charset).replace("\r\n", "\n")
