"""The days on which a recurrence rule occurs.

python-dateutil finds the days of a year that the BY parts of a rule allow. Its own loop over the periods of a rule
cannot be used for input from clients: it does not end before the year 9999 if the BY parts never match, which takes
seconds. In the Gregorian calendar there are only 28 kinds of years that differ for a rule (by the weekday of 1 January,
and by which of the year and its neighbors are leap years). So dateutil evaluates at most one year of each kind, and
all other years are table lookups: a search up to the year 9999 takes milliseconds. Most todos share a few rules, so
the tables of recent rules are kept.
"""

from __future__ import annotations

from bisect import bisect_left
from calendar import isleap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import MAXYEAR, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from dateutil import rrule

from todo_service.executors import UNLIMITED, Budget
from todo_service.todos.recurrence_rule import Rule, Weekday

_MONTHS: Final = tuple(range(1, 13))
_CYCLE: Final = 400
"""The number of years after which the Gregorian calendar repeats, weekdays included."""
_LAST_ORDINAL: Final = date.max.toordinal()
_WEEKDAYS_OF_MONTH: Final = 5
"""How often a weekday occurs in a month, at most."""
_CACHED_RULES: Final = 32
"""The number of rules whose tables are kept. Those of one take a few kilobytes, and a third of a megabyte at most."""


class _YearKind(NamedTuple):
    """The properties of a year that determine the days of a rule in it and in the weeks at both ends of it."""

    weekday: int
    follows_leap_year: bool
    leap: bool
    precedes_leap_year: bool


def iterate_days(rule: Rule, anchor: date, first: date, budget: Budget = UNLIMITED) -> Iterator[date]:
    """Yield the days on which a rule occurs, in order, up to the end of the year 9999. Poll the budget for each year.

    Args:
        rule: The rule. Its COUNT and UNTIL are not applied.
        anchor: The first day of the recurrence. It determines the phase of INTERVAL, and the days of a rule without BY
            parts. It need not match the rule.
        first: The day to start from; days before the anchor are never returned.
        budget: The budget of the task.

    Raises:
        BudgetExceededError: The budget is exceeded.
    """
    complete_rule = _complete(replace(rule, count=None, until=None), anchor)
    return _get_days(complete_rule).iterate(anchor, max(first, anchor), budget)


