"""Counts of todos, and tags."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person
from tests.todos.replica import assert_counted, due, everything
from tests.waiting import wait_until
from todo_service.errors import Busy
from todo_service.store.base import DocumentStore
from todo_service.sync import counts
from todo_service.sync.counting import TodoCounter
from todo_service.sync.counts import CountSnapshot
from todo_service.timestamps import now
from todo_service.todos.documents import Todo

pytestmark = pytest.mark.anyio


async def test_an_account_without_todos_has_zeros(ada: Person) -> None:
    nothing = dict.fromkeys(("none", "low", "medium", "high", "urgent"), 0)

    assert (await ada.get("/v1/todos/summary")).json() == {
        "open": 0,
        "completed": 0,
        "overdue": 0,
        "due_today": 0,
        "by_priority": nothing,
        "by_list": [],
        "by_tag": [],
    }
    assert (await ada.get("/v1/tags")).json() == {"items": []}


async def test_todos_are_counted_by_state_priority_list_and_tag(ada: Person, bob: Person) -> None:
    garden = (await ada.post("/v1/lists", json={"name": "Garden"})).json()["id"]
    await ada.todo(tags=["home", "green"], priority="high", list_id=garden)
    await ada.todo(tags=["home"], priority="high", due_at="2020-01-01T00:00:00Z")
    done = await ada.todo(tags=['x, "y"'], due_at="2020-01-01T00:00:00Z")
    await ada.post(f"/v1/todos/{done['id']}/complete")
    gone = await ada.todo(tags=["gone"])
    await ada.delete(f"/v1/todos/{gone['id']}")
    await bob.todo(tags=["home"])

    summary = (await ada.get("/v1/todos/summary")).json()

    assert (summary["open"], summary["completed"], summary["overdue"], summary["due_today"]) == (2, 1, 1, 0)
    assert summary["by_priority"] == {"none": 1, "low": 0, "medium": 0, "high": 2, "urgent": 0}
    assert summary["by_list"] == [{"list_id": None, "count": 2}, {"list_id": garden, "count": 1}]
    tags = [{"name": "green", "count": 1}, {"name": "home", "count": 2}, {"name": 'x, "y"', "count": 1}]
    assert summary["by_tag"] == tags
    assert (await ada.get("/v1/tags")).json() == {"items": tags}


@pytest.fixture
def resolve_after() -> timedelta:
    """Resolve timestamps at once: these tests have a single writer."""
    return timedelta(0)


async def count_until_stored(person: Person, store: DocumentStore, max_hours: int = counts.MAX_HOURS) -> CountSnapshot:
    """Count until a snapshot includes all writes, and return it."""
    account = await person.account_id()
    last = max([counts.format_stamp(todo.changed) async for todo in store.scan(Todo) if todo.account == account])
    counter = TodoCounter(store, min_changes=0, max_hours=max_hours)
    while True:
        await counter.count(account, now())
        await assert_counted(person, await everything(person))
        snapshot = (await read_snapshots(store)).get(account)
        if snapshot is not None and snapshot.upto >= last:
            return snapshot


async def read_snapshots(store: DocumentStore) -> dict[ObjectId, CountSnapshot]:
    return {found.id: found async for found in store.scan(CountSnapshot)}


async def test_counts_are_stored_and_follow_every_change(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    todos = [await ada.todo(title=str(number), tags=["home", str(number)], due_at=due(number)) for number in range(7)]
    snapshot = await count_until_stored(ada, store)

    await ada.patch(f"/v1/todos/{todos[0]['id']}", json={"tags": ["home", "new"], "priority": "high"})
    await ada.patch(f"/v1/todos/{todos[3]['id']}", json={"due_at": due(9)})
    await ada.patch(f"/v1/todos/{todos[4]['id']}", json={"due_at": None})
    await ada.post(f"/v1/todos/{todos[1]['id']}/complete")
    await ada.delete(f"/v1/todos/{todos[2]['id']}")
    await assert_counted(ada, await everything(ada))
    assert (await count_until_stored(ada, store)).upto > snapshot.upto


async def test_new_todos_refresh_the_snapshot_in_the_background(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    account = await ada.account_id()
    counter = TodoCounter(store, refresh_interval=1)

    while not await read_snapshots(store):  # MongoDB resolves nothing in the first second
        made = await ada.todo()
        counter.maybe_refresh_snapshot(account, ObjectId(made["id"]), now())
        await asyncio.sleep(0)
    await counter.close()

    await assert_counted(ada, await everything(ada))


async def test_the_snapshot_is_not_refreshed_before_enough_changes_are_resolved(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    await ada.todo()
    first = await count_until_stored(ada, store)
    resolved = (await store.resolved_stamp()).as_datetime()

    async def write_until_resolved() -> bool:
        await ada.todo()
        return (await store.resolved_stamp()).as_datetime() > resolved

    await wait_until(write_until_resolved)  # MongoDB assigns stamps by the seconds of its own clock
    turn = ObjectId("65f1a2b3c4d5e6f708190000")
    resolved = (await store.resolved_stamp()).as_datetime()

    async def refresh(moment: datetime) -> dict[ObjectId, CountSnapshot]:
        counter = TodoCounter(store, min_changes=10**6)
        counter.maybe_refresh_snapshot(first.id, turn, moment)
        with contextlib.suppress(Busy):
            await counter.count(first.id, now())
        return await read_snapshots(store)

    early = await refresh(resolved + timedelta(minutes=1))
    late = await refresh(resolved)

    assert early == {first.id: first}
    assert late[first.id].upto > first.upto
    await assert_counted(ada, await everything(ada))


@pytest.mark.parametrize(
    "broken",
    [
        "it is too old",
        "it is of another generation",
        "it has another format",
        "hours around now were too many",
        "the clock was set back",
    ],
)
async def test_an_unusable_snapshot_is_not_used(ada: Person, app: Litestar, broken: str) -> None:
    store: DocumentStore = app.state.store
    await ada.todo(tags=["home"])
    snapshot = await count_until_stored(ada, store)

    hours = msgspec.msgpack.decode(snapshot.counts, type=counts.Counts).due
    wrong: dict[str, Any] = {}
    match broken:
        case "it is too old":
            wrong["made_at"] = snapshot.made_at - counts.SNAPSHOT_LIFETIME
        case "it is of another generation":
            wrong["generation"] = f"{counts.SNAPSHOT_FORMAT}:another"
        case "it has another format":
            wrong["generation"] = snapshot.generation.replace(str(counts.SNAPSHOT_FORMAT), "1", 1)
        case "hours around now were too many":
            hours.end = counts.to_hour(snapshot.made_at) + 24
        case _:
            hours.first = counts.to_hour(snapshot.made_at)
    wrong["counts"] = msgspec.msgpack.encode(counts.Counts(open=700, due=hours))
    await store.update(CountSnapshot, CountSnapshot.id == snapshot.id, changes=wrong)

    await assert_counted(ada, await everything(ada))


async def test_overdue_todos_are_counted_as_time_passes(ada: Person, app: Litestar) -> None:
    """Use a snapshot at later times, at which other todos are overdue."""
    store: DocumentStore = app.state.store
    hours = (-3000, -2, 0, 1, 23, 24, 25, 200, 500, 2000)
    moments = [datetime.now(UTC) + timedelta(hours=hour, minutes=7) for hour in hours]
    for moment in moments:
        await ada.todo(due_at=moment.isoformat())
    snapshot = await count_until_stored(ada, store)

    for days in (0, 1, 8, 25):
        later = datetime.now(UTC) + timedelta(days=days)
        found = (await TodoCounter(store).count(snapshot.id, later)).due
        assert found.count_before(counts.to_hour(later)) == sum(
            counts.to_hour(moment) < counts.to_hour(later) for moment in moments
        )


async def test_hours_in_the_far_future_are_counted_when_they_come_near(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    this_hour = counts.from_hour(counts.to_hour(now()))
    for hour in (-2, 1, 100, 200, 300, 400, 400):
        await ada.todo(due_at=(this_hour + timedelta(hours=hour, minutes=7)).isoformat())
    snapshot = await count_until_stored(ada, store, max_hours=3)

    assert len(msgspec.msgpack.decode(snapshot.counts, type=counts.Counts).due.hours) == 3
    later = this_hour + timedelta(hours=399)
    found = (await TodoCounter(store, max_hours=3).count(snapshot.id, later)).due
    hour = counts.to_hour(later)
    assert (found.count_before(hour + 1), found.count_between(hour + 1, hour + 2)) == (5, 2)


async def test_old_snapshots_are_renewed_in_the_background(ada: Person, bob: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    accounts = []
    for person, made_at in ((ada, now() - counts.SNAPSHOT_RENEWAL_AGE - timedelta(days=1)), (bob, now())):
        await person.todo(due_at=due(0))
        account = await person.account_id()
        accounts.append(account)
        await store.insert(CountSnapshot(id=account, generation="another", upto="0" * 16, made_at=made_at, counts=b""))

    renewed = await read_snapshots(store)
    counter = TodoCounter(store)
    while {found.generation for found in renewed.values()} != {counts.get_generation(store)}:
        await counter.renew_snapshots(now())
        renewed = await read_snapshots(store)
    old = renewed[accounts[0]].made_at - counts.SNAPSHOT_RENEWAL_AGE
    await store.update(CountSnapshot, CountSnapshot.id == accounts[0], changes={"made_at": old})
    await counter.renew_snapshots(now())
    again = await read_snapshots(store)

    assert again[accounts[0]].made_at > old
    assert again[accounts[1]] == renewed[accounts[1]]
    await assert_counted(ada, await everything(ada))


async def test_the_snapshot_of_a_deleted_account_is_deleted(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    await ada.todo()
    await count_until_stored(ada, store)

    assert (await ada.delete("/v1/users/me", json={"password": ada.password})).status_code == 204

    assert await read_snapshots(store) == {}
