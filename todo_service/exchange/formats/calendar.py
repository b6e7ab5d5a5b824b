"""iCalendar (RFC 5545), with a VTODO for each todo, and one for each of its steps as its child (RELATED-TO).

Fields without a standard property (position, the exact list), and values that a property cannot represent exactly
(milliseconds, control characters, the order of the parts of a rule), are stored as JSON in a non-standard property, so
that an import of an export is lossless. If another program has changed a standard property, that property wins.

Recurring todos are written in the time zone in which their rules are evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from todo_service.exchange.formats.base import Draft, Format, RejectedRecord, Writer
from todo_service.exchange.formats.calendar_reader import CalendarReader
from todo_service.exchange.formats.calendar_writer import CalendarWriter
from todo_service.exchange.formats.source import Source
from todo_service.lists.dto import TodoList


class CalendarFormat(Format):
    """iCalendar. Events and other components are skipped."""

    media_type = "text/calendar"
    content_type = "text/calendar; component=VTODO"

    def create_writer(self, lists: Sequence[TodoList], zone: ZoneInfo) -> Writer:
        """See `Format.create_writer`."""
        return CalendarWriter(lists, zone)

    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | RejectedRecord]:
        """See `Format.read`."""
        reader = CalendarReader(source, zone)
        reader.read_header()
        reader.collect()
        return reader.read_records()
