"""Tags that are written while another write has the account counted stay within the quota of tags."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from odmantic import ObjectId

from todo_service.bounds.todos import COUNTING_SECONDS
from todo_service.errors import Duplicate, QuotaExceeded
from todo_service.executors import Executor
from todo_service.services import MODELS
from todo_service.store.base import DocumentStore
from todo_service.store.registry import create_store
from todo_service.sync.counting import TodoCounter
from todo_service.sync.counts import Counts
from todo_service.todos.account_lease import RELIANCE_SECONDS, find_last_holder, hold_account
from todo_service.todos.bulk_import import ImportMode
from todo_service.todos.dto import TodoCreate, TodoImport
from todo_service.todos.import_records import ImportRecord
from todo_service.todos.quotas import QuotaLimits
from todo_service.todos.service import Todos
from todo_service.todos.shared import SharedState

pytestmark = pytest.mark.anyio
LIMIT = 3
ACCOUNT = ObjectId()
PAUSE_SECONDS = 1.0


class PausingCounter(TodoCounter):
    """Pauses at the end of selected counts.

    Attributes:
        number: How many counts have begun.
        pauses: For each of the next counts, an event that is set once it has read the todos, and one that ends it.
    """

    def __init__(self, store: DocumentStore) -> None:
        super().__init__(store)
        self.number = 0
        self.pauses: list[tuple[asyncio.Event, asyncio.Event]] = []

    def pause_next(self) -> tuple[asyncio.Event, asyncio.Event]:
        """Pause at the end of one more count, and return its events."""
        self.pauses.append((asyncio.Event(), asyncio.Event()))
        return self.pauses[-1]

    async def count(self, account: ObjectId, moment: datetime, seconds: float | None = COUNTING_SECONDS) -> Counts:
        self.number += 1
        found = await super().count(account, moment, seconds)
        if self.pauses:
            read, end = self.pauses.pop(0)
            read.set()
            await end.wait()
        return found


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DocumentStore]:
    opened = create_store(f"lmdb://{tmp_path / 'store'}")
    await opened.open(*MODELS)
    yield opened
    await opened.close()


@pytest.fixture
def counter(store: DocumentStore) -> PausingCounter:
    return PausingCounter(store)


@pytest.fixture
async def todos(store: DocumentStore, counter: PausingCounter) -> AsyncIterator[Todos]:
    """The todos of an account with a quota of three tags."""

    shared = SharedState(store, QuotaLimits(tags=LIMIT), counter)
    yield open_account(store, shared)
    await shared.close()


def open_account(store: DocumentStore, shared: SharedState) -> Todos:
    """Return the todos of the account, as a process with this state serves them."""

    async def read_time_zone() -> str:
        return "UTC"

    return Todos(store, ACCOUNT, read_time_zone, shared=shared)


async def create(todos: Todos, tag: str) -> str | None:
    """Create a todo with a tag, and return its id. Return None if the quota refuses it."""
    with contextlib.suppress(QuotaExceeded):
        return (await todos.create(TodoCreate(title="x", tags=[tag]))).id
    return None


async def test_a_turn_begins_when_no_process_relies_on_an_earlier_read_of_the_lease(store: DocumentStore) -> None:
    account = ObjectId()
    loop = asyncio.get_running_loop()
    for _ in range(2):
        relied_from = loop.time()
        earlier = await find_last_holder(store, account, "tags")

        async with hold_account(store, account, "tags", retention=timedelta(minutes=1)) as holder:
            begun = loop.time()

        assert begun - relied_from >= RELIANCE_SECONDS
        assert await find_last_holder(store, account, "tags") == holder != earlier


@pytest.mark.parametrize(("tag", "counts"), [("written", 0), ("counted", 0), ("new", 1)])
async def test_tags_are_counted_again_only_after_a_failed_write_of_new_ones(
    tag: str, counts: int, store: DocumentStore, todos: Todos, counter: PausingCounter
) -> None:
    await todos.create(TodoCreate(title="x", tags=["counted"], uid="taken"))
    shared = SharedState(store, QuotaLimits(), counter)  # far from the quota, it counts once
    restarted = open_account(store, shared)
    await create(restarted, "written")
    with pytest.raises(Duplicate):
        await restarted.create(TodoCreate(title="x", tags=[tag], uid="taken"))
    counter.number = 0

    assert await create(restarted, "written") is not None

    assert counter.number == counts
    await shared.close()


async def test_a_tag_that_is_written_again_during_a_count_is_in_use(todos: Todos, counter: PausingCounter) -> None:
    """The count may not have seen it, as the last todo with it was deleted before."""
    deleted, _ = await create(todos, "again"), await create(todos, "other")
    assert deleted is not None
    first, end_first = counter.pause_next()
    second, end_second = counter.pause_next()
    new = [asyncio.create_task(create(todos, "new"))]
    await first.wait()
    new.append(asyncio.create_task(create(todos, "another")))
    await todos.delete(deleted, None)
    end_first.set()
    await second.wait()

    again = asyncio.create_task(create(todos, "again"))
    await asyncio.wait([again], timeout=PAUSE_SECONDS)
    end_second.set()
    await asyncio.gather(again, *new)

    assert len(await todos.count_tags()) <= LIMIT


async def test_a_tag_that_a_running_import_may_still_write_is_in_use(todos: Todos) -> None:
    deleted, _ = await create(todos, "imported"), await create(todos, "other")
    assert deleted is not None
    await create(todos, "third")
    await create(todos, "refused")
    placing, placed = asyncio.Event(), asyncio.Event()

    async def create_list(planned: ObjectId) -> ObjectId:
        placing.set()
        await placed.wait()
        return planned

    executor = Executor("import", threads=1, queue=1, seconds=10)
    records = [
        ImportRecord(TodoImport(title="x", tags=["other"], list_id=str(ObjectId()))),
        ImportRecord(TodoImport(title="y", tags=["imported"])),
    ]
    importing = asyncio.create_task(
        todos.start_import(executor, ImportMode(), create_list).write(records, [None, None])
    )
    await placing.wait()
    await todos.delete(deleted, None)

    new = await create(todos, "new")
    placed.set()
    await importing

    assert new is None
    assert len(await todos.count_tags()) == LIMIT
    executor.close()
