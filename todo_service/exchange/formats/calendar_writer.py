"""Writes todos as iCalendar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import icalendar
import structlog
from icalendar.prop import vRecur, vText

from todo_service.exchange.formats.base import Writer
from todo_service.exchange.formats.calendar_alarms import build_alarm
from todo_service.exchange.formats.calendar_values import (
    EXTENSION_NAME,
    TEXT_PROPERTIES,
    build_exceptions,
    encode_exact_values,
    get_implied_start,
    normalize_until,
    parse_timestamp,
    round_trip_step_title,
    strip_control_characters,
)
from todo_service.exchange.formats.values import UNTITLED
from todo_service.exchange.formats.zone_writer import build_zone
from todo_service.lists.dto import TodoList
from todo_service.todos import dto

PRODUCT: Final = "-//todo_service//todo_service//EN"
_PRIORITIES: Final = {"urgent": 1, "high": 3, "medium": 5, "low": 9}
logger = structlog.get_logger(__name__)


class CalendarWriter(Writer):
    """Writes a VTODO for each todo.

    Args:
        lists: All lists of the account.
        zone: The account's time zone.
    """

    def __init__(self, lists: Sequence[TodoList], zone: ZoneInfo) -> None:
        self._names = {each.id: each.name for each in lists}
        self._zone = zone
        self._defined = {"UTC"}

    def write_opening(self) -> bytes:
        """See `Writer.write_opening`."""
        calendar = icalendar.Calendar()
        calendar.add("version", "2.0")
        calendar.add("prodid", PRODUCT)
        opening = bytes(calendar.to_ical(sorted=False)).removesuffix(self.write_closing())
        return opening + self._define(self._zone)

    def write_todos(self, todos: Iterable[dto.Todo]) -> bytes:
        """See `Writer.write_todos`."""
        return b"".join(map(self._encode_todo, todos))

    def write_closing(self) -> bytes:
        """See `Writer.write_closing`."""
        return b"END:VCALENDAR\r\n"

    def _encode_todo(self, todo: dto.Todo) -> bytes:
        """Encode a todo. If its time zone cannot represent its times, use UTC."""
        try:
            zone = ZoneInfo(todo.time_zone) if todo.time_zone is not None else self._zone
            encoded = bytes(self._build_component(todo, zone).to_ical(sorted=False))
            definition = self._define(zone) if todo.recurrence is not None else b""
            return definition + encoded + self._encode_steps(todo)
        except Exception as error:  # one todo must not break every export of the account
            logger.debug("a todo is exported in UTC", todo=todo.id, error=type(error).__name__)
            return bytes(self._build_component(todo, UTC).to_ical(sorted=False)) + self._encode_steps(todo)

    def _encode_steps(self, todo: dto.Todo) -> bytes:
        """Encode the steps of a todo as its children."""
        return b"".join(bytes(_build_child(todo, step).to_ical(sorted=False)) for step in todo.steps)

    def _define(self, zone: ZoneInfo) -> bytes:
        """Return the definition of a time zone, unless the file has it already. UTC needs none."""
        if zone.key in self._defined:
            return b""
        self._defined.add(zone.key)
        return bytes(build_zone(zone).to_ical(sorted=False))

    def _build_component(self, todo: dto.Todo, zone: tzinfo) -> icalendar.Todo:
        component = icalendar.Todo()
        component.add("dtstamp", parse_timestamp(todo.updated_at))
        component.add("created", parse_timestamp(todo.created_at))
        component.add("last-modified", parse_timestamp(todo.updated_at))
        for name, property_name in TEXT_PROPERTIES.items():
            if text := getattr(todo, name):
                component.add(property_name, strip_control_characters(text))
        if todo.priority != "none":
            component.add("priority", _PRIORITIES[todo.priority])
        list_name = self._names.get(todo.list_id or "")
        if categories := [*todo.tags, *([] if list_name is None else [list_name])]:
            component.add("categories", [strip_control_characters(category) for category in categories])
        _add_status(component, completed=todo.completed)
        if todo.completed_at is not None:
            component.add("completed", parse_timestamp(todo.completed_at))
        _add_schedule(component, todo, zone)
        for reminder in todo.reminders:
            component.add_component(
                build_alarm(reminder, strip_control_characters(todo.title), day=todo.due_on is not None)
            )
        component.add(EXTENSION_NAME, vText(encode_exact_values(todo, list_name)))
        return component


def _get_uid(todo: dto.Todo) -> str:
    return strip_control_characters(todo.uid)


def _build_child(todo: dto.Todo, step: dto.Step) -> icalendar.Todo:
    """Return the component of a step. Its UID contains its id and the UID of the todo."""
    child = icalendar.Todo()
    child.add("uid", f"{step.id}.{_get_uid(todo)}")
    child.add("dtstamp", parse_timestamp(todo.updated_at))
    child.add("created", parse_timestamp(todo.created_at))
    child.add("last-modified", parse_timestamp(todo.updated_at))
    has_title = round_trip_step_title(step.title) != UNTITLED
    child.add("summary", strip_control_characters(step.title) if has_title else UNTITLED)
    child.add("related-to", _get_uid(todo))
    _add_status(child, completed=step.completed)
    return child


def _add_status(component: icalendar.Todo, *, completed: bool) -> None:
    component.add("status", "COMPLETED" if completed else "NEEDS-ACTION")
    if completed:
        component.add("percent-complete", 100)


def _add_schedule(component: icalendar.Todo, todo: dto.Todo, zone: tzinfo) -> None:
    due, start = _parse_time(todo.due_at, todo.due_on), _parse_time(todo.start_at, todo.start_on)
    if todo.recurrence is not None and due is not None:
        if isinstance(due, datetime):
            due = due.astimezone(zone)
            start = start.astimezone(zone) if isinstance(start, datetime) else None
        rule = normalize_until(todo.recurrence, zone, day=not isinstance(due, datetime))
        component.add("rrule", vRecur.from_ical(rule))
        implied = start is None
        start = start or get_implied_start(due)
        for excluded in build_exceptions(todo.recurrence_except, start, zone, implied=implied):
            component.add("exdate", excluded)
    if start is not None:
        component.add("dtstart", start)
    if due is not None:
        component.add("due", due)


def _parse_time(moment: str | None, day: str | None) -> datetime | date | None:
    if day is not None:
        return date.fromisoformat(day)
    return parse_timestamp(moment) if moment is not None else None
