"""The rules of a todo's fields.

A rule of one field returns its value as the document stores it, and raises `ValueError` with a message for the client,
or `Invalid` with pointers into the value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import UNSET
from odmantic import ObjectId

from todo_service.api_types import parse_id
from todo_service.bounds.todos import DESCRIPTION_LENGTH, STEPS, TAG_LENGTH, TAGS, TITLE_LENGTH
from todo_service.errors import Invalid, ValidationIssue
from todo_service.text import compose, normalize_lines, normalize_text
from todo_service.timestamps import (
    EARLIEST,
    LATEST,
    Timestamp,
    check_time_zone,
    format_timestamp,
    is_storable,
    parse_date,
)
from todo_service.todos import dto
from todo_service.todos.documents import Step, Todo
from todo_service.todos.recurrence_rule import Rule

TIME_RANGE: Final = "Expected a time from 1970-01-01 to 9999-12-30 in UTC"
DATE_RANGE: Final = "Expected a date from 1970-01-01 to 9999-12-30"


def is_id(text: str) -> bool:
    """Return whether a text is an id: 24 hex digits."""
    return parse_id(text) is not None


def validate_title(text: str) -> str:
    """Return a title, trimmed and in NFC."""
    return normalize_text(text, TITLE_LENGTH)


def validate_description(text: str) -> str:
    """Return a description with LF as line endings."""
    return normalize_lines(text, DESCRIPTION_LENGTH)


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
    check_time_zone(name)
    return name


def validate_tags(tags: Sequence[str]) -> list[str]:
    """Return the distinct tags, trimmed and in NFC, in their order."""
    issues: list[ValidationIssue] = []
    normalized = [_normalize_part(tag, TAG_LENGTH, f"/{index}", issues) for index, tag in enumerate(tags)]
    distinct = list(dict.fromkeys(normalized))
    if len(distinct) > TAGS:
        issues.append(ValidationIssue("", f"Expected at most {TAGS} tags"))
    if issues:
        raise Invalid(issues)
    return distinct


def compose_texts(todo: Todo, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the title, tags and steps of a changed todo that are not in NFC, converted to NFC.

    New texts always are. An earlier release stored texts as they were sent.

    Args:
        todo: The todo before the change.
        changes: The fields that change.
    """
    title, tags, steps = (changes.get(name, getattr(todo, name)) for name in ("title", "tags", "steps"))
    composed: dict[str, Any] = {}
    if compose(title) != title:
        composed["title"] = compose(title)
    if (distinct := list(dict.fromkeys(map(compose, tags)))) != tags:
        composed["tags"] = distinct
    if any(compose(step.title) != step.title for step in steps):
        composed["steps"] = [Step(id=step.id, title=compose(step.title), completed=step.completed) for step in steps]
    return composed


def parse_list_id(text: str) -> ObjectId:
    """Return the id of a list, which need not exist."""
    if not is_id(text):
        raise ValueError("There is no such list")
    return ObjectId(text)


def validate_steps(given: Sequence[dto.StepCreate]) -> list[Step]:
    """Return the steps with ids, and with their titles trimmed and in NFC."""
    if len(given) > STEPS:
        raise ValueError(f"Expected at most {STEPS} steps")
    issues: list[ValidationIssue] = []
    steps: dict[str, Step] = {}
    for index, step in enumerate(given):
        title = _normalize_part(step.title, TITLE_LENGTH, f"/{index}/title", issues)
        step_id = step.id if step.id is not UNSET else str(ObjectId())
        if step_id in steps:
            issues.append(ValidationIssue(f"/{index}/id", "Expected a unique id"))
        steps[step_id] = Step(id=step_id, title=title, completed=step.completed)
    if issues:
        raise Invalid(issues)
    return list(steps.values())


def normalize_recurrence(text: str) -> str:
    """Return a rule in canonical notation. `completion.canonicalize_rule` checks whether it fits the todo."""
    return str(Rule.parse(text))


def validate_exceptions(given: Sequence[str]) -> list[str]:
    """Return the distinct dates and times at which a todo does not occur, in the format of the API."""
    issues: list[ValidationIssue] = []
    exceptions: dict[str, None] = {}
    for index, text in enumerate(given):
        try:
            if len(text) <= len("YYYY-MM-DD"):
                exceptions[validate_date(text)] = None
            else:
                exceptions[format_timestamp(validate_time(Timestamp.parse(text)))] = None
        except ValueError as error:
            issues.append(ValidationIssue(f"/{index}", str(error)))
    if issues:
        raise Invalid(issues)
    return list(exceptions)


def _normalize_part(text: str, longest: int, pointer: str, issues: list[ValidationIssue]) -> str:
    try:
        return normalize_text(text, longest)
    except ValueError as error:
        issues.append(ValidationIssue(pointer, str(error)))
        return ""
