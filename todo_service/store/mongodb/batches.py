"""Batched calls: concurrent reads by id, concurrent inserts and concurrent reads of the clock each share a round trip.

Most of the cost of a small call is the driver's own work (`store.batching`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from odmantic import Model
from pymongo import InsertOne
from pymongo.errors import BulkWriteError

from todo_service.store.batching import Batcher, Outcome
from todo_service.store.bson_codec import read_id, split_documents
from todo_service.store.codec import list_keys
from todo_service.store.errors import StoreError, StoreUnavailable
from todo_service.store.mongodb.connection import MongoDBConnection, guard_call
from todo_service.store.mongodb.errors import build_write_error, translate_error
from todo_service.store.query.planner import PRIMARY


class BatchedCalls:
    """Calls that share a round trip with others of their kind.

    Args:
        connection: The connection to call on.
    """

    def __init__(self, connection: MongoDBConnection) -> None:
        self._connection = connection
        self._reads: dict[tuple[type[Model], type[Any] | None, frozenset[str]], Batcher[ObjectId]] = {}
        self._inserts: dict[type[Model], Batcher[RawBSONDocument]] = {}
        # one call answers any number of requests
        self._clock_reads = Batcher(self._read_clock_once, max_in_flight=1)

    async def read(
        self, model: type[Model], identity: ObjectId, into: type[Any] | None, keys: frozenset[str]
    ) -> bytes | None:
        """Read a document by its id, and return its BSON or None.

        Args:
            model: The model.
            identity: The id.
            into: The Struct whose keys are read, or None for the whole document.
            keys: Further keys to read, for conditions on them.
        """
        batcher = self._reads.get((model, into, keys))
        if batcher is None:
            batcher = Batcher(partial(self._read_batch, model, build_projection(into, keys)))
            self._reads[model, into, keys] = batcher
        found: bytes | None = await batcher.submit(identity)
        return found

    async def insert(self, model: type[Model], document: RawBSONDocument) -> None:
        """Insert a document. It fails alone, unless the whole call fails."""
        batcher = self._inserts.get(model)
        if batcher is None:
            batcher = self._inserts[model] = Batcher(partial(self._insert_batch, model))
        await batcher.submit(document)

    async def read_clock(self) -> datetime:
        """Return the time of the primary's clock."""
        time: datetime = await self._clock_reads.submit(None)
        return time

    async def _read_batch(
        self, model: type[Model], projection: dict[str, int] | None, identities: Sequence[ObjectId]
    ) -> list[Outcome]:
        collection = self._connection.collection(model)
        async with guard_call():
            cursor = collection.find_raw_batches({"_id": {"$in": list(identities)}}, projection, hint=PRIMARY)
            found = {read_id(raw): raw async for batch in cursor for raw in split_documents(batch)}
        return [Outcome(found.get(identity.binary), None) for identity in identities]

    async def _insert_batch(self, model: type[Model], documents: Sequence[RawBSONDocument]) -> list[Outcome]:
        collection = self._connection.collection(model)
        errors: dict[int, StoreError] = {}
        async with guard_call(model):
            try:
                result = await collection.bulk_write([InsertOne(document) for document in documents], ordered=False)
                inserted, concerns = result.inserted_count, False
            except BulkWriteError as error:
                details = error.details or {}
                inserted, concerns = details.get("nInserted", 0), bool(details.get("writeConcernErrors"))
                errors = {
                    each["index"]: translate_error(build_write_error(each), model)
                    for each in details.get("writeErrors", ())
                }
        if concerns or inserted + len(errors) != len(documents):
            # a document without an error of its own may or may not have been inserted durably
            unknown = StoreUnavailable("MongoDB did not carry out all writes")
            return [Outcome(None, errors.get(number, unknown)) for number in range(len(documents))]
        return [Outcome(None, errors.get(number)) for number in range(len(documents))]

    async def _read_clock_once(self, calls: Sequence[None]) -> list[Outcome]:
        hello = await self._connection.hello()
        return [Outcome(hello["localTime"], None)] * len(calls)


def build_projection(into: type[msgspec.Struct] | None, keys: Iterable[str] = ()) -> dict[str, int] | None:
    """Return a projection to the keys of a Struct and some others; None, for all keys, without a Struct."""
    return None if into is None else dict.fromkeys((*list_keys(into), *keys), 1)
