"""The embedded store: documents as BSON in LMDB, with the indexes that the models declare.

Reads are short and run where they are asked, on the event loop: a look-up takes microseconds. One that has to look at
many documents goes on in a thread. Writes go through one thread a process (`writer`), and are on disk when they return.
Several processes may share one folder; LMDB lets one of them write at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import bson
import lmdb
import structlog
from bson import ObjectId, Timestamp
from odmantic import Model

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
from todo_service.store.damage import is_damaged
from todo_service.store.documents import (
    changed_keys,
    decode,
    dump,
    encode,
    identity_first,
    identity_of,
    look,
    result_of,
    stamped_key,
)
from todo_service.store.environment import INITIAL_MAP_BYTES, Environment
from todo_service.store.expressions import Kind, Node, is_identity, normalise, predicate
from todo_service.store.indexes import Entries, Range, Walk, clash, same
from todo_service.store.keys import AFTER, tag_of
from todo_service.store.planning import PRIMARY, DeclaredIndex, declared_indexes, plan
from todo_service.store.writer import Writer

FORMAT: Final = 1
_MARKER: Final = b"todo-service document store"
_META: Final = "meta"
_CLOCK: Final = b"clock"
_STATE: Final = b"state"
_INLINE: Final = 500
_COUNTED_INLINE: Final = 2000
_SLICE: Final = 500
_SNAPSHOT_SLICE: Final = 1000
_SNAPSHOT_BYTES: Final = 2**22
_AFTER_EVERY_ID: Final = AFTER * 13
logger = structlog.get_logger(__name__)


class _Collection(NamedTuple):
    """A model's databases: its documents, and its indexes but the primary key."""

    documents: lmdb._Database
    indexes: tuple[tuple[DeclaredIndex, lmdb._Database], ...]

    def database_of(self, name: str) -> lmdb._Database:
        return next(database for index, database in self.indexes if index.name == name)


