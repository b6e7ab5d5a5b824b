"""Hostile values of any size, in every encoding that the API reads.

A shape repeats a unit until the value has the requested size. What each shape attacks:

- one long string: limits that are checked after the work;
- combining marks: normalization, which sorts each run of marks;
- U+FDFA: compatibility normalization, which expands this character to 18;
- escapes: scanners that look back from each quote;
- many keys, many elements: work per element, such as error messages and hash tables;
- digits, fractions, exponents: number parsing, which is quadratic in Python.
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

Encoding = Literal["json", "form", "query", "header", "csv", "calendar"]
MARKS: Final = "\u0300\u0316"
LIGATURE: Final = "\ufdfa"
_COUNTER: Final = b"%07d"
_WIDTH: Final = 7


class Shape(NamedTuple):
    """A value of any size.

    Attributes:
        name: The name of the shape.
        start: The bytes before the repeated unit.
        unit: The repeated unit; `%07d` in it counts up.
        end: The bytes after the last unit.
    """

    name: str
    start: bytes
    unit: bytes
    end: bytes

    def fill(self, size: int) -> bytes:
        """Return the value, with as many units as fit into `size` bytes, at least one."""
        width = len(self.unit) + (_WIDTH - len(_COUNTER) if _COUNTER in self.unit else 0)
        count = max(1, (size - len(self.start) - len(self.end)) // width)
        # powers of two keep the cache small
        units = _repeat(self.unit, 1 << (count - 1).bit_length())
        return self.start + units[: count * width] + self.end


class LongKey(NamedTuple):
    """An object with a single key that takes half of the size, and a list of numbers that fills the rest."""

    name: str = "a long key of a long list"

    def fill(self, size: int) -> bytes:
        """Return the object."""
        key = b"A" * (size // 2)
        return b'{"' + key + b'":[' + b"0," * ((size - len(key)) // 2 - 4) + b"0]}"


AnyShape = Shape | LongKey


@cache
def _repeat(unit: bytes, count: int) -> bytes:
    if _COUNTER not in unit:
        return unit * count
    before, _, after = unit.partition(_COUNTER)
    return b"".join(b"%s%07d%s" % (before, number, after) for number in range(count))


def json_shapes(element: bytes = b"0") -> list[Shape]:
    """Return the shapes of a JSON value.

    Args:
        element: The JSON value of each list element.
    """
    shapes = [
        Shape("one long string", b'"', b"a", b'"'),
        Shape("combining marks", b'"a', MARKS.encode(), b'"'),
        Shape("U+FDFA", b'"', LIGATURE.encode(), b'"'),
        Shape("escapes", b'"', rb"\"", b'"'),
        Shape("many keys", b"{", b'"%07d":0,', b'"x":0}'),
        Shape("many elements", b"[", element + b",", element + b"]"),
    ]
    return shapes if element == b"0" else [*shapes, Shape("many wrong elements", b"[", b"0,", b"0]")]


def number_shapes() -> list[Shape]:
    """Return the shapes of a JSON number."""
    return [
        Shape("digits", b"", b"7", b"1"),
        Shape("fraction", b"0.", b"7", b"1"),
        Shape("exponent", b"1e", b"7", b"1"),
        Shape("small exponent", b"7e-", b"0", b"1"),
    ]


def document_shapes() -> list[AnyShape]:
    """Return further shapes of a whole JSON body."""
    return [
        Shape("nested lists", b"", b"[", b""),
        Shape("nested objects", b"", b'{"a":', b""),
        Shape("escapes below the limit of depth", b"[" * 64 + b'"', rb"\"", b""),
        Shape("escapes beyond the limit of depth", b"[" * 65 + b'"', rb"\"", b""),
        Shape("backslashes in an open string", b'{"title":"', rb"\\", b""),
        Shape("spaces", b"", b" ", b"{}"),
        Shape("long keys", b"{", b'"' + b"k" * 500 + b'%07d":[0,0],', b'"x":0}'),
        Shape("equal keys", b"{", b'"title":"x",', b'"title":"x"}'),
        Shape("lists in lists", b"[", b"[[[0]]],", b"0]"),
        LongKey(),
    ]


def text_shapes(encoding: Encoding, name: str = "") -> list[Shape]:
    """Return the shapes of a text value: a form field, a parameter, a header, a CSV cell or an iCalendar property.

    Args:
        encoding: The encoding of the value.
        name: The name of the field or parameter, which the shape with many elements repeats.
    """
    match encoding:
        case "form" | "query":
            texts = (b"a", quote(MARKS).encode(), quote(LIGATURE).encode(), b"%22%5C")
            key, element = b"&%07d=x", f"&{name}=x".encode()
        case "header":
            texts = (b"a", MARKS.encode(), LIGATURE.encode(), rb"\"")
            key, element = b";k%07d=x", b'"x", '
        case "csv":
            texts = (b"a", MARKS.encode(), LIGATURE.encode(), b'""')
            key, element = b'""k%07d"":0,', b"x,"
        case "calendar":
            texts = (b"a", MARKS.encode(), LIGATURE.encode(), rb"\,\;")
            key, element = b";K%07d=x", b"x,"
        case _:
            raise ValueError(encoding)
    names = ("one long string", "combining marks", "U+FDFA", "escapes", "many keys", "many elements")
    return [Shape(shape, b"", unit, b"") for shape, unit in zip(names, (*texts, key, element), strict=True)]


def table_shapes() -> list[Shape]:
    """Return further shapes of a whole CSV file."""
    return [
        Shape("rows", b"title,tags\r\n", b'"x","a,b"\r\n', b""),
        Shape("empty rows", b"title\r\n", b"\r\n", b""),
        Shape("columns", b"title", b",%07d", b"\r\nx\r\n"),
        Shape("cells", b"title\r\n", b",", b"\r\n"),
        Shape("an open quote", b'title\r\n"', b'a""', b""),
        Shape("faulty rows", b"title,priority,due_at\r\n", b"x,never,soon\r\n", b""),
    ]


def calendar_shapes() -> list[Shape]:
    """Return further shapes of a whole iCalendar file."""
    start, end = b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n", b"END:VCALENDAR\r\n"
    todo = b"BEGIN:VTODO\r\nUID:%07d\r\nSUMMARY:x\r\n"
    return [
        Shape("components", start, todo + b"END:VTODO\r\n", end),
        Shape("other components", start, b"BEGIN:VEVENT\r\nUID:%07d\r\nEND:VEVENT\r\n", end),
        Shape("nested components", start, b"BEGIN:VTODO\r\n", end),
        Shape("faulty components", start, todo + b"DUE:soon\r\nRRULE:FREQ=NEVER\r\nEND:VTODO\r\n", end),
        Shape("folded lines", start + b"BEGIN:VTODO\r\nSUMMARY:x", b"\r\n a", b"\r\nEND:VTODO\r\n" + end),
        Shape("newlines", start, b"\r\n", end),
        Shape("time zones", start, b"BEGIN:VTIMEZONE\r\nTZID:Z%07d\r\nEND:VTIMEZONE\r\n", end),
    ]
