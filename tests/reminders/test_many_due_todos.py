"""An account with many due todos costs linear work and does not delay the others."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections import Counter
from datetime import datetime, timedelta
from typing import Final

import pytest
from odmantic import ObjectId

from tests.clock import Clock
from tests.cost import FACTOR
from tests.reminders.harness import Account, create_service, register_account
from todo_service.reminders.documents import Firing
from todo_service.reminders.due_todos import DueTodos
from todo_service.store.base import DocumentStore
from todo_service.store.errors import StoreUnavailable
from todo_service.store.instrumentation import observe
from todo_service.timestamps import now
from todo_service.todos.documents import Todo

pytestmark = pytest.mark.anyio
HOUR: Final = timedelta(hours=1)
MINUTE: Final = timedelta(minutes=1)
SECOND: Final = timedelta(seconds=1)
SHARE: Final = 10


@pytest.fixture
async def ada(store: DocumentStore) -> Account:
    return await register_account(store)


@pytest.fixture
async def bob(store: DocumentStore) -> Account:
    return await register_account(store)


@pytest.fixture
def due_at() -> datetime:
    return now().replace(microsecond=0)


@pytest.fixture
def clock(due_at: datetime) -> Clock:
    """A clock that stands an hour after the due date."""
    clock = Clock()
    clock.set(due_at + HOUR)
    return clock


async def list_accounts(store: DocumentStore) -> list[ObjectId]:
    """Return the account of each firing, in the order in which they fired."""
    fired = sorted([each async for each in store.scan(Firing)], key=lambda each: each.changed)
    return [each.account for each in fired]


@pytest.mark.parametrize("spread", [timedelta(), timedelta(milliseconds=1)], ids=["one moment", "many moments"])
async def test_firing_many_todos_costs_linear_reads(
    store: DocumentStore, clock: Clock, due_at: datetime, spread: timedelta
) -> None:
    # a copy, so that only the calls of the service are counted
    observed = copy.copy(store)
    calls: Counter[str] = Counter()
    observe(observed, lambda operation, _, __: calls.update([operation]))
    costs = []
    for size in (100, 1000):
        # the todos of the second account follow those of the first
        accounts = [await register_account(store) for _ in range(2)]
        for number, account in enumerate(accounts):
            await account.insert_due(due_at + number * MINUTE + each * spread for each in range(size))
        calls.clear()

        await create_service(observed, clock, share=SHARE).fire_due()

        assert [len(await account.list_fired()) for account in accounts] == [size, size]
        costs.append(calls["find"])
    assert costs[1] <= FACTOR * costs[0], costs


async def test_the_rounds_yield_each_waiting_todo_once(
    store: DocumentStore, ada: Account, bob: Account, clock: Clock, due_at: datetime
) -> None:
    await ada.insert_due(due_at for _ in range(10 * SHARE))
    await bob.insert_due(due_at + MINUTE for _ in range(10 * SHARE))
    due = DueTodos(store, due_at, SHARE)
    rounds: list[list[str]] = []

    while not rounds or due.waiting:
        rounds.append([todo.id async for todos in due.read_round(clock.now()) for todo in todos])

    assert due.found == 20 * SHARE
    assert [len(each) for each in rounds] == [2 * SHARE] * 10
    assert len(set(itertools.chain.from_iterable(rounds))) == 20 * SHARE


async def test_an_account_with_many_due_todos_does_not_delay_the_others(
    store: DocumentStore, ada: Account, bob: Account, clock: Clock, due_at: datetime
) -> None:
    await ada.insert_due(due_at for _ in range(100 * SHARE))
    await bob.insert_due([due_at + SECOND])

    await create_service(store, clock, share=SHARE).fire_due()

    accounts = await list_accounts(store)
    assert accounts.count(ada.id) == 100 * SHARE
    assert accounts.index(bob.id) <= SHARE


async def test_accounts_with_many_due_todos_are_served_in_turn(
    store: DocumentStore, ada: Account, bob: Account, clock: Clock, due_at: datetime
) -> None:
    await ada.insert_due(due_at for _ in range(10 * SHARE))
    await bob.insert_due(due_at + SECOND for _ in range(5 * SHARE))

    await create_service(store, clock, share=SHARE).fire_due()

    accounts = await list_accounts(store)
    assert len(accounts) == 15 * SHARE
    for end in range(0, 10 * SHARE, 2 * SHARE):
        assert Counter(accounts[end : end + 2 * SHARE]) == {ada.id: SHARE, bob.id: SHARE}


async def test_todos_that_become_due_while_others_wait_are_in_the_next_round(
    store: DocumentStore, ada: Account, bob: Account, due_at: datetime
) -> None:
    await ada.insert_due(due_at for _ in range(3 * SHARE))
    await ada.insert_due(due_at + MINUTE for _ in range(SHARE // 2))
    await bob.insert_due([due_at + MINUTE])
    due = DueTodos(store, due_at, SHARE)
    rounds: list[tuple[int, int]] = []

    for end in (due_at, due_at + MINUTE, due_at + MINUTE, due_at + MINUTE):
        found = [ObjectId(todo.account) async for todos in due.read_round(end) for todo in todos]
        rounds.append((found.count(ada.id), found.count(bob.id)))

    assert rounds == [(SHARE, 0), (SHARE, 1), (SHARE, 0), (SHARE // 2, 0)]
    assert not due.waiting


async def test_a_crash_while_todos_wait_loses_and_repeats_nothing(
    store: DocumentStore, ada: Account, bob: Account, clock: Clock, due_at: datetime
) -> None:
    await ada.insert_due(due_at for _ in range(10 * SHARE))
    await bob.insert_due(due_at + SECOND for _ in range(2 * SHARE))
    fired: Counter[str] = Counter()

    def crash(kind: str, _: float) -> None:
        """End the process between the insert of a firing and the update of its todo, in the third round."""
        fired.update([kind])
        if fired.total() > 4 * SHARE:
            raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        await create_service(store, clock, share=SHARE, record=crash).fire_due()
    assert 4 * SHARE < len(await list_accounts(store)) < 12 * SHARE

    await create_service(store, clock, share=SHARE).fire_due()

    for account, size in ((ada, 10 * SHARE), (bob, 2 * SHARE)):
        assert len({todo for todo, _, _ in await account.list_fired()}) == len(await account.list_fired()) == size
    assert [each async for each in store.scan(Todo) if each.next_fire is not None] == []


async def test_several_processes_fire_many_todos_once(
    store: DocumentStore, ada: Account, bob: Account, clock: Clock, due_at: datetime
) -> None:
    await ada.insert_due(due_at for _ in range(10 * SHARE))
    await bob.insert_due(due_at + SECOND for _ in range(5 * SHARE))

    await asyncio.gather(*(create_service(store, clock, share=SHARE).fire_due() for _ in range(3)))

    assert (len(await ada.list_fired()), len(await bob.list_fired())) == (10 * SHARE, 5 * SHARE)
    assert [each async for each in store.scan(Todo) if each.next_fire is not None] == []
