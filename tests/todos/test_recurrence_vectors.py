"""The recurrence vectors of seven libraries (see vectors/README.md)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from tests.todos.recurrence_vectors import DEVIATIONS, NEVER_OCCUR, Vector, load_vectors
from todo_service.errors import Invalid
from todo_service.todos.recurrence import Recurrence, Schedule, resolve_local_time
from todo_service.todos.recurrence_rule import Rule

VECTORS = load_vectors()
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def list_due_dates(vector: Vector, due: datetime) -> list[datetime]:
    """Return a due date and the next ones after it, in UTC: one more than the vector has."""
    schedule, rule = Schedule(due), Rule.parse(vector.rule)
    Recurrence(rule, schedule, vector.zone).require_occurrence()
    found = [resolve_local_time(due, vector.zone).moment]
    while len(found) <= len(vector.occurrences):
        following = Recurrence(rule, schedule, vector.zone).find_next(LONG_AGO)
        if following is None:
            break
        schedule = following.schedule
        rule = Rule.parse(str(following.rule))
        assert isinstance(schedule.due, datetime)
        found.append(resolve_local_time(schedule.due, vector.zone).moment)
    return found


def to_local(moment: datetime, vector: Vector) -> datetime:
    return moment.astimezone(vector.zone).replace(tzinfo=None)


def test_every_rule_has_the_occurrences_of_its_vector() -> None:
    differing = []
    for vector in VECTORS:
        if vector.outside or vector.rule in NEVER_OCCUR:
            continue
        expected = vector.occurrences
        walks = [list_due_dates(vector, to_local(expected[0], vector))]
        # dateutil and google-rfc-2445 apply BYSETPOS to the rest of the first week only
        if not (vector.rule.startswith("FREQ=WEEKLY") and "BYSETPOS" in vector.rule):
            found = list_due_dates(vector, vector.start)
            walks.append(found if found[0] == expected[0] else found[1:])
        if any(found[: len(expected)] != expected or (vector.ends and found != expected) for found in walks):
            differing.append((vector.source, vector.rule))

    assert sorted(differing) == sorted(DEVIATIONS)


def test_a_rule_that_never_occurs_is_rejected() -> None:
    for vector in VECTORS:
        if vector.rule in NEVER_OCCUR:
            with pytest.raises(Invalid):
                list_due_dates(vector, vector.start)


def test_a_rule_with_an_unsupported_part_is_rejected_by_the_name_of_the_part() -> None:
    outside = [vector for vector in VECTORS if vector.outside]
    for vector in outside:
        with pytest.raises(ValueError, match=r"^Expected ") as caught:
            Rule.parse(vector.rule).drop_time(vector.start.time())
        name = re.match(r"Expected (?:no )?([A-Z:]+)", str(caught.value))
        assert name is not None, str(caught.value)
        assert f"{name[1]}=" in vector.rule
    assert len(outside) == 130
