"""Random recurrence rules have the same occurrences as in python-dateutil.

`pdm run test-recurrence` compares 10 000 rules.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, takewhile
from typing import Final
from zoneinfo import ZoneInfo

from dateutil import rrule

from todo_service.errors import Invalid
from todo_service.todos.recurrence import Recurrence, Schedule, resolve_local_time
from todo_service.todos.recurrence_rule import WEEKDAYS, Rule

RULES: Final = int(os.environ.get("RECURRENCE_RULES", "300"))
SEED: Final = 5545
STEPS: Final = 4
ZONES: Final = [
    ZoneInfo(name)
    for name in (
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/St_Johns",
        "America/Sao_Paulo",
        "Africa/Casablanca",
        "Asia/Kolkata",
        "Asia/Tokyo",
        "Asia/Tehran",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Pacific/Kiritimati",
    )
]
SHIFT: Final = 7600
"""A number of years after which the Gregorian calendar repeats. dateutil searches up to the year 9999, so it works on
dates this much later, and has a few centuries to search."""
LAST_YEAR: Final = 9999 - SHIFT
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


def choose_numbers(chance: random.Random, most: int, *, signed: bool = True, length: int = 4) -> str:
    numbers = {chance.randint(1, most) * (chance.choice((1, 1, -1)) if signed else 1) for _ in range(length)}
    return ",".join(map(str, sorted(numbers)[: chance.randint(1, length)]))


def choose_weekdays(chance: random.Random, most: int) -> str:
    """Return a value of BYDAY, with numbers up to `most` or without."""
    days = chance.sample(WEEKDAYS, chance.randint(1, 4))
    if not most or chance.random() < 0.4:
        return ",".join(days)
    return ",".join(f"{chance.randint(1, most) * chance.choice((1, -1))}{day}" for day in days)


def generate_rule(chance: random.Random, first: date) -> str:
    """Return a rule on which dateutil and RFC 5545 agree.

    dateutil applies BYSETPOS to the rest of the first week only, and counts weeks of the neighboring years as part of
    a year.
    """
    frequency = chance.choice(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"])
    parts = {"FREQ": frequency}
    if chance.random() < 0.3:
        parts["BYMONTH"] = choose_numbers(chance, 12, signed=False)
    if chance.random() < 0.3:
        parts["BYMONTHDAY"] = choose_numbers(chance, 31)
    if chance.random() < 0.1:
        parts["BYYEARDAY"] = choose_numbers(chance, 366, length=8)
    if chance.random() < 0.5:
        monthly = frequency == "MONTHLY" or "BYMONTH" in parts
        parts["BYDAY"] = choose_weekdays(chance, 0 if frequency in ("DAILY", "WEEKLY") else 5 if monthly else 53)
        if frequency == "YEARLY" and parts["BYDAY"].isalpha() and chance.random() < 0.3:
            parts["BYWEEKNO"] = choose_numbers(chance, 53)
    if chance.random() < 0.6 and "BYWEEKNO" not in parts:
        parts["INTERVAL"] = str(chance.choice([1, 2, 2, 3, 4, 5, 7, 12, 30]))
    limited = parts.keys() & {"BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYDAY"}
    if limited and frequency != "WEEKLY" and "BYWEEKNO" not in parts and chance.random() < 0.3:
        parts["BYSETPOS"] = choose_numbers(chance, 4)
    if chance.random() < 0.4:
        parts["WKST"] = chance.choice(WEEKDAYS)
    if chance.random() < 0.3:
        parts["COUNT"] = str(chance.randint(1, 12))
    elif chance.random() < 0.3:
        until = first + timedelta(days=chance.randint(0, 2000))
        parts["UNTIL"] = f"{until:%Y%m%d}{chance.choice(['', 'T090000', 'T170000Z'])}"
    return ";".join(f"{name}={value}" for name, value in parts.items())


def iterate_dateutil(rule: str, anchor: datetime) -> Iterator[datetime]:
    """Yield the occurrences of a rule without its UNTIL, from a local time on."""
    parts = [part for part in rule.split(";") if not part.startswith("UNTIL")]
    found = rrule.rrulestr(";".join(parts), dtstart=anchor.replace(year=anchor.year + SHIFT))
    return (moment.replace(year=moment.year - SHIFT) for moment in found)


def build_end(rule: Rule, zone: ZoneInfo) -> Callable[[datetime], bool]:
    """Return a function that tells whether a local time is not after the rule's UNTIL."""
    until = rule.until
    if until is None:
        return lambda _: True
    if not isinstance(until, datetime):
        return lambda local: local.date() <= until
    if until.tzinfo is None:
        return lambda local: local <= until
    return lambda local: local.replace(tzinfo=zone).astimezone(UTC) <= until


def choose_time(chance: random.Random) -> time:
    return time(chance.choice([0, 1, 2, 2, 3, 9, 17, 23]), chance.choice([0, 15, 30, 30, 59]))


