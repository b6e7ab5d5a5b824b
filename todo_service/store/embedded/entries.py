"""The entries of a document in its indexes.

An entry maps the document's indexed values, in index order and followed by its id, to the id. A key has at most
`KEY_BYTES`, because `capacity` limits the texts in an index. It is therefore never truncated, and keys sort in the same
order as their documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import lmdb

from todo_service.store.embedded.keys import EMPTY_LIST, encode_value
from todo_service.store.embedded.schema import Schema
from todo_service.store.query.declared import DeclaredIndex, is_indexed_time


def is_same_value(one: Any, other: Any) -> bool:
    """Return True if two values are equal and of one type, including their elements, so that their entries are equal.

    False does not mean that the entries differ.
    """
    if type(one) is not type(other) or one != other:
        return False
    return type(one) is not list or all(map(is_same_value, one, other))


class IndexEntries:
    """The entries of one document in its indexes. Encodes each value once, even if several indexes contain it.

    Args:
        schema: The schema, whose defaults stand for missing keys.
        document: The document.
    """

    def __init__(self, schema: Schema, document: Mapping[str, Any]) -> None:
        self._schema = schema
        self._document = document
        self._encoded: dict[str, tuple[bytes, ...]] = {}

    def prefixes(self, index: DeclaredIndex) -> set[bytes]:
        """Return the encoded values of the document in an index: one for each element if a field holds a list.

        There is none if the index does not hold the document.

        Raises:
            UnsupportedExpression: A value cannot be indexed.
        """
        if index.time_key is not None and not is_indexed_time(self._get(index.time_key)):
            return set()
        values = [self._encoded.get(key) or self._encode(key) for key in index.keys]
        return set(map(b"".join, product(*values)))

    def keys(self, index: DeclaredIndex) -> set[bytes]:
        """Return the keys of the document in an index. Raises the same errors as `prefixes`."""
        if index.keys[-1] == "_id":
            return self.prefixes(index)
        (document_id,) = self._encoded.get("_id") or self._encode("_id")
        return {prefix + document_id for prefix in self.prefixes(index)}

    def _get(self, key: str) -> Any:
        return self._document[key] if key in self._document else self._schema.make_getter(key)(self._document)

    def _encode(self, key: str) -> tuple[bytes, ...]:
        value = self._get(key)
        if isinstance(value, list):
            found = tuple({encode_value(element) for element in value}) or (EMPTY_LIST,)
        else:
            found = (encode_value(value),)
        self._encoded[key] = found
        return found


def violates_unique(
    transaction: lmdb.Transaction,
    index: DeclaredIndex,
    database: lmdb._Database,
    entries: IndexEntries,
    document_id: bytes,
) -> bool:
    """Return whether another document has the same values in a unique index."""
    for prefix in entries.prefixes(index):
        with transaction.cursor(database) as cursor:
            found = cursor.set_range(prefix)
            while found and cursor.key().startswith(prefix):
                if cursor.value() != document_id:
                    return True
                found = cursor.next()
    return False
