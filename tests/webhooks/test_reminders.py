"""Webhooks for due dates and reminders."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

import msgspec
import pytest

from tests.clock import Clock
from tests.reminders.harness import create_service
from tests.webhooks.harness import Account, serving
from tests.webhooks.receiver import Receiver, status
from todo_service.reminders.documents import Firing
from todo_service.store.base import DocumentStore
from todo_service.timestamps import Timestamp, format_timestamp, now
from todo_service.todos.dto import Todo, TodoCreate
from todo_service.todos.reminder_types import ReminderCreate

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)


async def create_due(account: Account, clock: Clock) -> tuple[Todo, Timestamp]:
    """Create a todo that is due in an hour, with a reminder half an hour earlier, and set the clock past both."""
    due_at = Timestamp.fromtimestamp((now() + HOUR).timestamp(), UTC).replace(microsecond=0)
    todo = await account.todos.create(
        TodoCreate(title="Water the plants", due_at=due_at, reminders=[ReminderCreate(minutes_before=30)])
    )
    clock.set(due_at + timedelta(seconds=1))
    return todo, due_at


async def test_due_dates_and_reminders_are_sent_once(account: Account, receiver: Receiver) -> None:
    clock = Clock()
    services = [create_service(account.store, clock) for _ in range(2)]
    hook = await account.create_hook(receiver.url, "todo.due", "todo.reminder")
    async with serving(account.create_consumer()):
        todo, due_at = await create_due(account, clock)
        for service in services:
            await service.fire_due()
        received = await receiver.await_events(2)
        # a later event, so that a second one of the same due date would have been sent before
        await create_due(account, clock)
        await services[0].fire_due()
        await receiver.await_events(4)

    shown: Any = msgspec.to_builtins(todo)
    events = {each.event["type"]: each.event["data"] for each in received[:2]}
    assert events == {
        "todo.reminder": {
            "todo": shown,
            "reminder": {"minutes_before": 30},
            "occurrence": format_timestamp(due_at - HOUR / 2),
        },
        "todo.due": {"todo": shown, "reminder": None, "occurrence": format_timestamp(due_at)},
    }
    assert len(receiver.received) == len({each.id for each in receiver.received}) == 4
    for each in receiver.received:
        each.verify(hook.secret)
        assert set(each.event) == {"type", "timestamp", "data"}


async def test_a_retry_has_the_same_id_and_body(account: Account, receiver: Receiver) -> None:
    clock = Clock()
    hook = await account.create_hook(receiver.url, "todo.due")
    receiver.answer = status(500)
    async with serving(account.create_consumer()) as consumer:
        await create_due(account, clock)
        await create_service(account.store, clock).fire_due()
        await receiver.await_events(1)
        receiver.answer = status(204)
        await account.wake(hook, consumer)
        first, second = await receiver.await_events(2)

    assert (first.id, first.body) == (second.id, second.body)


async def test_a_hook_that_is_served_later_gets_what_fired_after_it_was_created(
    account: Account, receiver: Receiver
) -> None:
    clock = Clock()
    await account.create_hook(receiver.url, "todo.reminder")
    async with serving(account.create_consumer()):
        pass  # the hook has its position from now on
    todo, _ = await create_due(account, clock)
    await create_service(account.store, clock).fire_due()

    async with serving(account.create_consumer()):
        received = await receiver.await_events(1)

    assert [(each.event["type"], each.event["data"]["todo"]["id"]) for each in received] == [("todo.reminder", todo.id)]


async def test_a_deleted_todo_sends_nothing(account: Account, receiver: Receiver) -> None:
    clock = Clock()
    await account.create_hook(receiver.url, "todo.due", "todo.deleted")
    async with serving(account.create_consumer()):
        pass
    todo, _ = await create_due(account, clock)
    await create_service(account.store, clock).fire_due()
    await account.todos.delete(todo.id, None)
    following, _ = await create_due(account, clock)
    await create_service(account.store, clock).fire_due()

    async with serving(account.create_consumer()):
        await receiver.await_types("todo.deleted", "todo.due")

    dues = [each.event["data"]["todo"]["id"] for each in receiver.received if each.event["type"] == "todo.due"]
    assert dues == [following.id]


async def test_webhooks_of_other_accounts_get_nothing(
    account: Account, store: DocumentStore, receiver: Receiver
) -> None:
    clock = Clock()
    other = Account(store)
    await account.create_hook(receiver.url, "todo.due")
    async with serving(account.create_consumer()):
        await create_due(other, clock)
        await create_service(store, clock).fire_due()
        todo, _ = await create_due(account, clock)
        await create_service(store, clock).fire_due()
        await receiver.await_events(1)

    assert len([each async for each in store.scan(Firing)]) == 4
    assert {each.event["data"]["todo"]["id"] for each in receiver.received} == {todo.id}
