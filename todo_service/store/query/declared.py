"""The indexes that models declare."""

from __future__ import annotations

from typing import NamedTuple


class DeclaredIndex(NamedTuple):
    """An index that a model declares, or its primary key.

    Attributes:
        name: The name in MongoDB.
        keys: The indexed keys of the documents, in order.
        unique: Whether the keys must be unique together.
        expires_after: How many seconds after the time in the index's only key a document expires, or None.
        list_key: The key of a list, whose elements are indexed one by one, or None.
        times_only: Whether it holds only the documents with a time in its first key.
    """

    name: str
    keys: tuple[str, ...]
    unique: bool = False
    expires_after: int | None = None
    list_key: str | None = None
    times_only: bool = False
