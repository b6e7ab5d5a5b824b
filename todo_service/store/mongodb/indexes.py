"""The indexes of a database: new ones are built, and those that the models no longer declare are dropped.

The built indexes are recorded, so that an index that an operator has created is never dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from odmantic import AIOEngine, Model
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError, OperationFailure

from todo_service.store.defaults import find_defaults, list_default_values
from todo_service.store.errors import StoreUnusable
from todo_service.store.mongodb.connection import MongoDBConnection
from todo_service.store.mongodb.errors import NOT_FOUND
from todo_service.store.query.declared import DeclaredIndex
from todo_service.store.query.planner import list_indexes

_RECORD: Final = {"_id": "indexes"}


async def update_indexes(
    connection: MongoDBConnection, records: AsyncCollection[dict[str, Any]], *, fill: bool
) -> None:
    """Build new and changed indexes, and drop the built ones that the models no longer declare.

    Args:
        connection: The connection.
        records: The collection that holds the record of the built indexes.
        fill: Whether to write the defaults of the keys of new and changed indexes into the documents that lack them.
            Pass False before a copy, which must be exact; the next call with True then writes the defaults.

    Raises:
        StoreUnusable: Two documents have the same value in a unique index.
    """
    record = await records.find_one(_RECORD) or {"built": []}
    built = {(index["collection"], index["name"]): index for index in record["built"]}
    async with connection.engine() as engine:
        for model in connection.models:
            earlier = {key: index for key, index in built.items() if key[0] == model.__collection__}
            declared = {
                (model.__collection__, index.name): _describe(model, index) for index in list_indexes(model)[1:]
            }
            for key in declared.keys() & earlier.keys():
                if earlier[key] not in (declared[key], declared[key] | {"filled": False}):
                    await _drop(connection, *key)
            if fill:
                await _fill(
                    connection,
                    model,
                    {name for key in declared for name in declared[key]["keys"] if declared[key] != earlier.get(key)},
                )
            await _build(engine, model)
            for key in earlier.keys() - declared.keys():
                await _drop(connection, *key)
                del built[key]
            built |= {key: index | {"filled": fill} for key, index in declared.items()}
    found = [built[key] for key in sorted(built)]
    if found != record["built"]:
        await records.update_one(_RECORD, {"$set": {"built": found}}, upsert=True)


def _describe(model: type[Model], index: DeclaredIndex) -> dict[str, Any]:
    described = {
        "collection": model.__collection__,
        "name": index.name,
        "keys": list(index.keys),
        "unique": index.unique,
        "expires_after": index.expires_after,
        "filled": True,
    }
    return described | ({"time_key": index.time_key} if index.time_key is not None else {})


async def _fill(connection: MongoDBConnection, model: type[Model], keys: Iterable[str]) -> None:
    collection = connection.database[model.__collection__]
    for key, value in list_default_values(model).items():
        # to conditions and sorts, a missing list is an empty one (`filters`)
        if key in keys and value != []:
            await collection.update_many({key: {"$exists": False}}, {"$set": {key: value}})
    defaults = find_defaults(model)
    for key, source in defaults.sources.items():
        if key in keys:
            missing = {key: {"$exists": False}, source: {"$exists": True}}
            copied = {"$toString": f"${source}"} if key in defaults.texts else f"${source}"
            await collection.update_many(missing, [{"$set": {key: copied}}])


async def _build(engine: AIOEngine, model: type[Model]) -> None:
    try:
        await engine.configure_database([model])
    except DuplicateKeyError as error:
        keys = list((error.details or {}).get("keyPattern", ())) or ["key"]
        raise StoreUnusable(f"two {model.__name__} documents have the same {keys[-1]}") from None


async def _drop(connection: MongoDBConnection, collection: str, name: str) -> None:
    try:
        await connection.database[collection].drop_index(name)
    except OperationFailure as error:
        # another process may have dropped it
        if error.code not in NOT_FOUND:
            raise
