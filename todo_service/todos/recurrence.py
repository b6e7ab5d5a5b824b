"""Occurrences of recurring todos.

Rules are evaluated in local time, in the time zone of the todo: a todo due at 09:00 is still due at 09:00 after
daylight saving time starts or ends. A rule counts from the start of the todo, or from its due date if it has no start.
The due date keeps its distance from the start, in local days and in local time. `todos.recurrence_rule` parses rules,
and `todos.recurrence_days` computes their days.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from todo_service.errors import Invalid, ValidationIssue
from todo_service.executors import UNLIMITED, Budget
from todo_service.timestamps import LATEST
from todo_service.todos.recurrence_days import iterate_days
from todo_service.todos.recurrence_rule import Rule

LocalT = TypeVar("LocalT", date, datetime)
_DAY: Final = timedelta(days=1)
LATEST_DAY: Final = LATEST.date()
"""The last day on which a todo may be due."""


class Schedule(NamedTuple):
    """When a todo is due, and starts.

    Attributes:
        due: A day, or a local time without an offset.
        start: Likewise, of the same kind; None if the todo has no start.
    """

    due: date | datetime
    start: date | datetime | None = None

    @property
    def anchor(self) -> date | datetime:
        """The day or time that the rule counts from."""
        return self.due if self.start is None else self.start

    def move_to(self, day: date) -> Schedule:
        """Return the schedule with the anchor on another day, at the same local times and the same distance.

        Raises:
            OverflowError: The due date is beyond the year 9999.
        """
        if self.start is None:
            return Schedule(_set_day(self.due, day))
        distance = _get_day(self.due) - _get_day(self.start)
        return Schedule(_set_day(self.due, day + distance), _set_day(self.start, day))


class Occurrence(NamedTuple):
    """An occurrence of a recurring todo.

    Attributes:
        schedule: When the todo is due and starts.
        rule: The rule for this occurrence and those after it.
    """

    schedule: Schedule
    rule: Rule


class LocalTime(NamedTuple):
    """A local time as a document stores it.

    Attributes:
        moment: The time in UTC.
        intended: The local time in ISO 8601, if the start of daylight saving time skips it; else None.
    """

    moment: datetime
    intended: str | None


def resolve_local_time(local: datetime, zone: ZoneInfo) -> LocalTime:
    """Convert a local time to UTC.

    Args:
        local: The local time, without an offset. A time that is ambiguous at the end of daylight saving time is the
            earlier one. A time that the start of daylight saving time skips is moved forward by the length of the gap.
        zone: The time zone.

    Raises:
        OverflowError: The time is beyond the year 9999 in UTC.
    """
    moment = local.replace(tzinfo=zone).astimezone(UTC)
    skipped = moment.astimezone(zone).replace(tzinfo=None) != local
    return LocalTime(moment, local.isoformat() if skipped else None)


def read_local_time(moment: datetime, intended: str | None, zone: ZoneInfo) -> datetime:
    """Return the local time, without an offset, that a document stores. See `LocalTime`.

    Raises:
        OverflowError: The time is beyond the year 9999 in that zone.
    """
    if intended is not None:
        local = datetime.fromisoformat(intended)
        # after a change of the time zone the intended time is no longer that of the moment
        if resolve_local_time(local, zone).moment == moment:
            return local
    return moment.astimezone(zone).replace(tzinfo=None)


class _Exclusions:
    """The days and times at which a todo does not occur.

    Args:
        exceptions: The days, and times with an offset.
        zone: The time zone of the todo.
    """

    def __init__(self, exceptions: Collection[date | datetime], zone: ZoneInfo) -> None:
        moments = [each for each in exceptions if isinstance(each, datetime)]
        self.days = {each for each in exceptions if not isinstance(each, datetime)}
        self.moments = {each.replace(microsecond=0) for each in moments}
        self.days_of_moments = {each.astimezone(zone).date() for each in moments}


class Recurrence:
    """The occurrences of a todo.

    Args:
        rule: The rule, without BYHOUR, BYMINUTE and BYSECOND (`Rule.drop_time`).
        current: The current occurrence. It need not match the rule. COUNT includes it only if it does.
        zone: The time zone of the todo.
        budget: The budget of the task. It is polled.
    """

    def __init__(self, rule: Rule, current: Schedule, zone: ZoneInfo, budget: Budget = UNLIMITED) -> None:
        self._rule = rule
        self._current = current
        self._zone = zone
        self._budget = budget

    def require_occurrence(self) -> None:
        """Check that the rule occurs at least once, on or after the start or the due date.

        Raises:
            Invalid: It does not.
            BudgetExceededError: The budget is exceeded.
        """
        anchor_day = _get_day(self._current.anchor)
        for _ in self._iterate(self._rule, anchor_day, anchor_day):
            return
        raise Invalid([ValidationIssue("/recurrence", "Expected a rule that occurs on or after the due date")])

    def find_first(self, exceptions: Collection[date | datetime]) -> Occurrence | None:
        """Return the current occurrence unless it is excluded, or else the first later one, in the past or not.

        Args:
            exceptions: The days and times at which the todo does not occur (see `find_next`).

        Returns:
            The occurrence, or None if none is left.

        Raises:
            BudgetExceededError: The budget is exceeded.
        """
        excluded = _Exclusions(exceptions, self._zone)
        if not self._is_excluded(self._current, excluded):
            return Occurrence(self._current, self._rule)
        anchor_day = _get_day(self._current.anchor)
        for rest, schedule in self._iterate(self._rule, anchor_day, anchor_day):
            if schedule.due > self._current.due and not self._is_excluded(schedule, excluded):
                return Occurrence(schedule, rest)
        return None

    def find_next(self, now: datetime, exceptions: Collection[date | datetime] = ()) -> Occurrence | None:
        """Return the first occurrence that is due later than the current one and not in the past.

        The occurrences that it passes over, and those that are excluded, use up COUNT.

        Args:
            now: The current time, with an offset. A day is not in the past until it ends.
            exceptions: The days and times (with an offset) at which the todo does not occur. A time excludes the
                occurrence that starts, or without a start is due, at that time.

        Returns:
            The occurrence, or None if none is left.

        Raises:
            BudgetExceededError: The budget is exceeded.
        """
        anchor_day = _get_day(self._current.anchor)
        distance = _get_day(self._current.due) - anchor_day
        # on earlier days an occurrence is in the past; as numbers, because there may be no such day
        earliest = now.astimezone(self._zone).toordinal() - distance.days - 1
        first = date.fromordinal(max(anchor_day.toordinal(), earliest))
        excluded = _Exclusions(exceptions, self._zone)
        for rest, schedule in self._iterate(self._rule, anchor_day, first):
            if self._is_after(schedule, now) and not self._is_excluded(schedule, excluded):
                return Occurrence(schedule, rest)
        return None

    def find_next_from(self, completed_on: date, exceptions: Collection[date | datetime] = ()) -> Occurrence | None:
        """Return the first occurrence, other than the current one, of the rule counted from a day.

        The completed occurrence uses up COUNT, and so do those that are excluded.

        Args:
            completed_on: The local day on which the todo is completed. The occurrence is on a later day.
            exceptions: The days and times at which the todo does not occur (see `find_next`).

        Returns:
            The occurrence, or None if none is left.

        Raises:
            BudgetExceededError: The budget is exceeded.
        """
        count = self._rule.count
        if count == 1 or completed_on >= LATEST_DAY:
            return None
        rule = self._rule if count is None else replace(self._rule, count=count - 1)
        following = completed_on + _DAY
        excluded = _Exclusions(exceptions, self._zone)
        for rest, schedule in self._iterate(rule, completed_on, following, count_from=following):
            if schedule != self._current and not self._is_excluded(schedule, excluded):
                return Occurrence(schedule, rest)
        return None

    def _iterate(
        self, rule: Rule, anchor_day: date, first: date, count_from: date | None = None
    ) -> Iterator[tuple[Rule, Schedule]]:
        """Yield the occurrences of a rule on or after a day, up to its end and to the year 9999.

        Args:
            rule: The rule.
            anchor_day: The day that INTERVAL counts from.
            first: The first day.
            count_from: The day that COUNT counts from, by default `anchor_day`.

        Yields:
            The rule for the occurrence and those after it, and the schedule of the occurrence.
        """
        start = first if rule.count is None else count_from or anchor_day
        for index, day in enumerate(iterate_days(rule, anchor_day, start, self._budget)):
            if rule.count is not None and index >= rule.count:
                return
            if day < first:
                continue
            try:
                schedule = self._current.move_to(day)
                if self._is_too_late(schedule):
                    return
            except OverflowError:
                return
            yield rule if rule.count is None else replace(rule, count=rule.count - index), schedule

    def _is_too_late(self, schedule: Schedule) -> bool:
        """Return whether an occurrence is after UNTIL, or cannot be stored."""
        if isinstance(schedule.due, datetime):
            if self._resolve(schedule.due) > LATEST:
                return True
        elif schedule.due > LATEST_DAY:
            return True
        anchor, until = schedule.anchor, self._rule.until
        if until is None:
            return False
        if not isinstance(until, datetime):
            return _get_day(anchor) > until
        if not isinstance(anchor, datetime):
            return anchor > (min(until, LATEST).astimezone(self._zone) if until.tzinfo else until).date()
        anchor = anchor.replace(microsecond=0)  # UNTIL has no fractions of a second
        return (self._resolve(anchor) if until.tzinfo else anchor) > until

    def _is_after(self, schedule: Schedule, now: datetime) -> bool:
        """Return whether an occurrence is due later than the current one and not in the past."""
        due, current = schedule.due, self._current.due
        if isinstance(due, datetime) and isinstance(current, datetime):
            moment = self._resolve(due)
            return moment > self._resolve(current) and moment >= now
        return due > current and due >= now.astimezone(self._zone).date()

    def _is_excluded(self, schedule: Schedule, excluded: _Exclusions) -> bool:
        anchor = schedule.anchor
        if isinstance(anchor, datetime):
            if anchor.date() in excluded.days:
                return True
            return bool(excluded.moments) and self._resolve(anchor).replace(microsecond=0) in excluded.moments
        return anchor in excluded.days or anchor in excluded.days_of_moments

    def _resolve(self, local: datetime) -> datetime:
        return resolve_local_time(local, self._zone).moment


def _get_day(local: date | datetime) -> date:
    return local.date() if isinstance(local, datetime) else local


def _set_day(local: date | datetime, day: date) -> date | datetime:
    return datetime.combine(day, local.time()) if isinstance(local, datetime) else day


def get_time(local: date | datetime) -> time | None:
    """Return the time of a local time; None for a day."""
    return local.time() if isinstance(local, datetime) else None