class EmbeddedStore(DocumentStore):
    """A document store in a folder of this machine.

    Args:
        folder: Where it lies; made at the first opening. Not on a network file system.
        map_bytes: How large LMDB's map is to begin with; it grows by itself.
        expiry_seconds: How often documents whose time has come are deleted.
    """

    def __init__(self, folder: Path, *, map_bytes: int = INITIAL_MAP_BYTES, expiry_seconds: float = 60.0) -> None:
        self._folder = folder
        self._map_bytes = map_bytes
        self._expiry_seconds = expiry_seconds
        self._collections: dict[type[Model], _Collection] = {}
        self._meta: lmdb._Database
        self._environment: Environment | None = None
        self._writer: Writer | None = None
        self._expiry: asyncio.Task[None] | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._access = Access.SERVE

    async def open(self, *models: type[Model], access: Access = Access.SERVE) -> None:
        """See `DocumentStore.open`. The folder is made readable by its owner alone."""
        self._access = access
        await self._open(models)
        if access is Access.SERVE:
            self._expiry = asyncio.create_task(self._expire_forever())

    async def _open(self, models: tuple[type[Model], ...]) -> None:
        environment = await asyncio.to_thread(Environment, self._folder, self._map_bytes, self._access)
        try:
            self._collections = await asyncio.to_thread(self._prepare, environment, models, self._access)
        except StoreUnavailable as error:
            environment.close()
            raise StoreUnusable(f"{self._folder}: {error}") from None
        except BaseException:
            environment.close()
            raise
        self._environment = environment
        if self._access is not Access.READ:
            self._writer = Writer(environment)

    async def _reopen(self, failed: Environment) -> None:
        """Close an environment that LMDB has given up, and open it again; where that fails, the next call tries."""
        assert self._writer is not None
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(failed.close)
        try:
            await self._open(tuple(self._collections))
        except StoreError as error:
            logger.warning("the store could not be opened again", reason=str(error))
        else:
            logger.warning("the store was opened again, after a write to the disk had failed")

    async def close(self) -> None:
        """See `DocumentStore.close`."""
        if self._expiry is not None:
            self._expiry.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._expiry
            self._expiry = None
        if self._reopening is not None:
            await self._reopening
            self._reopening = None
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close)
        if self._environment is not None:
            await asyncio.to_thread(self._environment.close)
            self._environment = None

    async def ping(self) -> None:
        """See `DocumentStore.ping`: goes through the writer, and writes a few bytes."""
        await self._write(lambda transaction: transaction.put(b"ping", b"", db=self._meta))

    async def insert(self, *documents: Model) -> None:
        """See `DocumentStore.insert`."""
        prepared = [(type(document), dump(document)) for document in documents]

        def work(transaction: lmdb.Transaction) -> None:
            for model, document in prepared:
                self._put(transaction, model, None, document)

        await self._write(work)

    async def get(self, model: type[ModelT], *where: Condition, into: type[Any] | None = None) -> Any:
        """See `DocumentStore.get`."""
        nodes = normalise(where)
        identity = _identity_in(nodes)
        if identity is None:
            raws = await self._collect(model, nodes, None, 1)
            raw = raws[0] if raws else None
        else:
            raw = self._get_by_id(model, identity, nodes)
        return None if raw is None else result_of(raw, model, into)

    async def find(
        self,
        model: type[ModelT],
        *where: Condition,
        sort: Sort | None,
        limit: int,
        max_bytes: int | None = None,
        into: type[Any] | None = None,
    ) -> Found[Any]:
        """See `DocumentStore.find`."""
        raws = await self._collect(model, normalise(where), sort, limit, max_bytes)
        truncated = max_bytes is not None and len(raws) < limit and sum(map(len, raws)) >= max_bytes
        return Found((result_of(raw, model, into) for raw in raws), truncated=truncated)

    async def update(
        self, model: type[ModelT], *where: Condition, changes: Mapping[str, Any], into: type[Any] | None = None
    ) -> Any:
        """See `DocumentStore.update`."""
        nodes = normalise(where)
        identity = _required_identity(nodes)
        matches = predicate(nodes)
        changed = changed_keys(model, changes)

        def work(transaction: lmdb.Transaction) -> bytes | None:
            raw = transaction.get(identity, db=self._collection(model).documents)
            old = None if raw is None else look(raw)
            if old is None or (matches is not None and not matches(old)):
                return None
            return self._put(transaction, model, old, {**old, **changed}) if changed else raw

        raw = await self._write(work)
        return None if raw is None else result_of(raw, model, into)

    async def delete(self, model: type[Model], *where: Condition) -> int:
        """See `DocumentStore.delete`."""
        nodes = normalise(where)
        matches = predicate(nodes)
        single = _identity_in(nodes)
        identities = (
            [single] if single is not None else await self._take(self._walk(model, nodes, None).identities, None)
        )

        def work_on(part: list[bytes]) -> Callable[[lmdb.Transaction], int]:
            return lambda transaction: sum(self._remove(transaction, model, identity, matches) for identity in part)

        deleted = 0
        for start in range(0, len(identities), _SLICE):
            deleted += await self._write(work_on(identities[start : start + _SLICE]))
        return deleted

    async def count(self, model: type[Model], *where: Condition, limit: int | None = None) -> int:
        """See `DocumentStore.count`."""
        nodes = normalise(where)
        single = _identity_in(nodes)
        if single is not None:
            return int(self._get_by_id(model, single, nodes) is not None)
        walk = self._walk(model, nodes, None)
        if limit is not None and limit <= _COUNTED_INLINE:
            with self._opened().reading() as transaction:
                number = walk.number(transaction, max(0, limit))
            if number is not None:
                return number
        return len(await self._take(walk.identities, limit))

    async def settled(self) -> Timestamp:
        """See `DocumentStore.settled`. One write is carried out at a time, and takes its stamp while it is."""
        with self._opened().reading() as transaction:
            return _clock(transaction, self._meta)

    async def scan(self, model: type[ModelT]) -> AsyncIterator[ModelT]:
        """See `DocumentStore.scan`. Each slice is a view of its own, so that no old pages are held."""
        collection = self._collection(model)
        after = b""
        while True:
            with self._opened().reading() as transaction, transaction.cursor(collection.documents) as cursor:
                found = cursor.set_range(after + b"\x00") if after else cursor.first()
                raws = (
                    [raw for _, raw in zip(range(_SLICE), cursor.iternext(keys=False), strict=False)] if found else []
                )
            for raw in raws:
                document = model.model_validate_doc(decode(raw))
                after = document.id.binary
                yield document
            if len(raws) < _SLICE:
                return
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """See `DocumentStore.snapshot`: a read transaction."""
        with self._opened().reading() as transaction:
            yield _EmbeddedSnapshot(transaction, self._collections)

    async def load(self, model: type[Model], documents: Sequence[bytes]) -> int:
        """See `DocumentStore.load`. The store's clock goes on from the highest stamp that it was given."""
        collection = self._collection(model)
        stamped = stamped_key(model)

        def work(transaction: lmdb.Transaction) -> int:
            written = 0
            clock = _clock(transaction, self._meta)
            for raw in documents:
                present = transaction.get(identity_of(raw), db=collection.documents)
                if present is not None and identity_first(present) == raw:
                    continue
                new = decode(raw)
                self._write_document(transaction, model, None if present is None else decode(present), new, raw)
                written += 1
                if stamped and isinstance(stamp := new.get(stamped), Timestamp) and stamp > clock:
                    _set_clock(transaction, self._meta, clock := stamp)
            return written

        written: int = await self._write(work)
        return written

    async def clear(self) -> None:
        """See `DocumentStore.clear`."""

        def work(transaction: lmdb.Transaction) -> None:
            for collection in self._collections.values():
                for database in (collection.documents, *(database for _, database in collection.indexes)):
                    transaction.drop(database, delete=False)

        await self._write(work)

    async def enter(self, state: State) -> None:
        """See `DocumentStore.enter`."""
        await self._write(lambda transaction: _set_state(transaction, self._meta, state))
        self.state = state

    def _opened(self) -> Environment:
        if self._environment is None:
            raise StoreUnavailable("the store is closed")
        if self._environment.failed:
            if self._reopening is None or self._reopening.done():
                self._reopening = asyncio.create_task(self._reopen(self._environment))
            raise StoreUnavailable("the store is being opened again")
        return self._environment

    def _collection(self, model: type[Model]) -> _Collection:
        collection = self._collections.get(model)
        if collection is None:
            self._opened()
            raise UnsupportedExpression(f"the store was not opened for {model.__name__}")
        return collection

    async def _write(self, work: Callable[[lmdb.Transaction], Any]) -> Any:
        self._opened()
        assert self._writer is not None  # it is there as long as the environment is
        return await self._writer.submit(work)

    def _get_by_id(self, model: type[Model], identity: bytes, nodes: tuple[Node, ...]) -> bytes | None:
        documents = self._collection(model).documents
        with self._opened().reading() as transaction:
            raw: bytes | None = transaction.get(identity, db=documents)
        if raw is None or len(nodes) == 1:
            return raw
        matches = predicate(node for node in nodes if not is_identity(node))
        return raw if matches is None or matches(look(raw)) else None

    async def _collect(
        self, model: type[Model], nodes: tuple[Node, ...], sort: Sort | None, limit: int, max_bytes: int | None = None
    ) -> list[bytes]:
        walk = self._walk(model, nodes, sort)
        return await self._take(walk.documents, limit, max_bytes)

    def _walk(self, model: type[Model], nodes: tuple[Node, ...], sort: Sort | None) -> Walk:
        collection = self._collection(model)
        chosen = plan(model, nodes, sort)
        if chosen.declared.name == PRIMARY:
            return PrimaryWalk(chosen, collection.documents, collection.documents)
        return Walk(chosen, collection.documents, collection.database_of(chosen.declared.name))

    async def _take(
        self,
        walk: Callable[[lmdb.Transaction], Iterator[bytes | None]],
        limit: int | None,
        max_bytes: int | None = None,
    ) -> list[bytes]:
        """Take what a walk finds, as of one moment; after the first few hundred looks go on in a thread."""
        found: list[bytes] = []
        with contextlib.ExitStack() as stack:
            steps = walk(stack.enter_context(self._opened().reading()))
            if _advance(steps, found, limit, max_bytes, _INLINE):
                return found
            view = stack.pop_all()

        def go_on() -> None:
            # the view ends with the thread that uses it: whoever asked may have been broken off, and a map that is to
            # grow holds up the event loop until there is no view
            with view:
                _advance(steps, found, limit, max_bytes, None)

        await asyncio.shield(asyncio.to_thread(go_on))
        return found

    def _put(
        self,
        transaction: lmdb.Transaction,
        model: type[Model],
        old: Mapping[str, Any] | None,
        new: dict[str, Any],
    ) -> bytes:
        """Stamp and write one document."""
        stamp: Timestamp | None = None
        if stamped := stamped_key(model):
            stamp = new[stamped] = _tick(_clock(transaction, self._meta))
        raw = encode(new)
        if old is None and transaction.get(identity_of(raw), db=self._collection(model).documents) is not None:
            raise DuplicateDocument(model.__name__, "id")
        # through BSON, so that what is indexed is what is stored
        self._write_document(transaction, model, old, look(raw), raw)
        if stamp is not None:
            _set_clock(transaction, self._meta, stamp)
        return raw

    def _write_document(
        self,
        transaction: lmdb.Transaction,
        model: type[Model],
        old: Mapping[str, Any] | None,
        new: Mapping[str, Any],
        raw: bytes,
    ) -> None:
        """Write one document and its index entries; everything is checked before the first of them is written."""
        collection = self._collection(model)
        identity = identity_of(raw)
        entries, former = Entries(new), None if old is None else Entries(old)
        changed = {key for key in {**(old or {}), **new} if old is None or not same(old.get(key), new.get(key))}
        alterations = []
        for index, database in collection.indexes:
            if old is not None and changed.isdisjoint(index.keys):
                continue
            if index.unique and clash(transaction, index, database, collection.documents, new):
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

    def _remove(
        self,
        transaction: lmdb.Transaction,
        model: type[Model],
        identity: bytes,
        matches: Callable[[Mapping[str, Any]], bool] | None,
    ) -> int:
        collection = self._collection(model)
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

    def _prepare(
        self, environment: Environment, models: tuple[type[Model], ...], access: Access
    ) -> dict[type[Model], _Collection]:
        """Check that the environment is ours, and make what the models need."""
        if missing := environment.missing_bytes():
            with environment.lengthened(missing):
                if is_damaged(self._folder):
                    raise StoreUnusable(f"{self._folder} is damaged: its file was cut short")
        self._meta = meta = _own(environment, self._folder, access)
        with environment.reading() as transaction:
            self.state = _state(transaction, meta)
        if self.state.receiving is not None and access is not Access.RECEIVE:
            raise StoreUnusable(f"a copy into {self._folder} was not finished: run it again")
        collections = {}
        if access is Access.READ:
            for model in models:
                if (found := environment.existing_database(f"documents:{model.__collection__}")) is not None:
                    collections[model] = _Collection(found, ())
            return collections
        for model in models:
            name = model.__collection__
            documents = environment.database(f"documents:{name}")
            indexes = tuple(
                (index, environment.database(f"index:{name}:{index.name}")) for index in declared_indexes(model)[1:]
            )
            collections[model] = _Collection(documents, indexes)
            environment.write(partial(_build, meta=meta, model=model, collection=collections[model]))
        return collections

    async def _expire_forever(self) -> None:
        """Delete documents whose time has come, as MongoDB does: now and then, not to the second."""
        while True:
            try:
                await self._expire()
            except StoreUnavailable as error:
                logger.warning("expired documents could not be deleted", reason=str(error))
            await asyncio.sleep(self._expiry_seconds)

    async def _expire(self) -> None:
        for model, collection in self._collections.items():
            for index, _ in collection.indexes:
                if index.expires_after is not None:
                    deadline = datetime.now(UTC) - timedelta(seconds=index.expires_after)
                    await self.delete(model, {index.keys[0]: {"$lt": deadline}})