def choose_schedule(chance: random.Random) -> Schedule:
    """Return a random moment or day, with or without a start."""
    day = date(chance.randint(1970, 2060), 1, 1) + timedelta(days=chance.randint(0, 364))
    moments = chance.random() < 0.6
    due = datetime.combine(day, choose_time(chance)) if moments else day
    if chance.random() < 0.6:
        return Schedule(due)
    later = day + timedelta(days=chance.randint(0, 9))
    return Schedule(datetime.combine(later, time(23, 59)) if moments else later, due)


def list_expected(rule: Rule, text: str, schedule: Schedule, zone: ZoneInfo) -> Iterator[Schedule]:
    """Yield the schedules of all occurrences according to dateutil, up to its last year."""
    anchor = schedule.anchor
    moments = isinstance(anchor, datetime)
    local = anchor if isinstance(anchor, datetime) else datetime.combine(anchor, time())
    end = build_end(rule, zone)
    if not moments and isinstance(rule.until, datetime):
        last = (rule.until.astimezone(zone) if rule.until.tzinfo else rule.until).date()
        end = lambda local: local.date() <= last  # noqa: E731  # the end of a rule for days
    for moment in takewhile(end, iterate_dateutil(text, local)):
        if schedule.start is None:
            yield Schedule(moment if moments else moment.date())
        elif isinstance(schedule.due, datetime):
            distance = schedule.due.date() - local.date()
            yield Schedule(datetime.combine(moment.date() + distance, schedule.due.time()), moment)
        else:
            yield Schedule(moment.date() + (schedule.due - local.date()), moment.date())


def measure_moment(schedule: Schedule, zone: ZoneInfo) -> datetime:
    due = schedule.due
    return resolve_local_time(due if isinstance(due, datetime) else datetime.combine(due, time()), zone).moment


def list_later(found: Iterator[Schedule], current: Schedule, zone: ZoneInfo) -> list[Schedule]:
    """Return the first schedules, each due later than the one before."""
    later: list[Schedule] = []
    for schedule in found:
        before = later[-1] if later else current
        if isinstance(schedule.due, datetime):
            if measure_moment(schedule, zone) > measure_moment(before, zone):
                later.append(schedule)
        elif schedule.due > before.due:
            later.append(schedule)
        if len(later) == STEPS:
            break
    return later


def list_occurrences(rule: Rule, schedule: Schedule, zone: ZoneInfo, steps: int) -> list[tuple[Schedule, Rule]]:
    """Return the next occurrences, by completing each of them, up to the last year that dateutil searches."""
    found: list[tuple[Schedule, Rule]] = []
    for _ in range(steps):
        following = Recurrence(rule, schedule, zone).find_next(LONG_AGO)
        if following is None or following.schedule.anchor.year > LAST_YEAR:
            break
        schedule, rule = following
        found.append((schedule, rule))
    return found


def occurs(rule: Rule, schedule: Schedule, zone: ZoneInfo) -> bool:
    try:
        Recurrence(rule, schedule, zone).require_occurrence()
    except Invalid:
        return False
    return True


def test_random_rules_have_the_occurrences_of_dateutil() -> None:
    chance = random.Random(SEED)  # noqa: S311  # no secret
    compared = 0
    for number in range(RULES):
        zone, schedule = ZONES[number % len(ZONES)], choose_schedule(chance)
        text = generate_rule(chance, schedule.anchor)
        rule = Rule.parse(text)
        assert str(Rule.parse(str(rule))) == str(rule)

        expected = list_later(list_expected(rule, text, schedule, zone), schedule, zone)
        found = list_occurrences(rule, schedule, zone, STEPS)

        assert [each for each, _ in found] == expected, (text, schedule, zone.key)
        compared += len(expected)
        first = next(list_expected(rule, text, schedule, zone), None)
        assert first is None or occurs(rule, schedule, zone), (text, schedule, zone.key)
        if len(found) == STEPS:
            # if the occurrences before the last one are missed, one step leads to it, and leaves the same COUNT
            now = measure_moment(found[-1][0], zone)
            late = Recurrence(rule, schedule, zone).find_next(now)
            assert late is not None
            assert (late.schedule, late.rule) == found[-1], (text, schedule, zone.key)
    assert compared > 2 * RULES


def test_a_rule_with_set_positions_and_weeks_counts_whole_weeks() -> None:
    """dateutil agrees if its first week is whole."""
    chance = random.Random(SEED)  # noqa: S311  # no secret
    for _ in range(RULES // 12):
        monday = date(2001, 1, 1) + timedelta(weeks=chance.randint(0, 3000))
        anchor = datetime.combine(monday + timedelta(days=chance.randint(0, 6)), time(9))
        text = f"FREQ=WEEKLY;INTERVAL={chance.randint(1, 3)};BYSETPOS={chance.choice([1, 2, -1])}"
        text += f";BYDAY={choose_weekdays(chance, 0)}"
        whole = iterate_dateutil(text, datetime.combine(monday, time(9)))

        found = list_occurrences(Rule.parse(text), Schedule(anchor), ZoneInfo("UTC"), STEPS)

        expected = [moment for moment in islice(whole, 20) if moment > anchor][:STEPS]
        assert [each.due for each, _ in found] == expected, (text, anchor)
