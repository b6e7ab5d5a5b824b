"""The store on MongoDB: ODMantic models over motor. No other file knows the driver.

Single documents that are read by their ids or inserted at the same time share a call (`batching`), as do those who ask
for the time: most of what a call costs is the driver's own work, and its threads'.

Every write is acknowledged by a majority of the members with their journals synced, whatever the address says. Every
call ends within `CALL_SECONDS`, or `COPY_CALL_SECONDS` where a copy is made.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec
import pymongo
from bson import ObjectId, Timestamp
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession, AsyncIOMotorCollection
from odmantic import AIOEngine, Model
from pymongo import InsertOne, ReplaceOne, ReturnDocument
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
    WriteError,
)
from pymongo.uri_parser import parse_uri

from todo_service.bounds.store import DOCUMENT_BYTES
from todo_service.store.addresses import DEFAULT_DATABASE
from todo_service.store.base import (
    Access,
    Condition,
    DocumentStore,
    DuplicateDocument,
    Found,
    ModelT,
    Snapshot,
    Sort,
    State,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
    UnsupportedExpression,
)
from todo_service.store.batching import Batcher, Outcome
from todo_service.store.capacity import SMALL_CHANGES_BYTES, check_indexed, check_loaded, check_size
from todo_service.store.codec import (
    PLAIN,
    RAW,
    changed_keys,
    converter,
    decode,
    decode_cached,
    dump,
    encode,
    encode_fields,
    fields_of,
    identity_first,
    identity_of,
    stamped_key,
    to_result,
)
from todo_service.store.query.expressions import Node, is_identity, keys_of, normalise, predicate, to_filter
from todo_service.store.query.planner import PRIMARY, declared_indexes, leading_value, plan, sort_keys
from todo_service.store.scans import Scans

CALL_SECONDS: Final = 4.0
COPY_CALL_SECONDS: Final = 600.0
SELECTION_SECONDS: Final = 2.0
_DUPLICATE_KEY: Final = 11000
_UNAUTHORISED: Final = (13, 18, 8000)
"""MongoDB's codes for what a password or a role does not allow: waiting will not help."""
_PASSING: Final = (6, 7, 20, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436)
"""MongoDB's codes for what passes: members that start, stop, cannot reach each other or elect a new primary; and, 20,
a standalone server that the driver, its connections broken, has taken for a member of a replica set."""
_SCAN_BATCH: Final = 500
_DELETED_AT_ONCE: Final = 100
"""How many documents are deleted in one call: a todo with a thousand words takes 10 ms."""
RESOLVE_AFTER: Final = timedelta(seconds=10)
"""How long after its timestamp a write is visible, or has failed."""
_SNAPSHOT_SLICE: Final = 1000
_SNAPSHOT_GONE: Final = (239, 246)
"""MongoDB's codes for a moment that it no longer keeps (by default it keeps five minutes)."""
_NOT_THERE: Final = (26, 27)
"""MongoDB's codes for a collection or an index that is not there."""
_SHARED_BYTES: Final = 2**16
"""How long a document that is inserted may be to share a call with others."""
_NEVER: Final = 2**31 - 1
_LARGE_REPLIES: Final = 6
"""How many replies of up to 16 MiB are received at a time, where the caller wants no more than a part of them."""
_ID_BYTES: Final = 17
"""The size of `_id`, an ObjectId, within a document."""
_STATE: Final = "store_state"
_NAME_BYTES: Final = 128
_LOOKS: Final = 10
_LOOK_SECONDS: Final = 0.2