class _EmbeddedSnapshot(Snapshot):
    """What a read transaction sees."""

    of_one_moment = True

    def __init__(self, transaction: lmdb.Transaction, collections: Mapping[type[Model], _Collection]) -> None:
        self.moment = datetime.now(UTC)
        self._transaction = transaction
        self._collections = collections

    async def size(self, model: type[Model]) -> int:
        """See `Snapshot.size`; exact."""
        found = self._collections.get(model)
        return 0 if found is None else int(self._transaction.stat(found.documents)["entries"])

    async def documents(self, model: type[Model], after: ObjectId | None = None) -> AsyncGenerator[list[bytes], None]:
        """See `Snapshot.documents`."""
        found = self._collections.get(model)
        if found is None:
            return
        with self._transaction.cursor(found.documents) as cursor:
            if not (cursor.first() if after is None else cursor.set_range(after.binary + b"\x00")):
                return
            entries = cursor.iternext(keys=False)
            while batch := await asyncio.to_thread(self._take, entries):
                yield batch

    @staticmethod
    def _take(entries: Iterator[bytes]) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        for raw in entries:
            batch.append(identity_first(raw))
            size += len(raw)
            if len(batch) == _SNAPSHOT_SLICE or size >= _SNAPSHOT_BYTES:
                break
        return batch


