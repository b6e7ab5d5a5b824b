"""The limits on documents: their size, and the size of their indexed values.

Both stores have the same limits, so a copy from one to the other never fails because of a document's size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from types import NoneType
from typing import Any, Final, get_args

from bson import ObjectId, Timestamp
from odmantic import Model

from todo_service.bounds.store import DOCUMENT_BYTES, INDEXED_ELEMENTS, LOADED_DOCUMENT_BYTES
from todo_service.store.errors import DocumentTooLarge, UnsupportedExpression
from todo_service.store.query.planner import list_indexes

KEY_BYTES: Final = 510
"""The longest index key: one byte less than LMDB allows, so that a bound truncated to fit never equals a key."""
SMALL_CHANGES_BYTES: Final = 2**14
"""Changes up to this size are written without measuring the document, which would cost MongoDB a second copy of it."""
_ID_BYTES: Final = 13
_OTHER_BYTES: Final = 27
"""The space in an index key for a value that the model does not declare as text. It is more than a number, an id or a
time takes, because a copy may load a short text instead."""
_FRAME_BYTES: Final = 3
"""The tag and the terminator of a text in an index key."""
_TEXT: Final = (str, bytes)
_FIXED_SIZE: Final = (int, bool, float, NoneType, datetime, ObjectId, Timestamp)


def check_size(model: type[Model], raw: bytes) -> bytes:
    """Check the size of a document to insert, or to update with large changes, and return the document.

    Raises:
        DocumentTooLarge: It exceeds `DOCUMENT_BYTES`.
    """
    return _check_bytes(model, raw, DOCUMENT_BYTES)


def check_loaded(model: type[Model], raw: bytes) -> bytes:
    """Check the size of a document to load, and return it. Small changes may have grown it past `DOCUMENT_BYTES`.

    Raises:
        DocumentTooLarge: It exceeds `LOADED_DOCUMENT_BYTES`.
    """
    return _check_bytes(model, raw, LOADED_DOCUMENT_BYTES)


def _check_bytes(model: type[Model], raw: bytes, limit: int) -> bytes:
    if len(raw) > limit:
        raise DocumentTooLarge(model.__name__, len(raw), limit)
    return raw


def check_indexed(model: type[Model], document: Mapping[str, Any], *, validated: bool = True) -> None:
    """Check that values fit into the indexes of a model.

    Args:
        model: The model.
        document: Values by key: a document, or the changes to one. Keys may be missing.
        validated: Whether the model has validated the values, so that only fields declared as text can contain text.

    Raises:
        UnsupportedExpression: A text is too long, or a list has too many elements.
    """
    for key, limit in (compute_declared_text_limits if validated else compute_text_limits)(model).items():
        value = document.get(key)
        if type(value) in _FIXED_SIZE:
            continue
        if type(value) is list:
            if len(value) > INDEXED_ELEMENTS:
                raise UnsupportedExpression(f"{key} of {model.__name__} has more than {INDEXED_ELEMENTS} elements")
            elements: Sequence[Any] = value
        else:
            elements = (value,)
        if _are_short(elements, limit):
            continue
        for element in elements:
            if isinstance(element, _TEXT) and _is_longer(element, limit):
                raise UnsupportedExpression(f"a text in {key} of {model.__name__} is longer than {limit} bytes")


@cache
def compute_declared_text_limits(model: type[Model]) -> Mapping[str, int]:
    """Return the limits of `compute_text_limits` for the keys that the model declares as text or bytes."""
    return {key: limit for key, limit in compute_text_limits(model).items() if _may_hold_text(model, key)}


@cache
def compute_text_limits(model: type[Model]) -> Mapping[str, int]:
    """Return the maximum number of bytes of text for each indexed key.

    The keys of an index that may contain text share `KEY_BYTES` equally, less the space for the id and other keys.
    """
    texts = {key: _may_hold_text(model, key) for index in list_indexes(model) for key in index.keys}
    limits: dict[str, int] = {}
    for index in list_indexes(model):
        sharing = sum(texts[key] for key in index.keys)
        others = len(set(index.keys) - {"_id"}) - sharing
        share = (KEY_BYTES - _ID_BYTES - others * _OTHER_BYTES) // max(1, sharing) - _FRAME_BYTES
        for key in index.keys:
            limit = share if texts[key] else _OTHER_BYTES - _FRAME_BYTES
            limits[key] = min(limit, limits.get(key, limit))
    return limits


def _are_short(values: Sequence[Any], limit: int) -> bool:
    """Return whether all values are certainly within a limit in bytes. A character has at most 4 bytes in UTF-8."""
    try:
        return max(map(len, values), default=0) * 4 <= limit
    except TypeError:  # a value has no length
        return False


def _is_longer(value: str | bytes, limit: int) -> bool:
    if isinstance(value, bytes):
        return len(value) + value.count(b"\x00") > limit
    return len(value) > limit or len(value.encode(errors="replace")) + value.count("\x00") > limit


def _may_hold_text(model: type[Model], key: str) -> bool:
    """Return whether a field, or an element of its list, may be text or bytes."""
    field = next(name for name, field in model.__odm_fields__.items() if field.key_name == key)
    return not all(isinstance(kind, type) and issubclass(kind, _FIXED_SIZE) for kind in _leaves(model, field))


def _leaves(model: type[Model], field: str) -> list[Any]:
    pending, found = [model.model_fields[field].annotation], []
    while pending:
        annotation = pending.pop()
        arguments = get_args(annotation)
        pending += arguments
        found += [] if arguments else [annotation]
    return found
