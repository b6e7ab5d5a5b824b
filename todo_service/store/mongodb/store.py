"""The MongoDB store: ODMantic models over PyMongo's asyncio client.

Every write is acknowledged by a majority of the members with their journals synced, whatever the address says. Every
call ends within `CALL_SECONDS`, or `COPY_CALL_SECONDS` during a copy. Concurrent reads by id, single inserts and reads
of the clock share round trips (`batches`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Any, Final

from bson import ObjectId, Timestamp
from bson.raw_bson import RawBSONDocument
from odmantic import Model
from pymongo import InsertOne, ReplaceOne, ReturnDocument

from todo_service.bounds.store import DOCUMENT_BYTES
from todo_service.store.base import (
    UNSTAMPED,
    Access,
    Condition,
    DocumentStore,
    FindResult,
    ModelT,
    Snapshot,
    Sort,
    State,
)
from todo_service.store.bson_codec import decode, decode_cached, encode, encode_fields, read_id, split_documents
from todo_service.store.capacity import SMALL_CHANGES_BYTES, check_indexed, check_loaded, check_size
from todo_service.store.codec import (
    build_model,
    dump,
    find_changed_stamp_key,
    find_stamp_key,
    make_converter,
    to_result,
    validate_changes,
)
from todo_service.store.errors import StoreError, StoreUnavailable, StoreUnusable, UnsupportedExpression
from todo_service.store.mongodb.batches import BatchedCalls, build_projection
from todo_service.store.mongodb.connection import (
    COPY_CALL_SECONDS,
    MongoDBConnection,
    cancel_once,
    guard_call,
    supports_sessions,
)
from todo_service.store.mongodb.filters import to_filter
from todo_service.store.mongodb.preparation import prepare_database, store_state
from todo_service.store.mongodb.snapshot import MongoDBSnapshot
from todo_service.store.query.expressions import build_predicate, collect_keys, is_id_equality, normalize
from todo_service.store.query.planner import PRIMARY, list_indexes, parse_sort, plan_query
from todo_service.store.query.predicates import Node
from todo_service.store.scans import ScanExecutor

_SCAN_BATCH: Final = 500
_DELETE_BATCH: Final = 100
"""How many documents one call deletes. A todo with a thousand indexed words takes 10 ms."""
RESOLVE_AFTER: Final = timedelta(seconds=10)
"""The age at which a stamp is resolved: its write is then visible or abandoned. More than twice `DRIVER_SECONDS`."""
_BATCHED_INSERT_BYTES: Final = 2**16
"""The longest document whose insert shares a call with others."""
_LARGE_REPLIES: Final = 6
"""How many replies of up to 16 MiB are received at a time for callers that keep only a part of them."""
_ID_BYTES: Final = 17
"""The size of `_id`, an ObjectId, within a document."""


class MongoDBStore(DocumentStore):
    """A document store in a MongoDB database: a standalone server, a replica set or a sharded cluster.

    Args:
        url: `mongodb://` or `mongodb+srv://`. The store overrides some of its options, such as those for durability and
            timeouts, and the read preference.
        resolve_after: How old a stamp must be to count as resolved. Only a single writer may shorten it.
    """

    def __init__(self, url: str, *, resolve_after: timedelta = RESOLVE_AFTER) -> None:
        self._resolve_after = resolve_after
        self._connection = MongoDBConnection(url)
        self._batched = BatchedCalls(self._connection)
        self._large_replies = asyncio.Semaphore(_LARGE_REPLIES)
        self._scans = ScanExecutor()

    async def open(self, *models: type[Model], access: Access = Access.SERVE) -> None:
        """See `DocumentStore.open`.

        Serving processes are detected by the application name of their connections. That needs the role to
        list connections.
        """
        for model in models:
            list_indexes(model)
        self._connection.open(models, access)
        self._batched = BatchedCalls(self._connection)
        self._scans = ScanExecutor()
        try:
            await self._connection.disable_unsupported_retries()
            async with guard_call(seconds=None):
                self.state = await prepare_database(self._connection, access)
        except StoreError as error:
            await self.close()
            if isinstance(error, StoreUnavailable):
                raise
            raise StoreUnusable(str(error)) from None

    async def close(self) -> None:
        """See `DocumentStore.close`."""
        if self._connection.is_open:
            await self._connection.close()
            await asyncio.to_thread(self._scans.close)

    @cancel_once
    async def ping(self) -> None:
        """See `DocumentStore.ping`. A member that accepts writes must respond."""
        hello = await self._connection.hello()
        if not (hello.get("isWritablePrimary") or hello.get("msg") == "isdbgrid"):
            raise StoreUnavailable("no member of MongoDB accepts writes at present")

    async def insert(self, *documents: Model) -> None:
        """See `DocumentStore.insert`."""
        if not documents:
            return
        model = type(documents[0])
        raws: list[RawBSONDocument] = []
        refused: StoreError | None = None
        for document in documents:
            try:
                raws.append(RawBSONDocument(_encode_new(model, dump(document))))
            except StoreError as error:
                refused = error
                break
        if len(raws) == 1 and len(raws[0].raw) <= _BATCHED_INSERT_BYTES:
            async with guard_call(model):
                await self._batched.insert(model, raws[0])
        elif raws:
            await self._insert_many(model, raws)
        if refused is not None:
            raise refused

    @cancel_once
    async def _insert_many(self, model: type[Model], documents: Sequence[RawBSONDocument]) -> None:
        async with guard_call(model):
            await self._connection.collection(model).insert_many(documents)

    async def get(self, model: type[ModelT], *where: Condition, into: type[Any] | None = None) -> Any:
        """See `DocumentStore.get`."""
        nodes = normalize(where)
        by_id = next((node for node in nodes if is_id_equality(node)), None)
        if by_id is not None and isinstance(by_id.value, ObjectId):
            rest = [node for node in nodes if node is not by_id]
            async with guard_call():
                raw = await self._batched.read(model, by_id.value, into, collect_keys(rest))
            matches = build_predicate(rest, model)
            return None if raw is None or (matches and not matches(decode_cached(raw))) else to_result(raw, model, into)
        return await self._get_by_query(model, nodes, into)

    @cancel_once
    async def _get_by_query(self, model: type[Model], nodes: tuple[Node, ...], into: type[Any] | None) -> Any:
        async with guard_call():
            document = await self._connection.collection(model, raw=True).find_one(
                to_filter(nodes, model), build_projection(into), hint=_hint(model, nodes)
            )
        return None if document is None else to_result(document.raw, model, into)

    @cancel_once
    async def find(
        self,
        model: type[ModelT],
        *where: Condition,
        sort: Sort | None,
        limit: int,
        max_bytes: int | None = None,
        into: type[Any] | None = None,
        selective: bool = False,
    ) -> FindResult[Any]:
        """See `DocumentStore.find`. With `max_bytes` the store reads a single reply, of at most 16 MiB."""
        nodes = normalize(where)
        chosen = plan_query(model, nodes, sort)
        if selective:
            chosen = plan_query(model, nodes)
        if limit < 1:
            return FindResult()
        # a negative limit requests a single reply
        limits = {"limit": limit if max_bytes is None else -limit, "batch_size": limit + 1}
        async with guard_call(), nullcontext() if max_bytes is None else self._large_replies:
            cursor = self._connection.collection(model, raw=True).find(
                to_filter(nodes, model), build_projection(into), hint=chosen.declared.name, **limits
            )
            if sort is not None:
                keys, descending = parse_sort(sort)
                # MongoDB merges the ranges of an index only if the sort omits the keys with a constant value
                varying = [(key, -1 if descending else 1) for key in keys if key not in chosen.constant_keys]
                cursor = cursor.sort(varying) if varying else cursor
            documents = await cursor.to_list()
        raws = [document.raw for document in documents]
        del documents
        truncated = max_bytes is not None and _truncate(raws, max_bytes) and len(raws) < limit
        found = await self._scans.convert(raws, make_converter(model, into), chosen.leading_value)
        return FindResult(found, truncated=truncated)

    @cancel_once
    async def update(
        self, model: type[ModelT], *where: Condition, changes: Mapping[str, Any], into: type[Any] | None = None
    ) -> Any:
        """See `DocumentStore.update`."""
        nodes = normalize(where)
        if not any(map(is_id_equality, nodes)):
            raise UnsupportedExpression("an update needs equality on the id")
        changed = validate_changes(model, changes)
        check_indexed(model, changed)
        # encode once, both to measure and to send
        encoded = RawBSONDocument(encode_fields(changed))
        size = len(encoded.raw) + _ID_BYTES
        # MongoDB rejects an update without operators; this one reads the document and changes nothing
        operators: dict[str, Any] = {"$set": encoded} if changed else {"$setOnInsert": {"_": 0}}
        if stamped := find_changed_stamp_key(model, changed):
            operators["$currentDate"] = {stamped: {"$type": "timestamp"}}
        document = None
        if size <= DOCUMENT_BYTES:
            fitting = to_filter(nodes, model) if size <= SMALL_CHANGES_BYTES else _filter_by_size(model, nodes, changed)
            async with guard_call(model):
                # not raw BSON, in which the driver does not detect a failed write concern
                document = await self._connection.collection(model).find_one_and_update(
                    fitting, operators, build_projection(into), return_document=ReturnDocument.AFTER
                )
        if document is None and size > SMALL_CHANGES_BYTES:
            async with guard_call(model):
                present = await self._connection.collection(model).find_one(to_filter(nodes, model))
            if present is not None:
                check_size(model, encode({**present, **changed}))
                # a concurrent update made the document smaller, so that the changes fit now
                return await self.update(model, *where, changes=changes, into=into)
        if document is None:
            return None
        return build_model(model, document) if into is None else to_result(encode(document), model, into)

    @cancel_once
    async def delete(self, model: type[Model], *where: Condition) -> int:
        """See `DocumentStore.delete`. The documents are deleted in batches, each within the timeout of a call."""
        nodes = normalize(where)
        total, found = 0, _DELETE_BATCH
        while found == _DELETE_BATCH:
            async with guard_call():
                found, deleted = await self._delete_some(model, nodes)
            total += deleted
        return total

    async def _delete_some(self, model: type[Model], nodes: tuple[Node, ...]) -> tuple[int, int]:
        """Delete a batch, and return how many documents were found and how many of them were deleted."""
        collection, where = self._connection.collection(model), to_filter(nodes, model)
        if any(map(is_id_equality, nodes)):
            result = await collection.delete_many(where, hint=_hint(model, nodes))
            return 1, int(result.deleted_count)
        some = collection.find(where, {"_id": 1}, limit=_DELETE_BATCH, hint=_hint(model, nodes))
        identities = [document["_id"] for document in await some.to_list()]
        if not identities:
            return 0, 0
        result = await collection.delete_many({"$and": [where, {"_id": {"$in": identities}}]}, hint=PRIMARY)
        return len(identities), int(result.deleted_count)

    @cancel_once
    async def count(self, model: type[Model], *where: Condition, limit: int | None = None) -> int:
        """See `DocumentStore.count`."""
        nodes = normalize(where)
        options: dict[str, Any] = {"hint": _hint(model, nodes)} | ({} if limit is None else {"limit": limit})
        async with guard_call():
            return int(await self._connection.collection(model).count_documents(to_filter(nodes, model), **options))

    async def resolved_stamp(self) -> Timestamp:
        """See `DocumentStore.resolved_stamp`.

        MongoDB's logical clock stamps a write before it executes, so writes may become visible out of order. But
        every call ends within `DRIVER_SECONDS`, on the server too, and the logical clock is never behind the clock of
        the primary. A write that was stamped `RESOLVE_AFTER` ago by the primary's clock is therefore visible or
        abandoned.
        """
        async with guard_call():
            time = await self._batched.read_clock()
        return Timestamp(time - self._resolve_after, 0)

    async def scan(self, model: type[ModelT]) -> AsyncIterator[ModelT]:
        """See `DocumentStore.scan`. Each batch is a query of its own, so that no cursor can expire between two."""
        beyond: dict[str, Any] = {}
        while True:
            documents = await self._read_scan_batch(model, beyond)
            for document in documents:
                yield build_model(model, document)
            if len(documents) < _SCAN_BATCH:
                return
            beyond = {"_id": {"$gt": documents[-1]["_id"]}}

    @cancel_once
    async def _read_scan_batch(self, model: type[Model], where: dict[str, Any]) -> list[dict[str, Any]]:
        async with guard_call():
            found = self._connection.collection(model).find(where, limit=_SCAN_BATCH).sort("_id", 1).hint(PRIMARY)
            documents: list[dict[str, Any]] = await found.to_list()
        return documents

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """See `DocumentStore.snapshot`. Uses a session with snapshot reads.

        MongoDB holds a snapshot for five minutes by default (`minSnapshotHistoryWindowInSeconds`). When it no longer
        holds this one, the rest is read without a snapshot, and `point_in_time` becomes false.
        """
        async with guard_call(seconds=COPY_CALL_SECONDS):
            hello = await self._connection.hello(COPY_CALL_SECONDS)
            session = self._connection.client.start_session(snapshot=True) if supports_sessions(hello) else None
        async with session or nullcontext():
            yield MongoDBSnapshot(self._connection, session)

    async def load(self, model: type[Model], documents: Sequence[bytes]) -> int:
        """See `DocumentStore.load`."""
        raws = {read_id(raw): check_loaded(model, raw) for raw in documents}
        for raw in raws.values():
            check_indexed(model, decode(raw), validated=False)
        present: dict[bytes, bytes] = {}
        async with guard_call(model, COPY_CALL_SECONDS):
            collection = self._connection.collection(model)
            sought = {"_id": {"$in": [ObjectId(identity) for identity in raws]}}
            async for batch in collection.find_raw_batches(sought, hint=PRIMARY):
                present.update((read_id(raw), raw) for raw in split_documents(batch))
            writes: list[InsertOne[Any] | ReplaceOne[Any]] = [
                ReplaceOne({"_id": ObjectId(identity)}, RawBSONDocument(raw))
                if identity in present
                else InsertOne(RawBSONDocument(raw))
                for identity, raw in raws.items()
                if present.get(identity) != raw
            ]
            if writes:
                await collection.bulk_write(writes, ordered=False)
        return len(writes)

    async def clear(self, model: type[Model]) -> None:
        """See `DocumentStore.clear`. The collection stays, since it may be sharded."""
        async with guard_call(seconds=COPY_CALL_SECONDS):
            await self._connection.collection(model).delete_many({})

    async def set_state(self, state: State) -> None:
        """See `DocumentStore.set_state`. While a copy into the store is unfinished, no document expires."""
        async with guard_call(seconds=COPY_CALL_SECONDS):
            await store_state(self._connection, state)
        self.state = state


def _truncate(raws: list[bytes], max_bytes: int) -> bool:
    """Drop the documents after the one that reaches a total size. Return whether the size was reached."""
    if sum(map(len, raws)) < max_bytes:
        return False
    size = 0
    for number, raw in enumerate(raws, 1):
        size += len(raw)
        if size >= max_bytes:
            del raws[number:]
            return True
    return False


def _encode_new(model: type[Model], document: dict[str, Any]) -> bytes:
    """Check a new document and return it as BSON. Raises the errors of `DocumentStore.insert`."""
    if stamped := find_stamp_key(model):
        document[stamped] = UNSTAMPED  # the server replaces an empty timestamp by its clock
    raw = check_size(model, encode(document))
    check_indexed(model, document)
    return raw


def _filter_by_size(model: type[Model], nodes: tuple[Node, ...], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return a filter that matches only if the changed document is not larger than `DOCUMENT_BYTES`."""
    after = {"$mergeObjects": ["$$ROOT", {"$literal": dict(changed)}]}
    return {"$and": [to_filter(nodes, model), {"$expr": {"$lte": [{"$bsonSize": after}, DOCUMENT_BYTES]}}]}


def _hint(model: type[Model], nodes: tuple[Node, ...]) -> str:
    return plan_query(model, nodes).declared.name
