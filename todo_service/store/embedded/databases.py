"""The databases of an embedded store: the collections with their indexes, and the metadata with the clock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, NamedTuple

import lmdb
from bson import Timestamp

from todo_service.store.embedded.environment import Environment
from todo_service.store.embedded.schema import Schema
from todo_service.store.query.declared import DeclaredIndex

META: Final = "meta"
STATE: Final = b"state"
_CLOCK: Final = b"clock"


class Collection(NamedTuple):
    """The databases of a collection.

    Attributes:
        schema: The schema.
        documents: The documents by id.
        indexes: The secondary indexes.
    """

    schema: Schema
    documents: lmdb._Database
    indexes: tuple[tuple[DeclaredIndex, lmdb._Database], ...]

    def find_index(self, name: str) -> lmdb._Database:
        """Return the database of an index."""
        return next(database for index, database in self.indexes if index.name == name)


class Databases(NamedTuple):
    """The databases that writes need.

    Attributes:
        meta: The format, the state and the clock of the store.
        collections: The collections by name.
    """

    meta: lmdb._Database
    collections: Mapping[str, Collection]


def name_documents(collection: str) -> str:
    """Return the name of the database of a collection's documents."""
    return f"documents:{collection}"


def name_index(collection: str, index: str) -> str:
    """Return the name of the database of an index."""
    return f"index:{collection}:{index}"


def create_collection(environment: Environment, schema: Schema) -> Collection:
    """Open the databases of a collection, and create those that are missing.

    Raises:
        StoreUnavailable: The environment cannot be written.
    """
    documents = environment.open_database(name_documents(schema.collection))
    indexes = ((index, name_index(schema.collection, index.name)) for index in schema.indexes)
    return Collection(schema, documents, tuple((index, environment.open_database(name)) for index, name in indexes))


def read_clock(transaction: lmdb.Transaction, meta: lmdb._Database) -> Timestamp:
    """Return the latest stamp that the transaction sees."""
    raw = transaction.get(_CLOCK, b"\x00" * 8, db=meta)
    return Timestamp(int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:], "big"))


def write_clock(transaction: lmdb.Transaction, meta: lmdb._Database, stamp: Timestamp) -> None:
    """Store the latest stamp."""
    transaction.put(_CLOCK, stamp.time.to_bytes(4, "big") + stamp.inc.to_bytes(4, "big"), db=meta)


def next_stamp(last: Timestamp) -> Timestamp:
    """Return the stamp after the last one. It follows the system clock unless that is behind the last stamp."""
    seconds = int(time.time())
    return Timestamp(seconds, 1) if seconds > last.time else Timestamp(last.time, last.inc + 1)
