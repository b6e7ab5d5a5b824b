"""Counting large accounts: in batches, in the background, and never from the start again."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person
from tests.todos.accounts import load
from tests.todos.replica import assert_counted, everything
from tests.waiting import wait_until
from todo_service.bounds.todos import MAX_LISTS, MAX_TAGS
from todo_service.errors import Busy
from todo_service.store.base import DocumentStore
from todo_service.sync import counts
from todo_service.sync.counting import TodoCounter
from todo_service.sync.counts import (
    CountedState,
    Counts,
    CountSnapshot,
    PastState,
    digest_tag,
    read_snapshot,
    shorten_past,
)
from todo_service.timestamps import now
from todo_service.todos.documents import Todo
from todo_service.todos.dto import TodoCreate, TodoQuery, TodoUpdate
from todo_service.todos.service import Todos
from todo_service.todos.shared import SharedState

pytestmark = pytest.mark.anyio


@pytest.fixture
def resolve_after() -> timedelta:
    """Resolve timestamps at once: these tests have a single writer."""
    return timedelta(0)


async def utc() -> str:
    return "UTC"


def counted_todos(snapshot: CountSnapshot) -> int:
    found = msgspec.msgpack.decode(snapshot.counts, type=Counts)
    return found.open + found.completed


async def test_a_count_continues_after_its_callers_have_timed_out(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    account = await load(store, 3000)
    counter = TodoCounter(store, inline_limit=100)

    for _ in range(3):
        with pytest.raises(Busy):
            await counter.count(account, now(), seconds=0.0)
    found = await counter.count(account, now(), seconds=None)

    assert found.open + found.completed == 3000
    while await read_snapshot(store, account) is None:
        await counter.count(account, now(), seconds=None)
    await counter.close()


async def test_background_counts_are_exact_while_todos_change(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    todos = [await ada.todo(title=str(number), tags=[f"tag {number % 7}"]) for number in range(150)]
    account = await ada.account_id()
    counter = TodoCounter(store, inline_limit=10)
    chance = random.Random(3)  # noqa: S311  # no secret

    async def write() -> None:
        for number in range(60):
            path = f"/v1/todos/{chance.choice(todos)['id']}"
            change: dict[str, Any] = {"priority": ("low", "high")[number % 2], "tags": [f"tag {number % 9}"]}
            if number % 10 == 9:
                await ada.delete(path)
            else:
                await ada.patch(path, json=change)

    async def count() -> None:
        for _ in range(10):
            await counter.count(account, now(), seconds=None)

    await asyncio.gather(write(), write(), count())

    expected = await everything(ada)
    found = await counter.count(account, now(), seconds=None)
    assert found.open == len(expected)
    assert sum(found.priorities.values()) == len(expected)
    assert sum(number for _, number in found.tags.values()) == len(expected)
    await assert_counted(ada, expected)
    await counter.close()


async def test_a_constantly_changing_todo_leaves_the_snapshot_usable(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    owner = await load(store, 500)
    todos = Todos(store, owner, utc)
    [some, *_], _ = await todos.read_page(TodoQuery(limit=1), None)
    counter = TodoCounter(store, min_changes=0, inline_limit=100)
    snapshot = None
    # the first snapshot may not include the last second; a counter with `min_changes` might never replace it
    while snapshot is None or counted_todos(snapshot) < 500:
        await counter.count(owner, now(), seconds=None)
        snapshot = await read_snapshot(store, owner)

    for number in range(3 * counts.MAX_PAST_STATES):
        await todos.update(some.id, TodoUpdate(priority=("low", "high")[number % 2], tags=[str(number)]), None)
    # counts only the changes since the snapshot inline: all todos would exceed the limit
    found = await TodoCounter(store, min_changes=10**6, inline_limit=100).count(owner, now())

    assert found.open + found.completed == 500
    assert found.tags[digest_tag(str(3 * counts.MAX_PAST_STATES - 1))][1] == 1
    assert sum(found.priorities.values()) == 500
    assert await read_snapshot(store, owner) == snapshot
    await counter.close()


@pytest.mark.parametrize(
    ("completed", "operation"),
    [
        (False, {"op": "update", "todo": {"title": "Water the plants"}}),
        (False, {"op": "update", "todo": {}}),
        (False, {"op": "reopen"}),
        (True, {"op": "complete"}),
        (False, {"op": "move", "to": "first"}),
    ],
    ids=["same-title", "no-field", "reopen", "complete", "move"],
)
async def test_a_repeatable_change_without_effect_is_not_counted(
    ada: Person, app: Litestar, completed: bool, operation: dict[str, Any]
) -> None:
    store: DocumentStore = app.state.store
    todo = await ada.todo(title="Water the plants", tags=["home"], completed=completed)
    account = await ada.account_id()
    counter = TodoCounter(store, min_changes=0)
    # a snapshot excludes the current second
    while (snapshot := await read_snapshot(store, account)) is None or counted_todos(snapshot) < 1:
        await counter.count(account, now())
    changed = (await ada.get("/v1/todos/changes")).json()["next"]

    body = {"operations": [operation | {"id": todo["id"]}]}
    response = await ada.post("/v1/todos/batch", json=body, headers={"Idempotency-Key": "a-change-without-effect"})

    assert [result["status"] for result in response.json()["results"]] == [200], response.text
    assert response.json()["results"][0]["todo"] == todo
    for _ in range(2):
        found = await counter.count(account, now())
        assert (found.open, found.completed) == (int(not completed), int(completed))
        assert found.tags[digest_tag("home")] == ("home", 1)
    feed = (await ada.get("/v1/todos/changes", params={"since": changed})).json()
    assert (feed["changed"], feed["has_more"]) == ([], False)


@pytest.mark.parametrize("resolve_after", [timedelta(seconds=2)])
async def test_a_refreshed_snapshot_is_exact_whatever_happened_since_its_stamp(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    account = await ada.account_id()
    # none of the new todos refreshes the snapshot by itself
    shared = SharedState(store, counter=TodoCounter(store, refresh_interval=2**32))
    todos = Todos(store, account, utc, shared=shared)
    old = [await todos.create(TodoCreate(title=str(number), tags=["old"])) for number in range(4)]
    written = max([todo.changed async for todo in store.scan(Todo)])

    async def is_resolved() -> bool:
        return await store.resolved_stamp() >= written

    await wait_until(is_resolved)
    new = [await todos.create(TodoCreate(title=str(number), tags=["new"])) for number in range(4)]
    for kept, deleted in ((old[0], old[1]), (new[0], new[1])):
        await todos.update(kept.id, TodoUpdate(priority="high", tags=["changed"]), None)
        await todos.delete(deleted.id, None, None)
    counter = TodoCounter(store, min_changes=10**6, refresh_interval=1)

    counter.maybe_refresh_snapshot(account, ObjectId(new[3].id), now())
    found = await counter.count(account, now())

    snapshot = await read_snapshot(store, account)
    assert snapshot is not None
    # the snapshot of MongoDB is older than these changes
    assert counted_todos(snapshot) == (6 if store.resolves_at_once else 4)
    assert dict(found.tags.values()) == {"old": 2, "new": 2, "changed": 2}
    assert found.priorities == {"none": 4, "high": 2}
    await assert_counted(ada, await everything(ada))
    await counter.close()


def test_the_largest_snapshot_is_smaller_than_a_mebibyte() -> None:
    tags = [f"{number:04}{chr(0x1F331) * 46}" for number in range(MAX_TAGS)]
    largest = Counts(
        open=10**6,
        completed=10**6,
        priorities=dict.fromkeys(("none", "low", "medium", "high", "urgent"), 10**6),
        lists={str(ObjectId()): 10**6 for _ in range(MAX_LISTS + 1)},
        tags={digest_tag(tag): (tag, 10**6) for tag in tags},
    )
    for hour in range(2 * counts.MAX_HOURS):
        largest.due.add(500_000 + hour, 10**6)
    largest.compact()
    largest.due.compact(counts.from_hour(500_000))

    assert len(msgspec.msgpack.encode(largest)) <= 2**20


def _entry(since: str, priority: str | None) -> PastState:
    return PastState(since, None if priority is None else CountedState(False, priority, None, ()))


def test_shortening_a_history_keeps_the_entry_of_the_snapshot_and_the_most_recent_ones() -> None:
    entries = [_entry(f"{number:016}", str(number)) for number in range(30)]

    shortened = shorten_past(entries, f"{12:016}")

    newest = [_entry(f"{number:016}", str(number)) for number in range(20, 30)]
    assert shortened == [_entry("0" * 16, None), entries[12], _entry(f"{13:016}", None), *newest]
    assert shorten_past(shortened, f"{12:016}") == shortened
    assert shorten_past(entries, "") == [_entry("0" * 16, None), *newest]
    assert shorten_past(entries, "9" * 16) == [_entry("0" * 16, None), *newest]


async def test_counting_has_a_small_record_of_each_todo_in_memory(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    account = await load(store, 5000)
    counter = TodoCounter(store)
    tracemalloc.start()
    try:
        found = await counter.count(account, now(), seconds=None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await counter.close()

    assert found.open + found.completed == 5000
    assert peak <= 8 * 2**20
