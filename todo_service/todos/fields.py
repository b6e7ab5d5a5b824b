"""The fields of a todo.

The order of the table is that of the Structs, and of the columns in CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from odmantic import ObjectId

from todo_service.field_table import (
    GENERATED,
    REQUIRED,
    Field,
    FieldKind,
    Filter,
    IndexKey,
    Origin,
    list_defaults,
    validate,
)
from todo_service.store.base import Condition
from todo_service.todos.collation import sort_key
from todo_service.todos.field_types import Priority
from todo_service.todos.reminders import validate_reminders
from todo_service.todos.uids import validate_uid
from todo_service.todos.validation import (
    normalize_recurrence,
    parse_list_id,
    validate_date,
    validate_description,
    validate_exceptions,
    validate_steps,
    validate_tags,
    validate_time,
    validate_time_zone,
    validate_title,
)
from todo_service.todos.words import extract_words

PRIORITIES: Final[tuple[str, ...]] = get_args(get_args(Priority)[0])
"""The priorities, the lowest first."""


def priority_rank(priority: str) -> int:
    """Return the sort key of a priority: 0 for none to 4 for urgent."""
    return PRIORITIES.index(priority)


def match_equal(field: Any, value: Any) -> list[Condition]:
    """Return the condition that a field equals a value."""
    return [field == value]


def match_after(field: Any, value: Any) -> list[Condition]:
    """Return the condition that a field is greater than a value. It never matches null."""
    return [field > value]


def match_before(field: Any, value: Any) -> list[Condition]:
    """Return the condition that a field is less than a value. It never matches null."""
    return [field < value]


def _match_list(field: Any, list_id: str) -> list[Condition]:
    return match_equal(field, None if list_id == "inbox" else ObjectId(list_id))


def _match_priorities(rank: Any, priorities: Sequence[str]) -> list[Condition]:
    return [rank.in_(sorted(set(map(priority_rank, priorities))))]


FIELDS: Final = (
    Field("id", FieldKind.CODE, GENERATED, Origin.SERVICE),
    Field(
        "title",
        FieldKind.TEXT,
        REQUIRED,
        rule=validate_title,
        index_key=IndexKey("title_key", sort_key),
        sortable=True,
        searched=True,
        calendar_property="SUMMARY",
    ),
    Field(
        "description",
        FieldKind.TEXT,
        "",
        nullable=True,
        rule=validate_description,
        searched=True,
        calendar_property="DESCRIPTION",
    ),
    Field("completed", FieldKind.FLAG, False, filters=(Filter("completed"),), calendar_property="STATUS"),
    Field(
        "completed_at",
        FieldKind.TIME,
        None,
        Origin.CHANGE,
        nullable=True,
        rule=validate_time,
        calendar_property="COMPLETED",
    ),
    Field(
        "priority",
        FieldKind.CODE,
        "none",
        nullable=True,
        index_key=IndexKey("priority_rank", priority_rank),
        filters=(Filter("priority", _match_priorities),),
        sortable=True,
        calendar_property="PRIORITY",
    ),
    Field(
        "due_at",
        FieldKind.TIME,
        None,
        nullable=True,
        rule=validate_time,
        index_key=IndexKey("due_end"),
        filters=(Filter("due_after", match_after), Filter("due_before", match_before), Filter("overdue")),
        sortable=True,
        calendar_property="DUE",
    ),
    Field("due_on", FieldKind.DATE, None, nullable=True, rule=validate_date, calendar_property="DUE"),
    Field("start_at", FieldKind.TIME, None, nullable=True, rule=validate_time, calendar_property="DTSTART"),
    Field("start_on", FieldKind.DATE, None, nullable=True, rule=validate_date, calendar_property="DTSTART"),
    Field("time_zone", FieldKind.CODE, None, nullable=True, rule=validate_time_zone),
    Field(
        "tags",
        FieldKind.TEXTS,
        [],
        nullable=True,
        rule=validate_tags,
        filters=(Filter("tag"),),
        calendar_property="CATEGORIES",
    ),
    Field(
        "list_id",
        FieldKind.CODE,
        None,
        nullable=True,
        rule=parse_list_id,
        filters=(Filter("list_id", _match_list),),
    ),
    Field(
        "steps", FieldKind.STEPS, [], nullable=True, rule=validate_steps, searched=True, calendar_property="RELATED-TO"
    ),
    Field("recurrence", FieldKind.CODE, None, nullable=True, rule=normalize_recurrence, calendar_property="RRULE"),
    Field("recurrence_from", FieldKind.CODE, "due", nullable=True),
    Field(
        "recurrence_except",
        FieldKind.TEXTS,
        [],
        nullable=True,
        rule=validate_exceptions,
        calendar_property="EXDATE",
    ),
    Field("last_completed_at", FieldKind.TIME, None, Origin.IMPORT, rule=validate_time),
    Field("reminders", FieldKind.REMINDERS, [], nullable=True, rule=validate_reminders, calendar_property="VALARM"),
    Field("position", FieldKind.NUMBER, GENERATED, sortable=True),
    Field("uid", FieldKind.TEXT, GENERATED, Origin.CREATION, rule=validate_uid, calendar_property="UID"),
    Field("version", FieldKind.INTEGER, GENERATED, Origin.SERVICE),
    Field(
        "created_at",
        FieldKind.TIME,
        GENERATED,
        Origin.IMPORT,
        rule=validate_time,
        filters=(Filter("created_after", match_after), Filter("created_before", match_before)),
        sortable=True,
        calendar_property="CREATED",
    ),
    Field(
        "updated_at",
        FieldKind.TIME,
        GENERATED,
        Origin.SERVICE,
        filters=(Filter("updated_after", match_after),),
        sortable=True,
        calendar_property="LAST-MODIFIED",
    ),
)

DEFAULTS: Final = list_defaults(FIELDS)
"""The defaults of the fields that null resets in a merge patch."""
SEARCHED: Final = frozenset(field.name for field in FIELDS if field.searched)
"""The fields whose texts a search covers."""
_CONTENTLESS: Final = DEFAULTS | {field.name: "" for field in FIELDS if field.default is REQUIRED}
ERASED: Final = _CONTENTLESS | {
    key.name: None if key.compute is None else key.compute(_CONTENTLESS[field.name])
    for field in FIELDS
    if (key := field.index_key) is not None
}
"""The values that blank the content of a tombstone."""
_SETTABLE_FIELDS: Final = tuple(field for field in FIELDS if field.origin is not Origin.SERVICE)
SETTABLE: Final = tuple(field.name for field in _SETTABLE_FIELDS)
"""The fields that an import may set."""
_SEARCHED_FIELDS: Final = tuple(field for field in FIELDS if field.searched)


def validate_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Validate fields of a todo, except those that only the service sets. See `field_table.validate`."""
    return validate(_SETTABLE_FIELDS, given)


def iterate_texts(fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts that a search covers, in the order in which it covers them."""
    for field in _SEARCHED_FIELDS:
        value = fields[field.name]
        if field.kind is FieldKind.STEPS:
            yield from (step.title for step in value)
        elif value is not None:
            yield value


def extract_field_words(fields: Mapping[str, Any]) -> list[str]:
    """Return the words by which a search finds a todo with these fields."""
    return extract_words(*iterate_texts(fields))
