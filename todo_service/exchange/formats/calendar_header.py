"""The properties of the calendars in a file, which may consist of several calendars that were joined."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final, NamedTuple

from todo_service.bounds.exchange import IMPORT_CALENDARS
from todo_service.exchange.formats.calendar_components import CALENDAR_COLOR, CALENDAR_NAMES, Component
from todo_service.exchange.formats.calendar_values import clean_line, is_visible
from todo_service.lists.dto import TodoListCreate

_TEXT_LENGTH: Final = 256
"""How much of a property is kept: more than the longest name of a list or of a time zone."""
_INBOX: Final = "inbox"
"""The name of a calendar for todos without a list."""
_COLOR: Final = re.compile(r"#[0-9A-Fa-f]{6}", re.ASCII)


class CalendarHeader(NamedTuple):
    """The properties of a calendar.

    Attributes:
        zone_name: The zone of times without one (`X-WR-TIMEZONE`); empty if it has none.
        list: The list that is named after it (`X-WR-CALNAME`, or NAME of RFC 7986), or None.
        warnings: Which properties could not be read.
    """

    zone_name: str = ""
    list: TodoListCreate | None = None
    warnings: tuple[str, ...] = ()


class CalendarHeaders:
    """The properties of all calendars in a file. Call `add` for each one, in order."""

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._headers = [CalendarHeader()]

    def add(self, calendar: Component) -> None:
        """Add a calendar. Calendars beyond the bound share the properties of the last one."""
        header = _read_header(calendar)
        if header != self._headers[-1] and len(self._offsets) < IMPORT_CALENDARS:
            self._offsets.append(calendar.offset)
            self._headers.append(header)

    def find(self, component: Component) -> CalendarHeader:
        """Return the properties of the calendar that contains a component."""
        return self._headers[bisect_right(self._offsets, component.offset)]


def _read_header(calendar: Component) -> CalendarHeader:
    texts = {
        name: clean_line(found.text[:_TEXT_LENGTH])
        for name in ("X-WR-TIMEZONE", CALENDAR_COLOR, *CALENDAR_NAMES)
        if (found := calendar.get(name)) is not None
    }
    name = next((text for name in CALENDAR_NAMES if is_visible(text := texts.get(name, ""))), None)
    named = None
    if name is not None and name.casefold() != _INBOX:
        color = _COLOR.match(texts.get(CALENDAR_COLOR, ""))
        named = TodoListCreate(name=name, color=color[0] if color is not None else None)
    return CalendarHeader(texts.get("X-WR-TIMEZONE", ""), named, calendar.warnings)
