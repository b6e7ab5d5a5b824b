"""Validation of the fields of a todo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET
from odmantic import ObjectId

from todo_service.bounds.todos import DESCRIPTION_LENGTH, STEPS, TAG_LENGTH, TAGS, TITLE_LENGTH
from todo_service.errors import Invalid, ValidationIssue
from todo_service.text import check_marks, trim
from todo_service.timestamps import is_storable
from todo_service.todos import dto
from todo_service.todos.documents import Step
from todo_service.todos.query import priority_rank
from todo_service.todos.recurrence import Rule
from todo_service.todos.words import sort_key

TIME_RANGE: Final = "Expected a time from 1970-01-01 to 9999-12-30 in UTC"


def is_id(text: str) -> bool:
    """Return whether a text is an id: 24 hex digits."""
    return len(text) == 24 and ObjectId.is_valid(text)


def validate_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Validate fields of a todo, and return them as the document stores them, with the fields derived from them.

    Args:
        given: The fields by name; `UNSET` ones are ignored.

    Raises:
        Invalid: lists every field that breaks a rule.
    """
    fields = {name: value for name, value in given.items() if value is not UNSET}
    issues: list[ValidationIssue] = []
    if "title" in fields:
        fields["title"] = _validate_text(fields["title"], TITLE_LENGTH, "/title", issues)
        fields["title_key"] = sort_key(fields["title"])
    if "priority" in fields:
        fields["priority_rank"] = priority_rank(fields["priority"])
    if "description" in fields:
        fields["description"] = _validate_description(fields["description"], issues)
    if fields.get("due_at") is not None and not is_storable(fields["due_at"]):
        issues.append(ValidationIssue("/due_at", TIME_RANGE))
    if "tags" in fields:
        tags = [_validate_text(tag, TAG_LENGTH, f"/tags/{index}", issues) for index, tag in enumerate(fields["tags"])]
        fields["tags"] = list(dict.fromkeys(tags))
        if len(fields["tags"]) > TAGS:
            issues.append(ValidationIssue("/tags", f"Expected at most {TAGS} tags"))
    if fields.get("list_id") is not None:
        if is_id(fields["list_id"]):
            fields["list_id"] = ObjectId(fields["list_id"])
        else:
            issues.append(ValidationIssue("/list_id", "There is no such list"))
    if "steps" in fields:
        fields["steps"] = _validate_steps(fields["steps"], issues)
    if fields.get("recurrence") is not None:
        try:
            fields["recurrence"] = str(Rule(fields["recurrence"]))
        except ValueError as error:
            issues.append(ValidationIssue("/recurrence", str(error)))
    if issues:
        raise Invalid(issues)
    return fields


def require_due_date(changes: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """Check that a todo with a recurrence rule has a due date, if one of the two changes.

    Args:
        changes: The fields that change.
        fields: All fields after the change.

    Raises:
        Invalid: the todo would recur without a due date.
    """
    if fields["recurrence"] is None or not {"recurrence", "due_at"} & changes.keys():
        return
    if fields["due_at"] is None:
        pointer = "/recurrence" if changes.get("recurrence") is not None else "/due_at"
        raise Invalid([ValidationIssue(pointer, "Expected a due date for a recurring todo")])


def _validate_text(text: str, longest: int, pointer: str, issues: list[ValidationIssue]) -> str:
    try:
        return trim(text, longest)
    except ValueError as error:
        issues.append(ValidationIssue(pointer, str(error)))
        return ""


def _validate_description(text: str, issues: list[ValidationIssue]) -> str:
    try:
        if len(text) > DESCRIPTION_LENGTH:
            raise ValueError(f"Expected at most {DESCRIPTION_LENGTH} characters")
        check_marks(text)
    except ValueError as error:
        issues.append(ValidationIssue("/description", str(error)))
    return text


def _validate_steps(given: list[dto.StepCreate], issues: list[ValidationIssue]) -> list[Step]:
    if len(given) > STEPS:
        issues.append(ValidationIssue("/steps", f"Expected at most {STEPS} steps"))
        return []
    steps: list[Step] = []
    for index, step in enumerate(given):
        title = _validate_text(step.title, TITLE_LENGTH, f"/steps/{index}/title", issues)
        identity = step.id if step.id is not UNSET else str(ObjectId())
        if any(identity == other.id for other in steps):
            issues.append(ValidationIssue(f"/steps/{index}/id", "Expected a unique id"))
        steps.append(Step(id=identity, title=title, completed=step.completed))
    return steps
