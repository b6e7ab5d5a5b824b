"""When a VTODO starts, is due and recurs (RFC 5545, sections 3.8.2 and 3.8.5).

The current occurrence of a recurring todo is the first one that is neither excluded (EXDATE) nor completed. Programs
such as Thunderbird write a completed occurrence as a VTODO with its RECURRENCE-ID. EXDATE and RECURRENCE-ID refer to
DTSTART, or to DUE of a todo without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from todo_service.bounds.exchange import IMPORT_EXCEPTIONS
from todo_service.bounds.todos import RECURRENCE_EXCEPTIONS
from todo_service.errors import Invalid
from todo_service.exchange.formats.calendar_completion import CompletionState, read_completion
from todo_service.exchange.formats.calendar_components import CURRENT_OCCURRENCE, Component
from todo_service.exchange.formats.calendar_times import TimeReader, add_duration
from todo_service.exchange.formats.calendar_values import (
    EXTENSION_NAME,
    build_exceptions,
    choose_exact,
    get_implied_start,
    is_same_rule,
)
from todo_service.executors import Budget
from todo_service.timestamps import format_timestamp, list_time_zones
from todo_service.todos.recurrence import Occurrence, Recurrence, Schedule, get_time, resolve_local_time
from todo_service.todos.recurrence_rule import Rule

_NO_START: Final = "20040101T120000"


class ChangedOccurrence(NamedTuple):
    """A VTODO with a RECURRENCE-ID.

    Attributes:
        moment: The RECURRENCE-ID; None if it is invalid, or if the change applies to later occurrences too.
        state: Whether the occurrence is completed.
    """

    moment: date | datetime | None
    state: CompletionState


def read_occurrence(occurrence: Component, times: TimeReader) -> ChangedOccurrence:
    """Read a VTODO with a RECURRENCE-ID."""
    line, moment = occurrence.get("RECURRENCE-ID"), times.read(occurrence, "RECURRENCE-ID")
    state = read_completion(occurrence, times)
    return ChangedOccurrence(None if line is None or "RANGE" in line.parameters else moment, state)


class ScheduleReader:
    """Reads the schedule of a todo.

    Args:
        todo: The todo.
        exact: The exact values of fields. A property that has another value wins.
        times: Reads its times.
        budget: The budget of the task. It is polled.

    Attributes:
        due: When it is due, or None.
        start: When it starts, or None.
    """

    def __init__(self, todo: Component, exact: Mapping[str, Any], times: TimeReader, budget: Budget) -> None:
        self._todo = todo
        self._exact = exact
        self._times = times
        self._budget = budget
        self._dtstart = None if _has_no_start(todo) else times.read(todo, "DTSTART")
        self.due = self._read_due()
        self.start = self._read_start()

    def read(self, occurrences: Sequence[ChangedOccurrence]) -> dict[str, Any]:
        """Return the fields.

        Args:
            occurrences: The changed occurrences, if it is a series.

        Raises:
            BudgetExceededError: The budget is exceeded.
        """
        fields: dict[str, Any] = {}
        for name, value in (("due", self.due), ("start", self.start)):
            if isinstance(value, datetime):
                fields[f"{name}_at"] = choose_exact(value, self._exact.get(f"{name}_at"))
            elif value is not None:
                fields[f"{name}_on"] = value.isoformat()
        if EXTENSION_NAME in self._todo.properties:
            fields["time_zone"] = self._exact.get("time_zone")
        else:
            fields["time_zone"] = self._times.get_zone_name(self.due or self.start)
        if "RRULE" in self._todo.properties:
            return fields | self._read_series(fields["time_zone"], occurrences)
        if occurrences:
            self._warn_of_change()
        if "EXDATE" in self._todo.properties and EXTENSION_NAME not in self._todo.properties:
            self._todo.warn("EXDATE was left out, because the todo does not recur")
        return fields | {name: self._exact[name] for name in ("recurrence_except",) if name in self._exact}

    def _read_due(self) -> date | datetime | None:
        """Return DUE, or else DTSTART plus DURATION, or else DTSTART of a recurring todo."""
        due, start, duration = self._times.read(self._todo, "DUE"), self._dtstart, self._todo.get("DURATION")
        if due is not None or start is None:
            if duration is not None:
                self._todo.warn("DURATION was left out: expected it with DTSTART and without DUE")
            return due
        if duration is not None:
            try:
                end = add_duration(start, duration.value)
                if end >= start:
                    return end
            except (ValueError, OverflowError):
                pass
            self._todo.warn("DURATION was left out: expected one such as P1D or PT1H30M")
        return start if "RRULE" in self._todo.properties else None

    def _read_start(self) -> date | datetime | None:
        """Return DTSTART, or None if it stands for DUE, exists only because RRULE needs it, or is later than DUE."""
        due, start = self.due, self._dtstart
        if due is None or start is None:
            return start
        if isinstance(start, datetime) is not isinstance(due, datetime):
            start = self._convert_start(start, due)
        if start > due:
            self._todo.warn("DTSTART was left out: expected a start that is not after DUE")
            return None
        if "RRULE" not in self._todo.properties or self._exact.keys() & {"start_at", "start_on"}:
            return start
        if EXTENSION_NAME in self._todo.properties:
            return start if start != get_implied_start(due) else None
        return start if "DUE" in self._todo.properties or "DURATION" in self._todo.properties else None

    def _convert_start(self, start: date | datetime, due: date | datetime) -> date | datetime:
        """Return the day of a start, if the due date is a day, or else the time at which its day begins."""
        if isinstance(start, datetime):
            return start.date() if start.tzinfo is not UTC else start.astimezone(self._times.zone).date()
        zone = due.tzinfo if isinstance(due, datetime) else None
        return datetime.combine(start, time(), self._times.zone if zone in (None, UTC) else zone)

    def _read_series(self, zone_name: str | None, occurrences: Sequence[ChangedOccurrence]) -> dict[str, Any]:
        line = self._todo.get("RRULE")
        if line is None or self.due is None:
            self._todo.warn("RRULE was left out, because the todo has no due date")
            return {}
        zone = ZoneInfo(zone_name) if zone_name in list_time_zones() else self._times.zone
        self._warn_about_file_zone()
        written_zone = self.due.tzinfo if isinstance(self.due, datetime) else None
        exact_rule: Any = self._exact.get("recurrence")
        same = exact_rule is not None and is_same_rule(
            exact_rule, line.value, written_zone or zone, day=not isinstance(self.due, datetime)
        )
        text: str = exact_rule if same else line.value
        schedule = Schedule(_to_local(self.due, zone), None if self.start is None else _to_local(self.start, zone))
        try:
            times = [get_time(schedule.due)] + ([] if schedule.start is None else [get_time(schedule.start)])
            recurrence = Recurrence(Rule.parse(text).drop_time(*times), schedule, zone, self._budget)
            recurrence.require_occurrence()
            current = self._find_current(recurrence)
        except ValueError as error:
            self._todo.warn(f"RRULE was left out: {_continue_sentence(str(error))}")
            return {}
        except Invalid as error:
            self._todo.warn(f"RRULE was left out: {_continue_sentence(error.issues[0].detail)}")
            return {}
        fields: dict[str, Any] = {"recurrence": text}
        if current is not None:
            recurrence = Recurrence(current.rule, current.schedule, zone, self._budget)
            fields |= _build_schedule_fields(current, zone)
        return fields | self._read_exceptions(recurrence, zone, occurrences)

    def _find_current(self, recurrence: Recurrence) -> Occurrence | None:
        """Return the current occurrence, if the file states it and it is not the first one."""
        due = self._times.read(self._todo, CURRENT_OCCURRENCE)
        if due is None or self.due is None:
            return None
        first, current = (
            each if isinstance(each, datetime) else datetime.combine(each, time(), self._times.zone)
            for each in (self.due, due)
        )
        return recurrence.find_next(current) if current > first else None

    def _read_exceptions(
        self, recurrence: Recurrence, zone: ZoneInfo, occurrences: Sequence[ChangedOccurrence]
    ) -> dict[str, Any]:
        """Return the fields that EXDATE and the changed occurrences change."""
        written = self._times.read_all(self._todo, "EXDATE", IMPORT_EXCEPTIONS)
        exact = self._exact.get("recurrence_except", [])
        excluded: set[date | datetime] = set()
        kept: list[str] = []
        if self._dtstart is not None and set(written) == set(
            build_exceptions(exact, self._dtstart, zone, implied=self.start is None)
        ):
            kept = exact
        else:
            excluded = {self._to_exception(each, zone) for each in written}
        completed, last = self._read_occurrences(occurrences, zone)
        if not excluded and not completed:
            return {"recurrence_except": kept}
        first = recurrence.find_first(excluded | completed)
        if first is None and not completed:
            self._todo.warn("EXDATE was left out, because it excludes every occurrence")
            return {}
        fields = {} if first is None else _build_schedule_fields(first, zone)
        if last is not None and "last_completed_at" not in self._exact:
            fields["last_completed_at"] = format_timestamp(last)
        if first is None:
            fields["completed"] = True
            if last is not None:
                fields["completed_at"] = format_timestamp(last)
            return fields
        return fields | {"recurrence_except": kept + self._select(excluded | completed, first, zone)}

    def _read_occurrences(
        self, occurrences: Sequence[ChangedOccurrence], zone: ZoneInfo
    ) -> tuple[set[date | datetime], datetime | None]:
        """Return the completed occurrences, and when the last one was completed."""
        completed: set[date | datetime] = set()
        last: datetime | None = None
        for moment, state in occurrences:
            if moment is None or not state.completed:
                self._warn_of_change()
                continue
            completed.add(self._to_exception(moment, zone))
            if state.completed_at is not None and not state.cancelled:
                last = state.completed_at if last is None else max(last, state.completed_at)
        return completed, last

    def _select(self, exceptions: Iterable[date | datetime], first: Occurrence, zone: ZoneInfo) -> list[str]:
        """Return the exceptions from an occurrence on, in the format of the API, up to the limit of a todo."""
        anchor = first.schedule.anchor
        day = anchor.date() if isinstance(anchor, datetime) else anchor
        later = [(local, each) for each in exceptions if (local := _get_day(each, zone)) >= day]
        later.sort(key=lambda pair: (pair[0], str(pair[1])))
        if len(later) > RECURRENCE_EXCEPTIONS:
            self._todo.warn(f"EXDATE has more than {RECURRENCE_EXCEPTIONS} dates ahead, and the rest was left out")
        return [
            format_timestamp(each) if isinstance(each, datetime) else each.isoformat()
            for _, each in later[:RECURRENCE_EXCEPTIONS]
        ]

    def _to_exception(self, value: date | datetime, zone: ZoneInfo) -> date | datetime:
        """Return a day or time that refers to DTSTART as an exception, which refers to the start or the due date."""
        anchor = self.due if self.start is None else self.start
        if isinstance(value, datetime) and (self._dtstart is None or self._dtstart == anchor):
            return value.astimezone(UTC)
        return _get_day(value, zone)

    def _warn_about_file_zone(self) -> None:
        """Warn if the todo recurs in a time zone that only the file defines."""
        zone = self.due.tzinfo if isinstance(self.due, datetime) else None
        if zone is not None and zone is not UTC and not isinstance(zone, ZoneInfo):
            self._todo.warn("RRULE recurs in the account's time zone, because TZID is not an IANA time zone")

    def _warn_of_change(self) -> None:
        self._todo.warn("RECURRENCE-ID: the change of a single occurrence was left out")


def _continue_sentence(detail: str) -> str:
    """Return a message to follow a colon, in lower case unless it begins with the name of a part."""
    return detail[:1].lower() + detail[1:] if detail[1:2].islower() else detail


def _has_no_start(todo: Component) -> bool:
    """Return whether a todo has the DTSTART that iCal on Mac OS X wrote for a todo with a due date only."""
    start = todo.get("DTSTART")
    return start is not None and start.value.strip() == _NO_START and "DUE" in todo.properties


def _to_local(value: date | datetime, zone: ZoneInfo) -> date | datetime:
    return value.astimezone(zone).replace(tzinfo=None) if isinstance(value, datetime) else value


def _get_day(value: date | datetime, zone: ZoneInfo) -> date:
    return value.astimezone(zone).date() if isinstance(value, datetime) else value


def _build_schedule_fields(occurrence: Occurrence, zone: ZoneInfo) -> dict[str, Any]:
    """Return the fields of an occurrence."""
    fields: dict[str, Any] = {"recurrence": str(occurrence.rule)}
    for name, value in (("due", occurrence.schedule.due), ("start", occurrence.schedule.start)):
        if isinstance(value, datetime):
            fields[f"{name}_at"] = format_timestamp(resolve_local_time(value, zone).moment)
        elif value is not None:
            fields[f"{name}_on"] = value.isoformat()
    return fields
