"""What a store accepts of a document, the same for both stores: its size, and what its indexes hold of it.

What one store holds the other can hold too, so that a copy never fails for a document's size.
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
"""The longest key of an index: one byte less than LMDB allows, so that a bound that is cut to fit equals no key."""
SMALL_CHANGES_BYTES: Final = 2**14
"""Changes of this size or less are written without measuring the document: MongoDB would have to build it twice."""
_ID_BYTES: Final = 13
_OTHER_BYTES: Final = 27
"""The room in an index for a value that the model does not declare as text: more than a number, an id or a time takes,
since a copy may bring another."""
_FRAME_BYTES: Final = 3
"""The tag and the terminator of a text in an index."""
_TEXT: Final = (str, bytes)
_FIXED_SIZE: Final = (int, bool, float, NoneType, datetime, ObjectId, Timestamp)


def check_size(model: type[Model], raw: bytes) -> bytes:
    """Return a document that is to be inserted, or that changed much.

    Raises:
        DocumentTooLarge: it is longer than `DOCUMENT_BYTES`.
    """
    return _check_bytes(model, raw, DOCUMENT_BYTES)


def check_loaded(model: type[Model], raw: bytes) -> bytes:
    """Return a document that is to be loaded. Small changes may have taken it beyond `DOCUMENT_BYTES`.

    Raises:
        DocumentTooLarge: it is longer than `LOADED_DOCUMENT_BYTES`.
    """
    return _check_bytes(model, raw, LOADED_DOCUMENT_BYTES)


def _check_bytes(model: type[Model], raw: bytes, limit: int) -> bytes:
    if len(raw) > limit:
        raise DocumentTooLarge(model.__name__, len(raw), limit)
    return raw


def check_indexed(model: type[Model], document: Mapping[str, Any], *, validated: bool = True) -> None:
    """Check that the model's indexes have room for values.

    Args:
        model: The model.
        document: Values by key, such as a document or what changes in one; keys may be missing.
        validated: Whether the model has validated the values, so that only fields declared as text can hold one.

    Raises:
        UnsupportedExpression: a text is too long, or a list has too many elements.
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
    """Return the limits of `compute_text_limits` for the keys that the model declares as text."""
    return {key: limit for key, limit in compute_text_limits(model).items() if _may_hold_text(model, key)}


@cache
def compute_text_limits(model: type[Model]) -> Mapping[str, int]:
    """Return how many bytes of text each indexed key may hold.

    The keys of an index that may hold text share equally what the id and the others leave of `KEY_BYTES`.
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
    """Return True if no text among the values can be longer than the limit, in bytes, in any encoding."""
    try:
        return max(map(len, values), default=0) * 4 <= limit
    except TypeError:  # one of them is no text
        return False


def _is_longer(value: str | bytes, limit: int) -> bool:
    if isinstance(value, bytes):
        return len(value) + value.count(b"\x00") > limit
    return len(value) > limit or len(value.encode(errors="replace")) + value.count("\x00") > limit


def _may_hold_text(model: type[Model], key: str) -> bool:
    """Tell whether a field may hold a text or bytes, itself or in a list."""
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
