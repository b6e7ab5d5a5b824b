"""Writes of one document of an embedded store, with its index entries, inside a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lmdb
from bson import Timestamp
from odmantic import Model

from todo_service.store.capacity import SMALL_CHANGES_BYTES, check_indexed, check_size
from todo_service.store.codec import decode, decode_cached, encode, find_stamp_key, read_id
from todo_service.store.embedded.catalog import Collection, next_stamp, read_clock, set_clock
from todo_service.store.embedded.indexes import Entries, same, violates_unique
from todo_service.store.errors import DuplicateDocument
from todo_service.store.query.expressions import Predicate


def insert_document(
    transaction: lmdb.Transaction,
    meta: lmdb._Database,
    model: type[Model],
    collection: Collection,
    document: dict[str, Any],
) -> None:
    """Stamp and write a new document.

    Raises:
        DuplicateDocument: it clashes with a stored one; nothing was written.
        DocumentTooLarge: it is too large; nothing was written.
        UnsupportedExpression: it cannot be stored or indexed; nothing was written.
    """
    stamp = _stamp(transaction, meta, model, document)
    raw = check_size(model, encode(document))
    check_indexed(model, document)
    if transaction.get(read_id(raw), db=collection.documents) is not None:
        raise DuplicateDocument(model.__name__, "id")
    # through BSON, so that what is indexed is what is stored
    write_document(transaction, model, collection, None, decode_cached(raw), raw)
    if stamp is not None:
        set_clock(transaction, meta, stamp)


def change_document(
    transaction: lmdb.Transaction,
    meta: lmdb._Database,
    model: type[Model],
    collection: Collection,
    old: Mapping[str, Any],
    changes: Mapping[str, Any],
) -> bytes:
    """Stamp and write changes of a stored document, and return it. Errors as of `insert_document`.

    The caller has made sure that the indexes have room for the changes (`capacity.check_indexed`).
    """
    document = {**old, **changes}
    stamp = _stamp(transaction, meta, model, document)
    raw = encode(document)
    if len(raw) > SMALL_CHANGES_BYTES and len(encode({"_id": old["_id"], **changes})) > SMALL_CHANGES_BYTES:
        check_size(model, raw)
    write_document(transaction, model, collection, old, decode_cached(raw), raw)
    if stamp is not None:
        set_clock(transaction, meta, stamp)
    return raw


def write_document(
    transaction: lmdb.Transaction,
    model: type[Model],
    collection: Collection,
    old: Mapping[str, Any] | None,
    new: Mapping[str, Any],
    raw: bytes,
) -> None:
    """Write one document and its index entries; everything is checked before the first of them is written.

    The caller has made sure that the indexes have room for it (`capacity.check_indexed`).

    Raises:
        DuplicateDocument: it clashes with a stored one; nothing was written.
        UnsupportedExpression: a value can stand in no index; nothing was written.
    """
    identity = read_id(raw)
    entries, former = Entries(new), None if old is None else Entries(old)
    changed = {key for key in {**(old or {}), **new} if old is None or not same(old.get(key), new.get(key))}
    alterations = []
    for index, database in collection.indexes:
        if old is not None and changed.isdisjoint(index.keys):
            continue
        if index.unique and violates_unique(transaction, index, database, new):
            raise DuplicateDocument(model.__name__, _field_of(model, index.keys[-1]))
        wanted = entries.keys(index)
        present = former.keys(index) if former is not None else set()
        alterations.append((database, present - wanted, wanted - present))
    for database, surplus, missing in alterations:
        for key in surplus:
            transaction.delete(key, db=database)
        for key in missing:
            transaction.put(key, identity, db=database)
    transaction.put(identity, raw, db=collection.documents)


def remove_document(
    transaction: lmdb.Transaction, collection: Collection, identity: bytes, matches: Predicate | None
) -> int:
    """Delete one document if it is there and the conditions hold; return how many were deleted, 0 or 1."""
    raw = transaction.get(identity, db=collection.documents)
    if raw is None:
        return 0
    document = decode(raw)
    if matches is not None and not matches(document):
        return 0
    entries = Entries(document)
    for index, database in collection.indexes:
        for key in entries.keys(index):
            transaction.delete(key, db=database)
    transaction.delete(identity, db=collection.documents)
    return 1


def _stamp(
    transaction: lmdb.Transaction, meta: lmdb._Database, model: type[Model], document: dict[str, Any]
) -> Timestamp | None:
    """Give a document the next stamp, if its model has one."""
    if not (stamped := find_stamp_key(model)):
        return None
    stamp = document[stamped] = next_stamp(read_clock(transaction, meta))
    return stamp


def _field_of(model: type[Model], key: str) -> str:
    return next(name for name, field in model.__odm_fields__.items() if field.key_name == key)
