"""What an embedded store says about itself: that it is one, its format, its state, its clock, and its databases."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any, Final, NamedTuple

import bson
import lmdb
from bson import Timestamp
from odmantic import Model

from todo_service.store.base import Access, State
from todo_service.store.capacity import check_indexed
from todo_service.store.codec import decode
from todo_service.store.embedded.environment import Environment
from todo_service.store.embedded.indexes import Entries, violates_unique
from todo_service.store.errors import StoreUnusable
from todo_service.store.query.planner import DeclaredIndex

FORMAT: Final = 2
_MARKER: Final = b"todo-service document store"
_META: Final = "meta"
_CLOCK: Final = b"clock"
_STATE: Final = b"state"


class Collection(NamedTuple):
    """A model's databases: its documents, and its indexes but the primary key."""

    documents: lmdb._Database
    indexes: tuple[tuple[DeclaredIndex, lmdb._Database], ...]

    def database_of(self, name: str) -> lmdb._Database:
        """Return the database of an index."""
        return next(database for index, database in self.indexes if index.name == name)


def read_clock(transaction: lmdb.Transaction, meta: lmdb._Database) -> Timestamp:
    """Return the last stamp that was given, as the transaction sees it."""
    raw = transaction.get(_CLOCK, b"\x00" * 8, db=meta)
    return Timestamp(int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:], "big"))


def set_clock(transaction: lmdb.Transaction, meta: lmdb._Database, stamp: Timestamp) -> None:
    """Note the last stamp that was given."""
    transaction.put(_CLOCK, stamp.time.to_bytes(4, "big") + stamp.inc.to_bytes(4, "big"), db=meta)


def next_stamp(last: Timestamp) -> Timestamp:
    """Return the stamp after the last: the present second where it has passed, never one that was given before."""
    seconds = int(time.time())
    return Timestamp(seconds, 1) if seconds > last.time else Timestamp(last.time, last.inc + 1)


def read_state(transaction: lmdb.Transaction, meta: lmdb._Database) -> State:
    """Return what the store knows about itself."""
    raw = transaction.get(_STATE, db=meta)
    return State("") if raw is None else State(**decode(raw))


def set_state(transaction: lmdb.Transaction, meta: lmdb._Database, state: State) -> None:
    """Change what the store knows about itself."""
    raw = bson.encode({"generation": state.generation, "restoring_from": state.restoring_from})
    transaction.put(_STATE, raw, db=meta)


def open_meta(environment: Environment, folder: Path, access: Access) -> lmdb._Database:
    """Return the database that says what the environment is, marking a new one as ours unless it is only read.

    Raises:
        StoreUnusable: it holds something else, or another format than this version's.
    """
    with environment.reading() as transaction:
        names = [bytes(name) for name, _ in transaction.cursor()]
    reading = access is Access.READ
    if (names or reading) and _META.encode() not in names:
        raise StoreUnusable(f"{folder} holds an LMDB environment that is not a todo_service store")
    meta = environment.existing_database(_META) if reading else environment.database(_META)

    def mark(transaction: lmdb.Transaction) -> dict[str, Any]:
        raw = transaction.get(_MARKER, db=meta)
        if raw is None:
            raw = bson.encode({"format": FORMAT})
            transaction.put(_MARKER, raw, db=meta)
        if not read_state(transaction, meta).generation:
            set_state(transaction, meta, State(uuid.uuid4().hex))
        return decode(raw)

    if reading:
        with environment.reading() as transaction:
            written = decode(transaction.get(_MARKER, bson.encode({"format": None}), db=meta))["format"]
    else:
        written = environment.write(mark)["format"]
    if written != FORMAT:
        raise StoreUnusable(f"{folder} was written in format {written}; this version reads format {FORMAT}")
    return meta


def build_indexes(
    transaction: lmdb.Transaction, meta: lmdb._Database, model: type[Model], collection: Collection
) -> None:
    """Make the entries of each index that is new or declared otherwise than before; decided inside the transaction,
    since several processes may open at once.

    Raises:
        StoreUnusable: two documents have the same value in a unique index.
        UnsupportedExpression: a value cannot be indexed.
    """
    for index, database in collection.indexes:
        key = f"index:{model.__collection__}:{index.name}".encode()
        definition = bson.encode({"keys": list(index.keys), "unique": index.unique})
        if transaction.get(key, db=meta) == definition:
            continue
        transaction.drop(database, delete=False)
        for identity, raw in transaction.cursor(collection.documents):
            document = decode(raw)
            check_indexed(model, document, validated=False)
            if index.unique and violates_unique(transaction, index, database, document):
                raise StoreUnusable(f"two {model.__name__} documents have the same {index.keys[-1]}")
            for entry in Entries(document).keys(index):
                transaction.put(entry, identity, db=database)
        transaction.put(key, definition, db=meta)
