"""The indexes that models declare."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from todo_service.timestamps import EARLIEST

_NAIVE_EARLIEST: Final = EARLIEST.replace(tzinfo=None)


class DeclaredIndex(NamedTuple):
    """An index that a model declares, or its primary key.

    Attributes:
        name: The name in MongoDB.
        keys: The indexed keys of the documents, in order.
        unique: Whether the keys must be unique together.
        expires_after: How many seconds after the time in the index's only key a document expires, or None.
        list_key: The key of a list, whose elements are indexed one by one, or None.
        time_key: The key in which the indexed documents have a time since 1970, or None if it holds all documents.
    """

    name: str
    keys: tuple[str, ...]
    unique: bool = False
    expires_after: int | None = None
    list_key: str | None = None
    time_key: str | None = None


def is_indexed_time(value: object) -> bool:
    """Return whether a document with this value in the `time_key` is in an index of `partial_to_times`."""
    return isinstance(value, datetime) and value >= (EARLIEST if value.tzinfo else _NAIVE_EARLIEST)
