"""Writes todos as iCalendar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import icalendar
import structlog
from icalendar.prop import vRecur, vText

from todo_service.exchange.formats.base import Writer
from todo_service.exchange.formats.calendar_values import (
    EXTENSION_NAME,
    TEXT_PROPERTIES,
    encode_exact_values,
    normalize_until,
    parse_timestamp,
    strip_control_characters,
)
from todo_service.lists.dto import List
from todo_service.todos import dto

PRODUCT: Final = "-//todo_service//todo_service//EN"
_PRIORITIES: Final = {"urgent": 1, "high": 3, "medium": 5, "low": 9}
logger = structlog.get_logger(__name__)


class CalendarWriter(Writer):
    """Writes a VTODO for each todo.

    Args:
        lists: All lists of the account.
        zone: The time zone of recurring todos.
    """

    def __init__(self, lists: Sequence[List], zone: ZoneInfo) -> None:
        self._names = {each.id: each.name for each in lists}
        self._zone = zone

    def write_opening(self) -> bytes:
        """See `Writer.write_opening`."""
        calendar = icalendar.Calendar()
        calendar.add("version", "2.0")
        calendar.add("prodid", PRODUCT)
        if self._zone.key != "UTC":
            calendar.add_component(icalendar.Timezone.from_tzinfo(self._zone, self._zone.key))
        return bytes(calendar.to_ical(sorted=False)).removesuffix(self.write_closing())

    def write_todos(self, todos: Iterable[dto.Todo]) -> bytes:
        """See `Writer.write_todos`."""
        return b"".join(map(self._encode_todo, todos))

    def write_closing(self) -> bytes:
        """See `Writer.write_closing`."""
        return b"END:VCALENDAR\r\n"

    def _encode_todo(self, todo: dto.Todo) -> bytes:
        """Encode a todo. If the account's time zone cannot represent its times, use UTC."""
        try:
            return bytes(self._build_component(todo, self._zone).to_ical(sorted=False))
        except Exception as error:  # one todo must not break every export of the account
            logger.debug("a todo is exported in UTC", todo=todo.id, error=type(error).__name__)
            return bytes(self._build_component(todo, UTC).to_ical(sorted=False))

    def _build_component(self, todo: dto.Todo, zone: tzinfo) -> icalendar.Todo:
        component = icalendar.Todo()
        component.add("uid", f"{todo.id}@todo_service")
        component.add("dtstamp", parse_timestamp(todo.updated_at))
        component.add("created", parse_timestamp(todo.created_at))
        component.add("last-modified", parse_timestamp(todo.updated_at))
        for name, property_name in TEXT_PROPERTIES.items():
            if text := getattr(todo, name):
                component.add(property_name, strip_control_characters(text))
        if todo.priority != "none":
            component.add("priority", _PRIORITIES[todo.priority])
        if todo.tags:
            component.add("categories", [strip_control_characters(tag) for tag in todo.tags])
        component.add("status", "COMPLETED" if todo.completed else "NEEDS-ACTION")
        if todo.completed_at is not None:
            component.add("completed", parse_timestamp(todo.completed_at))
            component.add("percent-complete", 100)
        if todo.due_at is not None:
            _add_due(component, parse_timestamp(todo.due_at), todo.recurrence, zone)
        list_name = self._names.get(todo.list_id or "")
        component.add(EXTENSION_NAME, vText(encode_exact_values(todo, list_name)))
        return component


def _add_due(component: icalendar.Todo, due_at: datetime, recurrence: str | None, zone: tzinfo) -> None:
    if recurrence is None:
        component.add("due", due_at)
        return
    local = due_at.astimezone(zone)
    # RRULE needs a DTSTART, on the day of DUE and before it; if DUE is midnight, both are equal
    component.add("dtstart", local.replace(hour=0, minute=0, second=0))
    component.add("due", local)
    component.add("rrule", vRecur.from_ical(normalize_until(recurrence, zone)))
