"""Order-preserving keys: values as bytes that compare as the values do (`base`, "Order").

A value is a tag for its kind and a payload that no other payload of the kind is a beginning of, so that values written
one after the other compare field by field. Integers and floats are one kind, compared exactly: the nearest float, then
what the integer differs from it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from todo_service.store.errors import UnsupportedExpression
from todo_service.store.query.expressions import INT64_MAX, INT64_MIN, Kind, get_kind

EMPTY_LIST: Final = b"\x08"
"""What stands in an index for a list without elements: before null, as MongoDB has it."""
AFTER: Final = b"\xff"
"""Comes after every tag: a key with this appended is beyond all that continue the key."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DOUBLE: Final = struct.Struct(">d")
_BITS: Final = struct.Struct(">Q")
_OFFSET: Final = struct.Struct(">H")
_SIGN: Final = 1 << 63
_ALL_BITS: Final = (1 << 64) - 1
_OFFSET_ZERO: Final = 1 << 15


def type_tag(kind: Kind) -> bytes:
    """Return the byte that begins every value of a kind."""
    return bytes([kind << 4])


def end_of_type(kind: Kind) -> bytes:
    """Return the byte that comes after every value of a kind."""
    return bytes([(kind << 4) + 1])


def encode(value: Any) -> bytes:
    """Return a value as bytes that compare as the value does.

    Args:
        value: None, a number of 64 bits, text, bytes, an ObjectId, a boolean, a time (cut to milliseconds) or a stamp.

    Raises:
        UnsupportedExpression: it is none of these.
    """
    kind = get_kind(value)
    if kind is None:
        raise UnsupportedExpression(f"a {type(value).__name__} cannot be indexed")
    tag, payload = _FORMS[kind]
    return tag + payload(value)


def encode_beginning(text: str) -> bytes:
    """Return the bytes that every text that begins with these characters begins with, and no other value."""
    return type_tag(Kind.TEXT) + text.encode("utf-8").replace(b"\x00", b"\x00\xff")


def encode_time(value: datetime) -> bytes:
    """Return a time's payload: its milliseconds since the epoch, the sign turned."""
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return _BITS.pack((value - _EPOCH) // _MILLISECOND + _SIGN)


def _terminated(payload: bytes) -> bytes:
    # the end is less than an escaped zero, so a text comes before those that continue it, and begins none of them
    return payload.replace(b"\x00", b"\x00\xff") + b"\x00\x01"


def _number(value: float) -> bytes:
    if isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            raise UnsupportedExpression("an integer must be of 64 bits")
        nearest = float(value)
        offset = value - int(nearest)
    else:
        if value != value:  # only NaN differs from itself
            raise UnsupportedExpression("NaN cannot be indexed")
        nearest, offset = value + 0.0, 0
    bits: int = _BITS.unpack(_DOUBLE.pack(nearest or 0.0))[0]
    ordered = bits ^ _ALL_BITS if bits & _SIGN else bits | _SIGN
    return _BITS.pack(ordered) + _OFFSET.pack(offset + _OFFSET_ZERO)


_FORMS: Final[dict[Kind, tuple[bytes, Callable[[Any], bytes]]]] = {
    Kind.NULL: (type_tag(Kind.NULL), lambda _: b""),
    Kind.NUMBER: (type_tag(Kind.NUMBER), _number),
    Kind.TEXT: (type_tag(Kind.TEXT), lambda text: _terminated(text.encode())),
    Kind.BYTES: (type_tag(Kind.BYTES), _terminated),
    Kind.OBJECT_ID: (type_tag(Kind.OBJECT_ID), lambda identity: identity.binary),
    Kind.BOOLEAN: (type_tag(Kind.BOOLEAN), lambda truth: b"\x01" if truth else b"\x00"),
    Kind.TIME: (type_tag(Kind.TIME), encode_time),
    Kind.STAMP: (type_tag(Kind.STAMP), lambda stamp: _BITS.pack(stamp.time << 32 | stamp.inc)),
}
"""For each kind its tag, and what makes the payload."""
