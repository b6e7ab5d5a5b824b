"""The write operations of an embedded store, as BSON documents that another process can execute."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import lmdb
from bson import Timestamp

from todo_service.bounds.store import WRITE_SECONDS
from todo_service.store.bson_codec import decode, decode_cached, move_id_first, read_id
from todo_service.store.embedded.databases import STATE, Databases, read_clock, write_clock
from todo_service.store.embedded.document_writes import (
    delete_document,
    insert_document,
    update_document,
    write_document,
)
from todo_service.store.embedded.frames import decode_nodes
from todo_service.store.query.predicates import Predicate, compile_predicate

Operation = Mapping[str, Any]
"""The name of the operation in `do`, the name of the collection in `in`, and the arguments."""


def execute(transaction: lmdb.Transaction, databases: Databases, operation: Operation) -> Any:
    """Execute an operation in a write transaction, and return its result.

    If it raises a `StoreError`, what it has written so far is valid and can be committed.
    """
    return _FUNCTIONS[operation["do"]](transaction, databases, operation)


def _insert(transaction: lmdb.Transaction, databases: Databases, operation: Operation) -> int:
    """Insert documents until `WRITE_SECONDS` have passed. Return how many were inserted."""
    collection = databases.collections[operation["in"]]
    deadline = time.perf_counter() + WRITE_SECONDS
    for number, raw in enumerate(operation["documents"], 1):
        insert_document(transaction, databases.meta, collection, raw)
        if time.perf_counter() >= deadline:
            return number
    return len(operation["documents"])


def _update(transaction: lmdb.Transaction, databases: Databases, operation: Operation) -> bytes | None:
    """Change a document if the conditions hold, and return it, or None."""
    collection = databases.collections[operation["in"]]
    raw: bytes | None = transaction.get(operation["id"], db=collection.documents)
    if raw is None:
        return None
    old = decode_cached(raw)
    matches = _compile(databases, operation)
    if matches is not None and not matches(old):
        return None
    changes = decode(operation["changes"])
    if not changes:
        return raw
    measured, stamped = operation["measured"], operation["stamped"]
    return update_document(transaction, databases.meta, collection, old, changes, measured=measured, stamped=stamped)


def _delete(transaction: lmdb.Transaction, databases: Databases, operation: Operation) -> list[int]:
    """Delete documents if the conditions hold, until `WRITE_SECONDS` have passed.

    Returns:
        The number of deleted documents, and how many ids were processed.
    """
    collection, matches = databases.collections[operation["in"]], _compile(databases, operation)
    deadline = time.perf_counter() + WRITE_SECONDS
    deleted = 0
    for number, document_id in enumerate(operation["ids"], 1):
        deleted += delete_document(transaction, collection, document_id, matches)
        if time.perf_counter() >= deadline:
            return [deleted, number]
    return [deleted, len(operation["ids"])]


def _load(transaction: lmdb.Transaction, databases: Databases, operation: Operation) -> int:
    """Write documents as they are, and advance the clock to the highest of their stamps. Return how many changed."""
    collection = databases.collections[operation["in"]]
    written = 0
    clock = read_clock(transaction, databases.meta)
    for raw in operation["documents"]:
        stored = transaction.get(read_id(raw), db=collection.documents)
        if stored is not None and move_id_first(stored) == raw:
            continue
        new = decode(raw)
        write_document(transaction, collection, None if stored is None else decode(stored), new, raw)
        written += 1
        stamp = new.get(collection.schema.stamp) if collection.schema.stamp is not None else None
        if isinstance(stamp, Timestamp) and stamp > clock:
            write_clock(transaction, databases.meta, clock := stamp)
    return written


def _clear(transaction: lmdb.Transaction, databases: Databases, operation: Operation) -> None:
    collection = databases.collections[operation["in"]]
    for database in (collection.documents, *(database for _, database in collection.indexes)):
        transaction.drop(database, delete=False)


def _set_state(transaction: lmdb.Transaction, databases: Databases, operation: Operation) -> None:
    transaction.put(STATE, operation["state"], db=databases.meta)


def _ping(transaction: lmdb.Transaction, databases: Databases, _: Operation) -> None:
    transaction.put(b"ping", b"", db=databases.meta)


def _compile(databases: Databases, operation: Operation) -> Predicate | None:
    schema = databases.collections[operation["in"]].schema
    return compile_predicate(decode_nodes(operation["where"]), schema.make_getter)


_FUNCTIONS: Final[Mapping[str, Callable[[lmdb.Transaction, Databases, Operation], Any]]] = {
    "insert": _insert,
    "update": _update,
    "delete": _delete,
    "load": _load,
    "clear": _clear,
    "set_state": _set_state,
    "ping": _ping,
}
