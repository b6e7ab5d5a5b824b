"""The components of a calendar file (RFC 5545, section 3.6), one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from todo_service.bounds.exchange import IMPORT_NESTING, IMPORT_PROPERTIES, IMPORT_RECORD_BYTES, REPORTED_ERRORS
from todo_service.errors import ValidationIssue
from todo_service.exchange.formats.base import RejectedRecord
from todo_service.exchange.formats.calendar_search import compile_beginnings, search
from todo_service.exchange.formats.calendar_values import EXTENSION_NAME
from todo_service.exchange.formats.lines import ContentLine, RawLine, join_soft_breaks, parse_line, read_lines
from todo_service.exchange.formats.source import Source
from todo_service.todos.fields import FIELDS

CALENDAR_NAMES: Final = ("X-WR-CALNAME", "NAME")
"""The properties that name a calendar: that of most programs, and that of RFC 7986."""
CALENDAR_COLOR: Final = "X-APPLE-CALENDAR-COLOR"
SORT_ORDER: Final = "X-APPLE-SORT-ORDER"
"""Where a todo is in the manual order, as programs for CalDAV write it."""
CURRENT_OCCURRENCE: Final = "X-KDE-LIBKCAL-DTRECURRENCE"
"""When the current occurrence of a series is due, as KDE's programs write it. Their DUE is that of the first one."""
PROXIMITY: Final = ("PROXIMITY", "X-APPLE-PROXIMITY")
"""The properties of a location-based alarm (RFC 9074, section 8)."""
ALARM_ENABLED: Final = "X-KDE-KCALCORE-ENABLED"
"""Whether an alarm is switched on, as KDE's programs write it."""
_READ: Final = {
    "VCALENDAR": frozenset({"X-WR-TIMEZONE", CALENDAR_COLOR, *CALENDAR_NAMES}),
    "VALARM": frozenset({"ACTION", "REPEAT", "TRIGGER", *PROXIMITY, ALARM_ENABLED}),
    "VTODO": frozenset(field.calendar_property for field in FIELDS if field.calendar_property is not None)
    | {"DURATION", "PERCENT-COMPLETE", "RECURRENCE-ID", EXTENSION_NAME, SORT_ORDER, CURRENT_OCCURRENCE},
}
"""The properties that are read of each component."""
_IGNORED: Final = frozenset({"CLASS", "DTSTAMP", "SEQUENCE", "TRANSP"})
"""Properties that carry no information about a todo. They are ignored without a warning, like non-standard ones."""
_TODO_BYTES: Final = 1024
"""The usual size of a todo."""
_OUTER: Final = compile_beginnings("BEGIN:VTODO", "BEGIN:VCALENDAR", "END:VCALENDAR")
"""The lines that matter outside of todos."""
_FAR_BYTES: Final = 16 * 1024
"""The distance from which searching for the next line that matters is faster than reading the lines before it."""


