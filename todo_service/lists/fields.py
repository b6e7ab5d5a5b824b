"""The fields of a list, in the order of the Structs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from todo_service.bounds.todos import LIST_NAME_LENGTH
from todo_service.field_table import GENERATED, REQUIRED, Field, FieldKind, Origin, list_defaults, validate
from todo_service.text import normalize_text
from todo_service.todos.uids import validate_uid


def _validate_name(text: str) -> str:
    return normalize_text(text, LIST_NAME_LENGTH)


FIELDS: Final = (
    Field("id", FieldKind.CODE, GENERATED, Origin.SERVICE),
    Field("name", FieldKind.TEXT, REQUIRED, rule=_validate_name),
    Field("color", FieldKind.CODE, None, nullable=True),
    Field("position", FieldKind.NUMBER, GENERATED),
    Field("archived", FieldKind.FLAG, False),
    Field("uid", FieldKind.TEXT, GENERATED, Origin.CREATION, rule=validate_uid),
    Field("version", FieldKind.INTEGER, GENERATED, Origin.SERVICE),
    Field("created_at", FieldKind.TIME, GENERATED, Origin.SERVICE),
    Field("updated_at", FieldKind.TIME, GENERATED, Origin.SERVICE),
)

DEFAULTS: Final = list_defaults(FIELDS)
"""The defaults of the fields that null resets in a merge patch."""
ERASED: Final = DEFAULTS | {field.name: "" for field in FIELDS if field.default is REQUIRED}
"""The values that blank the content of a tombstone."""
_CLIENT_FIELDS: Final = tuple(field for field in FIELDS if field.origin in (Origin.CLIENT, Origin.CREATION))


def validate_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Validate fields of a list that a client sets. See `field_table.validate`."""
    return validate(_CLIENT_FIELDS, given)
