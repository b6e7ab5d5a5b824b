"""iCalendar (RFC 5545): a VTODO for each todo, as calendar programs read and write them.

What a VTODO has no property for (steps, list, place in the manual order), and what its properties cannot hold exactly
(milliseconds, control characters, the parts of a rule in their order), stands in a property of our own as JSON, so that
what is written reads back equal. Where another program has changed a property, the property counts.

A todo that recurs is given in the account's time zone, so that its rule means the same there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from todo_service.exchange.formats.base import Draft, Format, Rejected, Writer
from todo_service.exchange.formats.calendar_reader import CalendarReader
from todo_service.exchange.formats.calendar_writer import CalendarWriter
from todo_service.exchange.formats.source import Source
from todo_service.lists.dto import List


class CalendarFormat(Format):
    """iCalendar; events and other components that are no todos are rejected."""

    media_type = "text/calendar"
    content_type = "text/calendar; charset=utf-8; component=VTODO"

    def writer(self, lists: Sequence[List], zone: ZoneInfo) -> Writer:
        """See `Format.writer`."""
        return CalendarWriter(lists, zone)

    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | Rejected]:
        """See `Format.read`."""
        source.check_encoding()
        reader = CalendarReader(source, zone)
        reader.read_beginning()
        return reader.records()
