"""The writer process of the embedded store: its start, its end and its death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from odmantic import ObjectId

from tests.store.models import MODELS, Thing
from tests.waiting import wait_until
from tests.writer_process import find_writers, is_running
from todo_service.bounds.store import PENDING_WRITE_BYTES
from todo_service.store.embedded.process_writer import RETRY_SECONDS
from todo_service.store.embedded.store import EmbeddedStore
from todo_service.store.errors import StoreUnavailable

pytestmark = pytest.mark.anyio
REPOSITORY = Path(__file__).parents[2]
WRITE_AND_CHECK = """
import asyncio, sys
from pathlib import Path
from tests.store.models import MODELS
from todo_service.store.embedded.integrity import is_damaged
from todo_service.store.embedded.store import EmbeddedStore

async def main():
    store = EmbeddedStore(Path(sys.argv[1]))
    await store.open(*MODELS)
    await store.ping()
    await store.close()

asyncio.run(main())
print(is_damaged(Path(sys.argv[1])))
"""

COUNT_THINGS = """
import lmdb, sys, time
with lmdb.open(sys.argv[1], readonly=True, max_dbs=128) as environment:
    documents, found, deadline = environment.open_db(b"documents:things", create=False), 0, time.monotonic() + 20
    while not found and time.monotonic() < deadline:
        with environment.begin(db=documents) as transaction:
            found = transaction.stat()["entries"]
        time.sleep(0.01)
print(found)
"""


async def test_a_writer_process_that_dies_is_replaced(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    await store.ping()
    things = [Thing(id=ObjectId(), value=number) for number in range(40)]
    writes = [asyncio.create_task(store.insert(thing)) for thing in things]
    await asyncio.sleep(0)
    (writer,) = find_writers(os.getpid(), tmp_path)

    os.kill(writer, signal.SIGKILL)
    results = await asyncio.gather(*writes, return_exceptions=True)

    async def responds() -> bool:
        with contextlib.suppress(StoreUnavailable):
            await store.ping()
            return True
        return False

    await wait_until(responds)
    found = {thing.id async for thing in store.scan(Thing)}
    counted = await store.count(Thing, Thing.shelf == "shelf")
    await store.close()
    assert {type(result) for result in results} <= {type(None), StoreUnavailable}
    assert {thing.id for thing, result in zip(things, results, strict=True) if result is None} <= found
    assert counted == len(found)
    assert not is_running(writer)


async def test_writes_begin_before_the_iteration_of_the_event_loop_ends(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    await store.ping()
    writes = [asyncio.create_task(store.insert(Thing(id=ObjectId(), value=number))) for number in range(30)]

    # all writes and the call that blocks the event loop run in one iteration
    await asyncio.sleep(0)
    command = [sys.executable, "-c", COUNT_THINGS, str(tmp_path)]
    counted = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: ASYNC221  # it blocks
    assert not any(write.done() for write in writes)

    await asyncio.gather(*writes)
    assert len([thing async for thing in store.scan(Thing)]) == len(writes)
    await store.close()
    assert 0 < int(counted) < len(writes)


async def test_a_writer_process_never_writes_to_other_files_than_the_service_reads(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "store")
    await store.open(*MODELS)
    (tmp_path / "store").rename(tmp_path / "moved")

    with pytest.raises(StoreUnavailable):
        await store.ping()

    await store.close()
    assert not (tmp_path / "store").exists()


async def test_a_writer_process_that_could_not_open_the_store_is_replaced_after_a_pause(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "store")
    await store.open(*MODELS)
    (tmp_path / "store").rename(tmp_path / "moved")
    with pytest.raises(StoreUnavailable):
        await store.ping()
    (tmp_path / "moved").rename(tmp_path / "store")
    began = asyncio.get_running_loop().time()

    await store.ping()

    assert asyncio.get_running_loop().time() - began >= RETRY_SECONDS
    await store.close()


def test_the_writer_process_is_small() -> None:
    """Of the service's dependencies, the process imports only bson and lmdb."""
    program = (
        "import sys; before = set(sys.modules); import todo_service.store.embedded.writer_process;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)

    assert set(done.stdout.split()) == {"bson", "lmdb", "todo_service"}


def test_no_file_in_the_working_directory_is_imported(tmp_path: Path) -> None:
    """Neither the writer process nor the integrity check imports a module from its working directory."""
    for name in ("bson", "lmdb", "todo_service"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit(1)")

    command = [sys.executable, "-P", "-c", WRITE_AND_CHECK, "store"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)

    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


async def test_a_stop_signal_to_all_processes_does_not_end_the_writer_process(tmp_path: Path) -> None:
    """The signals arrive while the process starts."""
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    others = find_writers(os.getpid())
    ping = asyncio.create_task(store.ping())

    async def find_new() -> set[int]:
        return {*find_writers(os.getpid())}.difference(others)

    await wait_until(find_new)
    for writer in await find_new():
        os.kill(writer, signal.SIGINT)
        os.kill(writer, signal.SIGTERM)

    await ping
    assert find_writers(os.getpid(), tmp_path)
    await store.close()


async def test_writes_that_wait_for_a_stalled_disk_are_bounded(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    await store.ping()
    (writer,) = find_writers(os.getpid(), tmp_path)
    things = [Thing(id=ObjectId(), text="x" * 2**20) for _ in range(80)]

    os.kill(writer, signal.SIGSTOP)
    try:
        writes = [asyncio.create_task(store.insert(thing)) for thing in things]
        rejected, accepted = await asyncio.wait(writes, timeout=1)
        # the writes of requests that timed out still wait
        for write in accepted:
            write.cancel()
        await asyncio.wait(accepted)
        with pytest.raises(StoreUnavailable, match="too many writes wait for the disk"):
            await store.insert(things[-1])
    finally:
        os.kill(writer, signal.SIGCONT)

    assert {type(write.exception()) for write in rejected} == {StoreUnavailable}
    assert len(accepted) == PENDING_WRITE_BYTES // 2**20 - 1  # each document is a little larger than its text
    await store.insert(Thing(id=ObjectId()))
    await store.close()


async def test_a_writer_process_that_cannot_be_started_is_started_later(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(StoreUnavailable, match="Too many open files"):
            await store.ping()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    await store.ping()
    await store.close()
