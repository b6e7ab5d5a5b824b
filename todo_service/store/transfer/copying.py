"""Copying everything from one store to another, and to and from a backup: migration, backup and restore in one.

Every document of every model is copied as it is stored. What is promised:

* **As of one moment** where the source can do that: an embedded store, a MongoDB replica set or sharded cluster, a
  backup. From a standalone MongoDB, or where reading takes longer than MongoDB keeps a moment, each document is as it
  was when it was read; `Copied.point_in_time` says so.
* **Whole or not there.** A store that receives a copy cannot be served or copied until the copy is finished and what it
  holds was read again: as many documents, and the same hash (`contents`). The same copy, started again after whatever
  has ended it, leaves alone what is there already, takes away what is not of it, and finishes. A backup appears when it
  is whole; one that was not finished is begun anew. Of a backup that is copied, every byte is checked before the first
  write.
* **Nothing else is lost.** A target that holds other documents is refused unless it is to be overwritten. One that
  holds just these is left as it is.
* **Nobody misses anything.** Documents keep their stamps, and the target begins a new generation (`base`), so that
  those who remember a stamp of the source begin anew (the API: 410), and miss nothing, also where an older backup takes
  the place of what they have seen.
* However many documents there are, a few batches of them are held at a time.
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
from todo_service.store.codec import read_id
from todo_service.store.errors import StoreError, StoreUnusable
from todo_service.store.registry import create_store, find_store_type, list_schemes
from todo_service.store.transfer.backup import Backup, BackupWriter
from todo_service.store.transfer.digest import Contents, hash_of

_UNNAMED: Final = "unnamed"


class Step(NamedTuple):
    """How far a copy is.

    Attributes:
        doing: `verify` (a backup is being read), `copy` or `check` (what was copied is being read again).
        what: The collection, or the file.
        done: How many of the unit more.
        size: About how many of the unit there are.
        unit: `documents` or `bytes`.
    """

    doing: str
    what: str
    done: int
    size: int
    unit: str = "documents"


Report = Callable[[Step], None]


class Copied(NamedTuple):
    """What was copied.

    Attributes:
        documents: How many documents of each collection.
        written: How many of them were not there already.
        hash: The hash of them all, the same for each store and backup that holds them.
        moment: When the documents are from.
        point_in_time: Whether nothing that was written meanwhile is among them.
    """

    documents: dict[str, int]
    written: int
    hash: str
    moment: datetime
    point_in_time: bool


class TargetInUse(StoreError):
    """The target holds something else."""


async def copy(
    source: str, target: str, models: Sequence[type[Model]], *, overwrite: bool = False, report: Report = lambda _: None
) -> Copied:
    """Copy everything. See the module's docstring for what is promised.

    Args:
        source: `lmdb:///path`, `mongodb://…`, `mongodb+srv://…` or `file:///path`.
        target: As the source.
        models: Every model that is stored.
        overwrite: Whether what else the target holds may be deleted.
        report: Is called at every step, also in other threads.

    Raises:
        TargetInUse: the target holds something else; nothing was written.
        StoreUnusable: an address or what lies there cannot be used, or a backup is damaged; nothing was written.
        StoreUnavailable: a store or a disk failed; the same copy again will finish.
        StoreError: what was copied is not what the target holds.
    """
    if _same(source, target):
        raise StoreUnusable("source and target are the same")
    async with _source(source, models, report) as (snapshot, origin):
        path = _file(target)
        if path is not None:
            return await _back_up(snapshot, path, models, overwrite, report)
        store = create_store(target)
        try:
            await store.open(*models, access=Access.RESTORE)
            return await _fill(snapshot, origin, store, models, overwrite, report)
        finally:
            await store.close()


@asynccontextmanager
async def _source(address: str, models: Sequence[type[Model]], report: Report) -> AsyncIterator[tuple[Snapshot, str]]:
    """Give what is copied, and what tells it from anything else."""
    path = _file(address)
    if path is not None:
        backup = Backup(path, models)
        size = path.stat().st_size if path.is_file() else 0
        await asyncio.to_thread(backup.verify, lambda done: report(Step("verify", path.name, done, size, "bytes")))
        yield backup, backup.identity
        return
    store = create_store(address)
    try:
        await store.open(*models, access=Access.READ)
        async with store.snapshot() as snapshot:
            yield snapshot, store.state.generation or _UNNAMED
    finally:
        await store.close()


async def _back_up(
    snapshot: Snapshot, path: Path, models: Sequence[type[Model]], overwrite: bool, report: Report
) -> Copied:
    writer = await asyncio.to_thread(_writer, path, snapshot.taken_at, overwrite)
    try:
        for model in models:
            size = await snapshot.size(model)
            report(Step("copy", model.__collection__, 0, size))
            async with aclosing(_ahead(snapshot.documents(model))) as batches:
                async for batch in batches:
                    await asyncio.to_thread(writer.add, model.__collection__, batch)
                    report(Step("copy", model.__collection__, len(batch), size))
        contents = await asyncio.to_thread(
            lambda: writer.finish(
                point_in_time=snapshot.point_in_time,
                watch=lambda done, size: report(Step("check", path.name, done, size, "bytes")),
            )
        )
    finally:
        writer.close()
    return _copied(snapshot, contents, sum(held.documents for held in contents.values()))


def _writer(path: Path, moment: datetime, overwrite: bool) -> BackupWriter:
    if os.path.lexists(path) and not (overwrite and path.is_file()):
        raise TargetInUse(f"{path} is there already")
    return BackupWriter(path, moment, replace=overwrite)


async def _fill(
    snapshot: Snapshot,
    origin: str,
    store: DocumentStore,
    models: Sequence[type[Model]],
    overwrite: bool,
    report: Report,
) -> Copied:
    resumed = store.state.restoring_from == origin
    if not resumed:
        if store.state.restoring_from is not None and not overwrite:
            raise TargetInUse("another copy into the target was not finished")
        if not overwrite and await _holds_any(store, models):
            present = await _equal(snapshot, store, models, report)
            if present is None:
                raise TargetInUse("the target holds other documents")
            return _copied(snapshot, present, 0)
    await store.set_state(State(store.state.generation, origin))
    if overwrite and not resumed:
        await store.clear()
    contents: dict[str, Contents] = {}
    written = 0
    for model in models:
        if resumed:
            await _take_away_others(snapshot, store, model)
        size = await snapshot.size(model)
        held = contents[model.__collection__] = Contents()
        report(Step("copy", model.__collection__, 0, size))
        async with aclosing(_ahead(snapshot.documents(model))) as batches:
            async for batch in batches:
                written += await store.load(model, batch)
                held.add(batch)
                report(Step("copy", model.__collection__, len(batch), size))
    found = await _contents(store, models, report)
    for name, held in contents.items():
        if found[name] != held:
            raise StoreError(
                f"the target does not hold what was copied: {found[name].documents} {name} with the hash "
                f"{found[name].hash[:16]} instead of {held.documents} with {held.hash[:16]}; run it again"
            )
    await store.set_state(State(uuid.uuid4().hex))
    return _copied(snapshot, contents, written)


async def _holds_any(store: DocumentStore, models: Sequence[type[Model]]) -> bool:
    async with store.snapshot() as view:
        for model in models:
            async with aclosing(view.documents(model)) as batches:
                async for _ in batches:
                    return True
    return False


async def _equal(
    snapshot: Snapshot, store: DocumentStore, models: Sequence[type[Model]], report: Report
) -> dict[str, Contents] | None:
    """Return what both hold, or None where they differ."""
    async with store.snapshot() as view:
        for model in models:
            if await snapshot.size(model) != await view.size(model):
                return None
    wanted = {model.__collection__: Contents() for model in models}
    for model in models:
        async for batch in snapshot.documents(model):
            wanted[model.__collection__].add(batch)
    return wanted if await _contents(store, models, report) == wanted else None


async def _contents(store: DocumentStore, models: Sequence[type[Model]], report: Report) -> dict[str, Contents]:
    """Read what a store holds."""
    contents = {model.__collection__: Contents() for model in models}
    async with store.snapshot() as view:
        for model in models:
            size = await view.size(model)
            report(Step("check", model.__collection__, 0, size))
            async with aclosing(_ahead(view.documents(model))) as batches:
                async for batch in batches:
                    contents[model.__collection__].add(batch)
                    report(Step("check", model.__collection__, len(batch), size))
    return contents


async def _take_away_others(snapshot: Snapshot, store: DocumentStore, model: type[Model]) -> None:
    """Delete what a copy that was not finished has left and what is not so in the source (any more).

    A batch of the target is looked at as of its own moment: the embedded store cannot grow while it is being read.
    """
    async with aclosing(_each(snapshot.documents(model))) as wanted:
        source: bytes | None = await anext(wanted, None)
        after: ObjectId | None = None
        while batch := await _first_batch(store, model, after):
            for raw in batch:
                identity = read_id(raw)
                while source is not None and read_id(source) < identity:
                    source = await anext(wanted, None)
                if source != raw:
                    await store.delete(model, {"_id": {"$eq": ObjectId(identity)}})
            after = ObjectId(read_id(batch[-1]))


async def _first_batch(store: DocumentStore, model: type[Model], after: ObjectId | None) -> list[bytes]:
    async with store.snapshot() as view, aclosing(view.documents(model, after)) as batches:
        return await anext(batches, [])


async def _each(batches: AsyncGenerator[list[bytes], None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(batches):
        async for batch in batches:
            for raw in batch:
                yield raw


async def _ahead(batches: AsyncGenerator[list[bytes], None]) -> AsyncGenerator[list[bytes], None]:
    """Yield what comes, and fetch the next while one is worked on."""

    async def fetch() -> list[bytes]:
        return await anext(batches, [])

    async with aclosing(batches):
        coming = asyncio.create_task(fetch())
        try:
            while batch := await coming:
                coming = asyncio.create_task(fetch())
                yield batch
        finally:
            # never cancelled: a thread may be reading, and what it reads must stay until it has
            await asyncio.gather(coming, return_exceptions=True)


def _copied(snapshot: Snapshot, contents: dict[str, Contents], written: int) -> Copied:
    return Copied(
        {name: held.documents for name, held in contents.items()},
        written,
        hash_of(contents),
        snapshot.taken_at,
        snapshot.point_in_time,
    )


def _file(address: str) -> Path | None:
    """Return the path of a backup's address, or None for a store's.

    Raises:
        StoreUnusable: it is neither's.
    """
    if is_backup(address):
        return _path(address)
    if parse_scheme(address) not in list_schemes():
        known = ", ".join(f"{scheme}://" for scheme in list_schemes())
        raise StoreUnusable(f"what is copied begins with {known} or {BACKUP_SCHEME}://")
    return None


def _path(address: str) -> Path:
    try:
        return parse_path(address)
    except ValueError as error:
        raise StoreUnusable(f"an address cannot be used: {error}") from None


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    paths = [
        _path(each).resolve() if is_backup(each) or find_store_type(each).is_local else None for each in (one, other)
    ]
    return paths[0] is not None and parse_scheme(one) == parse_scheme(other) and paths[0] == paths[1]
