"""The embedded store: several processes, growth, corruption, and an event loop that is never blocked."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lmdb
import pytest
from odmantic import ObjectId
from odmantic.query import asc

from tests.store.models import MODELS, Badge, Thing, Ticket
from tests.waiting import wait_until
from todo_service.store.bson_codec import decode, encode
from todo_service.store.codec import dump
from todo_service.store.embedded.catalog import build_schema
from todo_service.store.embedded.databases import META, Databases, create_collection
from todo_service.store.embedded.environment import Environment
from todo_service.store.embedded.frames import WriteFailed, decode_reply
from todo_service.store.embedded.group_commit import commit
from todo_service.store.embedded.store import EmbeddedStore
from todo_service.store.errors import DuplicateDocument, StoreUnavailable, StoreUnusable
from todo_service.store.query.expressions import normalize
from todo_service.store.query.planner import plan_query

pytestmark = pytest.mark.anyio
SMALL_MAP = 2**18
REPOSITORY = Path(__file__).parents[2]


async def write_badges(folder: Path, writer: int, count: int) -> int:
    """Insert badges whose numbers another writer tries to insert too, and return how many succeeded."""
    store = EmbeddedStore(folder, map_bytes=SMALL_MAP)
    await store.open(*MODELS)
    owner = ObjectId()
    written = 0
    for number in range(count):
        badge = Badge(id=ObjectId(), number=(writer // 2) * count + number, owner=owner, label=f"{number}" * 50)
        try:
            await store.insert(badge)
        except DuplicateDocument:
            continue
        written += 1
    await store.close()
    return written


def write_in_a_process(folder: str, writer: int, count: int) -> int:
    return asyncio.run(write_badges(Path(folder), writer, count))


async def test_writes_that_wait_for_the_writer_process_share_one_commit(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    owner = ObjectId()
    badges = [Badge(id=ObjectId(), number=number, owner=owner, label=str(number)) for number in range(16)]
    before = count_commits(tmp_path)

    # the process has not been started; a running one gets eight at once
    await asyncio.gather(*map(store.insert, badges))

    assert count_commits(tmp_path) - before == 1
    assert await store.count(Badge, Badge.owner == owner) == len(badges)
    await store.close()


async def test_closing_the_store_finishes_pending_writes(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    owner = ObjectId()
    writing = [
        asyncio.create_task(store.insert(Badge(id=ObjectId(), number=number, owner=owner, label=str(number))))
        for number in range(16)
    ]
    await asyncio.sleep(0)

    await store.close()

    assert await asyncio.gather(*writing, return_exceptions=True) == [None] * 16
    await store.open(*MODELS)
    assert await store.count(Badge, Badge.owner == owner) == 16
    await store.close()


def count_commits(folder: Path) -> int:
    """Return the number of committed transactions as seen by another process."""
    program = "import lmdb, sys; print(lmdb.open(sys.argv[1], readonly=True).info()['last_txnid'])"
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    return int(done.stdout)


async def test_several_processes_share_one_folder_and_its_growing_map(tmp_path: Path) -> None:
    writers, count = 4, 300
    context = multiprocessing.get_context("spawn")

    def run() -> list[int]:
        with context.Pool(writers) as pool:
            return pool.starmap(write_in_a_process, [(str(tmp_path), writer, count) for writer in range(writers)])

    written = await asyncio.to_thread(run)

    store = EmbeddedStore(tmp_path, map_bytes=SMALL_MAP)
    await store.open(*MODELS)
    numbers = sorted([badge.number async for badge in store.scan(Badge)])
    await store.close()
    assert numbers == list(range(writers // 2 * count))
    assert sum(written) == len(numbers)
    assert (tmp_path / "data.mdb").stat().st_size > SMALL_MAP


WRITER = """
import asyncio, sys
from pathlib import Path
from odmantic import ObjectId
from tests.store.models import MODELS, Thing
from todo_service.store.embedded.store import EmbeddedStore

async def main():
    store = EmbeddedStore(Path(sys.argv[1]))
    await store.open(*MODELS)
    async def write(number):
        while True:
            thing = Thing(id=ObjectId(), value=number)
            await store.insert(thing)
            print(thing.id, flush=True)
    await asyncio.gather(*(write(number) for number in range(8)))