class MongoDBStore(DocumentStore):
    """A document store in a MongoDB database: a standalone server, a replica set or a sharded cluster.

    Args:
        url: `mongodb://` or `mongodb+srv://`. Its options stay as they are, but for durability and time-outs.
        resolve_after: How old a timestamp must be to count as resolved. Only a single writer may shorten it.
    """

    def __init__(self, url: str, *, resolve_after: timedelta = RESOLVE_AFTER) -> None:
        self._url = url
        self._resolve_after = resolve_after
        self._client: AsyncIOMotorClient[Any] | None = None
        self._engine: AIOEngine | None = None
        self._opened: set[type[Model]] = set()
        self._collections: dict[tuple[type[Model], bool], AsyncIOMotorCollection[Any]] = {}
        self._gets: dict[tuple[type[Model], type[Any] | None, frozenset[str]], Batcher[ObjectId]] = {}
        self._inserts: dict[type[Model], Batcher[RawBSONDocument]] = {}
        self._times = Batcher(self._tell_together)
        self._replies = asyncio.Semaphore(_LARGE_REPLIES)
        self._scans = Scans()

    async def open(self, *models: type[Model], access: Access = Access.SERVE) -> None:
        """See `DocumentStore.open`.

        Services that use the database are seen by the names of their connections, where the account may see those.
        """
        for model in models:
            declared_indexes(model)
        try:
            database = parse_uri(self._url)["database"] or DEFAULT_DATABASE
            self._client = AsyncIOMotorClient(
                self._url,
                appname=_name(database) if access is Access.SERVE else "todo_service copy",
                tz_aware=True,
                unicode_decode_error_handler="replace",
                w="majority",
                journal=True,
                serverSelectionTimeoutMS=SELECTION_SECONDS * 1000,
                connectTimeoutMS=SELECTION_SECONDS * 1000,
                timeoutMS=CALL_SECONDS * 1000 if access is Access.SERVE else None,
                socketTimeoutMS=COPY_CALL_SECONDS * 1000,
            )
        except Exception as error:  # the driver lets errors of the libraries through that it reads an address with
            raise StoreUnusable(f"the address of MongoDB cannot be used: {_without_secrets(error)}") from None
        self._engine = AIOEngine(self._client, database)
        self._scans = Scans()
        try:
            async with _calling(seconds=None):
                await self._prepare(self._engine, models, access)
        except StoreError as error:
            await self.close()
            if isinstance(error, StoreUnavailable):
                raise
            raise StoreUnusable(str(error)) from None

    async def close(self) -> None:
        """See `DocumentStore.close`."""
        if self._client is not None:
            self._client.close()
            await asyncio.to_thread(self._scans.close)
        self._client = self._engine = None
        self._collections.clear()
        self._gets.clear()
        self._inserts.clear()

    async def ping(self) -> None:
        """See `DocumentStore.ping`: asks a member that takes writes."""
        if self._client is None:
            raise StoreUnavailable("the store is closed")
        async with _calling():
            hello = await self._client.admin.command("hello")
        if not (hello.get("isWritablePrimary") or hello.get("msg") == "isdbgrid"):
            raise StoreUnavailable("no member of MongoDB takes writes at present")

    async def insert(self, *documents: Model) -> None:
        """See `DocumentStore.insert`."""
        if not documents:
            return
        model = type(documents[0])
        raws: list[RawBSONDocument] = []
        refused: StoreError | None = None
        for document in documents:
            try:
                # the server itself puts its clock where a document has an empty timestamp
                raws.append(RawBSONDocument(_checked(model, dump(document))))
            except StoreError as error:
                refused = error
                break
        async with _calling(model):
            if len(raws) > 1:
                await self._collection(model).insert_many(raws)
            elif raws and len(raws[0].raw) > _SHARED_BYTES:
                await self._collection(model).insert_one(raws[0])
            elif raws:
                await self._inserting(model).submit(raws[0])
        if refused is not None:
            raise refused

    async def get(self, model: type[ModelT], *where: Condition, into: type[Any] | None = None) -> Any:
        """See `DocumentStore.get`."""
        nodes = normalise(where)
        named = next((node for node in nodes if is_identity(node)), None)
        if named is not None and isinstance(named.value, ObjectId):
            rest = [node for node in nodes if node is not named]
            async with _calling():
                raw = await self._getting(model, into, keys_of(rest)).submit(named.value)
            matches = predicate(rest)
            return None if raw is None or (matches and not matches(decode_cached(raw))) else to_result(raw, model, into)
        async with _calling():
            document = await self._reading(model).find_one(
                to_filter(nodes), _projection(into), hint=_hint(model, nodes)
            )
        return None if document is None else to_result(document.raw, model, into)

    async def find(
        self,
        model: type[ModelT],
        *where: Condition,
        sort: Sort | None,
        limit: int,
        max_bytes: int | None = None,
        into: type[Any] | None = None,
    ) -> Found[Any]:
        """See `DocumentStore.find`. Where the bytes are bounded, one reply of at most 16 MiB is read."""
        nodes = normalise(where)
        chosen = plan(model, nodes, sort)
        if limit < 1:
            return Found()
        # a negative limit asks for a single reply
        most = {"limit": limit if max_bytes is None else -limit, "batch_size": limit + 1}
        async with _calling(), nullcontext() if max_bytes is None else self._replies:
            cursor = self._reading(model).find(to_filter(nodes), _projection(into), hint=chosen.declared.name, **most)
            if sort is not None:
                keys, descending = sort_keys(sort)
                # MongoDB merges the ranges of an index only in an order that begins after them
                varying = [(key, -1 if descending else 1) for key in keys if key not in chosen.constant]
                cursor = cursor.sort(varying) if varying else cursor
            documents = await cursor.to_list(None)
        raws = [document.raw for document in documents]
        del documents
        truncated = max_bytes is not None and _truncate(raws, max_bytes) and len(raws) < limit
        found = await self._scans.convert(raws, converter(model, into), leading_value(chosen))
        return Found(found, truncated=truncated)

    async def update(
        self, model: type[ModelT], *where: Condition, changes: Mapping[str, Any], into: type[Any] | None = None
    ) -> Any:
        """See `DocumentStore.update`."""
        nodes = normalise(where)
        if not any(map(is_identity, nodes)):
            raise UnsupportedExpression("an update needs equality on the id")
        changed = changed_keys(model, changes)
        check_indexed(model, changed)
        # encoded once, to be measured and to be sent
        encoded = RawBSONDocument(encode_fields(changed))
        size = len(encoded.raw) + _ID_BYTES
        # an update without a field is not allowed; without one the document is only read
        operators: dict[str, Any] = {"$set": encoded} if changed else {"$setOnInsert": {"_": 0}}
        if changed and (stamped := stamped_key(model)):
            operators["$currentDate"] = {stamped: {"$type": "timestamp"}}
        document = None
        if size <= DOCUMENT_BYTES:
            where_it_fits = to_filter(nodes) if size <= SMALL_CHANGES_BYTES else _where_it_fits(nodes, changed)
            async with _calling(model):
                # not as raw BSON: the driver cannot tell of a write concern's failure in it
                document = await self._collection(model).find_one_and_update(
                    where_it_fits, operators, _projection(into), return_document=ReturnDocument.AFTER
                )
        if document is None and size > SMALL_CHANGES_BYTES:
            async with _calling(model):
                present = await self._collection(model).find_one(to_filter(nodes))
            if present is not None:
                check_size(model, encode({**present, **changed}))
                # it has been made smaller meanwhile
                return await self.update(model, *where, changes=changes, into=into)
        if document is None:
            return None
        return model.model_validate_doc(document) if into is None else to_result(encode(document), model, into)

    async def delete(self, model: type[Model], *where: Condition) -> int:
        """See `DocumentStore.delete`. Many documents are deleted in several calls, each of which ends in time."""
        nodes = normalise(where)
        total, found = 0, _DELETED_AT_ONCE
        while found == _DELETED_AT_ONCE:
            async with _calling():
                found, deleted = await self._delete_some(model, nodes)
            total += deleted
        return total

    async def _delete_some(self, model: type[Model], nodes: tuple[Node, ...]) -> tuple[int, int]:
        """Delete some documents, and return how many were found and how many of them were deleted."""
        collection, where = self._collection(model), to_filter(nodes)
        if any(map(is_identity, nodes)):
            result = await collection.delete_many(where, hint=_hint(model, nodes))
            return 1, int(result.deleted_count)
        some = collection.find(where, {"_id": 1}, limit=_DELETED_AT_ONCE, hint=_hint(model, nodes))
        identities = [document["_id"] for document in await some.to_list(None)]
        if not identities:
            return 0, 0
        result = await collection.delete_many({"$and": [where, {"_id": {"$in": identities}}]}, hint=PRIMARY)
        return len(identities), int(result.deleted_count)

    async def count(self, model: type[Model], *where: Condition, limit: int | None = None) -> int:
        """See `DocumentStore.count`."""
        nodes = normalise(where)
        options: dict[str, Any] = {"hint": _hint(model, nodes)} | ({} if limit is None else {"limit": limit})
        async with _calling():
            return int(await self._collection(model).count_documents(to_filter(nodes), **options))

    async def resolved_stamp(self) -> Timestamp:
        """See `DocumentStore.settled`.

        MongoDB's logical clock gives a write its stamp before it is carried out, so that writes may become visible
        out of order. But every call ends within `CALL_SECONDS`, on the server too, and the clock's seconds are never
        behind those of the member that writes. What was stamped `RESOLVE_AFTER` ago by that member's own clock is
        therefore visible, or was given up.
        """
        async with _calling():
            time: datetime = await self._times.submit(None)
        return Timestamp(time - self._resolve_after, 0)

    async def scan(self, model: type[ModelT]) -> AsyncIterator[ModelT]:
        """See `DocumentStore.scan`. Each batch is a query of its own, so that no cursor has to be kept."""
        beyond: dict[str, Any] = {}
        while True:
            async with _calling():
                documents = await (
                    self._collection(model).find(beyond, limit=_SCAN_BATCH).sort("_id", 1).hint(PRIMARY).to_list(None)
                )
            for document in documents:
                yield model.model_validate_doc(document)
            if len(documents) < _SCAN_BATCH:
                return
            beyond = {"_id": {"$gt": documents[-1]["_id"]}}

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """See `DocumentStore.snapshot`: a session with snapshot reads.

        MongoDB keeps a moment for five minutes (`minSnapshotHistoryWindowInSeconds`). One that it no longer keeps is
        given up, and what follows is as it is when it is read.
        """
        if self._client is None:
            raise StoreUnavailable("the store is closed")
        async with _calling(seconds=COPY_CALL_SECONDS):
            hello = await self._client.admin.command("hello")
            able = "setName" in hello or hello.get("msg") == "isdbgrid"
            session = await self._client.start_session(snapshot=True) if able else None
        async with session or nullcontext():
            yield _MongoDBSnapshot(self, session)

    async def load(self, model: type[Model], documents: Sequence[bytes]) -> int:
        """See `DocumentStore.load`."""
        raws = {identity_of(raw): check_loaded(model, raw) for raw in documents}
        for raw in raws.values():
            check_indexed(model, decode(raw), validated=False)
        present: dict[bytes, bytes] = {}
        async with _calling(model, COPY_CALL_SECONDS):
            collection = self._collection(model)
            sought = {"_id": {"$in": [ObjectId(identity) for identity in raws]}}
            async for batch in collection.find_raw_batches(sought, hint=PRIMARY):
                present.update((identity_of(raw), raw) for raw in _split(batch))
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

    async def clear(self) -> None:
        """See `DocumentStore.clear`. The collections stay, since they may be sharded."""
        for model in self._opened:
            async with _calling(seconds=COPY_CALL_SECONDS):
                await self._collection(model).delete_many({})

    async def set_state(self, state: State) -> None:
        """See `DocumentStore.set_state`. While something is copied into the store, nothing expires in it."""
        if self._engine is None:
            raise StoreUnavailable("the store is closed")
        async with _calling(seconds=COPY_CALL_SECONDS):
            if state.restoring_from is None:
                await self._let_expire(self._engine, never=False)
            await self._engine.database[_STATE].replace_one(
                {"_id": "state"}, {"generation": state.generation, "restoring_from": state.restoring_from}, upsert=True
            )
            if state.restoring_from is not None:
                await self._let_expire(self._engine, never=True)
        self.state = state

    async def _prepare(self, engine: AIOEngine, models: tuple[type[Model], ...], access: Access) -> None:
        """Make what the models need, unless the store is only read, and learn what the store knows about itself."""
        self._opened = set(models)
        state = engine.database[_STATE]
        if access is Access.READ:
            wanted = [model.__collection__ for model in models]
            if not await engine.database.list_collection_names(filter={"name": {"$in": wanted}}):
                raise StoreUnusable("the database holds no store")
            found = await state.find_one({"_id": "state"}) or {"generation": ""}
        else:
            found = await state.find_one_and_update(
                {"_id": "state"},
                {"$setOnInsert": {"generation": uuid.uuid4().hex}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        self.state = State(found["generation"], found.get("restoring_from"))
        restoring = self.state.restoring_from is not None
        if restoring and access is not Access.RESTORE:
            raise StoreUnusable("a copy into this database was not finished: run it again")
        if access is Access.RESTORE:
            await self._refuse_if_served(engine)
        if access is not Access.READ:
            if restoring:
                await self._let_expire(engine, never=False)
            # building an index takes as long as it has to; the server has just answered
            with pymongo.timeout(COPY_CALL_SECONDS):
                await engine.configure_database(models)
            if restoring:
                await self._let_expire(engine, never=True)

    async def _refuse_if_served(self, engine: AIOEngine) -> None:
        operations: list[dict[str, Any]] = [
            {"$currentOp": {"idleConnections": True}},
            {"$match": {"appName": _name(engine.database.name)}},
            {"$limit": 1},
        ]
        with suppress(OperationFailure):  # the account may not see them
            for _ in range(_LOOKS):
                if not await engine.client.admin.aggregate(operations).to_list(None):
                    return
                # the server may not have seen yet that a service has just gone
                await asyncio.sleep(_LOOK_SECONDS)
            raise StoreUnusable("a service uses this database: stop that first")

    async def _let_expire(self, engine: AIOEngine, *, never: bool) -> None:
        """Change when documents expire in the indexes that are there: as it is declared, or never."""
        for model in self._opened:
            for index in declared_indexes(model):
                if index.expires_after is None:
                    continue
                seconds = _NEVER if never else index.expires_after
                try:
                    await engine.database.command(
                        "collMod", model.__collection__, index={"name": index.name, "expireAfterSeconds": seconds}
                    )
                except OperationFailure as error:
                    if error.code not in _NOT_THERE:
                        raise

    async def _tell_together(self, asked: Sequence[None]) -> list[Outcome]:
        """Return the clock of the member that writes."""
        if self._client is None:
            raise StoreUnavailable("the store is closed")
        async with _calling():
            hello = await self._client.admin.command("hello")
        return [Outcome(hello["localTime"], None)] * len(asked)

    def _getting(self, model: type[Model], into: type[Any] | None, keys: frozenset[str]) -> Batcher[ObjectId]:
        """Return what reads documents by their ids: what a Struct takes of them, and what conditions look at."""
        found = self._gets.get((model, into, keys))
        if found is None:
            found = self._gets[model, into, keys] = Batcher(
                partial(_get_together, self._collection(model), _projection(into, keys))
            )
        return found

    def _inserting(self, model: type[Model]) -> Batcher[RawBSONDocument]:
        found = self._inserts.get(model)
        if found is None:
            found = self._inserts[model] = Batcher(partial(_insert_together, self._collection(model), model))
        return found

    def _collection(self, model: type[Model]) -> AsyncIOMotorCollection[Any]:
        return self._as(model, raw=False)

    def _reading(self, model: type[Model]) -> AsyncIOMotorCollection[Any]:
        return self._as(model, raw=True)

    def _as(self, model: type[Model], *, raw: bool) -> AsyncIOMotorCollection[Any]:
        if self._engine is None:
            raise StoreUnavailable("the store is closed")
        if model not in self._opened:
            raise UnsupportedExpression(f"the store was not opened for {model.__name__}")
        # motor and the driver make both anew each time
        collection = self._collections.get((model, raw))
        if collection is None:
            options: CodecOptions[Any] = RAW if raw else PLAIN
            collection = self._engine.get_collection(model).with_options(codec_options=options)
            self._collections[model, raw] = collection
        return collection


class _MongoDBSnapshot(Snapshot):
    """What a session sees; without one, what is there."""

    def __init__(self, store: MongoDBStore, session: AsyncIOMotorClientSession | None) -> None:
        self.moment = datetime.now(UTC)
        self.point_in_time = session is not None
        self._store = store
        self._session = session

    async def size(self, model: type[Model]) -> int:
        """See `Snapshot.size`; what the server believes."""
        async with _calling(seconds=COPY_CALL_SECONDS):
            return int(await self._store._collection(model).estimated_document_count())

    async def documents(self, model: type[Model], after: ObjectId | None = None) -> AsyncGenerator[list[bytes], None]:
        """See `Snapshot.documents`. Each batch is a query of its own, so that no cursor has to be kept."""
        beyond: dict[str, Any] = {} if after is None else {"_id": {"$gt": after}}
        while batch := await self._batch(model, beyond):
            yield batch
            beyond = {"_id": {"$gt": ObjectId(identity_of(batch[-1]))}}

    async def _batch(self, model: type[Model], beyond: dict[str, Any]) -> list[bytes]:
        async with _calling(seconds=COPY_CALL_SECONDS):
            try:
                # a negative limit asks for one message, which is 16 MiB at most
                cursor = self._store._collection(model).find_raw_batches(
                    beyond, limit=-_SNAPSHOT_SLICE, sort=[("_id", 1)], hint=PRIMARY, session=self._session
                )
                return [identity_first(raw) async for part in cursor for raw in _split(part)]
            except OperationFailure as error:
                if error.code not in _SNAPSHOT_GONE or self._session is None:
                    raise
        self._session, self.point_in_time = None, False
        return await self._batch(model, beyond)


def _truncate(raws: list[bytes], max_bytes: int) -> bool:
    """Drop the documents after the one with which a size is reached, and tell whether it is."""
    if sum(map(len, raws)) < max_bytes:
        return False
    size = 0
    for number, raw in enumerate(raws, 1):
        size += len(raw)
        if size >= max_bytes:
            del raws[number:]
            return True
    return False


def _split(documents: bytes) -> Iterator[bytes]:
    """Yield the BSON documents that stand one after the other, each with its length as its first 4 bytes."""
    start = 0
    while start < len(documents):
        end = start + int.from_bytes(documents[start : start + 4], "little")
        yield documents[start:end]
        start = end


def _name(database: str) -> str:
    """Return what a service's connections are called."""
    return f"todo_service/{database}".encode()[:_NAME_BYTES].decode(errors="ignore")


def _checked(model: type[Model], document: dict[str, Any]) -> bytes:
    """Return a new document as BSON, if a store accepts it. Raises as `DocumentStore.insert` does."""
    raw = check_size(model, encode(document))
    check_indexed(model, document)
    return raw


def _where_it_fits(nodes: tuple[Node, ...], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return a filter for a document that matches, and is not too large once it is changed."""
    after = {"$mergeObjects": ["$$ROOT", {"$literal": dict(changed)}]}
    return {"$and": [to_filter(nodes), {"$expr": {"$lte": [{"$bsonSize": after}, DOCUMENT_BYTES]}}]}


def _hint(model: type[Model], nodes: tuple[Node, ...]) -> str:
    return plan(model, nodes).declared.name


def _projection(into: type[msgspec.Struct] | None, keys: Iterable[str] = ()) -> dict[str, int] | None:
    return None if into is None else dict.fromkeys((*fields_of(into), *keys), 1)


async def _get_together(
    collection: AsyncIOMotorCollection[Any], projection: dict[str, int] | None, identities: Sequence[ObjectId]
) -> list[Outcome]:
    """Read documents by their ids."""
    async with _calling():
        cursor = collection.find_raw_batches({"_id": {"$in": list(identities)}}, projection, hint=PRIMARY)
        found = {identity_of(raw): raw async for batch in cursor for raw in _split(batch)}
    return [Outcome(found.get(identity.binary), None) for identity in identities]


async def _insert_together(
    collection: AsyncIOMotorCollection[Any], model: type[Model], documents: Sequence[RawBSONDocument]
) -> list[Outcome]:
    """Insert documents of which each is somebody else's: what fails, fails alone."""
    errors: dict[int, StoreError] = {}
    async with _calling(model):
        try:
            result = await collection.bulk_write([InsertOne(document) for document in documents], ordered=False)
            inserted, concerns = result.inserted_count, False
        except BulkWriteError as error:
            details = error.details or {}
            inserted, concerns = details.get("nInserted", 0), bool(details.get("writeConcernErrors"))
            errors = {each["index"]: _store_error(_write_error(each), model) for each in details.get("writeErrors", ())}
    if concerns or inserted + len(errors) != len(documents):
        # of those without an error of their own it is not known whether they are there, or to stay
        unknown = StoreUnavailable("MongoDB did not carry out all writes")
        return [Outcome(None, errors.get(number, unknown)) for number in range(len(documents))]
    return [Outcome(None, errors.get(number)) for number in range(len(documents))]


@asynccontextmanager
async def _calling(model: type[Model] | None = None, seconds: float | None = CALL_SECONDS) -> AsyncIterator[None]:
    """End a call in time, also one that waits for a thread of the driver, and turn its errors into the store's."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise StoreUnavailable("MongoDB does not answer in time") from error
    except StoreError:
        raise
    except Exception as error:  # the driver lets errors of BSON, numbers and texts through, which are none of its own
        found = _store_error(error, model)
        raise found from (None if isinstance(found, DuplicateDocument | StoreUnusable) else error)


def _store_error(error: Exception, model: type[Model] | None) -> StoreError:
    """Return the store's error for one of the driver's."""
    match error:
        case BulkWriteError():
            first = ((error.details or {}).get("writeErrors") or [{}])[0]
            if first.get("code") == _DUPLICATE_KEY:
                return _store_error(_write_error(first), model)
            return StoreUnavailable("MongoDB did not carry out all writes")
        case DuplicateKeyError():
            assert model is not None  # only writes of a model's documents raise it
            return DuplicateDocument(model.__name__, _clashing_field(model, error.details))
        case ConnectionFailure() | ExecutionTimeout() | WriteConcernError():
            return StoreUnavailable(f"MongoDB does not answer: {type(error).__name__}")
        case OperationFailure():
            name = error.details and error.details.get("codeName")
            if error.code in _UNAUTHORISED:
                return StoreUnusable(f"MongoDB does not allow it: {name}")
            if error.timeout or error.code in _PASSING:
                return StoreUnavailable("MongoDB does not answer in time")
            return StoreError(f"MongoDB refused the call: {name}")
        case PyMongoError():
            return StoreUnavailable(f"MongoDB cannot be used: {type(error).__name__}")
        case _:
            return StoreError(f"the driver of MongoDB failed: {type(error).__name__}")


def _write_error(details: Mapping[str, Any]) -> WriteError:
    """Return the driver's error for what became of one write among several."""
    kind = DuplicateKeyError if details.get("code") == _DUPLICATE_KEY else WriteError
    return kind(str(details.get("errmsg")), details.get("code"), details)


def _clashing_field(model: type[Model], details: Mapping[str, Any] | None) -> str:
    key = list((details or {}).get("keyPattern", {"_id": 1}))[-1]
    return next(name for name, field in model.__odm_fields__.items() if field.key_name == key)


def _without_secrets(error: Exception) -> str:
    """Return what the driver says of an address, which may repeat a part of it: never what stands before the @."""
    return str(error).split("\n", 1)[0].rsplit("@", 1)[-1]
