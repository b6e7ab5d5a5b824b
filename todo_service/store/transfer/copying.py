"""Copies between stores and backups: migration, backup and restore.

A copy contains every document of every model exactly as it is stored. It guarantees:

* **Point in time.** The copy is a snapshot if the source supports it: an embedded store, a MongoDB replica set or
  sharded cluster, or a backup. With a standalone MongoDB server, or if reading takes longer than MongoDB retains the
  snapshot, each document is copied as of the time it was read, and `Copied.point_in_time` is False.
* **All or nothing.** The target store cannot be served or copied until the copy is complete and its documents have been
  read back and compared by number and hash (`digest`). After an interruption, the same copy continues: it skips the
  documents that exist, deletes those that are not in the source, and copies the rest. A backup file appears once it is
  complete; an interrupted one starts over. A source backup is verified to the last byte before the first write.
* **No other data is lost.** A target with other documents is refused unless `overwrite` is set. A target that already
  contains exactly the documents of the source remains unchanged.
* **No change is missed.** Documents keep their stamps, and the target store starts a new generation (see
  `store.base`). Clients that hold a stamp of the source therefore start a new sync (the API responds with 410) and miss
  nothing, even if an older backup replaces what they have seen.
* **Bounded memory.** Only a few batches of documents are in memory at a time.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from bson import ObjectId
from odmantic import Model

from todo_service.store.addresses import BACKUP_SCHEME, is_backup, parse_path, parse_scheme
from todo_service.store.base import Access, DocumentStore, Snapshot, State
from todo_service.store.bson_codec import read_id
from todo_service.store.errors import StoreError, StoreUnusable
from todo_service.store.registry import create_store, find_store_type, list_schemes
from todo_service.store.transfer.backup import Backup
from todo_service.store.transfer.backup_writer import BackupWriter
from todo_service.store.transfer.digest import Digest, hash_collections

_UNNAMED: Final = "unnamed"


class CopyStep(NamedTuple):
    """The progress of a copy.

    Attributes:
        doing: `verify` (reading a backup), `read` (the source, before anything is written), `delete` (what the target
            contains), `compare` (the target of an interrupted copy with the source), `copy`, or `check` (reading back
            the target).
        what: The collection, or the name of the file.
        done: The number of units completed since the previous step.
        size: The approximate number of units in total.
        unit: `documents` or `bytes`.
    """

    doing: str
    what: str
    done: int
    size: int
    unit: str = "documents"


ReportStep = Callable[[CopyStep], None]


class Copied(NamedTuple):
    """The result of a copy.

    Attributes:
        documents: The number of documents in each collection.
        written: The number of documents that the target did not already contain.
        hash: The hash of all documents, the same in every store and backup that contains them.
        moment: When the snapshot of the source was taken.
        point_in_time: Whether the copy excludes everything written to the source after `moment`.
    """

    documents: dict[str, int]
    written: int
    hash: str
    moment: datetime
    point_in_time: bool


class TargetInUse(StoreError):
    """The target contains other data."""


async def copy(
    source: str,
    target: str,
    models: Sequence[type[Model]],
    *,
    overwrite: bool = False,
    report: ReportStep = lambda _: None,
) -> Copied:
    """Copy every document. The docstring of the module lists the guarantees.

    Args:
        source: The address of the source: `lmdb:///path`, `mongodb://…`, `mongodb+srv://…` or `file:///path`.
        target: The address of the target, in the same form.
        models: Every model that is stored.
        overwrite: Whether to delete other documents in the target.
        report: Called after each step, possibly in another thread.

    Raises:
        TargetInUse: The target contains other documents. Nothing was written.
        StoreUnusable: An address or the store or file at it cannot be used, or a backup is damaged. Nothing was
            written.
        StoreUnavailable: A store or a disk failed. The same copy can be run again.
        StoreError: The target does not contain the documents that were copied.
    """
    if _is_same_place(source, target):
        raise StoreUnusable("source and target are the same")
    async with _open_source(source, models, report) as (snapshot, origin):
        path = _parse_backup_path(target)
        if path is not None:
            return await _write_backup(snapshot, path, models, overwrite, report)
        store = create_store(target)
        try:
            await store.open(*models, access=Access.RESTORE)
            return await _restore(snapshot, origin, store, models, overwrite, report)
        finally:
            await store.close()


@asynccontextmanager
async def _open_source(
    address: str, models: Sequence[type[Model]], report: ReportStep
) -> AsyncIterator[tuple[Snapshot, str]]:
    """Open a snapshot of the source, and a text that identifies it."""
    path = _parse_backup_path(address)
    if path is not None:
        backup = Backup(path, models)
        size = path.stat().st_size if path.is_file() else 0
        await asyncio.to_thread(backup.verify, lambda read: report(CopyStep("verify", path.name, read, size, "bytes")))
        yield backup, backup.sha256
        return
    store = create_store(address)
    try:
        await store.open(*models, access=Access.READ)
        async with store.snapshot() as snapshot:
            yield snapshot, store.state.generation or _UNNAMED
    finally:
        await store.close()


async def _write_backup(
    snapshot: Snapshot, path: Path, models: Sequence[type[Model]], overwrite: bool, report: ReportStep
) -> Copied:
    writer = await asyncio.to_thread(_create_writer, path, snapshot.taken_at, overwrite)
    try:
        for model in models:
            size = await snapshot.size(model)
            report(CopyStep("copy", model.__collection__, 0, size))
            async with aclosing(_prefetch(snapshot.documents(model))) as batches:
                async for batch in batches:
                    await asyncio.to_thread(writer.add, model.__collection__, batch)
                    report(CopyStep("copy", model.__collection__, len(batch), size))
        digests = await asyncio.to_thread(
            lambda: writer.finish(
                point_in_time=snapshot.point_in_time,
                on_read=lambda read, size: report(CopyStep("check", path.name, read, size, "bytes")),
            )
        )
    finally:
        writer.close()
    return _create_result(snapshot, digests, sum(digest.documents for digest in digests.values()))


def _create_writer(path: Path, taken_at: datetime, overwrite: bool) -> BackupWriter:
    if os.path.lexists(path) and not (overwrite and path.is_file()):
        raise TargetInUse(f"{path} already exists")
    return BackupWriter(path, taken_at, replace=overwrite)


async def _restore(
    snapshot: Snapshot,
    origin: str,
    store: DocumentStore,
    models: Sequence[type[Model]],
    overwrite: bool,
    report: ReportStep,
) -> Copied:
    resumed = store.state.restoring_from == origin
    if not resumed:
        if store.state.restoring_from is not None and not overwrite:
            raise TargetInUse("another copy into the target was not finished")
        if not overwrite and await _has_documents(store, models):
            present = await _compare(snapshot, store, models, report)
            if present is None:
                raise TargetInUse("the target contains other documents")
            return _create_result(snapshot, present, 0)
    await store.set_state(State(store.state.generation, origin))
    if overwrite and not resumed:
        await _clear(store, models, report)
    digests: dict[str, Digest] = {}
    written = 0
    for model in models:
        if resumed:
            await _delete_extraneous(snapshot, store, model, report)
        size = await snapshot.size(model)
        digest = digests[model.__collection__] = Digest()
        report(CopyStep("copy", model.__collection__, 0, size))
        async with aclosing(_prefetch(snapshot.documents(model))) as batches:
            async for batch in batches:
                written += await store.load(model, batch)
                digest.add(batch)
                report(CopyStep("copy", model.__collection__, len(batch), size))
    async with store.snapshot() as stored:
        found = await _compute_digests(stored, models, "check", report)
    for name, digest in digests.items():
        if found[name] != digest:
            raise StoreError(
                f"the target does not contain the copied documents: {found[name].documents} {name} with the hash "
                f"{found[name].hash[:16]} instead of {digest.documents} with {digest.hash[:16]}; run the copy again"
            )
    await store.set_state(State(uuid.uuid4().hex))
    return _create_result(snapshot, digests, written)


async def _has_documents(store: DocumentStore, models: Sequence[type[Model]]) -> bool:
    async with store.snapshot() as snapshot:
        for model in models:
            async with aclosing(snapshot.documents(model)) as batches:
                async for _ in batches:
                    return True
    return False


async def _compare(
    snapshot: Snapshot, store: DocumentStore, models: Sequence[type[Model]], report: ReportStep
) -> dict[str, Digest] | None:
    """Return the digests of the source if the target contains the same documents, otherwise None."""
    async with store.snapshot() as stored:
        for model in models:
            if await snapshot.size(model) != await stored.size(model):
                return None
    digests = await _compute_digests(snapshot, models, "read", report)
    async with store.snapshot() as stored:
        return digests if await _compute_digests(stored, models, "check", report) == digests else None


async def _compute_digests(
    snapshot: Snapshot, models: Sequence[type[Model]], doing: str, report: ReportStep
) -> dict[str, Digest]:
    """Read every document of a snapshot. `doing` is that of the reported steps."""
    digests = {model.__collection__: Digest() for model in models}
    for model in models:
        size = await snapshot.size(model)
        report(CopyStep(doing, model.__collection__, 0, size))
        async with aclosing(_prefetch(snapshot.documents(model))) as batches:
            async for batch in batches:
                digests[model.__collection__].add(batch)
                report(CopyStep(doing, model.__collection__, len(batch), size))
    return digests


async def _clear(store: DocumentStore, models: Sequence[type[Model]], report: ReportStep) -> None:
    """Delete every document of a store."""
    for model in models:
        size = await _estimate_size(store, model)
        report(CopyStep("delete", model.__collection__, 0, size))
        await store.clear(model)
        report(CopyStep("delete", model.__collection__, size, size))


async def _delete_extraneous(snapshot: Snapshot, store: DocumentStore, model: type[Model], report: ReportStep) -> None:
    """Delete the documents of an interrupted copy that the source does not contain, or contains with other values.

    Each batch of the target is read from its own snapshot: the embedded store cannot grow while a snapshot is open.
    """
    size = await _estimate_size(store, model)
    report(CopyStep("compare", model.__collection__, 0, size))
    async with aclosing(_flatten(snapshot.documents(model))) as documents:
        wanted: bytes | None = await anext(documents, None)
        after: ObjectId | None = None
        while batch := await _read_first_batch(store, model, after):
            for raw in batch:
                document_id = read_id(raw)
                while wanted is not None and read_id(wanted) < document_id:
                    wanted = await anext(documents, None)
                if wanted != raw:
                    await store.delete(model, {"_id": {"$eq": ObjectId(document_id)}})
            after = ObjectId(read_id(batch[-1]))
            report(CopyStep("compare", model.__collection__, len(batch), size))


async def _estimate_size(store: DocumentStore, model: type[Model]) -> int:
    async with store.snapshot() as snapshot:
        return await snapshot.size(model)


async def _read_first_batch(store: DocumentStore, model: type[Model], after: ObjectId | None) -> list[bytes]:
    async with store.snapshot() as snapshot, aclosing(snapshot.documents(model, after)) as batches:
        return await anext(batches, [])


async def _flatten(batches: AsyncGenerator[list[bytes], None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(batches):
        async for batch in batches:
            for raw in batch:
                yield raw


async def _prefetch(batches: AsyncGenerator[list[bytes], None]) -> AsyncGenerator[list[bytes], None]:
    """Yield the batches, and read the next one while the caller processes the current one."""

    async def fetch() -> list[bytes]:
        return await anext(batches, [])

    async with aclosing(batches):
        next_batch = asyncio.create_task(fetch())
        try:
            while batch := await next_batch:
                next_batch = asyncio.create_task(fetch())
                yield batch
        finally:
            # never cancelled: the snapshot must stay open while a thread reads from it
            await asyncio.gather(next_batch, return_exceptions=True)


def _create_result(snapshot: Snapshot, digests: dict[str, Digest], written: int) -> Copied:
    return Copied(
        {name: digest.documents for name, digest in digests.items()},
        written,
        hash_collections(digests),
        snapshot.taken_at,
        snapshot.point_in_time,
    )


def _parse_backup_path(address: str) -> Path | None:
    """Return the path of a backup, or None for the address of a store.

    Raises:
        StoreUnusable: The address is invalid.
    """
    if is_backup(address):
        return _parse_path(address)
    if parse_scheme(address) not in list_schemes():
        known = ", ".join(f"{scheme}://" for scheme in list_schemes())
        raise StoreUnusable(f"the address of a source or target must start with {known} or {BACKUP_SCHEME}://")
    return None


def _parse_path(address: str) -> Path:
    try:
        return parse_path(address)
    except ValueError as error:
        raise StoreUnusable(f"invalid address: {error}") from None


def _is_same_place(one: str, other: str) -> bool:
    if one == other:
        return True
    paths = [
        _parse_path(each).resolve() if is_backup(each) or find_store_type(each).is_local else None
        for each in (one, other)
    ]
    return paths[0] is not None and parse_scheme(one) == parse_scheme(other) and paths[0] == paths[1]
