"""Fields that mean the same in every room, as msgspec types with their bounds and what the schema says of them.

A type with a `title` becomes a component of that name in the OpenAPI document, and so one type in every client. Every
text, list and number of a request is bounded by its type, so that nothing longer is ever looked at. Where a closer
bound applies after trimming, the schema shows that one (`SHOWN`), and the room's service enforces it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from todo_service.bounds.requests import CURSOR_LENGTH, PAGE_SIZE
from todo_service.bounds.texts import TIME_ZONE_LENGTH, UNTRIMMED_FACTOR

SHOWN: Final = "x-shown"
"""What the OpenAPI document shows in place of the bounds of the type, None for none: a key of `extra_json_schema`."""
DEFAULT_LIMIT: Final = 50
NOT_BLANK: Final = r"^[\s\x1c-\x1f\x85]*[^\s\x1c-\x1f\x85]"
"""What is left when white space is cut off, as a pattern: what Python cuts off and what regular expressions of other
languages call white space."""
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
    int, Meta(ge=1, description="Raised by every change; the entity tag is made from it.", examples=[1])
]
Limit = Annotated[int, Meta(ge=1, le=PAGE_SIZE, description="How many items at most.")]
Cursor = Annotated[
    str,
    Meta(
        max_length=CURSOR_LENGTH,
        description="Where the page begins: `next_cursor` of the page before.",
        extra_json_schema={"format": "cursor"},
    ),
]
NextCursor = Annotated[
    Annotated[str, Meta(extra_json_schema={"maxLength": CURSOR_LENGTH})] | None,
    Meta(description="The cursor of the next page; null on the last.", examples=[None]),
]
Count = Annotated[int, Meta(ge=0, examples=[1])]
TimeZone = Annotated[
    str,
    Meta(
        description="A name of the IANA time zone database, such as Europe/Berlin.",
        examples=["Europe/Berlin"],
        max_length=TIME_ZONE_LENGTH,
        extra_json_schema={"format": "time-zone"},
    ),
]


def constrain_text(longest: int, description: str, example: str) -> Meta:
    """Return the bounds of a text that is trimmed before it is measured, and is not blank.

    Args:
        longest: Characters at most, after trimming.
        description: What the OpenAPI document says of it.
        example: A value, for the OpenAPI document.
    """
    return Meta(
        max_length=longest * UNTRIMMED_FACTOR,
        description=description,
        examples=[example],
        extra_json_schema={SHOWN: {"minLength": 1, "maxLength": longest, "pattern": NOT_BLANK}},
    )


def redacted_repr(value: Any, *secret: str) -> str:
    """Return what `repr` says of a value, without these fields: nobody knows where a text ends up.

    Args:
        value: A Struct, a named tuple or a model.
        *secret: The names of the fields.
    """
    kind = type(value)
    names = next(found for name in _FIELDS if (found := getattr(kind, name, None)))
    shown = ", ".join(f"{name}={'...' if name in secret else repr(getattr(value, name))}" for name in names)
    return f"{kind.__name__}({shown})"
