"""Types of fields and queries that the capabilities share: msgspec types with bounds, descriptions and examples.

A type with a `title` becomes a component of that name in the OpenAPI document, and so a single type in generated
clients. Types bound every string, list and number of a request, so that longer input is rejected before it is
processed. If a tighter bound applies after trimming, the schema shows that one (`SHOWN`), and the service enforces it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType
from odmantic import ObjectId

from todo_service.bounds.requests import CURSOR_LENGTH, PAGE_SIZE
from todo_service.bounds.texts import TIME_ZONE_LENGTH, UNTRIMMED_FACTOR

SHOWN: Final = "x-shown"
"""A key of `extra_json_schema`: the bounds that the OpenAPI document shows instead of the type's; None to omit one."""
DEFAULT_LIMIT: Final = 50
NOT_BLANK: Final = r"^[\s\S]*\S[\s\S]*$"
"""A pattern for text that is not blank. It matches the whole text, as some generated clients require, and has only
escapes that every language knows; so it allows some texts that the service rejects (`text.normalize_text`)."""
_FIELDS: Final = ("__struct_fields__", "_fields", "__odm_fields__")

Id = Annotated[
    str,
    Meta(
        description="24 hex digits.",
        examples=["65f1a2b3c4d5e6f708192a3b"],
        max_length=24,
        extra_json_schema={"pattern": "^[0-9a-f]{24}$", SHOWN: {"maxLength": None}},
    ),
]
Time = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC, milliseconds.",
        examples=["2026-01-31T09:00:00.000Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
Version = Annotated[
    int, Meta(ge=1, description="Incremented by every change. The entity tag is derived from it.", examples=[1])
]
Limit = Annotated[int, Meta(ge=1, le=PAGE_SIZE, description="The maximum number of items.")]
Cursor = Annotated[
    str,
    Meta(
        max_length=CURSOR_LENGTH,
        description="The start of the page: `next_cursor` of the previous page.",
        extra_json_schema={"format": "cursor"},
    ),
]
NextCursor = Annotated[
    Annotated[str, Meta(extra_json_schema={"maxLength": CURSOR_LENGTH})] | None,
    Meta(description="The cursor of the next page, or null on the last page.", examples=[None]),
]
Count = Annotated[int, Meta(ge=0, examples=[1])]
TimeZone = Annotated[
    str,
    Meta(
        description="A time zone name of the IANA database, such as Europe/Berlin.",
        examples=["Europe/Berlin"],
        max_length=TIME_ZONE_LENGTH,
        extra_json_schema={"format": "time-zone"},
    ),
]


class PageQuery(msgspec.Struct, frozen=True):
    """The page of a list to return."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | UnsetType = UNSET


def parse_id(text: str) -> ObjectId | None:
    """Return the id that a text represents, or None if the text is not 24 hex digits."""
    return ObjectId(text) if len(text) == 24 and ObjectId.is_valid(text) else None


def describe_text_bounds(longest: int) -> str:
    """Return a sentence that describes the texts that `text.normalize_text` accepts."""
    return f"Trimmed and stored in NFC: up to {longest} characters, without control characters."


def constrain_text(longest: int, description: str, example: str) -> Meta:
    """Return the constraints of a text that is not blank and is measured after normalization (`text.normalize_text`).

    Args:
        longest: The maximum length after normalization, in characters.
        description: The description in the OpenAPI document, to which the bounds are appended.
        example: The example in the OpenAPI document.
    """
    return Meta(
        max_length=longest * UNTRIMMED_FACTOR,
        description=f"{description} {describe_text_bounds(longest)}",
        examples=[example],
        extra_json_schema={SHOWN: {"minLength": 1, "maxLength": longest, "pattern": NOT_BLANK}},
    )


def redacted_repr(value: Any, *secret: str) -> str:
    """Return the `repr` of a value with secret fields redacted, as it may end up in a log.

    Args:
        value: A Struct, a named tuple or a model.
        *secret: The names of the secret fields.
    """
    kind = type(value)
    names = next(found for name in _FIELDS if (found := getattr(kind, name, None)))
    shown = ", ".join(f"{name}={'...' if name in secret else repr(getattr(value, name))}" for name in names)
    return f"{kind.__name__}({shown})"
