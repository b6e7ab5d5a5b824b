"""Concurrent moves of todos: they run one after the other, in whatever process they begin."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from odmantic import ObjectId

from tests.people import Person
from tests.serving import SECRET_KEY, running_service
from tests.todos.replica import Replica, everything
from tests.waiting import wait_until
from todo_service.errors import Busy
from todo_service.locks import KeyedLocks
from todo_service.store.base import DocumentStore
from todo_service.store.registry import create_store
from todo_service.timestamps import now
from todo_service.todos.account_lease import derive_lease_id, hold_order
from todo_service.todos.documents import AccountLease

pytestmark = pytest.mark.anyio
CLIENTS = 8
MOVES = 20
VARIABLES = {"SECRET_KEY": SECRET_KEY}


class Answer(NamedTuple):
    """A move that was answered.

    Attributes:
        began: When the request was sent.
        ended: When its answer arrived.
        todo: The todo.
        place: The field that names its neighbor.
    """

    began: float
    ended: float
    todo: dict[str, Any]
    place: str


async def test_eight_clients_of_two_processes_move_todos_at_once(store_url: str, tmp_path: Path) -> None:
    """Four clients move todos directly after the first todo, and four directly before the last one.

    If a move was answered before another one began, its todo is further away from their common neighbor, and its
    answer has a position on that side, unless the todo was moved or renumbered later.
    """
    with ExitStack() as services:
        variables = VARIABLES | {"STORE_URL": store_url, "RATE_LIMIT_ENABLED": "false"}
        urls = [services.enter_context(running_service(tmp_path, variables)).url for _ in range(2)]
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60)) for url in urls]
            ada = await Person.register(clients[0])
            first, last = [(await ada.todo(title=title))["id"] for title in ("first", "last")]
            moved = [[(await ada.todo())["id"] for _ in range(5)] for _ in range(CLIENTS)]

            async def run_client(number: int) -> list[Answer]:
                person, place = ada.through(clients[number // 2 % 2]), ("after", "before")[number % 2]
                answers = []
                loop = asyncio.get_running_loop()
                for step in range(MOVES):
                    path = f"/v1/todos/{moved[number][step % 5]}/move"
                    began = loop.time()
                    response = await person.post(path, json={place: (first, last)[number % 2]})
                    assert response.status_code == 200, response.text
                    answers.append(Answer(began, loop.time(), response.json(), place))
                return answers

            found = list(itertools.chain(*await asyncio.gather(*map(run_client, range(CLIENTS)))))

            order = (await ada.get("/v1/todos", params={"sort": "position", "limit": 200})).json()["items"]
            replica = Replica(ada.through(clients[1]), 50)
            await replica.sync()
            assert replica.todos == await everything(ada) == {todo["id"]: todo for todo in order}
    positions = [todo["position"] for todo in order]
    assert positions == sorted(set(positions))
    places = {todo["id"]: place for place, todo in enumerate(order)}
    assert (places[first], places[last]) == (0, len(order) - 1)
    latest = {answer.todo["id"]: answer for answer in sorted(found, key=lambda answer: answer.todo["version"])}
    assert len(latest) == CLIENTS * 5
    for earlier, later in itertools.permutations(latest.values(), 2):
        if earlier.place == later.place and earlier.ended < later.began:
            nearer_first = places[later.todo["id"]] < places[earlier.todo["id"]]
            assert nearer_first is (later.place == "after")
    versions = {todo["id"]: todo["version"] for todo in order}
    for before, after in itertools.combinations(latest.values(), 2):
        if all(versions[each.todo["id"]] == each.todo["version"] for each in (before, after)):
            answered = before.todo["position"] < after.todo["position"]
            assert answered is (places[before.todo["id"]] < places[after.todo["id"]])


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[DocumentStore]:
    opened = create_store(store_url)
    await opened.open(AccountLease)
    yield opened
    await opened.close()


async def test_blocks_of_two_processes_run_one_after_the_other(store: DocumentStore) -> None:
    account, other, running = ObjectId(), ObjectId(), set[ObjectId]()

    async def run(locks: KeyedLocks, owner: ObjectId) -> None:
        async with hold_order(store, locks, owner):
            assert owner not in running
            running.add(owner)
            await store.ping()
            running.remove(owner)

    processes = [KeyedLocks(100), KeyedLocks(100)]
    await asyncio.gather(*(run(locks, owner) for locks in processes for owner in (account, other) for _ in range(5)))

    assert [lease async for lease in store.scan(AccountLease)] == []


async def test_the_lease_of_a_process_that_died_is_taken_over(store: DocumentStore) -> None:
    account = ObjectId()
    await store.insert(AccountLease(id=derive_lease_id(account, "order"), holder=ObjectId(), expires_at=now()))

    async with hold_order(store, KeyedLocks(1), account, takeover_seconds=0.05):
        (lease,) = [lease async for lease in store.scan(AccountLease)]
        # another process has taken the lease over
        await store.update(
            AccountLease, AccountLease.id == derive_lease_id(account, "order"), changes={"holder": ObjectId()}
        )

    (left,) = [lease async for lease in store.scan(AccountLease)]
    assert left.holder != lease.holder


async def test_the_lease_of_a_process_that_died_is_taken_over_by_requests_that_time_out(store: DocumentStore) -> None:
    account = ObjectId()
    lease_id = derive_lease_id(account, "order")
    await store.insert(AccountLease(id=lease_id, holder=ObjectId(), expires_at=now() + timedelta(days=1)))
    attempts = 0

    async def has_moved() -> bool:
        nonlocal attempts
        attempts += 1
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2), hold_order(store, KeyedLocks(1), account, takeover_seconds=0.5):
                return True
        return False

    await wait_until(has_moved)

    assert attempts > 1
    assert [lease async for lease in store.scan(AccountLease)] == []


async def test_a_move_that_is_cancelled_leaves_no_lease(store: DocumentStore) -> None:
    async def move() -> None:
        async with hold_order(store, KeyedLocks(1), ObjectId()):
            await store.ping()

    for number in range(40):
        moving = asyncio.create_task(move())
        await asyncio.sleep(number / 4000)
        moving.cancel()
        await asyncio.wait([moving])

    async def is_released() -> bool:
        return [lease async for lease in store.scan(AccountLease)] == []

    # a write that was sent before the cancellation may still end
    await wait_until(is_released)


async def test_a_failed_block_releases_the_lease(store: DocumentStore) -> None:
    with pytest.raises(Busy):
        async with hold_order(store, KeyedLocks(1), ObjectId()):
            raise Busy("a failure")

    assert [lease async for lease in store.scan(AccountLease)] == []
