"""Alarms of a VTODO (VALARM, RFC 5545, section 3.6.6) as reminders, and reminders as alarms.

If a todo is due on a day, the trigger of an alarm counts from midnight, but a reminder counts from 09:00.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import icalendar
from icalendar.prop import vDDDTypes

from todo_service.bounds.todos import REMINDER_MINUTES, REMINDERS
from todo_service.exchange.formats.calendar_components import ALARM_ENABLED, PROXIMITY, Component
from todo_service.exchange.formats.calendar_times import TimeReader
from todo_service.exchange.formats.calendar_values import EXTENSION_NAME
from todo_service.exchange.formats.lines import ContentLine
from todo_service.timestamps import format_timestamp, is_storable
from todo_service.todos.reminder_types import MORNING, Reminder

_MINUTE: Final = timedelta(minutes=1)
_NO_TRIGGER: Final = "19760401T005545Z"
"""The trigger that Apple's programs write for an alarm without a time."""


class AlarmReader:
    """Reads the alarms of a todo.

    Args:
        todo: The todo.
        due: When it is due, or None.
        start: When it starts, or None.
        times: Reads its times.
    """

    def __init__(
        self, todo: Component, due: date | datetime | None, start: date | datetime | None, times: TimeReader
    ) -> None:
        self._todo = todo
        self._due = due
        self._start = start
        self._times = times

    def read(self) -> list[dict[str, Any]]:
        """Return the reminders, in the format of the API."""
        reminders: list[dict[str, Any]] = []
        for alarm in self._todo.alarms:
            trigger = alarm.get("TRIGGER")
            if any(name in alarm.properties for name in PROXIMITY):
                self._todo.warn("VALARM was left out: expected a reminder at a time, not at a place")
                continue
            if _is_off(alarm):
                continue
            if "REPEAT" in alarm.properties:
                self._todo.warn("VALARM: REPEAT has no equivalent in a reminder and was left out")
            reminder = self._read_trigger(trigger) if trigger is not None else None
            if reminder is None:
                self._todo.warn("VALARM was left out: expected a TRIGGER that the todo can have")
            elif reminder not in reminders:
                reminders.append(reminder)
        if len(reminders) > REMINDERS:
            self._todo.warn(f"VALARM occurs more than {REMINDERS} times, and the rest was left out")
        return reminders[:REMINDERS]

    def _read_trigger(self, trigger: ContentLine) -> dict[str, Any] | None:
        try:
            value = vDDDTypes.from_ical(trigger.value.strip())  # type: ignore[no-untyped-call]  # icalendar is untyped
            if isinstance(value, datetime):
                moment = self._times.parse(self._todo, trigger, trigger.value)
                return self._convert_moment(moment) if isinstance(moment, datetime) else None
            if not isinstance(value, timedelta):
                return None
            is_end = str(trigger.parameters.get("RELATED", "START")).upper() == "END"
            return self._convert(self._due if is_end or self._start is None else self._start, value)
        except (ValueError, OverflowError):
            return None

    def _convert_moment(self, moment: datetime) -> dict[str, Any] | None:
        """Return a reminder at a moment.

        In a recurring todo of another program, it is relative to the due date: such programs, for example Apple
        Reminders, move it together with the due date.
        """
        if self._due is not None and "RRULE" in self._todo.properties and EXTENSION_NAME not in self._todo.properties:
            minutes = self._count_minutes(moment)
            if 0 <= minutes <= REMINDER_MINUTES:
                return {"minutes_before": minutes}
        return _remind_at(moment)

    def _convert(self, base: date | datetime | None, offset: timedelta) -> dict[str, Any] | None:
        """Return a reminder relative to the due date, or else at a moment.

        Args:
            base: The time that the trigger counts from.
            offset: How long after it, negative for before.
        """
        if base is None:
            return None
        if self._due is not None:
            minutes = self._count_minutes(self._to_moment(base) + offset)
            if 0 <= minutes <= REMINDER_MINUTES:
                return {"minutes_before": minutes}
            if "RRULE" in self._todo.properties:
                return None
        return _remind_at(self._to_moment(base) + offset)

    def _count_minutes(self, moment: datetime) -> int:
        """Return how many minutes a moment precedes the due date. A day is due at 09:00."""
        assert self._due is not None
        before = self._to_moment(self._due) - moment
        return (before if isinstance(self._due, datetime) else before + MORNING) // _MINUTE

    def _to_moment(self, value: date | datetime) -> datetime:
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return datetime.combine(value, time(), self._times.zone).astimezone(UTC)


def _is_off(alarm: Component) -> bool:
    """Return whether an alarm is switched off, or is a placeholder for no alarm."""
    values = {name: found.value.strip().upper() for name in alarm.properties if (found := alarm.get(name)) is not None}
    return (
        values.get("ACTION") == "NONE" or values.get(ALARM_ENABLED) == "FALSE" or values.get("TRIGGER") == _NO_TRIGGER
    )


def _remind_at(moment: datetime) -> dict[str, Any] | None:
    return {"at": format_timestamp(moment)} if is_storable(moment) else None


def reminders_match(exact: Sequence[dict[str, Any]], reminders: Sequence[dict[str, Any]]) -> bool:
    """Return whether `exact`, exported as alarms, reads back as `reminders`."""
    return [_drop_milliseconds(each) for each in exact] == [_drop_milliseconds(each) for each in reminders]


def _drop_milliseconds(reminder: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in reminder.items() if value is not None}
    return shown | ({"at": shown["at"][:19]} if "at" in shown else {})


def build_alarm(reminder: Reminder, title: str, *, day: bool) -> icalendar.Alarm:
    """Return the alarm of a reminder.

    Args:
        reminder: The reminder.
        title: The text to show.
        day: Whether the todo is due on a day.
    """
    alarm = icalendar.Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("description", title)
    if reminder.at is not None:
        alarm.add("trigger", datetime.fromisoformat(reminder.at).replace(microsecond=0))
    else:
        offset = (MORNING if day else timedelta()) - (reminder.minutes_before or 0) * _MINUTE
        alarm.add("trigger", offset, parameters={"RELATED": "END"})
    return alarm
