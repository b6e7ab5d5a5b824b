"""When the due date and the reminders of a todo fire.

A due date fires when it passes, and a reminder at its moment, once for each occurrence of the todo. The field
`next_fire` of a todo is the earliest moment that has not fired yet. `TodoWriter` recomputes it with every write that
affects it, and `reminders.service` advances it after firing. A moment that is in the past when it is set does not fire.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Final, NamedTuple, Protocol

from todo_service.todos.reminder_types import MORNING

SOURCES: Final = frozenset({"completed", "due_at", "due_on", "due_end", "time_zone", "reminders"})
"""The fields that determine when a todo fires."""
_MORNING: Final = (datetime.combine(date.min, time()) + MORNING).time()


class FiringFields(Protocol):
    """The fields of a todo from which its firing times are computed. A Struct with these fields suffices."""

    @property
    def completed(self) -> bool: ...
    @property
    def due_at(self) -> datetime | None: ...
    @property
    def due_on(self) -> str | None: ...
    @property
    def due_end(self) -> datetime | None: ...
    @property
    def time_zone(self) -> str | None: ...
    @property
    def reminders(self) -> Sequence[Any]: ...
    @property
    def next_fire(self) -> datetime | None: ...


class FiringTime(NamedTuple):
    """When a due date or a reminder fires.

    Attributes:
        moment: When it fires.
        at: `at` of the reminder; None for other reminders and for the due date.
        minutes_before: `minutes_before` of the reminder; None for other reminders and for the due date.
    """

    moment: datetime
    at: datetime | None = None
    minutes_before: int | None = None

    @property
    def is_due_date(self) -> bool:
        """Whether this is the due date rather than a reminder."""
        return self.at is None and self.minutes_before is None


def depends_on_zone(todo: FiringFields) -> bool:
    """Return whether `list_firing_times` needs the time zone of a todo. Its `due_end` already takes it into account."""
    return not todo.completed and todo.due_on is not None and any(each.at is None for each in todo.reminders)


def list_firing_times(todo: FiringFields, zone: tzinfo) -> list[FiringTime]:
    """Return when the due date and the reminders of a todo fire, including past times. A completed todo has none.

    Args:
        todo: The todo.
        zone: Its time zone. Ignored unless `depends_on_zone`.
    """
    if todo.completed:
        return []
    times = [] if todo.due_end is None else [FiringTime(todo.due_end)]
    base = todo.due_at
    if todo.due_on is not None:
        base = datetime.combine(date.fromisoformat(todo.due_on), _MORNING, zone).astimezone(UTC)
    for each in todo.reminders:
        if each.at is not None:
            times.append(FiringTime(each.at, at=each.at))
        elif base is not None:
            moment = base - timedelta(minutes=each.minutes_before)
            times.append(FiringTime(moment, minutes_before=each.minutes_before))
    return times


def find_first_after(times: Iterable[FiringTime], moment: datetime) -> datetime | None:
    """Return the first time after a moment, or None."""
    return min((each.moment for each in times if each.moment > moment), default=None)


def derive_next_fire(
    before: FiringFields, after: FiringFields, zones: tuple[tzinfo, tzinfo], moment: datetime
) -> datetime | None:
    """Return `next_fire` of a todo after a change.

    A due date or reminder that has passed but not fired yet still fires, unless the change removes or moves it.

    Args:
        before: The todo before the change.
        after: The todo after the change. Its `next_fire` is ignored.
        zones: Its time zones before and after the change. Each is ignored unless `depends_on_zone`.
        moment: The current time.
    """
    times = list_firing_times(after, zones[1])
    first = find_first_after(times, moment)
    if before.next_fire is None or before.next_fire > moment:
        return first
    unfired = [each for each in list_firing_times(before, zones[0]) if before.next_fire <= each.moment <= moment]
    return min((each.moment for each in times if each in unfired), default=first)
