"""Reads todos from iCalendar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from todo_service.errors import Invalid, ValidationIssue
from todo_service.exchange.formats.base import Draft, RejectedRecord, read_record
from todo_service.exchange.formats.calendar_components import Component, ComponentReader, read_todo
from todo_service.exchange.formats.calendar_index import CalendarIndex
from todo_service.exchange.formats.calendar_order import read_sort_order
from todo_service.exchange.formats.calendar_relations import SourceLocation, read_uid
from todo_service.exchange.formats.calendar_schedule import ChangedOccurrence, read_occurrence
from todo_service.exchange.formats.calendar_times import TimeReader
from todo_service.exchange.formats.calendar_todo import TodoBuilder, build_step
from todo_service.exchange.formats.lines import read_lines
from todo_service.exchange.formats.source import Source

_LOST_PROPERTIES: Final = ("SUMMARY", "DESCRIPTION", "CATEGORIES", "PRIORITY")
"""The properties of a completed occurrence that are dropped, with a warning if the series has other values."""


class CalendarReader:
    """Reads a calendar. Call `read_header`, then `collect`, then `read_records`.

    Args:
        source: The body.
        zone: The account's time zone, for times without one.
    """

    def __init__(self, source: Source, zone: ZoneInfo) -> None:
        self._source = source
        self._index = CalendarIndex(source)
        self._relations = self._index.relations
        self._times = TimeReader(self._index.zones, self._index.headers, zone)

    def read_header(self) -> None:
        """Read the first line.

        Raises:
            Invalid: It does not start a calendar.
        """
        first = next(read_lines(self._source), None)
        if first is None or first.name != "BEGIN" or first.component != "VCALENDAR":
            raise Invalid([ValidationIssue("", "Expected an iCalendar object: the first line must be BEGIN:VCALENDAR")])

    def collect(self) -> None:
        """Find what the todos depend on. The source remains at the same line.

        Raises:
            BudgetExceededError: The budget is exceeded.
        """
        self._index.collect()

    def read_records(self) -> Iterator[Draft | RejectedRecord]:
        """Yield the todos. Other components are skipped."""
        for component in ComponentReader(self._source).read():
            if isinstance(component, RejectedRecord):
                yield component
            elif component.rejected is not None:
                yield component.rejected
            elif not self._relations.is_owned(component):
                yield from self._read_todo(component)
        # those that belong to a todo that could not be read
        for location in self._relations.take_unclaimed():
            yield self._read_draft(self._read_at(location), (), ())

    def _read_todo(self, todo: Component) -> Iterator[Draft | RejectedRecord]:
        """Yield a todo. If it is rejected, also yield the todos that belong to it."""
        uid = read_uid(todo)
        children = self._relations.take_steps(uid) if uid else ()
        occurrences = self._relations.take_occurrences(uid) if uid else ()
        steps = [self._read_step(todo, location, uid) for location in children]
        changed = [self._read_occurrence(todo, location) for location in occurrences]
        record = self._read_draft(todo, steps, changed)
        yield record
        if isinstance(record, RejectedRecord):
            for location in (*children, *occurrences):
                yield self._read_draft(self._read_at(location), (), ())

    def _read_step(self, todo: Component, location: SourceLocation, uid: str) -> dict[str, Any]:
        """Read a child as a step. Its losses become warnings of the todo."""
        child = self._read_at(location)
        step = build_step(child, uid, self._times)
        for warning in child.warnings:
            todo.warn(f'Step "{step["title"][:40]}": {warning}')
        return step

    def _read_occurrence(self, todo: Component, location: SourceLocation) -> ChangedOccurrence:
        """Read a changed occurrence of a todo. The losses of a completed one become warnings of the todo."""
        occurrence = self._read_at(location)
        changed = read_occurrence(occurrence, self._times)
        if changed.state.completed:
            for name in _LOST_PROPERTIES:
                text = _join_values(occurrence, name)
                if text and text != _join_values(todo, name):
                    todo.warn(f"RECURRENCE-ID: another {name} of a completed occurrence was left out")
        return changed

    def _read_draft(
        self, todo: Component, steps: Sequence[dict[str, Any]], occurrences: Sequence[ChangedOccurrence]
    ) -> Draft | RejectedRecord:
        def build() -> Draft | RejectedRecord:
            self._relations.warn(todo)
            order = read_sort_order(todo) if self._index.is_sorted else None
            header = self._index.headers.find(todo)
            for warning in header.warnings:
                todo.warn(warning)
            return TodoBuilder(todo, self._times, self._source.budget).build(steps, occurrences, order, header.list)

        return read_record(todo.line, build)

    def _read_at(self, location: SourceLocation) -> Component:
        """Read a todo again."""
        return read_todo(self._source, *location)


def _join_values(todo: Component, name: str) -> str:
    return ",".join(line.text.strip() for line in todo.get_all(name))
