"""The rules of a todo's fields.

A rule of one field returns its value as the document stores it, and raises `ValueError` with a message for the client,
or `Invalid` with pointers into the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import UNSET
from odmantic import ObjectId

from todo_service.bounds.todos import DESCRIPTION_LENGTH, STEPS, TAG_LENGTH, TAGS, TITLE_LENGTH
from todo_service.errors import Invalid, ValidationIssue
from todo_service.text import check_marks, trim
from todo_service.timestamps import EARLIEST, LATEST, is_storable, list_time_zones, parse_date
from todo_service.todos import dto
from todo_service.todos.documents import Step
from todo_service.todos.recurrence import Rule

TIME_RANGE: Final = "Expected a time from 1970-01-01 to 9999-12-30 in UTC"
DATE_RANGE: Final = "Expected a date from 1970-01-01 to 9999-12-30"


def is_id(text: str) -> bool:
    """Return whether a text is an id: 24 hex digits."""
    return len(text) == 24 and ObjectId.is_valid(text)


def validate_title(text: str) -> str:
    """Return a title without leading and trailing white space."""
    return trim(text, TITLE_LENGTH)


def validate_description(text: str) -> str:
    """Return a description, unchanged."""
    if len(text) > DESCRIPTION_LENGTH:
        raise ValueError(f"Expected at most {DESCRIPTION_LENGTH} characters")
    check_marks(text)
    return text


def validate_time(moment: datetime) -> datetime:
    """Return a time, unchanged."""
    if not is_storable(moment):
        raise ValueError(TIME_RANGE)
    return moment


def validate_date(text: str) -> str:
    """Return a date (`YYYY-MM-DD`), unchanged."""
    if not EARLIEST.date() <= parse_date(text) <= LATEST.date():
        raise ValueError(DATE_RANGE)
    return text


def validate_time_zone(name: str) -> str:
    """Return the name of a time zone, unchanged."""
    if name not in list_time_zones():
        raise ValueError("Expected a name from the IANA time zone database")
    return name


def validate_tags(tags: Sequence[str]) -> list[str]:
    """Return the distinct tags, trimmed, in their order."""
    issues: list[ValidationIssue] = []
    trimmed = [_trim_part(tag, TAG_LENGTH, f"/{index}", issues) for index, tag in enumerate(tags)]
    distinct = list(dict.fromkeys(trimmed))
    if len(distinct) > TAGS:
        issues.append(ValidationIssue("", f"Expected at most {TAGS} tags"))
    if issues:
        raise Invalid(issues)
    return distinct


def parse_list_id(text: str) -> ObjectId:
    """Return the id of a list, which need not exist."""
    if not is_id(text):
        raise ValueError("There is no such list")
    return ObjectId(text)


def validate_steps(given: Sequence[dto.StepCreate]) -> list[Step]:
    """Return the steps, with trimmed titles and with ids."""
    if len(given) > STEPS:
        raise ValueError(f"Expected at most {STEPS} steps")
    issues: list[ValidationIssue] = []
    steps: list[Step] = []
    for index, step in enumerate(given):
        title = _trim_part(step.title, TITLE_LENGTH, f"/{index}/title", issues)
        identity = step.id if step.id is not UNSET else str(ObjectId())
        if any(identity == other.id for other in steps):
            issues.append(ValidationIssue(f"/{index}/id", "Expected a unique id"))
        steps.append(Step(id=identity, title=title, completed=step.completed))
    if issues:
        raise Invalid(issues)
    return steps


def normalize_recurrence(text: str) -> str:
    """Return a recurrence rule in the notation in which it is stored."""
    return str(Rule(text))


def _trim_part(text: str, longest: int, pointer: str, issues: list[ValidationIssue]) -> str:
    try:
        return trim(text, longest)
    except ValueError as error:
        issues.append(ValidationIssue(pointer, str(error)))
        return ""
