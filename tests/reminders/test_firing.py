"""Due dates and reminders fire once, whatever the clock and other processes do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from odmantic import ObjectId

from tests.clock import Clock
from tests.reminders.harness import Account, create_service
from todo_service.accounts.documents import User
from todo_service.executors import Executor
from todo_service.reminders.service import LATEST, ReminderService
from todo_service.store.base import DocumentStore
from todo_service.timestamps import Timestamp, end_of_day, now
from todo_service.todos.documents import Todo
from todo_service.todos.dto import TodoUpdate
from todo_service.todos.reminder_types import ReminderCreate

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
async def ada(store: DocumentStore) -> AsyncIterator[Account]:
    rules = Executor("rules", threads=1, queue=10, seconds=2.0)
    account = Account(store, rules)
    await account.register()
    yield account
    rules.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(store: DocumentStore, clock: Clock) -> ReminderService:
    return create_service(store, clock)


def stamp(moment: datetime) -> Timestamp:
    """Return a time as a request gives it."""
    return Timestamp.fromtimestamp(moment.timestamp(), UTC)


def before(minutes: int) -> ReminderCreate:
    return ReminderCreate(minutes_before=minutes)


def in_hours(hours: float) -> Timestamp:
    return stamp(now().replace(microsecond=0) + hours * HOUR)


async def test_each_fires_at_its_moment(ada: Account, clock: Clock, service: ReminderService) -> None:
    due_at = in_hours(2)
    todo = await ada.create(due_at=due_at, reminders=[before(60), before(0), ReminderCreate(at=stamp(due_at + HOUR))])
    await ada.create()
    expected = [
        (todo.id, "60 before", due_at - HOUR),
        (todo.id, "0 before", due_at),
        (todo.id, "due", due_at),
        (todo.id, "at", due_at + HOUR),
    ]
    for moment, count in (
        (due_at - HOUR - SECOND, 0),
        (due_at - HOUR + SECOND, 1),
        (due_at - SECOND, 1),
        (due_at + SECOND, 3),
        (due_at + HOUR - SECOND, 3),
        (due_at + HOUR + SECOND, 4),
        (due_at + 30 * HOUR, 4),
    ):
        clock.set(moment)
        await service.fire_due()
        assert await ada.list_fired() == expected[:count]
    assert (await ada.read(todo)).next_fire is None


async def test_several_processes_fire_each_once(ada: Account, store: DocumentStore, clock: Clock) -> None:
    due_at = in_hours(1)
    todos = [await ada.create(due_at=due_at, reminders=[before(each)]) for each in range(40)]
    clock.set(due_at + SECOND)

    await asyncio.gather(*(create_service(store, clock).fire_due() for _ in range(4)))

    fired = await ada.list_fired()
    assert len(fired) == 80
    assert {(each, kind) for each, kind, _ in fired if kind == "due"} == {(todo.id, "due") for todo in todos}


async def test_a_crash_after_firing_repeats_nothing(ada: Account, clock: Clock, service: ReminderService) -> None:
    due_at = in_hours(1)
    todo = await ada.create(due_at=due_at)
    clock.set(due_at + SECOND)
    await service.fire_due()
    # a process that crashed had inserted the firing, but had not moved the todo on
    await ada.store.update(Todo, Todo.id == ObjectId(todo.id), changes={"next_fire": due_at})

    await service.fire_due()

    assert await ada.list_fired() == [(todo.id, "due", due_at)]
    assert (await ada.read(todo)).next_fire is None


async def test_a_clock_set_forward_fires_once_and_one_set_back_nothing_twice(
    ada: Account, clock: Clock, service: ReminderService
) -> None:
    due_at = in_hours(5)
    todo = await ada.create(due_at=due_at, reminders=[before(60)])
    expected = [(todo.id, "60 before", due_at - HOUR), (todo.id, "due", due_at)]
    clock.ahead = 6 * HOUR
    await service.fire_due()
    assert await ada.list_fired() == expected

    clock.ahead = timedelta()
    await service.fire_due()
    # by the clock of this process, the due date has not passed yet
    await ada.todos.update(todo.id, TodoUpdate(reminders=[before(60), before(30)]), None)
    for moment in (due_at - HOUR + SECOND, due_at + SECOND):
        clock.set(moment)
        await service.fire_due()

    assert await ada.list_fired() == [expected[0], (todo.id, "30 before", due_at - HOUR / 2), expected[1]]


async def test_what_came_due_while_no_process_ran_fires_up_to_a_day_later(
    ada: Account, clock: Clock, service: ReminderService
) -> None:
    due_at = in_hours(2)
    late = await ada.create(due_at=due_at)
    too_late = await ada.create(due_at=stamp(due_at - HOUR), reminders=[ReminderCreate(at=stamp(due_at + HOUR))])
    future = stamp(due_at + LATEST + HOUR)
    later = await ada.create(due_at=stamp(due_at - HOUR), reminders=[ReminderCreate(at=future)])
    clock.set(due_at + LATEST - HOUR / 2)

    for _ in range(3):
        await service.fire_due()

    assert await ada.list_fired() == [(late.id, "due", due_at), (too_late.id, "at", due_at + HOUR)]
    assert (await ada.read(too_late)).next_fire is None
    assert (await ada.read(later)).next_fire == future


async def test_what_is_completed_deleted_or_moved_does_not_fire(
    ada: Account, clock: Clock, service: ReminderService
) -> None:
    due_at, moved_to = in_hours(1), in_hours(3)
    completed, deleted, moved, cleared, patched = [await ada.create(due_at=due_at) for _ in range(5)]
    await ada.todos.complete(completed.id, None, None)
    await ada.todos.delete(deleted.id, None)
    await ada.todos.update(moved.id, TodoUpdate(due_at=moved_to), None)
    await ada.todos.update(cleared.id, TodoUpdate(due_at=None), None)
    await ada.todos.update(patched.id, TodoUpdate(title="Another title"), None)
    clock.set(due_at + SECOND)
    await service.fire_due()
    assert await ada.list_fired() == [(patched.id, "due", due_at)]

    clock.set(moved_to + SECOND)
    await service.fire_due()
    assert (await ada.list_fired())[1:] == [(moved.id, "due", moved_to)]


async def test_a_todo_that_is_reopened_before_it_is_due_fires_once(
    ada: Account, clock: Clock, service: ReminderService
) -> None:
    due_at = in_hours(1)
    todo = await ada.create(due_at=due_at)
    await ada.todos.complete(todo.id, None, None)
    await ada.todos.reopen(todo.id, None)
    clock.set(due_at + SECOND)

    await service.fire_due()

    assert await ada.list_fired() == [(todo.id, "due", due_at)]


async def test_the_reminders_of_a_recurring_todo_move_with_it(
    ada: Account, clock: Clock, service: ReminderService
) -> None:
    zone = ZoneInfo("Europe/Berlin")
    # the days around the beginning of the next summer time
    first = datetime(datetime.now(UTC).year + 1, 3, 24, 9, tzinfo=zone)
    todo = await ada.create(
        due_at=stamp(first), recurrence="FREQ=DAILY", time_zone="Europe/Berlin", reminders=[before(60), before(1440)]
    )
    expected = []
    for number in range(8):
        due_at = (first + timedelta(days=number)).astimezone(UTC)  # in local time
        assert (await ada.read(todo)).due_at == due_at
        for moment in (due_at - HOUR, due_at):
            clock.set(moment + SECOND)
            await service.fire_due()
        expected += [(todo.id, "60 before", due_at - HOUR), (todo.id, "due", due_at)]
        if number == 0:
            expected.append((todo.id, "1440 before", due_at - 24 * HOUR))
        await ada.todos.complete(todo.id, None, None)
        # a reminder of the next occurrence that lies ahead of the clock of the tests
        expected.append((todo.id, "1440 before", (first + timedelta(days=number + 1)).astimezone(UTC) - 24 * HOUR))
        clock.set(expected[-1][2] + SECOND)
        await service.fire_due()

    assert await ada.list_fired() == sorted(expected, key=lambda each: (each[2], each))


async def test_days_are_those_of_the_account_s_time_zone(
    store: DocumentStore, clock: Clock, service: ReminderService
) -> None:
    account = Account(store)
    await account.register("Pacific/Auckland")
    zone = ZoneInfo("Pacific/Auckland")
    day = (now() + 72 * HOUR).astimezone(zone).date()
    todo = await account.create(due_on=day.isoformat(), reminders=[before(30)])
    end, morning = end_of_day(day, zone), datetime(day.year, day.month, day.day, 8, 30, tzinfo=zone).astimezone(UTC)

    for moment in (morning - SECOND, morning + SECOND, end - SECOND, end + SECOND):
        clock.set(moment)
        await service.fire_due()

    assert await account.list_fired() == [(todo.id, "30 before", morning), (todo.id, "due", end)]


async def test_firing_is_no_change_of_the_todo(ada: Account, clock: Clock, service: ReminderService) -> None:
    due_at = in_hours(1)
    todo = await ada.create(due_at=due_at)
    created = await ada.read(todo)
    clock.set(due_at + SECOND)

    await service.fire_due()

    fired = await ada.read(todo)
    assert (fired.changed, fired.version, fired.updated_at) == (created.changed, created.version, created.updated_at)
    assert (created.next_fire, fired.next_fire) == (due_at, None)


async def test_a_change_between_two_processes_loses_nothing(ada: Account, clock: Clock, store: DocumentStore) -> None:
    due_at = in_hours(1)
    todo = await ada.create(due_at=due_at)
    clock.set(due_at + SECOND)
    services = [create_service(store, clock) for _ in range(3)]

    async def patch() -> None:
        for number in range(20):
            await ada.todos.update(todo.id, TodoUpdate(reminders=[before(number)]), None)

    await asyncio.gather(patch(), *(each.fire_due() for each in services))
    await services[0].fire_due()

    fired = await ada.list_fired()
    assert [each for each in fired if each[1] == "due"] == [(todo.id, "due", due_at)]
    assert len(fired) == len(set(fired))


async def test_todos_of_a_deleted_account_do_not_fire(
    store: DocumentStore, clock: Clock, service: ReminderService
) -> None:
    account = Account(store)
    await account.register()
    day = now().date() + timedelta(days=3)
    todo = await account.create(due_on=day.isoformat(), reminders=[before(30)])
    await store.delete(User, User.id == account.id)
    clock.set(end_of_day(day, UTC) + SECOND)

    await service.fire_due()

    assert await account.list_fired() == []
    assert (await account.read(todo)).next_fire is None


async def test_the_stored_firings_of_an_account_are_bounded(ada: Account, clock: Clock) -> None:
    due_at = in_hours(1)
    await ada.insert_due(due_at + number * MILLISECOND for number in range(1000))
    clock.set(due_at + 2 * SECOND)

    await create_service(ada.store, clock, stored=900).fire_due()

    assert len(await ada.list_fired()) == 900
