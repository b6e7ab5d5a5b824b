"""The embedded store: documents as BSON in LMDB, with the indexes that the models declare.

Short reads run on the event loop, because a lookup takes microseconds; longer ones run in a thread (`store.scans`).
Another process commits the writes in groups (`process_writer`), and a write is on disk when it returns. Several
services may share one folder; LMDB allows one of them to write at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import lmdb
from bson import ObjectId, Timestamp
from odmantic import Model

from todo_service.store.base import Access, Condition, DocumentStore, FindResult, ModelT, Snapshot, Sort, State
from todo_service.store.bson_codec import decode, decode_cached, encode, encode_fields, read_id
from todo_service.store.capacity import SMALL_CHANGES_BYTES, check_indexed, check_loaded, check_size
from todo_service.store.codec import (
    build_model,
    dump,
    find_changed_stamp_key,
    make_converter,
    to_result,
    validate_changes,
)
from todo_service.store.embedded.connection import EmbeddedConnection
from todo_service.store.embedded.databases import Collection, read_clock
from todo_service.store.embedded.environment import INITIAL_MAP_BYTES
from todo_service.store.embedded.expiry import delete_expired_forever
from todo_service.store.embedded.frames import encode_nodes
from todo_service.store.embedded.indexes import IndexScan, PrimaryKeyScan
from todo_service.store.embedded.scan_runner import ScanLimit, ScanSteps, collect_in_thread, collect_inline
from todo_service.store.embedded.snapshot import EmbeddedSnapshot
from todo_service.store.errors import StoreError, UnsupportedExpression
from todo_service.store.query.expressions import build_predicate, is_id_equality, normalize
from todo_service.store.query.planner import PRIMARY, parse_sort, plan_query
from todo_service.store.query.predicates import Node
from todo_service.store.scans import ScanExecutor

_MAX_INLINE_COUNT: Final = 2000
_BATCH_DOCUMENTS: Final = 500
_BATCH_BYTES: Final = 2**16
_ID_BYTES: Final = 17
"""The size of an id in BSON, with its key."""
_REQUEST_BYTES: Final = 2**20
"""The size at which a call with many documents is split."""
_DELETE_BATCH_SIZE: Final = 10_000
"""The maximum number of ids that `delete` holds in memory."""


class EmbeddedStore(DocumentStore):
    """A document store in a local folder.

    Args:
        folder: The folder, created when the store is opened for the first time. Not on a network file system.
        map_bytes: The initial size of LMDB's map, which grows on demand.
        expiry_seconds: The interval at which expired documents are deleted.
    """

    resolves_at_once = True

    def __init__(self, folder: Path, *, map_bytes: int = INITIAL_MAP_BYTES, expiry_seconds: float = 60.0) -> None:
        self._connection = EmbeddedConnection(folder, map_bytes)
        self._expiry_seconds = expiry_seconds
        self._scans: ScanExecutor
        self._expiry: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """See `DocumentStore.state`."""
        return self._connection.state

    @state.setter
    def state(self, state: State) -> None:
        self._connection.state = state

    async def open(self, *models: type[Model], access: Access = Access.SERVE) -> None:
        """See `DocumentStore.open`. Only the owner can read the folder."""
        await self._connection.open(models, access)
        self._scans = ScanExecutor()
        if access is Access.SERVE:
            self._expiry = asyncio.create_task(delete_expired_forever(self, models, self._expiry_seconds))

    async def close(self) -> None:
        """See `DocumentStore.close`. Cancels long reads. If a step fails, the remaining ones run nevertheless."""
        if not self._connection.is_open:
            return
        async with contextlib.AsyncExitStack() as stack:
            # in reverse order
            stack.push_async_callback(self._connection.close)
            stack.push_async_callback(asyncio.to_thread, self._scans.close)
            stack.push_async_callback(self._end_tasks)

    async def _end_tasks(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            await asyncio.wait([self._expiry])
            self._expiry = None

    async def ping(self) -> None:
        """See `DocumentStore.ping`. Writes a few bytes to disk."""
        await self._connection.write("ping")

    async def insert(self, *documents: Model) -> None:
        """See `DocumentStore.insert`. Splits many documents into several operations, so that other writes can run."""
        raws, refused = _encode_new(documents)
        written = 0
        while written < len(raws):
            some = _take_some(raws, written)
            written += await self._connection.write("insert", type(documents[0]), documents=some)
        if refused is not None:
            raise refused

    async def get(self, model: type[ModelT], *where: Condition, into: type[Any] | None = None) -> Any:
        """See `DocumentStore.get`."""
        nodes = normalize(where)
        document_id = _find_id(nodes)
        if document_id is None:
            scan = self._plan_scan(model, nodes, None)
            raws = await self._run_scan(scan.iter_documents, 1, scan.leading)
            raw = raws[0] if raws else None
        else:
            raw = await self._get_by_id(model, document_id, nodes)
        return None if raw is None else to_result(raw, model, into)

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
        """See `DocumentStore.find`."""
        nodes = normalize(where)
        scan = self._plan_scan(model, nodes, sort)
        start: ScanSteps = scan.iter_documents
        if selective and sort is not None:
            start = partial(self._plan_scan(model, nodes, None).iter_in_order, scan, parse_sort(sort)[0])
        raws = await self._run_scan(start, limit, scan.leading, max_bytes)
        found = await self._scans.convert(raws, make_converter(model, into), scan.leading)
        truncated = max_bytes is not None and len(raws) < limit and sum(map(len, raws)) >= max_bytes
        return FindResult(found, truncated=truncated)

    async def update(
        self, model: type[ModelT], *where: Condition, changes: Mapping[str, Any], into: type[Any] | None = None
    ) -> Any:
        """See `DocumentStore.update`."""
        nodes = normalize(where)
        document_id = _require_id(nodes)
        changed = validate_changes(model, changes)
        check_indexed(model, changed)
        encoded = encode_fields(changed)
        raw = await self._connection.write(
            "update",
            model,
            id=document_id,
            where=encode_nodes(nodes),
            changes=encoded,
            # see "Size" in `store.base`
            measured=len(encoded) + _ID_BYTES > SMALL_CHANGES_BYTES,
            stamped=find_changed_stamp_key(model, changed) is not None,
        )
        return None if raw is None else to_result(raw, model, into)

    async def delete(self, model: type[Model], *where: Condition) -> int:
        """See `DocumentStore.delete`. Splits many documents into several operations, so that other writes can run."""
        nodes = normalize(where)
        document_id = _find_id(nodes)
        if document_id is not None:
            return await self._delete_by_id(model, [document_id], nodes)
        scan = self._plan_scan(model, nodes, None)
        total = 0
        while True:
            document_ids = await self._run_scan(scan.iter_ids, _DELETE_BATCH_SIZE, scan.leading)
            total += await self._delete_by_id(model, document_ids, nodes)
            if len(document_ids) < _DELETE_BATCH_SIZE:
                return total

    async def count(self, model: type[Model], *where: Condition, limit: int | None = None) -> int:
        """See `DocumentStore.count`."""
        nodes = normalize(where)
        document_id = _find_id(nodes)
        if document_id is not None:
            return int(await self._get_by_id(model, document_id, nodes) is not None)
        scan = self._plan_scan(model, nodes, None)
        number = None
        if limit is not None and limit <= _MAX_INLINE_COUNT:
            budget = await self._scans.begin()
            number = await self._connection.read(lambda transaction: scan.count(transaction, max(0, limit)))
            self._scans.end(budget)
        return number if number is not None else len(await self._run_scan(scan.iter_ids, limit, scan.leading))

    async def resolved_stamp(self) -> Timestamp:
        """See `DocumentStore.resolved_stamp`. Writes are serialized, so the latest stamp in the store is resolved."""
        return await self._connection.read(lambda transaction: read_clock(transaction, self._connection.meta))

    async def scan(self, model: type[ModelT]) -> AsyncIterator[ModelT]:
        """See `DocumentStore.scan`. Each batch has a read transaction of its own, so that LMDB can reuse old pages."""
        collection = self._connection.get_collection(model)
        after = b""
        while raws := await self._connection.read(partial(_read_batch, collection, after)):
            for raw in raws:
                yield build_model(model, decode(raw))
            after = read_id(raws[-1])
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """See `DocumentStore.snapshot`. The snapshot is a read transaction."""
        with self._connection.get_environment().read_transaction() as transaction:
            yield EmbeddedSnapshot(transaction, self._connection.collections)

    async def load(self, model: type[Model], documents: Sequence[bytes]) -> int:
        """See `DocumentStore.load`. Advances the clock to the highest loaded stamp."""
        for raw in documents:
            check_indexed(model, decode(check_loaded(model, raw)), validated=False)
        written: int = await self._connection.write("load", model, documents=list(documents))
        return written

    async def clear(self, model: type[Model]) -> None:
        """See `DocumentStore.clear`."""
        await self._connection.write("clear", model)

    async def set_state(self, state: State) -> None:
        """See `DocumentStore.set_state`."""
        await self._connection.set_state(state)

    async def _get_by_id(self, model: type[Model], document_id: bytes, nodes: tuple[Node, ...]) -> bytes | None:
        documents = self._connection.get_collection(model).documents
        raw: bytes | None = await self._connection.read(lambda transaction: transaction.get(document_id, db=documents))
        if raw is None or len(nodes) == 1:
            return raw
        matches = build_predicate([node for node in nodes if not is_id_equality(node)], model)
        return raw if matches is None or matches(decode_cached(raw)) else None

    def _plan_scan(self, model: type[Model], nodes: tuple[Node, ...], sort: Sort | None) -> IndexScan:
        collection = self._connection.get_collection(model)
        chosen = plan_query(model, nodes, sort)
        if chosen.declared.name == PRIMARY:
            return PrimaryKeyScan(model, chosen, collection.documents, collection.documents)
        return IndexScan(model, chosen, collection.documents, collection.find_index(chosen.declared.name))

    async def _run_scan(
        self, start: ScanSteps, limit: int | None, key: Hashable, max_bytes: int | None = None
    ) -> list[bytes]:
        """Return the results of a scan as of one point in time.

        The scan runs on the event loop. If it takes longer than `InlineBudget` allows, it starts again in a
        thread.

        Args:
            start: Starts the scan.
            limit: The maximum number of results.
            key: As in `ScanExecutor.run`.
            max_bytes: The total size of the results at which the scan ends.
        """
        self._connection.get_environment()
        bound = ScanLimit(limit, max_bytes)
        budget = await self._scans.begin()
        found = await self._connection.read(lambda transaction: collect_inline(budget, start(transaction), bound))
        self._scans.end(budget)
        if found is None:
            environment = self._connection.get_environment()
            found = await self._scans.run(partial(collect_in_thread, environment, start, bound), key)
        return found

    async def _delete_by_id(self, model: type[Model], document_ids: Sequence[bytes], nodes: tuple[Node, ...]) -> int:
        where = encode_nodes(nodes)
        total = done = 0
        while done < len(document_ids):
            deleted, processed = await self._connection.write("delete", model, ids=document_ids[done:], where=where)
            total += deleted
            done += processed
        return total


def _encode_new(documents: Iterable[Model]) -> tuple[list[bytes], StoreError | None]:
    """Return the BSON of new documents. At the first that cannot be stored, return those before it, and the error."""
    raws: list[bytes] = []
    for document in documents:
        model, dumped = type(document), dump(document)
        try:
            raw = check_size(model, encode(dumped))
            check_indexed(model, dumped)
        except StoreError as error:
            return raws, error
        raws.append(raw)
    return raws, None


def _take_some(raws: Sequence[bytes], start: int) -> list[bytes]:
    """Return the documents from an index on that fit into a request: at least one."""
    size = 0
    for end in range(start, len(raws)):
        size += len(raws[end])
        if size > _REQUEST_BYTES and end > start:
            return list(raws[start:end])
    return list(raws[start:])


def _read_batch(collection: Collection, after: bytes, transaction: lmdb.Transaction) -> list[bytes]:
    """Return the next documents after an id, in the order of their ids. Return an empty list at the end."""
    found: list[bytes] = []
    size = 0
    with transaction.cursor(collection.documents) as cursor:
        if cursor.set_range(after + b"\x00") if after else cursor.first():
            for raw in cursor.iternext(keys=False):
                found.append(raw)
                size += len(raw)
                if len(found) == _BATCH_DOCUMENTS or size >= _BATCH_BYTES:
                    break
    return found


def _find_id(nodes: tuple[Node, ...]) -> bytes | None:
    for node in nodes:
        if is_id_equality(node):
            return node.value.binary if isinstance(node.value, ObjectId) else b"\x00"
    return None


def _require_id(nodes: tuple[Node, ...]) -> bytes:
    document_id = _find_id(nodes)
    if document_id is None:
        raise UnsupportedExpression("an update needs equality on the id")
    return document_id
