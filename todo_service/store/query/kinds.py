"""The kinds of values, which determine how values compare (see "Conditions" and "Order" in `store.base`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum
from functools import cache
from typing import Final

from bson import Int64, ObjectId, Timestamp

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1


class ValueKind(IntEnum):
    """The kinds of values, in their sort order."""

    NULL = 1
    NUMBER = 2
    TEXT = 3
    BYTES = 4
    OBJECT_ID = 5
    BOOLEAN = 6
    TIME = 7
    STAMP = 8


_KINDS: Final[Mapping[type, ValueKind]] = {
    type(None): ValueKind.NULL,
    bool: ValueKind.BOOLEAN,
    int: ValueKind.NUMBER,
    Int64: ValueKind.NUMBER,
    float: ValueKind.NUMBER,
    str: ValueKind.TEXT,
    bytes: ValueKind.BYTES,
    ObjectId: ValueKind.OBJECT_ID,
    datetime: ValueKind.TIME,
    Timestamp: ValueKind.STAMP,
}


def get_kind(value: object) -> ValueKind | None:
    """Return the kind of a value, or None if it can be neither compared nor indexed (a list, a document)."""
    return _KINDS.get(type(value)) or _find_kind(type(value))  # type: ignore[arg-type]  # a class is hashable


@cache
def _find_kind(kind: type) -> ValueKind | None:
    return next((found for base, found in _KINDS.items() if issubclass(kind, base)), None)
