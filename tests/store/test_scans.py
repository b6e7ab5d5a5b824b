"""Long reads: they do not block the event loop, end within their timeout and allow the map to grow."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import bson
import pytest
from odmantic import ObjectId
from odmantic.query import asc

from tests.cost import FROZEN_SECONDS, Lowest
from tests.store.models import MODELS, Note, Thing
from todo_service.bounds.store import SCANS_PER_ACCOUNT
from todo_service.store.base import DocumentStore, starts_with
from todo_service.store.embedded.store import EmbeddedStore
from todo_service.store.errors import StoreUnavailable
from todo_service.store.scans import InlineBudget

pytestmark = pytest.mark.anyio
SMALL_MAP = 2**20
ON_SHELF = Thing.shelf == "shelf"
NOWHERE: Any = Thing.version == 7
"""A condition that no index serves and no document matches."""


def heavy(number: int, shelf: str = "shelf") -> bytes:
    """Return a document that takes a millisecond to decode."""
    parts = [{"a": number}] * 3000
    return bson.encode({"_id": ObjectId(), "shelf": shelf, "value": number, "version": 1, "tags": [], "unknown": parts})


@asynccontextmanager
async def filled(folder: Path, documents: int, map_bytes: int = SMALL_MAP) -> AsyncIterator[EmbeddedStore]:
    """Provide an open store with such documents."""
    store = EmbeddedStore(folder, map_bytes=map_bytes)
    await store.open(*MODELS)
    await store.load(Thing, [heavy(number) for number in range(documents)])
    yield store
    await store.close()


class Loop:
    """Measures how long the event loop is blocked: the longest wait of a task for its turn, capped by the processor
    time that the process used meanwhile.

    Attributes:
        frozen: The longest time, in seconds.
        turns: The number of turns of the task.
    """

    def __init__(self) -> None:
        self.frozen = 0.0
        self.turns = 0

    async def watch(self) -> None:
        while True:
            begun, used = time.monotonic(), time.process_time()
            await asyncio.sleep(0.001)  # the time until it returns is what is measured
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
    """Return whether another process sees an open read transaction."""
    program = "import lmdb, sys; print(lmdb.open(sys.argv[1], readonly=True).readers())"
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    return any(line.split()[-1] != "-" for line in done.stdout.strip().splitlines()[1:])


async def test_filtering_large_documents_does_not_block_the_event_loop(tmp_path: Path) -> None:
    async with filled(tmp_path, 300) as store:
        frozen = Lowest(FROZEN_SECONDS)
        for _ in frozen:
            with watched() as loop:
                assert await store.count(Thing, ON_SHELF, NOWHERE) == 0
                assert await store.find(Thing, ON_SHELF, NOWHERE, sort=asc(Thing.value), limit=9) == []
            frozen.add(loop.frozen)

    assert loop.turns > 10
    assert frozen.value <= FROZEN_SECONDS


async def test_returning_large_documents_does_not_block_the_event_loop(store: DocumentStore) -> None:
    await store.load(Thing, [heavy(number) for number in range(200)])

    frozen = Lowest(FROZEN_SECONDS)
    for _ in frozen:
        with watched() as loop:
            found = await store.find(Thing, ON_SHELF, sort=asc(Thing.value), limit=200)
        frozen.add(loop.frozen)
        assert [one.value for one in found] == list(range(200))

    assert frozen.value <= FROZEN_SECONDS


async def test_many_small_reads_of_a_task_do_not_block_the_event_loop(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    await store.insert(*(Thing(id=ObjectId(), value=number) for number in range(2000)))

    frozen = Lowest(FROZEN_SECONDS)
    for _ in frozen:
        with watched() as loop:
            for _ in range(300):
                assert await store.count(Thing, ON_SHELF, Thing.value >= 0, limit=1900) == 1900
        frozen.add(loop.frozen)
    await store.close()

    assert frozen.value <= FROZEN_SECONDS


async def test_many_prefixes_cost_little_more_than_one(tmp_path: Path) -> None:
    words = [f"{letter}{number}" for letter in "abcdefghij" for number in range(500)]
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    await store.insert(*(Thing(id=ObjectId(), value=number, tags=words) for number in range(10)))
    costs = {}
    for count in (5, 500):
        where = [starts_with(Thing.tags, word) for word in words[::10][:count]]
        tries = []
        for _ in range(5):
            begun = time.process_time()
            assert len(await store.find(Thing, ON_SHELF, *where, sort=asc(Thing.value), limit=99)) == 10
            tries.append(time.process_time() - begun)
        costs[count] = min(tries)
    await store.close()

    assert costs[500] < 15 * costs[5] + 0.01, costs


async def test_a_read_that_waits_for_a_cpu_stays_on_the_event_loop() -> None:
    budget = InlineBudget(seconds=0.5, wait_seconds=60)
    first = budget.deadline
    threading.Event().wait(0.001)  # uses no CPU time

    assert budget.extend()
    assert budget.deadline > first


async def test_a_read_that_computes_leaves_the_event_loop() -> None:
    budget = InlineBudget(seconds=0.001, wait_seconds=60)
    begun = time.thread_time()
    while time.thread_time() - begun < 0.001:
        pass

    assert not budget.extend()


async def test_a_read_that_waits_too_long_leaves_the_event_loop() -> None:
    budget = InlineBudget(seconds=60, wait_seconds=0.001)
    threading.Event().wait(0.002)

    assert not budget.extend()


async def test_a_cancelled_scan_ends_and_releases_old_pages(tmp_path: Path) -> None:
    async with filled(tmp_path, 500) as store:
        begun = time.process_time()
        await store.count(Thing, ON_SHELF, NOWHERE)
        whole = time.process_time() - begun

        after = Lowest(whole / 2)
        for _ in after:
            scanning = asyncio.create_task(store.count(Thing, ON_SHELF, NOWHERE))
            while not await asyncio.to_thread(has_readers, tmp_path):
                assert not scanning.done()
            begun = time.process_time()
            scanning.cancel()
            while await asyncio.to_thread(has_readers, tmp_path):
                pass
            after.add(time.process_time() - begun)
            assert scanning.cancelled()

    assert after.value <= whole / 2


async def test_closing_the_store_stops_its_scans(tmp_path: Path) -> None:
    scans_after_closing = Lowest(1)
    for attempt in scans_after_closing:
        # so many that no scan ends before the store is closed
        async with filled(tmp_path / str(attempt), 3000) as store:
            begun = time.process_time()
            await store.count(Thing, ON_SHELF, NOWHERE)
            whole = time.process_time() - begun
            scans = [asyncio.create_task(store.count(Thing, ON_SHELF, NOWHERE)) for _ in range(5)]
            await store.ping()

            begun = time.process_time()
            await store.close()
            results = await asyncio.gather(*scans, return_exceptions=True)
            scans_after_closing.add((time.process_time() - begun) / whole)
        assert {type(result) for result in results} == {StoreUnavailable}

    # the CPU time of less than one of the five scans
    assert scans_after_closing.value <= 1


async def test_an_account_has_a_maximum_number_of_scans(tmp_path: Path) -> None:
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


async def test_map_growth_neither_blocks_the_event_loop_nor_waits_for_scans(tmp_path: Path) -> None:
    frozen = Lowest(FROZEN_SECONDS)
    for attempt in frozen:
        frozen.add(await grow_beside_scans(tmp_path / str(attempt)))

    assert frozen.value <= FROZEN_SECONDS


async def grow_beside_scans(folder: Path) -> float:
    """Grow the map while scans run, and return how long the event loop was blocked, in seconds."""
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
        assert (folder / "data.mdb").stat().st_size > size + 2**26  # at least two doublings
        assert reads > 60
        return loop.frozen
