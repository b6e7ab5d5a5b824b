"""Searches a calendar file for lines by their names, without reading the lines between them.

A search is much faster than reading. It finds the lines that may matter; a reader then decides what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from todo_service.bounds.exchange import ZONE_BYTES
from todo_service.exchange.formats.lines import ContentLine, RawLine, parse_line, read_lines
from todo_service.exchange.formats.source import Source

_SEARCHED_BYTES: Final = 64 * 1024
"""How much of the body is searched at once."""
_OVERLAP: Final = 512
"""More than the longest beginning of a line that is searched for, with its folds."""
_GAP: Final = rb"[ \t\r\n]{0,9}+"
"""Folds and whitespace, which readers ignore in names."""
_LINE_BYTES: Final = 256
"""The usual size of a line."""
_ZONE_NAME: Final = re.compile(rb"\nTZID[:;]")
_PLAIN_LINE: Final = re.compile(rb'[\w-]*+:([^\n"\\]*+)\n(?![ \t])', re.ASCII)
"""A line without parameters, escapes and folds."""


def compile_beginnings(*beginnings: str) -> re.Pattern[bytes]:
    """Return a pattern that finds the lines with these beginnings, in any case. `lastindex` tells which one, from 1.

    Args:
        beginnings: Names such as `UID`, or beginnings of components such as `BEGIN:VTODO`.
    """
    letters = [[*map(_match_letter, text)] for text in beginnings]
    # the lookahead rejects most lines at once
    first = b"|".join(dict.fromkeys(each[0] for each in letters))
    return re.compile(rb"\n(?=%b)(?:%b)" % (first, b"|".join(b"(%b)" % _GAP.join(each) for each in letters)))


def _match_letter(letter: str) -> bytes:
    return f"[{letter.upper()}{letter.lower()}]".encode() if letter.isalpha() else re.escape(letter).encode()


def search(source: Source, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the offset of each line that a pattern finds from the current line on, and the number of its beginning.

    The source does not move.

    Raises:
        BudgetExceededError: The budget is exceeded.
    """
    # a match starts with the line feed before the line
    start, size = max(source.position - 1, 0), len(source.data)
    while start < size:
        source.budget.check()
        end = min(start + _SEARCHED_BYTES, size)
        found = start
        for match in pattern.finditer(source.data, start, end):
            found = match.end()
            yield match.start() + 1, match.lastindex or 0
        start = max(found, end - _OVERLAP) if end < size else size


def read_line(source: Source, offset: int) -> RawLine | None:
    """Return the content line at an offset, numbered from 1, or None at the end of the body."""
    line = source.fork(offset, 1)
    line.window_bytes = _LINE_BYTES
    return next(read_lines(line), None)


def read_text(source: Source, offset: int) -> str:
    """Return the text of the property at an offset, trimmed, or an empty string if it cannot be read."""
    end = offset + _LINE_BYTES
    plain = _PLAIN_LINE.match(source.data, offset, end)
    try:
        if plain is not None and plain.end() < end:
            return bytes(plain[1]).decode().strip()
        line = read_line(source, offset)
        return parse_line(line.number, line.data.decode()).text.strip() if line is not None else ""
    except ValueError:
        return ""


def read_zone_name(source: Source, offset: int) -> str:
    """Return the TZID of a time zone, or an empty string if it is not one of the first lines.

    Args:
        source: The body.
        offset: The offset of `BEGIN:VTIMEZONE`.
    """
    match = _ZONE_NAME.search(source.data, offset, offset + _LINE_BYTES)
    return read_text(source, match.start() + 1) if match is not None else ""


def read_zone(source: Source, offset: int) -> list[ContentLine]:
    """Return the lines of a time zone, or nothing if it is not closed within `ZONE_BYTES` and before the next one.

    Args:
        source: The body.
        offset: The offset of `BEGIN:VTIMEZONE`.
    """
    definition = Source(source.data[offset : offset + ZONE_BYTES])
    definition.budget = source.budget
    lines: list[ContentLine] = []
    for line in read_lines(definition):
        if line.name == "END" and line.component == "VTIMEZONE":
            return lines
        if lines and line.name == "BEGIN" and line.component in ("VTIMEZONE", "VTODO"):
            break
        try:
            lines.append(parse_line(line.number, line.data.decode()))
        except ValueError:
            continue  # the definition may be complete without it
    return []
