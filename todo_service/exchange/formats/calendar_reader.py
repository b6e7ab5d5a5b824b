"""Reads todos from iCalendar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from todo_service.errors import Invalid, ValidationIssue
from todo_service.exchange.formats.base import Draft, RejectedRecord, read_record
from todo_service.exchange.formats.calendar_components import Component, ComponentReader
from todo_service.exchange.formats.calendar_relations import Place, Relations, read_uid
from todo_service.exchange.formats.calendar_schedule import ChangedOccurrence, read_occurrence
from todo_service.exchange.formats.calendar_search import compile_beginnings, read_line, read_text, read_zone, search
from todo_service.exchange.formats.calendar_times import TimeReader
from todo_service.exchange.formats.calendar_todo import TodoBuilder, build_step
from todo_service.exchange.formats.lines import read_lines
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.timezones import FileZones

_TODO_BYTES: Final = 1024
"""The usual size of a todo."""
_TODO, _ZONE, _ZONE_NAME = 1, 2, 3
_DEPENDENCIES: Final = compile_beginnings(
    "BEGIN:VTODO", "BEGIN:VTIMEZONE", "X-WR-TIMEZONE", "RELATED-TO", "RECURRENCE-ID"
)
"""The lines on which todos may depend. The last two relate the todo that they are in to another one."""
_UID, _OCCURRENCE = 2, 3
_UIDS: Final = compile_beginnings("BEGIN:VTODO", "UID", "RECURRENCE-ID")


class CalendarReader:
    """Reads a calendar. Call `read_header`, then `collect`, then `read_records`.

    The order of the components has no meaning, so `collect` finds the time zones, and the todos that belong to others,
    before any todo is read.

    Args:
        source: The body.
        zone: The account's time zone, for times without one.
    """

    def __init__(self, source: Source, zone: ZoneInfo) -> None:
        self._source = source
        self._zones = FileZones()
        self._times = TimeReader(self._zones, zone)
        self._relations = Relations()

    def read_header(self) -> None:
        """Read the first line.

        Raises:
            Invalid: It does not start a calendar.
        """
        first = next(read_lines(self._source), None)
        if first is None or first.name != "BEGIN" or first.kind != "VCALENDAR":
            raise Invalid([ValidationIssue("", "Expected an iCalendar object: the first line to be BEGIN:VCALENDAR")])

    def collect(self) -> None:
        """Search the whole file once, or twice if todos are related. It remains at the same line.

        Raises:
            BudgetExceededError: The budget is exceeded.
        """
        cursor, todo, zone_name = self._source.fork(self._source.position, self._source.line), None, None
        for offset, found in search(self._source, _DEPENDENCIES):
            if found == _TODO:
                todo = offset
            elif found == _ZONE:
                if not self._zones.is_full:
                    self._zones.add_definition(read_zone(self._source, offset))
            elif found == _ZONE_NAME:
                zone_name = read_text(self._source, offset) if zone_name is None else zone_name
            elif todo is not None and not self._relations.is_full:
                cursor.advance(todo)
                self._add_related(Place(cursor.line, todo))
                todo = None  # one of its lines is enough
        self._times.set_calendar_zone(zone_name or "")
        if not self._relations.is_empty:
            for uid in self._find_uids():
                self._relations.find(uid)
            self._relations.resolve()

    def read_records(self) -> Iterator[Draft | RejectedRecord]:
        """Yield the todos. Other components are passed over."""
        for component in ComponentReader(self._source).read():
            if isinstance(component, RejectedRecord):
                yield component
            elif component.rejected is not None:
                yield component.rejected
            elif not self._relations.is_owned(component):
                yield from self._read_todo(component)
        # those that belong to a todo that could not be read
        for place in self._relations.take_rest():
            yield self._read_draft(self._read_at(place), (), ())

    def _add_related(self, place: Place) -> None:
        """Read a todo that may be related to another one."""
        first = read_line(self._source, place.offset)
        if first is not None and first.name == "BEGIN" and first.kind == "VTODO":
            self._relations.add(self._read_at(place))

    def _find_uids(self) -> Iterator[str]:
        """Yield the UIDs of all todos that are no changed occurrences, and possibly of other components."""
        uid: int | None = None
        is_open = False
        for offset, found in search(self._source, _UIDS):
            if found == _UID:
                uid = offset if is_open and uid is None else uid
            elif found == _OCCURRENCE:
                uid, is_open = None, False
            else:
                if uid is not None:
                    yield read_text(self._source, uid)
                uid, is_open = None, True
        if uid is not None:
            yield read_text(self._source, uid)

    def _read_todo(self, todo: Component) -> Iterator[Draft | RejectedRecord]:
        """Yield a todo. If it is rejected, also yield the todos that belong to it."""
        uid = read_uid(todo)
        children = self._relations.take_steps(uid) if uid else ()
        occurrences = self._relations.take_occurrences(uid) if uid else ()
        steps = [build_step(self._read_at(place), uid, self._times) for place in children]
        changed = [read_occurrence(self._read_at(place), self._times) for place in occurrences]
        record = self._read_draft(todo, steps, changed)
        yield record
        if isinstance(record, RejectedRecord):
            for place in (*children, *occurrences):
                yield self._read_draft(self._read_at(place), (), ())

    def _read_draft(
        self, todo: Component, steps: Sequence[dict[str, Any]], occurrences: Sequence[ChangedOccurrence]
    ) -> Draft | RejectedRecord:
        def build() -> Draft | RejectedRecord:
            return TodoBuilder(todo, self._times, self._source.budget).build(steps, occurrences)

        return read_record(todo.line, build)

    def _read_at(self, place: Place) -> Component:
        """Read a todo again."""
        source = self._source.fork(place.offset, place.line)
        source.window_bytes = _TODO_BYTES
        todo = next(ComponentReader(source).read())
        assert isinstance(todo, Component)  # it begins at the place
        return todo
