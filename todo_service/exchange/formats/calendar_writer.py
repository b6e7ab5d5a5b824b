"""Writes todos as a calendar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import icalendar
import msgspec
import structlog
from icalendar.prop import vRecur, vText

from todo_service.exchange.formats.base import Writer
from todo_service.exchange.formats.calendar_values import (
    OWN,
    OwnProperty,
    parse_moment,
    printable,
    read_back,
    read_back_tags,
    shown_rule,
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
        zone: The time zone in which todos that recur are given.
    """

    def __init__(self, lists: Sequence[List], zone: ZoneInfo) -> None:
        self._names = {each.id: each.name for each in lists}
        self._zone = zone

    def opening(self) -> bytes:
        """See `Writer.opening`."""
        calendar = icalendar.Calendar()
        calendar.add("version", "2.0")
        calendar.add("prodid", PRODUCT)
        if self._zone.key != "UTC":
            calendar.add_component(icalendar.Timezone.from_tzinfo(self._zone, self._zone.key))
        return bytes(calendar.to_ical(sorted=False)).removesuffix(self.closing())

    def todos(self, todos: Iterable[dto.Todo]) -> bytes:
        """See `Writer.todos`."""
        return b"".join(map(self._text, todos))

    def closing(self) -> bytes:
        """See `Writer.closing`."""
        return b"END:VCALENDAR\r\n"

    def _text(self, todo: dto.Todo) -> bytes:
        """Return a todo as bytes. A todo that cannot be shown in the account's time zone is given in UTC."""
        try:
            return bytes(self._component(todo, self._zone).to_ical(sorted=False))
        except Exception as error:  # one todo must not end every export of the account
            logger.debug("a todo is exported in UTC", todo=todo.id, error=type(error).__name__)
            return bytes(self._component(todo, UTC).to_ical(sorted=False))

    def _component(self, todo: dto.Todo, zone: tzinfo) -> icalendar.Todo:
        component = icalendar.Todo()
        component.add("uid", f"{todo.id}@todo_service")
        component.add("dtstamp", parse_moment(todo.updated_at))
        component.add("created", parse_moment(todo.created_at))
        component.add("last-modified", parse_moment(todo.updated_at))
        component.add("summary", printable(todo.title))
        if todo.description:
            component.add("description", printable(todo.description))
        if todo.priority != "none":
            component.add("priority", _PRIORITIES[todo.priority])
        if todo.tags:
            component.add("categories", [printable(tag) for tag in todo.tags])
        component.add("status", "COMPLETED" if todo.completed else "NEEDS-ACTION")
        if todo.completed_at is not None:
            component.add("completed", parse_moment(todo.completed_at))
            component.add("percent-complete", 100)
        if todo.due_at is not None:
            _add_due(component, parse_moment(todo.due_at), todo.recurrence, zone)
        component.add(OWN, vText(self._own(todo)))
        return component

    def _own(self, todo: dto.Todo) -> str:
        own = OwnProperty(
            position=todo.position,
            list_id=todo.list_id,
            list_name=self._names.get(todo.list_id or ""),
            steps=todo.steps,
            title=todo.title if read_back(todo.title) != todo.title else None,
            description=todo.description if read_back(todo.description) != todo.description else None,
            tags=todo.tags if read_back_tags(todo.tags) != todo.tags else None,
            due_at=todo.due_at,
            completed_at=todo.completed_at,
            created_at=todo.created_at,
            recurrence=todo.recurrence,
        )
        # the library takes a backslash before an N for the end of a line
        return msgspec.json.encode(own).decode().replace("\\N", "\\\\u004e").replace("\x7f", "\\u007f")


def _add_due(component: icalendar.Todo, due_at: datetime, recurrence: str | None, zone: tzinfo) -> None:
    if recurrence is None:
        component.add("due", due_at)
        return
    local = due_at.astimezone(zone)
    # a start is needed, before the due date and on its day, which the rule is applied to; midnight has none before
    component.add("dtstart", local.replace(hour=0, minute=0, second=0))
    component.add("due", local)
    component.add("rrule", vRecur.from_ical(shown_rule(recurrence, zone)))
