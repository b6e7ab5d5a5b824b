"""Long reads: they hold up nobody, end in time, and make room for a map that grows."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import bson
import pytest
from odmantic import ObjectId
from odmantic.query import asc

from tests.store.models import MODELS, Note, Thing
from todo_service.bounds.store import SCANS_PER_ACCOUNT
from todo_service.store.base import DocumentStore, starts_with
from todo_service.store.embedded.store import EmbeddedStore
from todo_service.store.errors import StoreUnavailable

pytestmark = pytest.mark.anyio
SMALL_MAP = 2**20
ON_SHELF = Thing.shelf == "shelf"
NOWHERE: Any = Thing.version == 7
"""A condition that no index holds and no document meets."""
FROZEN_SECONDS = 0.1


def heavy(number: int, shelf: str = "shelf") -> bytes:
    """A document that takes a millisecond to be decoded."""
    parts = [{"a": number}] * 3000
    return bson.encode({"_id": ObjectId(), "shelf": shelf, "value": number, "version": 1, "tags": [], "unknown": parts})


@asynccontextmanager
async def filled(folder: Path, documents: int, map_bytes: int = SMALL_MAP) -> AsyncIterator[EmbeddedStore]:
    """An open store with such documents."""
    store = EmbeddedStore(folder, map_bytes=map_bytes)
    await store.open(*MODELS)
    await store.load(Thing, [heavy(number) for number in range(documents)])
    yield store
    await store.close()


class Loop:
    """Sees how long the event loop is held up: as long as a task waits for its turn, but no longer than the processor
    time that the process has used meanwhile.

    Attributes:
        frozen: The longest time, in seconds.
        turns: How many turns the task had.
    """

    def __init__(self) -> None:
        self.frozen = 0.0
        self.turns = 0

    async def watch(self) -> None:
        while True:
            begun, used = time.monotonic(), time.process_time()
            await asyncio.sleep(0.001)
            self.frozen = max(self.frozen, min(time.monotonic() - begun, time.process_time() - used))
            self.turns += 1


@contextmanager
def watched() -> Iterator[Loop]:
    loop = Loop()
    task = asyncio.ensure_future(loop.watch())
    try:
        yield loop
    finally:
        task.cancel()


def has_readers(folder: Path) -> bool:
    """Tell whether a read transaction is open, as another process sees it."""
    program = "import lmdb, sys; print(lmdb.open(sys.argv[1], readonly=True).readers())"
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    return any(line.split()[-1] != "-" for line in done.stdout.strip().splitlines()[1:])


async def test_large_documents_that_are_looked_at_hold_up_nobody(tmp_path: Path) -> None:
    async with filled(tmp_path, 300) as store:
        with watched() as loop:
            assert await store.count(Thing, ON_SHELF, NOWHERE) == 0
            assert await store.find(Thing, ON_SHELF, NOWHERE, sort=asc(Thing.value), limit=9) == []

    assert loop.turns > 10
    assert loop.frozen < FROZEN_SECONDS


async def test_large_documents_that_are_found_hold_up_nobody(store: DocumentStore) -> None:
    await store.load(Thing, [heavy(number) for number in range(200)])

    with watched() as loop:
        found = await store.find(Thing, ON_SHELF, sort=asc(Thing.value), limit=200)

    assert [one.value for one in found] == list(range(200))
    assert loop.frozen < FROZEN_SECONDS


async def test_many_small_reads_of_one_task_hold_up_nobody(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    await store.insert(*(Thing(id=ObjectId(), value=number) for number in range(2000)))

    with watched() as loop:
        for _ in range(300):
            assert await store.count(Thing, ON_SHELF, Thing.value >= 0, limit=1900) == 1900
    await store.close()

    assert loop.frozen < FROZEN_SECONDS


async def test_many_beginnings_cost_a_document_hardly_more_than_one(tmp_path: Path) -> None:
    words = [f"{letter}{number}" for letter in "abcdefghij" for number in range(500)]
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    await store.insert(*(Thing(id=ObjectId(), value=number, tags=words) for number in range(10)))
    costs = {}
    for count in (5, 50, 500):
        begun = time.process_time()
        for _ in range(5):
            where = [starts_with(Thing.tags, word) for word in words[::10][:count]]
            assert len(await store.find(Thing, ON_SHELF, *where, sort=asc(Thing.value), limit=99)) == 10
        costs[count] = time.process_time() - begun
    await store.close()

    assert costs[500] < 15 * costs[5] + 0.05, costs


async def test_a_scan_ends_with_its_caller_and_keeps_no_old_pages(tmp_path: Path) -> None:
    async with filled(tmp_path, 500) as store:
        begun = time.process_time()
        await store.count(Thing, ON_SHELF, NOWHERE)
        whole = time.process_time() - begun

        scanning = asyncio.create_task(store.count(Thing, ON_SHELF, NOWHERE))
        while not await asyncio.to_thread(has_readers, tmp_path):
            assert not scanning.done()
        begun = time.process_time()
        scanning.cancel()
        while await asyncio.to_thread(has_readers, tmp_path):
            pass
        after = time.process_time() - begun

    assert scanning.cancelled()
    assert after < whole / 2


async def test_closing_the_store_ends_its_scans(tmp_path: Path) -> None:
    async with filled(tmp_path, 500) as store:
        begun = time.process_time()
        await store.count(Thing, ON_SHELF, NOWHERE)
        whole = time.process_time() - begun
        scans = [asyncio.create_task(store.count(Thing, ON_SHELF, NOWHERE)) for _ in range(5)]
        await store.ping()

        begun = time.process_time()
        await store.close()
        results = await asyncio.gather(*scans, return_exceptions=True)

    assert time.process_time() - begun < whole
    assert {type(result) for result in results} == {StoreUnavailable}


async def test_one_account_has_so_many_scans_at_most_and_leaves_room_for_others(tmp_path: Path) -> None:
    async with filled(tmp_path, 200) as store:
        await store.load(Thing, [heavy(number, "another") for number in range(20)])
        scans = [asyncio.create_task(store.count(Thing, ON_SHELF, NOWHERE)) for _ in range(SCANS_PER_ACCOUNT + 5)]
        await asyncio.sleep(0)

        assert await store.count(Thing, Thing.shelf == "another", NOWHERE) == 0
        waiting = sum(not scan.done() for scan in scans)
        results = await asyncio.gather(*scans, return_exceptions=True)

    assert waiting > 5
    assert results.count(0) == SCANS_PER_ACCOUNT
    assert sum(isinstance(result, StoreUnavailable) for result in results) == 5


async def test_a_map_that_grows_holds_up_nobody_and_waits_for_no_scan(tmp_path: Path) -> None:
    frozen: list[float] = []
    # other processes may take the processors for as long: a store that waits on the loop does so each time
    while len(frozen) < 3 and min(frozen, default=1) >= FROZEN_SECONDS:
        frozen.append(await grow_beside_scans(tmp_path / str(len(frozen))))

    assert min(frozen) < FROZEN_SECONDS


async def grow_beside_scans(folder: Path) -> float:
    """Let the map grow while scans run, and return how long the event loop was held up, in seconds."""
    async with filled(folder, 100, map_bytes=2**25) as store:
        size = (folder / "data.mdb").stat().st_size
        known = Note(id=ObjectId(), name="known")
        await store.insert(known)

        with watched() as loop:
            scans = [asyncio.create_task(store.count(Thing, ON_SHELF, NOWHERE)) for _ in range(10)]
            reads = 0
            for _ in range(60):
                writing = asyncio.create_task(store.insert(Note(id=ObjectId(), name="x" * 2**21)))
                while not writing.done():
                    assert await store.get(Note, Note.id == known.id) is not None
                    await asyncio.sleep(0)
                    reads += 1
                await writing
            counted = await asyncio.gather(*scans)

        assert counted == [0] * 10
        assert (folder / "data.mdb").stat().st_size > size + 2**26  # two doublings at least
        assert reads > 60
        return loop.frozen