class Component:
    """A component, without the properties and components that are not read.

    Args:
        kind: Its name: VTODO, VALARM or VCALENDAR.
        line: The number of its first line, from 1.
        offset: The offset of its first byte in the body.

    Attributes:
        properties: The lines of each property that is read.
        alarms: The VALARM components of a VTODO.
        rejected: Why it cannot be imported, or None.
    """

    def __init__(self, kind: str, line: int, offset: int) -> None:
        self.kind = kind
        self.line = line
        self.offset = offset
        self.properties: dict[str, list[RawLine]] = {}
        self.alarms: list[Component] = []
        self.rejected: RejectedRecord | None = None
        self._warnings: dict[str, None] = {}
        self._parsed: dict[int, ContentLine | None] = {}
        self._count = self._bytes = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was lost or changed, without duplicates. A property causes at most one warning of each kind."""
        return tuple(self._warnings)

    def warn(self, detail: str) -> None:
        """Add a warning, unless there are too many."""
        if len(self._warnings) < REPORTED_ERRORS:
            self._warnings[detail] = None

    def reject(self, line: int, detail: str) -> None:
        """Mark the component as one that cannot be imported. Only the first reason is kept."""
        self.rejected = self.rejected or RejectedRecord(line, [ValidationIssue("", detail)])
        self.properties.clear()
        self.alarms.clear()

    def check(self, line: RawLine) -> None:
        """Count a line towards the bounds of a record, and check that it is UTF-8."""
        self._count += 1
        self._bytes += len(line.data)
        if not line.is_complete:
            self.reject(line.number, f"Expected at most {IMPORT_RECORD_BYTES} bytes")
        elif not _is_utf_8(line.data):
            self.reject(line.number, "Expected UTF-8")
        elif self._count > IMPORT_PROPERTIES or self._bytes > IMPORT_RECORD_BYTES:
            self.reject(line.number, f"Expected at most {IMPORT_PROPERTIES} properties and {IMPORT_RECORD_BYTES} bytes")

    def add(self, line: RawLine) -> None:
        """Add a property that is read. Other properties of a todo cause a warning, unless they are ignored.

        A property without a value counts as missing.
        """
        if line.is_empty:
            return
        if line.name in _READ[self.kind]:
            self.properties.setdefault(line.name, []).append(line)
        elif self.kind == "VTODO" and not line.name:
            self.warn("A line that is not a property was left out")
        elif self.kind == "VTODO" and line.name not in _IGNORED and not line.name.startswith("X-"):
            self.warn(f"{line.name[:50]} has no equivalent in a todo and was left out")

    def get(self, name: str) -> ContentLine | None:
        """Return the first property with a name, or None."""
        found = self.properties.get(name, ())
        if len(found) > 1:
            self.warn(f"{name} occurs more than once, and only the first one was read")
        return self._parse(found[0]) if found else None

    def get_all(self, name: str) -> list[ContentLine]:
        """Return the properties with a name."""
        return [line for each in self.properties.get(name, ()) if (line := self._parse(each)) is not None]

    def _parse(self, line: RawLine) -> ContentLine | None:
        if line.offset not in self._parsed:
            try:
                self._parsed[line.offset] = parse_line(line.number, line.data.decode())
            except ValueError:
                self.warn(f"{line.name} could not be read and was left out")
                self._parsed[line.offset] = None
        return self._parsed[line.offset]


def read_todo(source: Source, line: int, offset: int) -> Component:
    """Read the VTODO that begins at a line.

    Args:
        source: The body.
        line: The number of the line, from 1.
        offset: The offset of the line.
    """
    part = source.fork(offset, line)
    part.window_bytes = _TODO_BYTES
    todo = next(ComponentReader(part).read())
    assert isinstance(todo, Component)
    return todo


class ComponentReader:
    """Reads the todos of a file.

    Args:
        source: The body, at any line outside of a todo.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._current: Component | None = None
        self._nested: list[str] = []
        """The components that are open within the current one."""
        self._next = -1
        """The offset of the next line that matters outside of todos."""

    def read(self) -> Iterator[Component | RejectedRecord]:
        """Yield each VTODO once it ends, then a `RejectedRecord` if the last VCALENDAR is not closed."""
        self._skip()
        is_closed, last = False, self._source.line
        for line in join_soft_breaks(read_lines(self._source)):
            last = line.number
            if line.name == "BEGIN":
                is_closed = False
                yield from self._begin(line)
            elif self._current is None:
                is_closed = is_closed or (line.name == "END" and line.component == "VCALENDAR")
            elif line.name != "END":
                self._add(self._current, line)
            elif self._nested:
                self._end_nested(line)
            elif line.component == "VTODO":
                yield self._current
                self._current = None
            if self._current is None and line.name in ("BEGIN", "END") and self._skip():
                last = self._source.line
        if self._current is not None:
            self._current.reject(self._current.line, "Expected END:VTODO")
            yield self._current
        elif not is_closed:
            detail = "Expected END:VCALENDAR: the file may be truncated"
            yield RejectedRecord(last, [ValidationIssue("", detail)])

    def _begin(self, line: RawLine) -> Iterator[Component]:
        kind, current = line.component, self._current
        if kind == "VTODO":
            if current is not None:
                current.reject(current.line, "Expected END:VTODO")
                yield current
            self._current, self._nested = Component(kind, line.number, line.offset), []
        elif current is None:
            return
        elif len(self._nested) >= IMPORT_NESTING:
            current.reject(line.number, f"Expected at most {IMPORT_NESTING} levels of components")
        else:
            if kind == "VALARM" and not self._nested and current.rejected is None:
                current.alarms.append(Component(kind, line.number, line.offset))
                current.check(line)
            self._nested.append(kind)

    def _add(self, current: Component, line: RawLine) -> None:
        if current.rejected is not None:
            return
        if not self._nested:
            target = current
        elif self._nested == ["VALARM"]:
            target = current.alarms[-1]
        else:
            return
        if line.name in _READ[target.kind]:
            current.check(line)
        if current.rejected is None:
            target.add(line)

    def _end_nested(self, line: RawLine) -> None:
        if line.component in self._nested:
            del self._nested[self._nested.index(line.component) :]

    def _skip(self) -> bool:
        """Move to the next line that matters, if it is far. Return whether the source was moved."""
        source = self._source
        if self._next < source.position:
            self._next = next((offset for offset, _ in search(source, _OUTER)), len(source.data))
        if self._next - source.position < _FAR_BYTES:
            return False
        source.advance_counting_lf(self._next)
        return True


def _is_utf_8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