class _RuleDays:
    """The days on which a rule occurs, without its COUNT and UNTIL. Several threads may use it.

    Args:
        rule: The rule. Its BY parts select its days regardless of the anchor.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._allowed: dict[_YearKind, Sequence[int]] = {}
        self._tables: dict[_YearKind, Mapping[int, Sequence[int]]] = {}

    def iterate(self, anchor: date, first: date, budget: Budget) -> Iterator[date]:
        """Yield the days from a day on. See `iterate_days`."""
        anchor_index = self._index_period(anchor)
        # days at the beginning of a year may belong to the last week of the year before
        first_year = first.year - self._by_week
        for year in range(first_year, MAXYEAR + 1):
            budget.check()
            if year == first_year + _CYCLE and not any(self._tables.values()):
                return  # no kind of year has a day
            beginning = date(year, 1, 1)
            table = self._tabulate(beginning)
            if not table:
                continue
            phase = (anchor_index - self._index_first_period(beginning)) % self._rule.interval
            offsets = table.get(phase, ())
            for place in range(bisect_left(offsets, first.toordinal() - beginning.toordinal()), len(offsets)):
                ordinal = beginning.toordinal() + offsets[place]
                if ordinal <= _LAST_ORDINAL:
                    yield date.fromordinal(ordinal)

    @cached_property
    def _by_week(self) -> bool:
        """Whether periods consist of whole weeks, so that they do not begin on 1 January."""
        return self._rule.frequency == "WEEKLY" or (self._rule.frequency == "YEARLY" and bool(self._rule.weeks))

    @cached_property
    def _weekdays_only(self) -> bool:
        """Whether the BY parts only select weekdays."""
        rule = self._rule
        limited = rule.months or rule.month_days or rule.year_days or rule.weeks
        return not limited and not any(day.number for day in rule.weekdays)

    def _index_period(self, day: date) -> int:
        """Return the index of the period (day, week, month or year) that contains a day."""
        match self._rule.frequency:
            case "DAILY":
                return day.toordinal()
            case "WEEKLY":
                return self._index_week(day)
            case "MONTHLY":
                return day.year * 12 + day.month
        if self._by_week:
            return _find_week_year(self._index_week(day) * 7 + self._rule.week_start + 1)
        return day.year

    def _index_week(self, day: date) -> int:
        return (day.toordinal() - 1 - self._rule.week_start) // 7  # day 1 of the calendar is a Monday

    def _index_first_period(self, beginning: date) -> int:
        """Return the index of the first period that belongs to a year, by its 1 January."""
        match self._rule.frequency:
            case "WEEKLY":
                return self._index_week(beginning + timedelta(days=self._measure_lead(beginning)))
            case "YEARLY":
                return beginning.year
        return self._index_period(beginning)

    def _measure_lead(self, beginning: date) -> int:
        """Return the number of days from 1 January to the beginning of the first period that belongs to the year.

        It is -3 to 6. A week belongs to the year in which it begins, or, if the periods are years with numbered weeks,
        to that of most of its days.
        """
        if not self._by_week:
            return 0
        lead = (self._rule.week_start - beginning.weekday()) % 7
        return lead - 7 if self._rule.frequency == "YEARLY" and lead > 3 else lead

    def _tabulate(self, beginning: date) -> Mapping[int, Sequence[int]]:
        """Return the days of the periods that belong to a year.

        Returns:
            By the index of their period, relative to the first one and modulo INTERVAL: the days, as sorted offsets
            from 1 January.
        """
        kind = _classify(beginning)
        table = self._tables.get(kind)
        if table is None:
            days = self._list_days(beginning)
            if self._rule.interval == 1 and not self._rule.positions:
                table = {0: days} if days else {}
            else:
                table = self._group_days(beginning, days)
            self._tables[kind] = table
        return table

    def _group_days(self, beginning: date, days: Iterable[int]) -> Mapping[int, Sequence[int]]:
        first_index = self._index_first_period(beginning)
        periods: dict[int, list[int]] = defaultdict(list)
        for offset in days:
            periods[self._index_period(beginning + timedelta(days=offset)) - first_index].append(offset)
        return self._merge_periods(periods)

    def _merge_periods(self, periods: Mapping[int, Sequence[int]]) -> Mapping[int, Sequence[int]]:
        merged: dict[int, list[int]] = defaultdict(list)
        positions = self._rule.positions
        for index, offsets in periods.items():
            chosen: Sequence[int] = offsets
            if positions:
                length = len(offsets)
                places = {position - 1 if position > 0 else length + position for position in positions}
                chosen = [offsets[place] for place in sorted(places) if 0 <= place < length]
            merged[index % self._rule.interval] += chosen
        return {index: offsets for index, offsets in merged.items() if offsets}

    def _list_days(self, beginning: date) -> Sequence[int]:
        """Return the allowed days of the periods that belong to a year, as offsets from 1 January."""
        days = self._filter_year(beginning)
        if not self._by_week:
            return days
        length = 365 + isleap(beginning.year)
        lead, end = self._measure_lead(beginning), length
        before: list[int] = []
        after: list[int] = []
        if lead < 0:
            last_year = date(beginning.year - 1, 1, 1)
            last_length = 365 + isleap(last_year.year)
            before = [day - last_length for day in self._filter_year(last_year) if day >= last_length + lead]
        if beginning.year < MAXYEAR:
            next_year = date(beginning.year + 1, 1, 1)
            tail = self._measure_lead(next_year)
            end += min(tail, 0)
            after = [length + day for day in self._filter_year(next_year) if day < tail]
        return [*before, *(day for day in days if lead <= day < end), *after]

    def _filter_year(self, beginning: date) -> Sequence[int]:
        """Return the days of a year that the BY parts allow, as offsets from 1 January."""
        kind = _classify(beginning)
        allowed = self._allowed.get(kind)
        if allowed is None and self._weekdays_only:
            # the usual rules; dateutil takes ten times as long
            first, weekdays = beginning.weekday(), {day.weekday for day in self._rule.weekdays}
            length = 365 + isleap(beginning.year)
            allowed = self._allowed[kind] = [day for day in range(length) if (first + day) % 7 in weekdays]
        elif allowed is None:
            rule, start = self._rule, datetime.combine(beginning, time())
            found = rrule.rrule(
                rrule.YEARLY,
                start,
                interval=MAXYEAR,  # so that it ends after one year
                wkst=rule.week_start,
                bymonth=rule.months or None,
                bymonthday=rule.month_days or None,
                byyearday=rule.year_days or None,
                byweekno=rule.weeks or None,
                byweekday=[rrule.weekday(day.weekday, day.number or None) for day in rule.weekdays] or None,
            )
            allowed = self._allowed[kind] = [(moment - start).days for moment in found]
        return allowed


_get_days: Final = lru_cache(_CACHED_RULES)(_RuleDays)


def _classify(beginning: date) -> _YearKind:
    year = beginning.year
    return _YearKind(beginning.weekday(), isleap(year - 1), isleap(year), isleap(year + 1))


def _complete(rule: Rule, anchor: date) -> Rule:
    """Return a rule whose BY parts select the same days of a year whatever its frequency.

    Without BY parts that select days, RFC 5545 takes them from the anchor. Weekdays of a monthly rule are numbered
    within the month; those of a yearly rule too if it has BYMONTH.
    """
    if not (rule.weekdays or rule.month_days or rule.year_days or rule.weeks):
        match rule.frequency:
            case "DAILY":
                return replace(rule, weekdays=tuple(Weekday(weekday, 0) for weekday in range(7)))
            case "WEEKLY":
                return replace(rule, weekdays=(Weekday(anchor.weekday(), 0),))
            case "MONTHLY":
                return replace(rule, month_days=(anchor.day,))
        return replace(rule, months=rule.months or (anchor.month,), month_days=(anchor.day,))
    if rule.frequency == "MONTHLY" or rule.months:
        # dateutil fails if a number exceeds those of a month; a BYDAY without a possible number matches no day
        possible = tuple(day for day in rule.weekdays if abs(day.number) <= _WEEKDAYS_OF_MONTH)
        if rule.weekdays and not possible:
            return replace(rule, weekdays=(), weeks=(), months=(2,), month_days=(31,))
        return replace(rule, weekdays=possible, months=rule.months or _MONTHS)
    return rule


def _find_week_year(ordinal: int) -> int:
    """Return the year that most days of a week belong to. It may be 10000.

    Args:
        ordinal: The ordinal of the week's first day.
    """
    middle = ordinal + 3
    return date.fromordinal(middle).year if middle <= _LAST_ORDINAL else MAXYEAR + 1
