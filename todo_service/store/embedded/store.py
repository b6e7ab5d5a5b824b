"""The embedded store: documents as BSON in LMDB, with the indexes that the models declare.

Short reads run on the event loop, since a lookup takes microseconds; longer ones continue in a thread (`store.scans`).
A single thread per process commits the writes in groups (`group_commit`), and a write is on disk when it returns.
Several processes may share one folder; LMDB allows one of them to write at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import lmdb
import structlog
from bson import ObjectId, Timestamp
from odmantic import Model

from todo_service.bounds.store import INLINE_SECONDS, WRITE_SECONDS
from todo_service.store.base import Access, Condition, DocumentStore, FindResult, ModelT, Snapshot, Sort, State
from todo_service.store.capacity import check_indexed, check_loaded
from todo_service.store.codec import (
    decode,
    decode_cached,
    dump,
    find_stamp_key,
    make_converter,
    move_id_first,
    read_id,
    to_result,
    validate_changes,
)
from todo_service.store.embedded.catalog import (
    Collection,
    build_indexes,
    open_meta,
    read_clock,
    read_state,
    set_clock,
    set_state,
)
from todo_service.store.embedded.document_writes import (
    change_document,
    insert_document,
    remove_document,
    write_document,
)
from todo_service.store.embedded.environment import INITIAL_MAP_BYTES, Environment, MapBusy
from todo_service.store.embedded.group_commit import GroupCommitWriter
from todo_service.store.embedded.indexes import IndexScan, PrimaryKeyScan
from todo_service.store.embedded.integrity import is_damaged
from todo_service.store.embedded.snapshot import EmbeddedSnapshot
from todo_service.store.errors import StoreError, StoreUnavailable, StoreUnusable, UnsupportedExpression
from todo_service.store.query.expressions import Node, Predicate, build_predicate, is_id_equality, normalise
from todo_service.store.query.planner import PRIMARY, list_indexes, plan_query
from todo_service.store.scans import Scan, ScanExecutor

_COUNTED_INLINE: Final = 2000
_SLICE_DOCUMENTS: Final = 500
_SLICE_BYTES: Final = 2**16
_DELETED_AT_ONCE: Final = 10_000
"""How many ids of documents that are to be deleted are held at a time."""
ResultT = TypeVar("ResultT")
logger = structlog.get_logger(__name__)


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
        self._collections: dict[type[Model], Collection] = {}
        self._meta: lmdb._Database
        self._environment: Environment | None = None
        self._writer: GroupCommitWriter | None = None
        self._scans: ScanExecutor
        self._grower: ThreadPoolExecutor
        self._growing: asyncio.Future[None] | None = None
        self._expiry: asyncio.Task[None] | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._access = Access.SERVE

    async def open(self, *models: type[Model], access: Access = Access.SERVE) -> None:
        """See `DocumentStore.open`. The folder is made readable by its owner alone."""
        self._access = access
        await self._open(models)
        self._scans = ScanExecutor()
        self._grower = ThreadPoolExecutor(1, "store-map")
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
            self._writer = GroupCommitWriter(environment)

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
        """See `DocumentStore.close`. Reads that go on in threads are ended; whatever fails, the rest is closed."""
        if self._environment is None:
            return
        async with contextlib.AsyncExitStack() as stack:
            # the last that is pushed comes first
            stack.push_async_callback(self._close_environment)
            stack.push_async_callback(self._close_writer)
            stack.push_async_callback(asyncio.to_thread, self._grower.shutdown)
            stack.push_async_callback(asyncio.to_thread, self._scans.close)
            stack.push_async_callback(self._end_tasks)

    async def _end_tasks(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            await asyncio.wait([self._expiry])
            self._expiry = None
        if self._reopening is not None:
            await asyncio.wait([self._reopening])
            self._reopening = None

    async def _close_writer(self) -> None:
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close)

    async def _close_environment(self) -> None:
        environment, self._environment = self._environment, None
        if environment is not None:
            await asyncio.to_thread(environment.close)

    async def ping(self) -> None:
        """See `DocumentStore.ping`: goes through the writer, and writes a few bytes."""
        await self._write(lambda transaction: transaction.put(b"ping", b"", db=self._meta))

    async def insert(self, *documents: Model) -> None:
        """See `DocumentStore.insert`. Many documents are written in several transactions, so that others have turns."""
        prepared = [(type(document), dump(document)) for document in documents]
        written = 0
        while written < len(prepared):
            written = await self._write(partial(self._insert_some, prepared, written))

    async def get(self, model: type[ModelT], *where: Condition, into: type[Any] | None = None) -> Any:
        """See `DocumentStore.get`."""
        nodes = normalise(where)
        identity = _identity_in(nodes)
        if identity is None:
            walk = self._walk(model, nodes, None)
            raws = await self._take(walk.documents, 1, walk.leading)
            raw = raws[0] if raws else None
        else:
            raw = await self._get_by_id(model, identity, nodes)
        return None if raw is None else to_result(raw, model, into)

    async def find(
        self,
        model: type[ModelT],
        *where: Condition,
        sort: Sort | None,
        limit: int,
        max_bytes: int | None = None,
        into: type[Any] | None = None,
    ) -> FindResult[Any]:
        """See `DocumentStore.find`."""
        walk = self._walk(model, normalise(where), sort)
        raws = await self._take(walk.documents, limit, walk.leading, max_bytes)
        found = await self._scans.convert(raws, make_converter(model, into), walk.leading)
        truncated = max_bytes is not None and len(raws) < limit and sum(map(len, raws)) >= max_bytes
        return FindResult(found, truncated=truncated)

    async def update(
        self, model: type[ModelT], *where: Condition, changes: Mapping[str, Any], into: type[Any] | None = None
    ) -> Any:
        """See `DocumentStore.update`."""
        nodes = normalise(where)
        identity = _required_identity(nodes)
        matches = build_predicate(nodes)
        changed = validate_changes(model, changes)
        check_indexed(model, changed)
        collection = self._collection(model)

        def work(transaction: lmdb.Transaction) -> bytes | None:
            raw = transaction.get(identity, db=collection.documents)
            old = None if raw is None else decode_cached(raw)
            if old is None or (matches is not None and not matches(old)):
                return None
            return change_document(transaction, self._meta, model, collection, old, changed) if changed else raw

        raw = await self._write(work)
        return None if raw is None else to_result(raw, model, into)

    async def delete(self, model: type[Model], *where: Condition) -> int:
        """See `DocumentStore.delete`. Many documents are deleted in several transactions, so that others have turns."""
        nodes = normalise(where)
        matches = build_predicate(nodes)
        single = _identity_in(nodes)
        if single is not None:
            return await self._delete_all(model, [single], matches)
        walk = self._walk(model, nodes, None)
        total = 0
        while True:
            identities = await self._take(walk.identities, _DELETED_AT_ONCE, walk.leading)
            deleted = await self._delete_all(model, identities, matches)
            total += deleted
            if len(identities) < _DELETED_AT_ONCE or not deleted:
                return total

    async def count(self, model: type[Model], *where: Condition, limit: int | None = None) -> int:
        """See `DocumentStore.count`."""
        nodes = normalise(where)
        single = _identity_in(nodes)
        if single is not None:
            return int(await self._get_by_id(model, single, nodes) is not None)
        walk = self._walk(model, nodes, None)
        number = None
        if limit is not None and limit <= _COUNTED_INLINE:
            begun = await self._scans.begin()
            number = await self._read(lambda transaction: walk.number(transaction, max(0, limit)))
            self._scans.end(begun)
        return number if number is not None else len(await self._take(walk.identities, limit, walk.leading))

    async def resolved_stamp(self) -> Timestamp:
        """See `DocumentStore.settled`. One write is carried out at a time, and takes its stamp while it is."""
        return await self._read(lambda transaction: read_clock(transaction, self._meta))

    async def scan(self, model: type[ModelT]) -> AsyncIterator[ModelT]:
        """See `DocumentStore.scan`. Each slice is a view of its own, so that no old pages are held."""
        collection = self._collection(model)
        after = b""
        while raws := await self._read(partial(_slice, collection, after)):
            for raw in raws:
                yield model.model_validate_doc(decode(raw))
            after = read_id(raws[-1])
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """See `DocumentStore.snapshot`: a read transaction."""
        with self._opened().reading() as transaction:
            yield EmbeddedSnapshot(transaction, self._collections)

    async def load(self, model: type[Model], documents: Sequence[bytes]) -> int:
        """See `DocumentStore.load`. The store's clock goes on from the highest stamp that it was given."""
        collection = self._collection(model)
        stamped = find_stamp_key(model)

        def work(transaction: lmdb.Transaction) -> int:
            written = 0
            clock = read_clock(transaction, self._meta)
            for raw in documents:
                present = transaction.get(read_id(raw), db=collection.documents)
                if present is not None and move_id_first(present) == raw:
                    continue
                new = decode(check_loaded(model, raw))
                check_indexed(model, new, validated=False)
                old = None if present is None else decode(present)
                write_document(transaction, model, collection, old, new, raw)
                written += 1
                if stamped and isinstance(stamp := new.get(stamped), Timestamp) and stamp > clock:
                    set_clock(transaction, self._meta, clock := stamp)
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

    async def set_state(self, state: State) -> None:
        """See `DocumentStore.set_state`."""
        await self._write(lambda transaction: set_state(transaction, self._meta, state))
        self.state = state

    def _opened(self) -> Environment:
        if self._environment is None:
            raise StoreUnavailable("the store is closed")
        if self._environment.failed:
            if self._reopening is None or self._reopening.done():
                self._reopening = asyncio.create_task(self._reopen(self._environment))
            raise StoreUnavailable("the store is being opened again")
        return self._environment

    def _collection(self, model: type[Model]) -> Collection:
        collection = self._collections.get(model)
        if collection is None:
            self._opened()
            raise UnsupportedExpression(f"the store was not opened for {model.__name__}")
        return collection

    async def _write(self, work: Callable[[lmdb.Transaction], Any]) -> Any:
        self._opened()
        assert self._writer is not None  # it is there as long as the environment is
        return await self._writer.submit(work)

    async def _read(self, read: Callable[[lmdb.Transaction], ResultT]) -> ResultT:
        """Read a little on the event loop, which is never held up by a map that changes its size."""
        while True:
            environment = self._opened()
            try:
                with environment.reading(wait=False) as transaction:
                    return read(transaction)
            except MapBusy:
                await self._settle(environment)

    async def _settle(self, environment: Environment) -> None:
        """Wait for the map in a thread of its own, together with all others who wait."""
        if self._growing is None or self._growing.done():
            self._growing = asyncio.get_running_loop().run_in_executor(self._grower, environment.wait_for_growth)
            self._growing.add_done_callback(lambda future: future.cancelled() or future.exception())
        await asyncio.shield(self._growing)

    async def _get_by_id(self, model: type[Model], identity: bytes, nodes: tuple[Node, ...]) -> bytes | None:
        documents = self._collection(model).documents
        raw: bytes | None = await self._read(lambda transaction: transaction.get(identity, db=documents))
        if raw is None or len(nodes) == 1:
            return raw
        matches = build_predicate(node for node in nodes if not is_id_equality(node))
        return raw if matches is None or matches(decode_cached(raw)) else None

    def _walk(self, model: type[Model], nodes: tuple[Node, ...], sort: Sort | None) -> IndexScan:
        collection = self._collection(model)
        chosen = plan_query(model, nodes, sort)
        if chosen.declared.name == PRIMARY:
            return PrimaryKeyScan(chosen, collection.documents, collection.documents)
        return IndexScan(chosen, collection.documents, collection.database_of(chosen.declared.name))

    async def _take(
        self,
        walk: Callable[[lmdb.Transaction], Iterator[bytes | None]],
        limit: int | None,
        key: Hashable,
        max_bytes: int | None = None,
    ) -> list[bytes]:
        """Take what a walk finds, as of one moment: at once where it is found soon, else anew in a thread.

        Args:
            walk: The walk.
            limit: How many it finds at most.
            key: As in `ScanExecutor.run`.
            max_bytes: The size with which it ends.
        """
        self._opened()
        most = _Most(limit, max_bytes)
        begun = await self._scans.begin()
        found = await self._read(lambda transaction: _take_until(begun + INLINE_SECONDS, walk(transaction), most))
        self._scans.end(begun)
        if found is None:
            found = await self._scans.run(partial(_take_all, self._opened(), walk, most), key)
        return found

    def _insert_some(
        self, documents: Sequence[tuple[type[Model], dict[str, Any]]], start: int, transaction: lmdb.Transaction
    ) -> int:
        """Write some of the documents, from one of them on; return where to go on."""
        deadline = time.perf_counter() + WRITE_SECONDS
        for number, (model, document) in enumerate(documents[start:], start + 1):
            insert_document(transaction, self._meta, model, self._collection(model), document)
            if time.perf_counter() >= deadline:
                return number
        return len(documents)

    async def _delete_all(self, model: type[Model], identities: Sequence[bytes], matches: Predicate | None) -> int:
        collection = self._collection(model)

        def delete_some(start: int, transaction: lmdb.Transaction) -> tuple[int, int]:
            deadline = time.perf_counter() + WRITE_SECONDS
            deleted = 0
            for number, identity in enumerate(identities[start:], start + 1):
                deleted += remove_document(transaction, collection, identity, matches)
                if time.perf_counter() >= deadline:
                    return deleted, number
            return deleted, len(identities)

        total = done = 0
        while done < len(identities):
            deleted, done = await self._write(partial(delete_some, done))
            total += deleted
        return total

    def _prepare(
        self, environment: Environment, models: tuple[type[Model], ...], access: Access
    ) -> dict[type[Model], Collection]:
        """Check that the environment is ours, and make what the models need."""
        if missing := environment.missing_bytes():
            with environment.lengthened(missing):
                if is_damaged(self._folder):
                    raise StoreUnusable(f"{self._folder} is damaged: its file was cut short")
        self._meta = meta = open_meta(environment, self._folder, access)
        with environment.reading() as transaction:
            self.state = read_state(transaction, meta)
        if self.state.restoring_from is not None and access is not Access.RESTORE:
            raise StoreUnusable(f"a copy into {self._folder} was not finished: run it again")
        collections = {}
        if access is Access.READ:
            for model in models:
                if (found := environment.existing_database(f"documents:{model.__collection__}")) is not None:
                    collections[model] = Collection(found, ())
            return collections
        for model in models:
            name = model.__collection__
            documents = environment.database(f"documents:{name}")
            indexes = tuple(
                (index, environment.database(f"index:{name}:{index.name}")) for index in list_indexes(model)[1:]
            )
            collections[model] = Collection(documents, indexes)
            environment.write(partial(build_indexes, meta=meta, model=model, collection=collections[model]))
        return collections

    async def _expire_forever(self) -> None:
        """Delete documents whose time has come, as MongoDB does: now and then, not to the second."""
        while True:
            try:
                await self._expire()
            except StoreUnavailable as error:
                logger.warning("expired documents could not be deleted", reason=str(error))
            except Exception:
                logger.exception("expired documents could not be deleted")
            await asyncio.sleep(self._expiry_seconds)

    async def _expire(self) -> None:
        for model, collection in self._collections.items():
            for index, _ in collection.indexes:
                if index.expires_after is not None:
                    deadline = datetime.now(UTC) - timedelta(seconds=index.expires_after)
                    await self.delete(model, {index.keys[0]: {"$lt": deadline}})


