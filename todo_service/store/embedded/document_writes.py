"""Writes of single documents and their index entries, within a write transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import lmdb
from bson import Timestamp
from odmantic import Model

from todo_service.store.bson_codec import decode, decode_cached, encode, read_id
from todo_service.store.capacity import SMALL_CHANGES_BYTES, check_indexed, check_size
from todo_service.store.codec import find_changed_stamp_key, find_stamp_key
from todo_service.store.defaults import find_defaults
from todo_service.store.embedded.catalog import Collection, next_stamp, read_clock, write_clock
from todo_service.store.embedded.indexes import IndexEntries, is_same_value, violates_unique
from todo_service.store.errors import DuplicateDocument
from todo_service.store.query.predicates import Predicate


def insert_document(
    transaction: lmdb.Transaction,
    meta: lmdb._Database,
    model: type[Model],
    collection: Collection,
    document: dict[str, Any],
) -> None:
    """Stamp and write a new document. Nothing is written if it raises.

    Raises:
        DuplicateDocument: Another document has the same id, or the same values in a unique index.
        DocumentTooLarge: The document is too large.
        UnsupportedExpression: The document cannot be stored or indexed.
    """
    stamp = _stamp(transaction, meta, model, document)
    raw = check_size(model, encode(document))
    check_indexed(model, document)
    if transaction.get(read_id(raw), db=collection.documents) is not None:
        raise DuplicateDocument(model.__name__, "id")
    # decoded again, so that the index entries match the stored values
    write_document(transaction, model, collection, None, decode_cached(raw), raw)
    if stamp is not None:
        write_clock(transaction, meta, stamp)


def update_document(
    transaction: lmdb.Transaction,
    meta: lmdb._Database,
    model: type[Model],
    collection: Collection,
    old: Mapping[str, Any],
    changes: Mapping[str, Any],
) -> bytes:
    """Apply changes to a stored document, stamp it, write it and return it.

    Raises the same errors as `insert_document`. The caller must have checked the changes with `capacity.check_indexed`.
    """
    document = {**old, **changes}
    stamped = find_changed_stamp_key(model, changes)
    stamp = None if stamped is None else _stamp(transaction, meta, model, document)
    raw = encode(document)
    if len(raw) > SMALL_CHANGES_BYTES and len(encode({"_id": old["_id"], **changes})) > SMALL_CHANGES_BYTES:
        check_size(model, raw)
    written = [*changes] if stamped is None else [*changes, stamped]
    write_document(transaction, model, collection, old, decode_cached(raw), raw, written)
    if stamp is not None:
        write_clock(transaction, meta, stamp)
    return raw


def write_document(
    transaction: lmdb.Transaction,
    model: type[Model],
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
        model: The model.
        collection: The databases of the model.
        old: The stored document, or None if there is none.
        new: The document to write.
        raw: The document to write, as BSON.
        written: The keys whose values may differ between `old` and `new`; None if all may.

    Raises:
        DuplicateDocument: Another document has the same values in a unique index. Nothing is written.
        UnsupportedExpression: A value cannot be indexed. Nothing is written.
    """
    document_id = read_id(raw)
    entries, old_entries = IndexEntries(model, new), None if old is None else IndexEntries(model, old)
    changed = None if old is None else _find_changed(model, old, new, written)
    updates = []
    for index, database in collection.indexes:
        if changed is not None and changed.isdisjoint(index.keys):
            continue
        if index.unique and violates_unique(transaction, index, database, entries, document_id):
            raise DuplicateDocument(model.__name__, _find_field(model, index.keys[-1]))
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
    model: type[Model],
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
    entries = IndexEntries(model, document)
    for index, database in collection.indexes:
        for key in entries.keys(index):
            transaction.delete(key, db=database)
    transaction.delete(document_id, db=collection.documents)
    return 1


def _stamp(
    transaction: lmdb.Transaction, meta: lmdb._Database, model: type[Model], document: dict[str, Any]
) -> Timestamp | None:
    """Set the stamp of a document, and return it. Return None if the model has no stamp."""
    if not (stamped := find_stamp_key(model)):
        return None
    stamp = document[stamped] = next_stamp(read_clock(transaction, meta))
    return stamp


def _find_changed(
    model: type[Model], old: Mapping[str, Any], new: Mapping[str, Any], written: Iterable[str] | None
) -> set[str]:
    """Return the keys whose values differ. See `write_document`."""
    if written is None:
        written = {**old, **new}.keys()
    changed = {key for key in written if not _is_same(old, new, key)}
    return changed | {key for key, source in find_defaults(model).sources.items() if source in changed}


def _is_same(old: Mapping[str, Any], new: Mapping[str, Any], key: str) -> bool:
    """Return whether a key is missing in both documents, or has the same value."""
    return (key in old) is (key in new) and is_same_value(old.get(key), new.get(key))


def _find_field(model: type[Model], key: str) -> str:
    return next(name for name, field in model.__odm_fields__.items() if field.key_name == key)
