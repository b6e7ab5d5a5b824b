"""What the todos of a calendar file depend on: its time zones, its calendars, and other todos.

The order of the components has no meaning, so the file is searched before any todo is read. Lines that cannot matter
are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from todo_service.bounds.exchange import IMPORT_CALENDAR_LINES
from todo_service.exchange.formats.calendar_components import (
    CALENDAR_COLOR,
    CALENDAR_NAMES,
    SORT_ORDER,
    Component,
    read_todo,
)
from todo_service.exchange.formats.calendar_header import CalendarHeaders
from todo_service.exchange.formats.calendar_relations import Relations
from todo_service.exchange.formats.calendar_search import (
    compile_beginnings,
    read_line,
    read_text,
    read_zone,
    read_zone_name,
    search,
)
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.timezones import FileZones

_TODO, _ZONE, _CALENDAR, _BEGIN, _END_CALENDAR, _END, _SORT, _RELATED, _OCCURRENCE, _HEADER = range(1, 11)
_LINES: Final = compile_beginnings(
    *("BEGIN:VTODO", "BEGIN:VTIMEZONE", "BEGIN:VCALENDAR", "BEGIN:", "END:VCALENDAR", "END:"),
    *(SORT_ORDER, "RELATED-TO", "RECURRENCE-ID", "X-WR-TIMEZONE", CALENDAR_COLOR, *CALENDAR_NAMES),
)
_UID, _CHANGED = 2, 3
_UIDS: Final = compile_beginnings("BEGIN:VTODO", "UID", "RECURRENCE-ID")


class _FoundUid(NamedTuple):
    """The UID of a todo, or possibly of a component after it, and the offset of the todo."""

    uid: str
    offset: int


class CalendarIndex:
    """What the todos of a file depend on. Call `collect` before using it.

    Args:
        source: The body, after its first line.

    Attributes:
        zones: The time zones.
        headers: The calendars.
        relations: The related todos.
        is_sorted: Whether a todo states its place in the manual order.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.zones = FileZones()
        self.headers = CalendarHeaders()
        self.relations = Relations()
        self.is_sorted = False
        self._header_lines = 0

    def collect(self) -> None:
        """Search the whole file once, or twice if todos are related. The source does not move.

        Raises:
            BudgetExceededError: The budget is exceeded.
        """
        cursor = self._source.fork(self._source.position, self._source.line)
        calendar = Component("VCALENDAR", cursor.line, cursor.position)
        depth, todo = 0, None
        for offset, found in search(self._source, _LINES):
            if found in (_CALENDAR, _END_CALENDAR):
                if found == _END_CALENDAR or calendar.properties:
                    self.headers.add(calendar)
                calendar, depth, todo = Component("VCALENDAR", cursor.line, offset), 0, None
            elif found == _TODO:
                depth, todo = 1, offset
            elif found == _END:
                depth = max(0, depth - 1)
                todo = todo if depth else None
            elif found in (_BEGIN, _ZONE):
                depth += 1
                if found == _ZONE:
                    self._add_zone(offset)
            elif found >= _HEADER:
                if depth == 0:
                    self._add_property(calendar, offset)
            elif found == _SORT:
                self.is_sorted = self.is_sorted or (todo is not None and depth == 1)
            elif todo is not None and not self.relations.is_full:
                self._add_related(cursor, todo)
                todo = None  # one of its lines is enough
        self.headers.add(calendar)
        if not self.relations.is_empty:
            self._find_others()
            self.relations.resolve()

    def _add_zone(self, offset: int) -> None:
        if not self.zones.is_full and not self.zones.has_definition(read_zone_name(self._source, offset)):
            self.zones.add_definition(read_zone(self._source, offset))

    def _add_property(self, calendar: Component, offset: int) -> None:
        """Add a property of a calendar, the first of each name."""
        self._header_lines += 1
        if self._header_lines > IMPORT_CALENDAR_LINES:
            return
        line = read_line(self._source, offset)
        if line is not None and line.name not in calendar.properties:
            calendar.add(line)

    def _add_related(self, cursor: Source, offset: int) -> None:
        """Read a todo that may be related to another one.

        Args:
            cursor: Counts the lines up to the todo.
            offset: The offset of the line with which the todo may begin.
        """
        first = read_line(self._source, offset)
        if first is not None and first.name == "BEGIN" and first.component == "VTODO":
            cursor.advance_counting_lf(offset)
            self.relations.add(read_todo(self._source, cursor.line, offset))

    def _find_others(self) -> None:
        """Find the todos to which others are related."""
        cursor = self._source.fork(self._source.position, self._source.line)
        for uid, offset in self._find_uids():
            if self.relations.note_uid(uid):
                cursor.advance_counting_lf(offset)
                self.relations.add_named(read_todo(self._source, cursor.line, offset))

    def _find_uids(self) -> Iterator[_FoundUid]:
        """Yield the UIDs of all todos that are not changed occurrences."""
        todo = uid = None
        for offset, found in search(self._source, _UIDS):
            if found == _UID:
                uid = offset if uid is None else uid
            elif found == _CHANGED:
                todo = None
            else:
                if todo is not None and uid is not None:
                    yield _FoundUid(read_text(self._source, uid), todo)
                todo, uid = offset, None
        if todo is not None and uid is not None:
            yield _FoundUid(read_text(self._source, uid), todo)
