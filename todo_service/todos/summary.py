"""The summary and the tags of an account, from its counts (see `sync.counts`)."""

from __future__ import annotations

import asyncio
import zoneinfo
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta

from odmantic import ObjectId

from todo_service.errors import InvalidParameter
from todo_service.store.base import DocumentStore
from todo_service.sync import counts
from todo_service.sync.counting import TodoCounter
from todo_service.timestamps import check_time_zone, now
from todo_service.todos import dto
from todo_service.todos.documents import Todo
from todo_service.todos.fields import PRIORITIES


class Summaries:
    """Counts the todos of one account.

    Args:
        store: The store.
        owner: The account.
        time_zone: Returns the account's time zone, an IANA name.
        counter: Counts the todos of an account.
    """

    def __init__(
        self, store: DocumentStore, owner: ObjectId, time_zone: Callable[[], Awaitable[str]], counter: TodoCounter
    ) -> None:
        self._store = store
        self._owner = owner
        self._time_zone = time_zone
        self._counter = counter

    async def summarize(self, tz: str | None) -> dto.Summary:
        """Count the todos.

        Args:
            tz: The IANA time zone that defines today; None for the account's.

        Raises:
            InvalidParameter: The time zone does not exist.
            Busy: The account is still being counted in the background.
        """
        if tz is not None:
            try:
                check_time_zone(tz)
            except ValueError as error:
                raise InvalidParameter("tz", str(error)) from None
        zone = zoneinfo.ZoneInfo(tz if tz is not None else await self._time_zone())
        moment = now()
        today = moment.astimezone(zone).date()
        day_start, day_end = (_midnight(today + timedelta(days=days), zone) for days in (0, 1))
        found = await self._counter.count(self._owner, moment)
        overdue, before_today, until_tomorrow = await asyncio.gather(
            *(self._due_before(found, at) for at in (moment, day_start, day_end))
        )
        return dto.Summary(
            open=found.open,
            completed=found.completed,
            overdue=overdue,
            due_today=until_tomorrow - before_today,
            by_priority=dto.PriorityCounts(**{name: found.priorities.get(name, 0) for name in PRIORITIES}),
            by_list=[dto.TodoListCount(name or None, number) for name, number in sorted(found.lists.items())],
            by_tag=_tag_counts(found),
        )

    async def count_tags(self) -> list[dto.TagCount]:
        """Return each tag in use with the number of its todos, sorted by name.

        Raises:
            Busy: The account is still being counted in the background.
        """
        return _tag_counts(await self._counter.count(self._owner, now()))

    async def _due_before(self, found: counts.Counts, moment: datetime) -> int:
        """Count the open todos due before a moment near now: full hours from the counts, the rest from an index."""
        hour = counts.to_hour(moment)
        hour_start = counts.from_hour(hour)
        whole = found.due.count_before(hour)
        if hour_start == moment:
            return whole
        part = [Todo.due_end >= hour_start, Todo.due_end < moment]  # type: ignore[operator]  # expressions, which never match null
        return whole + await self._store.count(Todo, Todo.owner == self._owner, Todo.completed == False, *part)  # noqa: E712  # as above


def _midnight(day: date, zone: zoneinfo.ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _tag_counts(found: counts.Counts) -> list[dto.TagCount]:
    return [dto.TagCount(name, number) for name, number in sorted(found.tags.values())]
