"""Order-preserving keys: encode values as bytes that compare as the values do (see "Order" in `store.base`).

An encoded value is a tag for its kind, followed by a payload. No payload of a kind is a prefix of another, so
concatenated values compare field by field. Integers and floats are one kind and compare exactly: the payload is the
nearest float, then the difference between the integer and that float.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from todo_service.store.errors import UnsupportedExpression
from todo_service.store.query.kinds import INT64_MAX, INT64_MIN, ValueKind, get_kind

EMPTY_LIST: Final = b"\x08"
"""The index entry of an empty list. It sorts before null, as in MongoDB."""
AFTER: Final = b"\xff"
"""Sorts after every tag: a key with this suffix sorts after all keys that start with the key."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DOUBLE: Final = struct.Struct(">d")
_BITS: Final = struct.Struct(">Q")
_OFFSET: Final = struct.Struct(">H")
_SIGN: Final = 1 << 63
_ALL_BITS: Final = (1 << 64) - 1
_OFFSET_ZERO: Final = 1 << 15


def type_tag(kind: ValueKind) -> bytes:
    """Return the tag of a kind: the first byte of each of its values."""
    return bytes([kind << 4])


def type_end(kind: ValueKind) -> bytes:
    """Return a byte that sorts after every value of a kind, and before those of the next."""
    return bytes([(kind << 4) + 1])


def encode_value(value: Any) -> bytes:
    """Encode a value as bytes that compare as the value does.

    Args:
        value: None, a 64-bit number, text, bytes, an ObjectId, a boolean, a stamp, or a time (truncated to
            milliseconds).

    Raises:
        UnsupportedExpression: The value has another type.
    """
    kind = get_kind(value)
    if kind is None:
        raise UnsupportedExpression(f"a {type(value).__name__} cannot be indexed")
    tag, encode_payload = _ENCODINGS[kind]
    return tag + encode_payload(value)


def encode_text_prefix(text: str) -> bytes:
    """Return the common prefix of the encodings of all texts that start with a text. No other value starts with it."""
    return type_tag(ValueKind.TEXT) + text.encode("utf-8").replace(b"\x00", b"\x00\xff")


def _encode_time(value: datetime) -> bytes:
    # milliseconds since the epoch, with the sign bit flipped
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return _BITS.pack((value - _EPOCH) // _MILLISECOND + _SIGN)


def _encode_bytes(payload: bytes) -> bytes:
    # the terminator sorts before an escaped zero, so a text sorts before its continuations and is a prefix of none
    return payload.replace(b"\x00", b"\x00\xff") + b"\x00\x01"


def _encode_number(value: float) -> bytes:
    if isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            raise UnsupportedExpression("an integer must fit in 64 bits")
        nearest = float(value)
        offset = value - int(nearest)
    else:
        if value != value:  # only NaN differs from itself
            raise UnsupportedExpression("NaN cannot be indexed")
        nearest, offset = value + 0.0, 0
    bits: int = _BITS.unpack(_DOUBLE.pack(nearest or 0.0))[0]
    ordered = bits ^ _ALL_BITS if bits & _SIGN else bits | _SIGN
    return _BITS.pack(ordered) + _OFFSET.pack(offset + _OFFSET_ZERO)


_ENCODINGS: Final[dict[ValueKind, tuple[bytes, Callable[[Any], bytes]]]] = {
    ValueKind.NULL: (type_tag(ValueKind.NULL), lambda _: b""),
    ValueKind.NUMBER: (type_tag(ValueKind.NUMBER), _encode_number),
    ValueKind.TEXT: (type_tag(ValueKind.TEXT), lambda value: _encode_bytes(value.encode())),
    ValueKind.BYTES: (type_tag(ValueKind.BYTES), _encode_bytes),
    ValueKind.OBJECT_ID: (type_tag(ValueKind.OBJECT_ID), lambda value: value.binary),
    ValueKind.BOOLEAN: (type_tag(ValueKind.BOOLEAN), lambda value: b"\x01" if value else b"\x00"),
    ValueKind.TIME: (type_tag(ValueKind.TIME), _encode_time),
    ValueKind.STAMP: (type_tag(ValueKind.STAMP), lambda value: _BITS.pack(value.time << 32 | value.inc)),
}
"""The tag of each kind, and the function that encodes its payload."""
