"""The catalog of an embedded store: its format and state, and the databases of each model."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import bson
import lmdb
from odmantic import Model

from todo_service.store.base import Access, State
from todo_service.store.bson_codec import decode
from todo_service.store.capacity import check_indexed
from todo_service.store.codec import find_stamp_key
from todo_service.store.defaults import find_defaults, list_default_values
from todo_service.store.embedded.databases import META, STATE, Collection, create_collection, name_documents, name_index
from todo_service.store.embedded.entries import IndexEntries, violates_unique
from todo_service.store.embedded.environment import Environment
from todo_service.store.embedded.integrity import is_damaged
from todo_service.store.embedded.schema import Schema
from todo_service.store.errors import StoreUnusable
from todo_service.store.query.declared import DeclaredIndex
from todo_service.store.query.planner import list_indexes

FORMAT: Final = 2
_MARKER: Final = b"todo-service document store"


class Catalog(NamedTuple):
    """The databases of a store.

    Attributes:
        meta: The format, the state and the clock of the store.
        state: The state when the store was opened.
        collections: The databases of each model.
    """

    meta: lmdb._Database
    state: State
    collections: Mapping[type[Model], Collection]


def read_state(transaction: lmdb.Transaction, meta: lmdb._Database) -> State:
    """Return the state of the store."""
    raw = transaction.get(STATE, db=meta)
    return State("") if raw is None else State(**decode(raw))


def encode_state(state: State) -> bytes:
    """Return a state as it is stored."""
    return bson.encode({"generation": state.generation, "restoring_from": state.restoring_from})


def build_schema(model: type[Model]) -> Schema:
    """Build the schema of a model."""
    indexes, defaults = list_indexes(model)[1:], find_defaults(model)
    indexed = {key for index in indexes for key in index.keys}
    return Schema(
        collection=model.__collection__,
        model=model.__name__,
        stamp=find_stamp_key(model),
        fields={field.key_name: name for name, field in model.__odm_fields__.items() if field.key_name in indexed},
        indexes=indexes,
        defaults=list_default_values(model),
        sources=defaults.sources,
        texts=defaults.texts,
    )


def open_catalog(environment: Environment, folder: Path, models: tuple[type[Model], ...], access: Access) -> Catalog:
    """Open the databases of some models. Unless access is `READ`, create missing ones and build new indexes.

    Raises:
        StoreUnusable: The environment is damaged, is not a store or has another format, a copy into it is unfinished,
            or a document violates a unique index.
        UnsupportedExpression: A value cannot be indexed.
        StoreUnavailable: The environment cannot be read or written.
    """
    if missing := environment.count_missing_bytes():
        with environment.extend_file(missing):
            if is_damaged(folder):
                raise StoreUnusable(f"{folder} is damaged: its data file is truncated")
    meta = _open_meta(environment, folder, access)
    with environment.read_transaction() as transaction:
        state = read_state(transaction, meta)
    if state.restoring_from is not None and access is not Access.RESTORE:
        raise StoreUnusable(f"a copy into {folder} was not finished: run it again")
    if access is Access.READ:
        return Catalog(meta, state, _find_collections(environment, models))
    return Catalog(meta, state, _create_collections(environment, meta, models))


def _find_collections(environment: Environment, models: tuple[type[Model], ...]) -> dict[type[Model], Collection]:
    collections = {}
    for model in models:
        if (found := environment.find_database(name_documents(model.__collection__))) is not None:
            collections[model] = Collection(build_schema(model), found, ())
    return collections


def _create_collections(
    environment: Environment, meta: lmdb._Database, models: tuple[type[Model], ...]
) -> dict[type[Model], Collection]:
    collections = {}
    for model in models:
        collections[model] = create_collection(environment, build_schema(model))
        environment.write(partial(_build_indexes, meta=meta, model=model, collection=collections[model]))
        for dropped in _find_dropped_indexes(environment, meta, model):
            environment.write(
                partial(_drop_index, meta=meta, name=dropped, database=environment.open_database(dropped))
            )
    return collections


def _find_dropped_indexes(environment: Environment, meta: lmdb._Database, model: type[Model]) -> list[str]:
    """Return the names of the databases of the indexes that were built, but are no longer declared."""
    prefix = name_index(model.__collection__, "")
    declared = {prefix + index.name for index in list_indexes(model)}
    with environment.read_transaction() as transaction:
        built = [bytes(key).decode() for key in transaction.cursor(meta).iternext(values=False)]
    return [name for name in built if name.startswith(prefix) and name not in declared]


def _drop_index(transaction: lmdb.Transaction, meta: lmdb._Database, name: str, database: lmdb._Database) -> None:
    """Delete the entries of an index. Its empty database stays, because another process may have it open."""
    transaction.drop(database, delete=False)
    transaction.delete(name.encode(), db=meta)


def _open_meta(environment: Environment, folder: Path, access: Access) -> lmdb._Database:
    """Open the database that identifies a store. Unless access is `READ`, an empty environment becomes a store.

    Raises:
        StoreUnusable: The environment holds something else, or has a format that this version does not support.
    """
    with environment.read_transaction() as transaction:
        names = [bytes(name) for name, _ in transaction.cursor()]
    read_only = access is Access.READ
    if (names or read_only) and META.encode() not in names:
        raise StoreUnusable(f"{folder} contains an LMDB environment that is not a todo_service store")
    meta = environment.find_database(META) if read_only else environment.open_database(META)

    def initialize(transaction: lmdb.Transaction) -> dict[str, Any]:
        raw = transaction.get(_MARKER, db=meta)
        if raw is None:
            raw = bson.encode({"format": FORMAT})
            transaction.put(_MARKER, raw, db=meta)
        if not read_state(transaction, meta).generation:
            transaction.put(STATE, encode_state(State(uuid.uuid4().hex)), db=meta)
        return decode(raw)

    if read_only:
        with environment.read_transaction() as transaction:
            found = decode(transaction.get(_MARKER, bson.encode({"format": None}), db=meta))["format"]
    else:
        found = environment.write(initialize)["format"]
    if found != FORMAT:
        raise StoreUnusable(f"{folder} has format {found}; this version reads format {FORMAT}")
    return meta


def _build_indexes(
    transaction: lmdb.Transaction, meta: lmdb._Database, model: type[Model], collection: Collection
) -> None:
    """Rebuild each index that is new or whose declaration has changed.

    The transaction decides which ones, because several processes may open the store at the same time.

    Raises:
        StoreUnusable: Two documents have the same value in a unique index.
        UnsupportedExpression: A value cannot be indexed.
    """
    for index, database in collection.indexes:
        key = name_index(model.__collection__, index.name).encode()
        definition = _encode_definition(model, index)
        if transaction.get(key, db=meta) == definition:
            continue
        transaction.drop(database, delete=False)
        for document_id, raw in transaction.cursor(collection.documents):
            document = decode(raw)
            check_indexed(model, document, validated=False)
            entries = IndexEntries(collection.schema, document)
            if index.unique and violates_unique(transaction, index, database, entries, document_id):
                raise StoreUnusable(f"two {model.__name__} documents have the same {index.keys[-1]}")
            for entry in entries.keys(index):
                transaction.put(entry, document_id, db=database)
        transaction.put(key, definition, db=meta)


def _encode_definition(model: type[Model], index: DeclaredIndex) -> bytes:
    """Return everything that the entries of an index depend on, besides the documents."""
    definition: dict[str, Any] = {"keys": list(index.keys), "unique": index.unique}
    if index.time_key is not None:
        definition["time_key"] = index.time_key
    defaults = {key: value for key, value in list_default_values(model).items() if key in index.keys}
    sources = {key: source for key, source in find_defaults(model).sources.items() if key in index.keys}
    return bson.encode(
        definition | ({"defaults": defaults} if defaults else {}) | ({"sources": sources} if sources else {})
    )