class PrimaryWalk(Walk):
    """Goes through documents in the order of their ids."""

    def number(self, transaction: lmdb.Transaction, most: int) -> None:
        """Have them gone through: there are no entries, but the documents themselves."""

    def _entries(self, transaction: lmdb.Transaction, part: Range) -> Iterator[tuple[bytes, bytes]]:
        # the documents' own keys are ids without the tag that an index gives them
        tag = tag_of(Kind.OBJECT_ID)
        start, end = part.start[len(tag) :], part.end[len(tag) :] or _AFTER_EVERY_ID
        for identity, _ in self._between(transaction.cursor(self._documents), start, end):
            yield tag + identity, identity


def _advance(
    steps: Iterator[bytes | None], found: list[bytes], limit: int | None, max_bytes: int | None, looks: int | None
) -> bool:
    """Take steps until a limit is reached, the steps end (then True), or so many looks were had (then False)."""
    if limit is not None and len(found) >= limit:
        return True
    size = 0 if max_bytes is None else sum(map(len, found))
    for looked, step in enumerate(steps, 1):
        if step is not None:
            found.append(step)
            size += len(step)
            if (limit is not None and len(found) >= limit) or (max_bytes is not None and size >= max_bytes):
                return True
        if looks is not None and looked >= looks:
            return False
    return True


