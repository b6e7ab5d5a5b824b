"""When accounts change their time zones, none of them delays the todos of another, however many it has."""

from __future__ import annotations

import copy
from collections import Counter
from datetime import UTC, date, timedelta
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from odmantic import ObjectId

from tests.cost import FACTOR
from tests.reminders.harness import Account, register_account
from tests.todos.accounts import todo as build_todo
from todo_service.accounts.documents import User
from todo_service.accounts.time_zones import AFTER_IMPORTS, AFTER_REQUESTS, ZoneVisits, schedule_visits
from todo_service.store.base import DocumentStore
from todo_service.store.instrumentation import observe
from todo_service.timestamps import end_of_day, now
from todo_service.todos.documents import Todo
from todo_service.todos.service import Todos

pytestmark = pytest.mark.anyio
BERLIN, NEW_YORK, TOKYO = "Europe/Berlin", "America/New_York", "Asia/Tokyo"
FIRST_DAY: Final = date(2027, 1, 1)
SHARE: Final = 10


@pytest.fixture
async def ada(store: DocumentStore) -> Account:
    return await register_account(store)


@pytest.fixture
async def bob(store: DocumentStore) -> Account:
    return await register_account(store)


async def insert_days(account: Account, size: int) -> None:
    """Insert todos of an account in UTC that are due on days, three on each."""
    todos = []
    for number in range(size):
        day = FIRST_DAY + timedelta(days=number // 3)
        todo = build_todo(account.id, number)
        todo.due_at, todo.due_on, todo.due_end = None, day.isoformat(), end_of_day(day, UTC)
        todos.append(todo)
    await account.store.insert(*todos)


async def move(account: Account, time_zone: str) -> None:
    """Change the time zone of an account."""
    changes = {"time_zone": time_zone} | schedule_visits(now())
    assert await account.store.update(User, User.id == account.id, changes=changes) is not None


async def count_following(account: Account, time_zone: str) -> int:
    """Return how many todos of an account are due when their day ends in a time zone."""
    zone, todos = ZoneInfo(time_zone), [each async for each in account.store.scan(Todo) if each.owner == account.id]
    return sum(each.due_end == end_of_day(date.fromisoformat(each.due_on or ""), zone) for each in todos)


def create_visits(store: DocumentStore) -> ZoneVisits:
    """Return the job of a process."""

    def create_todos(owner: ObjectId) -> Todos:
        return Todos(store, owner, partial(Account(store).time_zones.get, owner))

    return ZoneVisits(store, create_todos, SHARE)


@pytest.mark.parametrize("first", ["many", "single"])
async def test_an_account_with_many_todos_does_not_delay_another(
    store: DocumentStore, ada: Account, bob: Account, first: str
) -> None:
    await insert_days(ada, 10 * SHARE)
    await insert_days(bob, 1)
    for account in (ada, bob) if first == "many" else (bob, ada):
        await move(account, TOKYO)
    visits = create_visits(store)

    unfinished = await visits.run_round(now())

    assert (await count_following(ada, TOKYO), await count_following(bob, TOKYO)) == (SHARE, 1)
    rounds = 1
    while unfinished:
        unfinished = await visits.run_round(now())
        rounds += 1
    assert await count_following(ada, TOKYO) == 10 * SHARE
    assert rounds <= 12


async def test_an_account_that_changes_its_time_zone_in_a_loop_costs_a_share_for_each_round(
    store: DocumentStore, ada: Account, bob: Account
) -> None:
    await insert_days(ada, 10 * SHARE)
    await insert_days(bob, 3 * SHARE)
    observed = copy.copy(store)
    calls: Counter[str] = Counter()
    observe(observed, lambda operation, _, __: calls.update([operation]))
    visits = create_visits(observed)
    await move(bob, TOKYO)

    for number in range(6):
        await move(ada, (NEW_YORK, BERLIN)[number % 2])
        calls.clear()
        assert await visits.run_round(now())
        # the todos of both accounts, and the next visit
        assert calls["update"] <= 2 * SHARE + 1

    assert await count_following(bob, TOKYO) == 3 * SHARE
    while await visits.run_round(now()):
        pass
    assert await count_following(ada, BERLIN) == 10 * SHARE


async def test_following_many_todos_costs_linear_calls(store: DocumentStore) -> None:
    observed = copy.copy(store)
    calls: Counter[str] = Counter()
    observe(observed, lambda operation, _, __: calls.update([operation]))
    costs = []
    for size in (100, 1000):
        account = await register_account(store)
        await insert_days(account, size)
        await move(account, TOKYO)
        visits = create_visits(observed)
        calls.clear()

        while await visits.run_round(now()):
            pass

        assert await count_following(account, TOKYO) == size
        costs.append(calls.total())
    assert costs[1] <= FACTOR * costs[0], costs


async def test_a_restart_in_the_middle_of_a_visit_loses_and_repeats_nothing(store: DocumentStore, ada: Account) -> None:
    await insert_days(ada, 5 * SHARE)
    await move(ada, TOKYO)
    interrupted = create_visits(store)
    for _ in range(2):
        assert await interrupted.run_round(now())

    visits = create_visits(store)
    for after in (timedelta(), AFTER_REQUESTS, AFTER_IMPORTS):
        while await visits.run_round(now() + after):
            pass
    # the earlier process goes on
    while await interrupted.run_round(now() + AFTER_IMPORTS):
        pass

    assert await count_following(ada, TOKYO) == 5 * SHARE
    assert {each.version async for each in store.scan(Todo)} == {2}
    assert [user.next_visit_at async for user in store.scan(User)] == [None]


async def test_an_account_deleted_in_the_middle_of_its_visit_ends_it(
    store: DocumentStore, ada: Account, bob: Account
) -> None:
    await insert_days(ada, 3 * SHARE)
    await insert_days(bob, 2 * SHARE)
    for account in (ada, bob):
        await move(account, TOKYO)
    visits = create_visits(store)
    assert await visits.run_round(now())
    await store.delete(User, User.id == ada.id)

    while await visits.run_round(now()):
        pass

    assert await count_following(bob, TOKYO) == 2 * SHARE
