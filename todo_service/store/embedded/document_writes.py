"""Writes of single documents and their index entries, within a write transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import lmdb
from bson import Timestamp

from todo_service.bounds.store import DOCUMENT_BYTES
from todo_service.store.bson_codec import decode, encode, read_id
from todo_service.store.embedded.databases import Collection, next_stamp, read_clock, write_clock
from todo_service.store.embedded.entries import IndexEntries, is_same_value, violates_unique
from todo_service.store.embedded.schema import Schema
from todo_service.store.errors import DocumentTooLarge, DuplicateDocument
from todo_service.store.query.predicates import Predicate


def insert_document(
    transaction: lmdb.Transaction,
    meta: lmdb._Database,
    collection: Collection,
    raw: bytes,
) -> None:
    """Stamp and write a new document. Nothing is written if it raises.

    The caller must have checked the document with `capacity.check_size` and `capacity.check_indexed`.

    Raises:
        DuplicateDocument: Another document has the same id, or the same values in a unique index.
        UnsupportedExpression: The document has no ObjectId as its id, or cannot be indexed.
    """
    if transaction.get(read_id(raw), db=collection.documents) is not None:
        raise DuplicateDocument(collection.schema.model, "id")
    document = decode(raw)
    stamp = _stamp(transaction, meta, collection.schema, document)
    write_document(transaction, collection, None, document, raw if stamp is None else encode(document))
    if stamp is not None:
        write_clock(transaction, meta, stamp)


def update_document(
    transaction: lmdb.Transaction,
    meta: lmdb._Database,
    collection: Collection,
    old: Mapping[str, Any],
    changes: Mapping[str, Any],
    *,
    measured: bool,
    stamped: bool,
) -> bytes:
    """Apply changes to a stored document, write it and return it.

    The caller must have checked the changes with `capacity.check_indexed`.

    Args:
        transaction: A write transaction.
        meta: The database with the clock.
        collection: The databases of the collection.
        old: The stored document.
        changes: New values by key, as BSON decodes them.
        measured: Whether to check the size of the document.
        stamped: Whether to stamp the document, if its schema has a stamp.

    Raises:
        DuplicateDocument: Another document has the same values in a unique index.
        DocumentTooLarge: The document would become too large.
        UnsupportedExpression: The document cannot be indexed.
    """
    schema = collection.schema
    document = {**old, **changes}
    stamp = _stamp(transaction, meta, schema, document) if stamped else None
    raw = encode(document)
    if measured and len(raw) > DOCUMENT_BYTES:
        raise DocumentTooLarge(schema.model, len(raw), DOCUMENT_BYTES)
    written = [*changes] if stamp is None or schema.stamp is None else [*changes, schema.stamp]
    write_document(transaction, collection, old, document, raw, written)
    if stamp is not None:
        write_clock(transaction, meta, stamp)
    return raw


def write_document(
    transaction: lmdb.Transaction,
    collection: Collection,
    old: Mapping[str, Any] | None,
    new: Mapping[str, Any],
    raw: bytes,
    written: Iterable[str] | None = None,
) -> None:
    """Write a document and update its index entries. All checks precede the first write.

    The caller must have checked the document with `capacity.check_indexed`.

    Args:
        transaction: A write transaction.
        collection: The databases of the collection.
        old: The stored document, or None if there is none.
        new: The document to write.
        raw: The document to write, as BSON.
        written: The keys whose values may differ between `old` and `new`; None if all may.

    Raises:
        DuplicateDocument: Another document has the same values in a unique index. Nothing is written.
        UnsupportedExpression: A value cannot be indexed. Nothing is written.
    """
    document_id = read_id(raw)
    schema = collection.schema
    entries, old_entries = IndexEntries(schema, new), None if old is None else IndexEntries(schema, old)
    changed = None if old is None else _find_changed(schema, old, new, written)
    updates = []
    for index, database in collection.indexes:
        if changed is not None and changed.isdisjoint(index.keys):
            continue
        if index.unique and violates_unique(transaction, index, database, entries, document_id):
            raise DuplicateDocument(schema.model, schema.fields[index.keys[-1]])
        keys = entries.keys(index)
        old_keys = old_entries.keys(index) if old_entries is not None else set()
        updates.append((database, old_keys - keys, keys - old_keys))
    for database, removed, added in updates:
        for key in removed:
            transaction.delete(key, db=database)
        for key in added:
            transaction.put(key, document_id, db=database)
    transaction.put(document_id, raw, db=collection.documents)


def delete_document(
    transaction: lmdb.Transaction,
    collection: Collection,
    document_id: bytes,
    matches: Predicate | None,
) -> int:
    """Delete a document if it exists and matches the conditions. Return the number of deleted documents, 0 or 1."""
    raw = transaction.get(document_id, db=collection.documents)
    if raw is None:
        return 0
    document = decode(raw)
    if matches is not None and not matches(document):
        return 0
    entries = IndexEntries(collection.schema, document)
    for index, database in collection.indexes:
        for key in entries.keys(index):
            transaction.delete(key, db=database)
    transaction.delete(document_id, db=collection.documents)
    return 1


def _stamp(
    transaction: lmdb.Transaction, meta: lmdb._Database, schema: Schema, document: dict[str, Any]
) -> Timestamp | None:
    """Set the stamp of a document, and return it. Return None if the schema has no stamp."""
    if schema.stamp is None:
        return None
    stamp = document[schema.stamp] = next_stamp(read_clock(transaction, meta))
    return stamp


def _find_changed(
    schema: Schema, old: Mapping[str, Any], new: Mapping[str, Any], written: Iterable[str] | None
) -> set[str]:
    """Return the keys whose values differ. See `write_document`."""
    if written is None:
        written = {**old, **new}.keys()
    changed = {key for key in written if not _is_same(old, new, key)}
    return changed | {key for key, source in schema.sources.items() if source in changed}


def _is_same(old: Mapping[str, Any], new: Mapping[str, Any], key: str) -> bool:
    """Return whether a key is missing in both documents, or has the same value."""
    return (key in old) is (key in new) and is_same_value(old.get(key), new.get(key))