def _clock(transaction: lmdb.Transaction, meta: lmdb._Database) -> Timestamp:
    """Return the last stamp that was given, as the transaction sees it."""
    raw = transaction.get(_CLOCK, b"\x00" * 8, db=meta)
    return Timestamp(int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:], "big"))


def _set_clock(transaction: lmdb.Transaction, meta: lmdb._Database, stamp: Timestamp) -> None:
    transaction.put(_CLOCK, stamp.time.to_bytes(4, "big") + stamp.inc.to_bytes(4, "big"), db=meta)


def _state(transaction: lmdb.Transaction, meta: lmdb._Database) -> State:
    raw = transaction.get(_STATE, db=meta)
    return State("") if raw is None else State(**decode(raw))


def _set_state(transaction: lmdb.Transaction, meta: lmdb._Database, state: State) -> None:
    raw = bson.encode({"generation": state.generation, "receiving": state.receiving})
    transaction.put(_STATE, raw, db=meta)


def _tick(last: Timestamp) -> Timestamp:
    """Return the stamp after the last: the present second where it has passed, never one that was given before."""
    seconds = int(time.time())
    return Timestamp(seconds, 1) if seconds > last.time else Timestamp(last.time, last.inc + 1)


def _own(environment: Environment, folder: Path, access: Access) -> lmdb._Database:
    """Return the database that says what the environment is, marking a new one as ours unless it is only read.

    Raises:
        StoreUnusable: it holds something else, or a format that a newer version wrote.
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
        if not _state(transaction, meta).generation:
            _set_state(transaction, meta, State(uuid.uuid4().hex))
        return decode(raw)

    if reading:
        with environment.reading() as transaction:
            written = decode(transaction.get(_MARKER, bson.encode({"format": None}), db=meta))["format"]
    else:
        written = environment.write(mark)["format"]
    if written != FORMAT:
        raise StoreUnusable(f"{folder} was written in format {written}; this version reads format {FORMAT}")
    return meta


def _build(transaction: lmdb.Transaction, meta: lmdb._Database, model: type[Model], collection: _Collection) -> None:
    """Make the entries of each index that is new or declared otherwise than before; decided inside the transaction,
    since several processes may open at once.
    """
    for index, database in collection.indexes:
        key = f"index:{model.__collection__}:{index.name}".encode()
        definition = bson.encode({"keys": list(index.keys), "unique": index.unique})
        if transaction.get(key, db=meta) == definition:
            continue
        transaction.drop(database, delete=False)
        for identity, raw in transaction.cursor(collection.documents):
            document = decode(raw)
            if index.unique and clash(transaction, index, database, collection.documents, document):
                raise StoreUnusable(f"two {model.__name__} documents have the same {index.keys[-1]}")
            for entry in Entries(document).keys(index):
                transaction.put(entry, identity, db=database)
        transaction.put(key, definition, db=meta)


def _identity_in(nodes: tuple[Node, ...]) -> bytes | None:
    for node in nodes:
        if is_identity(node):
            return node.value.binary if isinstance(node.value, ObjectId) else b"\x00"
    return None


def _required_identity(nodes: tuple[Node, ...]) -> bytes:
    identity = _identity_in(nodes)
    if identity is None:
        raise UnsupportedExpression("an update needs equality on the id")
    return identity


def _field_of(model: type[Model], key: str) -> str:
    return next(name for name, field in model.__odm_fields__.items() if field.key_name == key)