class _Most(NamedTuple):
    """How much a walk is to find: so many, or up to the one with which so many bytes are reached; None is any."""

    number: int | None
    size: int | None


def _take_until(deadline: float, steps: Iterator[bytes | None], most: _Most) -> list[bytes] | None:
    """Take what steps find, or return None where the deadline comes first (`time.perf_counter`)."""
    found: list[bytes] = []
    number, size = most
    if number is not None and number < 1:
        return found
    left = inf if size is None else size
    for step in steps:
        if step is not None:
            found.append(step)
            left -= len(step)
            if left <= 0 or len(found) == number:
                return found
        if time.perf_counter() >= deadline:
            return None
    return found


def _take_all(
    environment: Environment,
    walk: Callable[[lmdb.Transaction], Iterator[bytes | None]],
    most: _Most,
    scan: Scan,
) -> list[bytes]:
    """Take what a walk finds, in a thread; begin anew after the map has changed its size, which waits for it.

    Raises:
        BudgetExceededError: the scan should end.
        StoreUnavailable: the environment cannot be read.
    """
    while True:
        found: list[bytes] = []
        left = inf if most.size is None else most.size
        with environment.reading() as transaction:
            for step in walk(transaction):
                scan.check()
                if environment.resizing:
                    break
                if step is not None:
                    found.append(step)
                    left -= len(step)
                    if left <= 0 or len(found) == most.number:
                        return found
            else:
                return found


def _slice(collection: Collection, after: bytes, transaction: lmdb.Transaction) -> list[bytes]:
    """Return some documents in the order of their ids, from an id on; none at the end."""
    found: list[bytes] = []
    size = 0
    with transaction.cursor(collection.documents) as cursor:
        if cursor.set_range(after + b"\x00") if after else cursor.first():
            for raw in cursor.iternext(keys=False):
                found.append(raw)
                size += len(raw)
                if len(found) == _SLICE_DOCUMENTS or size >= _SLICE_BYTES:
                    break
    return found


def _identity_in(nodes: tuple[Node, ...]) -> bytes | None:
    for node in nodes:
        if is_id_equality(node):
            return node.value.binary if isinstance(node.value, ObjectId) else b"\x00"
    return None


def _required_identity(nodes: tuple[Node, ...]) -> bytes:
    identity = _identity_in(nodes)
    if identity is None:
        raise UnsupportedExpression("an update needs equality on the id")
    return identity
