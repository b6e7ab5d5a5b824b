"""Prepare a database for the store's models: collections, indexes, expiry, and the store's own state."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import Any, Final

import pymongo
from pymongo import ReturnDocument
from pymongo.errors import OperationFailure

from todo_service.store.base import Access, State
from todo_service.store.errors import StoreUnusable
from todo_service.store.mongodb.connection import COPY_CALL_SECONDS, MongoDBConnection, build_app_name
from todo_service.store.mongodb.errors import NOT_FOUND
from todo_service.store.mongodb.indexes import update_indexes
from todo_service.store.query.planner import list_indexes

_STATE: Final = "store_state"
"""The collection with the store's state, and with the record of its indexes."""
_NEVER: Final = 2**31 - 1
"""The longest expiry that MongoDB accepts, in seconds."""
_SERVED_CHECKS: Final = 10
_SERVED_CHECK_SECONDS: Final = 0.2


async def prepare_database(connection: MongoDBConnection, access: Access) -> State:
    """Create what the models need, unless the store is only read, and return the store's state.

    Raises:
        StoreUnusable: The database holds no store, a copy into it is unfinished, or a service uses the target of a
            copy.
    """
    state = await _load_state(connection, access)
    restoring = state.restoring_from is not None
    if restoring and access is not Access.RESTORE:
        raise StoreUnusable("a copy into this database was not finished: run it again")
    if access is Access.RESTORE:
        await _refuse_if_served(connection)
    if access is not Access.READ:
        if restoring:
            # MongoDB rejects an existing index with a different expiry, so restore the declared one first
            await _set_expiry(connection, never=False)
        # building an index can take arbitrarily long, so use the timeout for copies
        with pymongo.timeout(COPY_CALL_SECONDS):
            await update_indexes(connection, connection.database[_STATE], fill=access is Access.SERVE)
        if restoring:
            await _set_expiry(connection, never=True)
    return state


async def store_state(connection: MongoDBConnection, state: State) -> None:
    """Store the state, durably. While a copy into the database is unfinished, no document expires."""
    if state.restoring_from is None:
        await _set_expiry(connection, never=False)
    await connection.database[_STATE].update_one(
        {"_id": "state"},
        {"$set": {"generation": state.generation, "restoring_from": state.restoring_from}},
        upsert=True,
    )
    if state.restoring_from is not None:
        await _set_expiry(connection, never=True)


async def _load_state(connection: MongoDBConnection, access: Access) -> State:
    database = connection.database
    found: dict[str, Any] | None
    if access is Access.READ:
        wanted = [model.__collection__ for model in connection.models]
        if not await database.list_collection_names(filter={"name": {"$in": wanted}}):
            raise StoreUnusable("the database holds no store")
        found = await database[_STATE].find_one({"_id": "state"}) or {"generation": ""}
    else:
        found = await database[_STATE].find_one_and_update(
            {"_id": "state"},
            {"$setOnInsert": {"generation": uuid.uuid4().hex}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
    assert found is not None  # it is inserted if there is none
    return State(found["generation"], found.get("restoring_from"))


async def _refuse_if_served(connection: MongoDBConnection) -> None:
    operations: list[dict[str, Any]] = [
        {"$currentOp": {"idleConnections": True}},
        {"$match": {"appName": build_app_name(connection.database.name)}},
        {"$limit": 1},
    ]
    with suppress(OperationFailure):  # the account may lack the role to list connections
        for _ in range(_SERVED_CHECKS):
            if not await (await connection.client.admin.aggregate(operations)).to_list():
                return
            # the server may still list the connections of a service that has just stopped
            await asyncio.sleep(_SERVED_CHECK_SECONDS)
        raise StoreUnusable("a service uses this database: stop it first")


async def _set_expiry(connection: MongoDBConnection, *, never: bool) -> None:
    """Set the expiry of all existing indexes that have one: to the declared time, or to never."""
    for model in connection.models:
        for index in list_indexes(model):
            if index.expires_after is None:
                continue
            seconds = _NEVER if never else index.expires_after
            try:
                await connection.database.command(
                    "collMod", model.__collection__, index={"name": index.name, "expireAfterSeconds": seconds}
                )
            except OperationFailure as error:
                if error.code not in NOT_FOUND:
                    raise