asyncio.run(main())
"""


def run_and_kill_writers(folder: Path) -> set[str]:
    """Run writer processes, kill them, and return the ids that they have acknowledged."""
    acknowledged: set[str] = set()
    for round_number in range(3):
        command = [sys.executable, "-c", WRITER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
            assert process.stdout is not None
            wanted = len(acknowledged) + 100 + 50 * round_number
            while len(acknowledged) < wanted:
                line = process.stdout.readline()
                assert line, "the writer has exited"
                acknowledged.add(line.strip())
            process.send_signal(signal.SIGKILL)
            acknowledged |= {line.strip() for line in process.stdout if len(line) == 25}
    return acknowledged


async def test_acknowledged_writes_survive_a_killed_process(tmp_path: Path) -> None:
    acknowledged = await asyncio.to_thread(run_and_kill_writers, tmp_path)

    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    found = {str(thing.id) async for thing in store.scan(Thing)}
    by_index = await store.count(Thing, Thing.shelf == "shelf")
    await store.close()
    assert acknowledged <= found
    assert by_index == len(found)


async def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "store"
    store = EmbeddedStore(folder)
    await store.open(*MODELS)
    await store.close()

    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


async def test_foreign_folders_are_refused_with_a_one_line_error(tmp_path: Path) -> None:
    text, foreign, file, newer = (tmp_path / name for name in ("text", "foreign", "file", "newer"))
    text.mkdir()
    (text / "data.mdb").write_bytes(b"these are my holiday photos" * 1000)
    foreign.mkdir()
    with lmdb.open(str(foreign), max_dbs=2) as environment:
        environment.open_db(b"somebody's")
    file.write_text("a file, not a folder")
    newer.mkdir()
    store = EmbeddedStore(newer)
    await store.open(Thing)
    await store.close()
    with lmdb.open(str(newer), max_dbs=20) as environment, environment.begin(write=True) as transaction:
        meta = environment.open_db(b"meta", txn=transaction)
        raw = transaction.get(b"todo-service document store", db=meta)
        transaction.put(
            b"todo-service document store", raw.replace(b"\x02\x00\x00\x00\x00", b"\x09\x00\x00\x00\x00"), db=meta
        )

    for folder in (text, foreign, file, newer, file / "below"):
        with pytest.raises(StoreUnusable) as raised:
            await EmbeddedStore(folder).open(*MODELS)
        assert "\n" not in str(raised.value)
        assert str(folder) in str(raised.value)
    assert (text / "data.mdb").read_bytes() == b"these are my holiday photos" * 1000


async def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    """A truncated file must not kill the process. An empty one is a new store."""
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    await store.insert(*(Thing(id=ObjectId(), value=number, name="x" * 200) for number in range(500)))
    await store.close()
    data = tmp_path / "data.mdb"
    whole = data.read_bytes()
    program = (
        "import asyncio, sys; from pathlib import Path; from tests.store.models import MODELS, Thing\n"
        "from todo_service.store.embedded.store import EmbeddedStore\n"
        "from todo_service.store.errors import StoreError\n"
        "async def main():\n"
        "    store = EmbeddedStore(Path(sys.argv[1]))\n"
        "    try:\n"
        "        await store.open(*MODELS)\n"
        "        print(len([1 async for _ in store.scan(Thing)]))\n"
        "    except StoreError as error: print('refused', error)\n"
        "asyncio.run(main())\n"
    )
    for size in (0, 100, 4096, 8192, len(whole) // 2):
        data.write_bytes(whole[:size])
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            check=False,
        )
        assert done.returncode == 0, (size, done)
        assert done.stdout.startswith("refused") or size == 0


async def test_a_long_count_does_not_block_the_event_loop(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    await store.insert(*(Thing(id=ObjectId(), value=number, version=number % 7) for number in range(20_000)))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    counted = await store.count(Thing, Thing.shelf == "shelf", Thing.version == 3)
    ticking.cancel()
    await store.close()

    assert counted == len(range(3, 20_000, 7))
    assert ticks > 10


async def test_expired_documents_are_deleted(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path, expiry_seconds=0.01)
    await store.open(*MODELS)
    now = datetime.now(UTC)
    await store.insert(
        *(Ticket(id=ObjectId(), code=f"{hours}", expires_at=now + timedelta(hours=hours)) for hours in (-2, -1, 1))
    )

    async def are_deleted() -> bool:
        return [ticket.code async for ticket in store.scan(Ticket)] == ["1"]

    await wait_until(are_deleted)
    await store.close()


async def test_the_expiry_job_survives_an_unreadable_document(tmp_path: Path) -> None:
    first = EmbeddedStore(tmp_path)
    await first.open(*MODELS)
    now = datetime.now(UTC)
    damaged = Ticket(id=ObjectId(), code="damaged", expires_at=now - timedelta(hours=1))
    await first.load(Ticket, [encode(dump(damaged))])
    await first.close()
    with lmdb.open(str(tmp_path), max_dbs=20) as environment, environment.begin(write=True) as transaction:
        tickets = environment.open_db(b"documents:tickets", txn=transaction)
        transaction.put(damaged.id.binary, b"no BSON", db=tickets)

    store = EmbeddedStore(tmp_path, expiry_seconds=0.01)
    await store.open(*MODELS)
    for hours in (2, 3):
        expired = Ticket(id=ObjectId(), code="x", expires_at=now - timedelta(hours=hours))
        await store.insert(expired)

        async def is_deleted(ticket: Ticket = expired) -> bool:
            return await store.count(Ticket, Ticket.id == ticket.id) == 0

        await wait_until(is_deleted)
    await store.close()

    with pytest.raises(StoreUnavailable):
        await store.ping()
    await store.open(*MODELS)  # the lock on the folder was released
    await store.close()


async def test_a_call_with_many_large_documents_does_not_block_other_writes(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    words = [f"word{number}" for number in range(2000)]
    documents = [Thing(id=ObjectId(), value=number, tags=words) for number in range(100)]

    async def pings_during(call: Coroutine[Any, Any, Any]) -> int:
        running = asyncio.create_task(call)
        pings = 0
        while not running.done():
            await store.ping()
            pings += 1
        await running
        return pings

    while_inserting = await pings_during(store.insert(*documents))
    while_deleting = await pings_during(store.delete(Thing, Thing.shelf == "shelf"))
    left = await store.count(Thing, Thing.shelf == "shelf")
    await store.close()

    assert while_inserting > 5
    assert while_deleting > 5
    assert left == 0


async def test_an_unexpected_error_fails_only_its_own_operation(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    await store.open(Badge, Thing)
    await store.close()
    environment = Environment(tmp_path)
    things = create_collection(environment, build_schema(Thing))
    databases = Databases(environment.open_database(META), {"things": things})
    # the process was not told of badges
    documents = [("things" if number % 3 else "badges", Thing(id=ObjectId(), value=number)) for number in range(9)]
    operations = [{"do": "insert", "in": name, "documents": [encode(dump(document))]} for name, document in documents]

    replies: list[bytes] = []
    while len(replies) < len(operations):
        replies += await asyncio.to_thread(commit, environment, databases, operations[len(replies) :])

    await asyncio.to_thread(environment.close)
    await store.open(Badge, Thing)
    stored = [thing.value async for thing in store.scan(Thing)]
    await store.close()
    assert sorted(stored) == [number for number in range(9) if number % 3]
    assert ["error" in decode(reply) for reply in replies] == [number % 3 == 0 for number in range(9)]
    with pytest.raises(WriteFailed, match=r"(?s)Traceback.*KeyError"):
        decode_reply(replies[0])


async def test_a_cancelled_write_is_atomic(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    await store.open(*MODELS)
    writes = [asyncio.create_task(store.insert(Thing(id=ObjectId(), value=number))) for number in range(50)]
    await asyncio.sleep(0)
    for write in writes[::2]:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)

    found = {thing.value async for thing in store.scan(Thing)}
    counted = await store.count(Thing, Thing.shelf == "shelf")
    await store.close()

    assert set(range(1, 50, 2)) <= found
    assert counted == len(found)


async def test_the_planner_chooses_the_index_with_the_most_equalities() -> None:
    on_shelf = Thing.shelf == "shelf"

    by_value = plan_query(Thing, normalize([on_shelf, Thing.value > 3]), asc(Thing.value))
    by_tag = plan_query(Thing, normalize([on_shelf, Thing.tags == "a", Thing.tags == "b"]), asc(Thing.value))
    by_id = plan_query(Thing, normalize([Thing.id == ObjectId(), on_shelf]))

    assert (by_value.declared.name, len(by_value.fixed), len(by_value.bounds)) == ("shelf_value", 1, 1)
    assert (by_tag.declared.name, len(by_tag.fixed), len(by_tag.residual)) == ("shelf_tags", 2, 1)
    assert by_id.declared.name == "_id_"
