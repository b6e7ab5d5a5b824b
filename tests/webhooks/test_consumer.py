"""Retries, disabled receivers, and several workers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from odmantic import ObjectId

from tests.clock import Clock
from tests.people import UserCreateFactory
from tests.todos.accounts import parts
from tests.waiting import PATIENCE, wait_until
from tests.webhooks.harness import KEY, Account, Steps, serving
from tests.webhooks.receiver import Received, Receiver, running_receiver, status
from todo_service.bounds.webhooks import (
    CONCURRENT_ATTEMPTS_OF_ACCOUNT,
    CONCURRENT_FIRST_ATTEMPTS,
    CONCURRENT_SLOW_ATTEMPTS,
    MAX_WEBHOOKS,
    PENDING_DELIVERIES,
)
from todo_service.services import MODELS, create_administration
from todo_service.settings import Settings
from todo_service.store.base import DocumentStore
from todo_service.store.instrumentation import observe
from todo_service.store.registry import create_store
from todo_service.store.transfer.copying import copy
from todo_service.timestamps import now
from todo_service.todos.dto import TodoCreate
from todo_service.webhooks.consumer import CHANGE_POLL_SECONDS, WebhookConsumer
from todo_service.webhooks.deliveries import RETRY_DELAYS, build_delivery, record_attempt
from todo_service.webhooks.documents import Webhook
from todo_service.webhooks.dto import WebhookUpdate, WebhookWithSecret
from todo_service.webhooks.lanes import Speed
from todo_service.webhooks.runner import HookRunner
from todo_service.webhooks.secret_box import SecretBox, reencrypt_secrets
from todo_service.webhooks.sender import AttemptOutcome, Sender
from todo_service.webhooks.signing import format_secret
from todo_service.webhooks.sources import Event
from todo_service.webhooks.workers import LEASE_SECONDS, WorkerGroup, choose_worker

pytestmark = pytest.mark.anyio


async def read_holder(account: Account, hook: WebhookWithSecret) -> ObjectId | None:
    return (await account.get_hook(hook)).holder


async def fill_lane(slots: AsyncExitStack, sender: Sender, speed: Speed, attempts: int) -> None:
    """Take all slots of a lane, each for another account."""
    for _ in range(attempts):
        await slots.enter_async_context(sender.enter_lane(ObjectId(), speed))


async def test_a_webhook_that_is_paused_while_an_attempt_waits_gets_nothing(
    account: Account, receiver: Receiver
) -> None:
    hook = await account.create_hook(receiver.url)
    context = account.create_context(WorkerGroup(account.store, ObjectId()))
    async with AsyncExitStack() as slots, serving(WebhookConsumer(context)) as consumer:
        await fill_lane(slots, context.sender, Speed.UNKNOWN, CONCURRENT_FIRST_ATTEMPTS)
        await account.todos.create(TodoCreate(title="Sow"))
        await account.wake(hook, consumer)
        await wait_until(account.list_states)
        await account.webhooks.update(hook.id, WebhookUpdate(enabled=False), None)
        await slots.aclose()
        async with running_receiver() as other:
            second = await account.create_hook(other.url)
            await account.todos.create(TodoCreate(title="Mow"))
            await account.wake(second, consumer)
            await other.await_events(1)

    assert receiver.received == []


async def answer_never(_: Received, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_silent_receivers_of_an_account_occupy_only_its_share_of_the_attempts(
    account: Account, receiver: Receiver
) -> None:
    other = Account(account.store)
    context = account.create_context(WorkerGroup(account.store, ObjectId()))
    context = context._replace(sender=Sender(account.receivers, seconds=PATIENCE))
    async with running_receiver() as silent:
        silent.answer = answer_never
        for _ in range(MAX_WEBHOOKS):
            await account.create_hook(silent.url)
        await other.create_hook(receiver.url)
        await account.todos.create(TodoCreate(title="Water the plants"))
        async with serving(WebhookConsumer(context)):
            await silent.await_events(CONCURRENT_ATTEMPTS_OF_ACCOUNT)
            for number in range(3):
                await other.todos.create(TodoCreate(title=f"todo {number}"))
                await receiver.await_events(number + 1)

            assert len(silent.received) == CONCURRENT_ATTEMPTS_OF_ACCOUNT


async def test_first_attempts_to_new_receivers_delay_no_receiver_that_is_quick(
    account: Account, receiver: Receiver
) -> None:
    await account.create_hook(receiver.url)
    context = account.create_context(WorkerGroup(account.store, ObjectId()))
    async with AsyncExitStack() as slots, serving(WebhookConsumer(context)):
        await account.todos.create(TodoCreate(title="first"))
        await receiver.await_events(1)
        await fill_lane(slots, context.sender, Speed.UNKNOWN, CONCURRENT_FIRST_ATTEMPTS)
        await fill_lane(slots, context.sender, Speed.SLOW, CONCURRENT_SLOW_ATTEMPTS)

        await account.todos.create(TodoCreate(title="second"))
        await receiver.await_events(2)


async def test_attempts_follow_the_schedule_of_the_contract(account: Account) -> None:
    hook = await account.get_hook(await account.create_hook("http://127.0.0.1:9999/"))
    moment = now()
    delivery = build_delivery(hook, Event("ping", "", "", {}), moment)
    delays = []
    while delivery.state == "pending":
        assert delivery.due_at is not None
        moment = delivery.due_at
        changes = record_attempt(delivery, AttemptOutcome(status_code=500), moment, moment)
        delivery = delivery.model_copy(update=changes)
        if delivery.due_at is not None:
            delays.append((delivery.due_at - moment).total_seconds())

    assert delays == [5, 300, 1800, *(3600 * hours for hours in (2, 5, 10, 14, 20, 24))]
    assert (delivery.state, delivery.tries, len(delivery.attempts)) == ("failed", 10, 10)


async def test_a_longer_retry_after_is_honored(account: Account) -> None:
    hook = await account.get_hook(await account.create_hook("http://127.0.0.1:9999/"))
    moment = now()
    delivery = build_delivery(hook, Event("ping", "", "", {}), moment)

    for seconds, expected in ((1, RETRY_DELAYS[0]), (600, timedelta(seconds=600))):
        outcome = AttemptOutcome(status_code=503, retry_after=timedelta(seconds=seconds))
        assert record_attempt(delivery, outcome, moment, moment)["due_at"] == moment + expected


async def test_a_receiver_that_fails_for_a_while_gets_everything(account: Account, receiver: Receiver) -> None:
    clock = Clock()
    hook = await account.create_hook(receiver.url)
    receiver.answer = status(500)
    count = PENDING_DELIVERIES + 20
    async with serving(account.create_consumer(clock)) as consumer:
        for number in range(count):
            await account.todos.create(TodoCreate(title=f"todo {number}"))
        await receiver.await_events(PENDING_DELIVERIES)
        receiver.answer = status(204)
        clock.ahead = timedelta(minutes=4, seconds=50)  # the library accepts five minutes

        async def has_everything() -> bool:
            await account.wake(hook, consumer)
            return account.outcomes.count("delivered") == count

        await wait_until(has_everything)

    delivered = {each.event["data"]["title"] for each in receiver.received}
    assert delivered == {f"todo {number}" for number in range(count)}
    assert len({each.id for each in receiver.received}) == count
    for each in receiver.received:
        each.verify(hook.secret)


async def test_the_lag_begins_with_the_event(account: Account, receiver: Receiver) -> None:
    await account.create_hook(receiver.url)
    await account.todos.create(TodoCreate(title="an hour ago"))
    clock = Clock()
    clock.ahead = timedelta(hours=1)
    async with serving(account.create_consumer(clock)):
        await receiver.await_events(1)
        await wait_until(lambda: _is_recorded(account))

    assert account.lags == [pytest.approx(3600, abs=60)]


async def _is_recorded(account: Account) -> bool:
    return account.outcomes == ["delivered"]


async def test_five_days_without_a_success_disable_the_hook(account: Account, receiver: Receiver) -> None:
    clock = Clock()
    hook = await account.create_hook(receiver.url)
    receiver.answer = status(500)
    async with serving(account.create_consumer(clock)) as consumer:
        await account.deliveries.send_ping(hook.id, None)
        await account.wake(hook, consumer)
        await receiver.await_events(1)

        async def is_failing() -> bool:
            return (await account.get_hook(hook)).failing_since is not None

        await wait_until(is_failing)
        clock.ahead = timedelta(days=4, hours=23)
        await account.wake(hook, consumer)
        await receiver.await_events(2)
        assert (await account.get_hook(hook)).enabled
        clock.ahead = timedelta(days=5, minutes=1)
        await account.wake(hook, consumer)

        async def is_disabled() -> bool:
            return not (await account.get_hook(hook)).enabled

        await wait_until(is_disabled)

    assert (await account.webhooks.get(hook.id)).disabled_reason == "failing"


async def test_a_disabled_account_gets_nothing_until_it_is_enabled(
    store: DocumentStore, settings: Settings, receiver: Receiver
) -> None:
    clock = Clock()
    with create_administration(settings, store) as administration:
        user = await administration.create(UserCreateFactory.build(display_name="", time_zone="UTC"))
        account = Account(store, user_id=ObjectId(user.id))
        hook = await account.create_hook(receiver.url)
        receiver.answer = status(500)
        async with serving(account.create_consumer(clock)) as consumer:
            await account.todos.create(TodoCreate(title="fails"))

            async def has_failed() -> bool:
                return account.outcomes == ["retried"]

            await wait_until(has_failed)
            receiver.answer = status(204)
            user = await administration.disable(user)
            await account.todos.create(TodoCreate(title="waits"))
            clock.ahead = timedelta(days=6)  # the retry is due, and the receiver has failed for more than five days

            async def has_stopped() -> bool:
                await account.wake(hook, consumer)
                return account.stops >= 2

            await wait_until(has_stopped)
            assert len(receiver.received) == 1
            await administration.enable(user)
            await account.wake(hook, consumer)
            first, *later = await receiver.await_events(3)

    assert {each.event["data"]["title"] for each in later} == {"fails", "waits"}
    assert first.id in {each.id for each in later}
    assert (await account.get_hook(hook)).version == 1


async def test_an_unanswered_delivery_is_repeated_with_the_same_id_after_a_restart(
    account: Account, receiver: Receiver
) -> None:
    receiver.answer = answer_never
    hook = await account.create_hook(receiver.url)
    async with serving(account.create_consumer()):
        await account.todos.create(TodoCreate(title="Water the plants"))
        await receiver.await_events(1)
    receiver.answer = status(204)

    async with serving(account.create_consumer()):
        first, second = await receiver.await_events(2)

    assert first.id == second.id
    assert first.body == second.body
    second.verify(hook.secret)


async def test_one_worker_serves_each_hook(account: Account, receiver: Receiver) -> None:
    hooks = [await account.create_hook(receiver.url) for _ in range(8)]
    first, second = account.create_consumer(), account.create_consumer()
    async with serving(first), serving(second):

        async def is_shared() -> bool:
            await asyncio.gather(first.tick(), second.tick())
            holders = [await read_holder(account, hook) for hook in hooks]
            alive = [worker for worker in set(holders) if worker is not None]
            return None not in holders and all(
                holder == choose_worker(ObjectId(hook.id), alive) for hook, holder in zip(hooks, holders, strict=True)
            )

        await wait_until(is_shared)
        await account.todos.create(TodoCreate(title="Water the plants"))
        received = await receiver.await_events(8)

    assert len({each.id for each in received}) == len(received) == 8


async def test_the_hooks_of_a_dead_worker_are_taken_over(account: Account, receiver: Receiver) -> None:
    hook = await account.create_hook(receiver.url)
    steps = Steps()
    dead, other = account.create_consumer(), account.create_consumer(steps=steps)
    await dead.tick()
    holder = await read_holder(account, hook)
    async with serving(other):
        for _ in range(4):
            await other.tick()
            assert await read_holder(account, hook) == holder
            steps.seconds += LEASE_SECONDS / 3
        await other.tick()
        assert await read_holder(account, hook) not in (holder, None)

        await account.todos.create(TodoCreate(title="Water the plants"))
        await receiver.await_events(1)
    await dead.__aexit__(None, None, None)


async def test_a_worker_that_was_suspended_serves_each_hook_once(account: Account, receiver: Receiver) -> None:
    hook = await account.create_hook(receiver.url)
    ids = {ObjectId(), ObjectId()}
    favored = choose_worker(ObjectId(hook.id), ids)
    (other,) = ids - {favored}
    suspended_clock, clock = Steps(), Steps()
    suspended = WorkerGroup(account.store, favored, suspended_clock)

    def list_runners() -> list[str]:
        return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == f"webhook {hook.id}"]

    async with (
        WebhookConsumer(account.create_context(suspended)) as consumer,
        WebhookConsumer(account.create_context(WorkerGroup(account.store, other, clock))) as survivor,
    ):
        await consumer.tick()
        for _ in range(8):
            await survivor.tick()
            clock.seconds += LEASE_SECONDS / 4
        assert await read_holder(account, hook) == other

        suspended_clock.seconds += clock.seconds
        await consumer.beat()
        await survivor.tick()
        assert await read_holder(account, hook) is None
        await consumer.tick()

        assert await read_holder(account, hook) == favored
        assert len(list_runners()) == 1


async def test_a_worker_without_a_heartbeat_sends_nothing(account: Account, receiver: Receiver) -> None:
    steps = Steps()
    hook = await account.create_hook(receiver.url)
    async with running_receiver() as other_receiver:
        other = await account.create_hook(other_receiver.url)
        async with serving(account.create_consumer(steps=steps)) as consumer:
            await account.todos.create(TodoCreate(title="before"))
            await receiver.await_events(1)
            await other_receiver.await_events(1)
            steps.seconds += LEASE_SECONDS
            await account.todos.create(TodoCreate(title="late"))
            await account.deliveries.send_ping(hook.id, None)
            states = await account.list_states()
            assert states.count(("pending", 0)) == 1

            await account.wake(other, consumer)  # the tick writes the heartbeat again
            await receiver.await_types("ping", "todo.changed")
            await other_receiver.await_events(2)


async def test_idle_hooks_cost_no_store_calls_of_their_own(store: DocumentStore) -> None:
    calls = Counter[str]()
    observe(store, lambda operation, seconds, available: calls.update([operation]))

    async def count_calls(polls: int) -> float:
        """Return the number of store calls for each poll for changes, while there are some polls."""

        async def have_passed() -> bool:
            return calls["resolved_stamp"] >= polls

        calls.clear()
        began = time.monotonic()
        await wait_until(have_passed)
        return calls.total() / ((time.monotonic() - began) / CHANGE_POLL_SECONDS + 1)

    async def is_idle() -> bool:
        return await count_calls(4) <= calls_of_poll

    calls_of_poll = 1 + 3  # the resolved stamp, and the documents of each kind
    counted = []
    for number in (5, 50):
        for _ in range(number // 5):
            account = Account(store)
            for _ in range(5):
                await account.create_hook("http://127.0.0.1:9999/")
        async with serving(account.create_consumer()):
            await wait_until(is_idle)
            counted.append(await count_calls(8))

    assert max(counted) <= calls_of_poll


async def test_a_change_wakes_the_idle_hooks_of_its_account(account: Account, receiver: Receiver) -> None:
    await account.create_hook(receiver.url, "todo.changed")
    calls = Counter[str]()
    observe(account.store, lambda operation, seconds, available: calls.update([operation]))

    async def has_polled() -> bool:
        return calls["resolved_stamp"] >= 6

    async with serving(account.create_consumer()):
        for number in range(1, 3):
            await wait_until(has_polled)
            await account.todos.create(TodoCreate(title=f"todo {number}"))
            await receiver.await_events(number)
            calls.clear()


async def test_a_backlog_of_unwanted_changes_does_not_delay_an_event(account: Account, receiver: Receiver) -> None:
    await account.create_hook(receiver.url, "todo.completed")
    # with a pause after each page, it would take longer than the test waits
    for part in parts(account.id, 35 * PENDING_DELIVERIES):
        await account.store.insert(*part)
    todo = await account.todos.create(TodoCreate(title="wanted"))
    await account.todos.complete(todo.id, None, None)

    async with serving(account.create_consumer()):
        await receiver.await_events(1)


async def test_nothing_remains_of_a_hook_that_is_deleted_while_its_events_are_read(
    account: Account, receiver: Receiver
) -> None:
    hook = await account.create_hook(receiver.url)
    await account.todos.create(TodoCreate(title="Water the plants"))
    workers = WorkerGroup(account.store, ObjectId())
    await workers.beat()
    await account.store.update(Webhook, Webhook.id == ObjectId(hook.id), changes={"holder": workers.worker_id})
    reads = 0

    async def delete_hook(_: ObjectId) -> bool:
        # the runner asks whether the account is disabled after it has read the webhook, the second time for the events
        nonlocal reads
        reads += 1
        if reads == 2:
            await account.webhooks.delete(hook.id, None)
        return False

    context = account.create_context(workers)._replace(is_disabled=delete_hook)
    await HookRunner(ObjectId(hook.id), context).run()

    assert await account.list_states() == []
    assert receiver.received == []


async def test_deliveries_go_on_after_a_copy(
    account: Account, receiver: Receiver, store: DocumentStore, store_url: str, tmp_path: Path
) -> None:
    hook = await account.create_hook(receiver.url)
    await account.todos.create(TodoCreate(title="before the copy"))
    await store.close()
    target = f"lmdb://{tmp_path / 'copy'}"
    await copy(store_url, target, MODELS)
    copied = create_store(target)
    await copied.open(*MODELS)
    moved = Account(copied)
    moved.id = account.id
    moved.todos = Account(copied).todos

    async with serving(moved.create_consumer()):
        [received] = await receiver.await_events(1)

    assert received.event["data"]["title"] == "before the copy"
    received.verify(hook.secret)
    await copied.close()


async def test_a_rotation_of_the_secret_key_encrypts_the_secrets_again(store: DocumentStore) -> None:
    old, new = KEY, KEY[::-1]
    account = Account(store, old)
    hook = await account.create_hook("http://127.0.0.1:9999/")

    await reencrypt_secrets(store, SecretBox([new, old]))

    stored = await account.get_hook(hook)
    assert format_secret(SecretBox([new]).decrypt(stored.secrets[0].box, stored.id)) == hook.secret
    assert stored.version == 1


async def test_a_secret_belongs_to_its_webhook(account: Account, receiver: Receiver) -> None:
    first, second = await account.create_hook(receiver.url), await account.create_hook(receiver.url)
    stolen = (await account.get_hook(first)).secrets
    await account.store.update(Webhook, Webhook.id == ObjectId(second.id), changes={"secrets": stolen})
    await account.webhooks.delete(first.id, None)
    async with serving(account.create_consumer()) as consumer:
        await account.deliveries.send_ping(second.id, None)
        await account.wake(second, consumer)

        async def has_failed() -> bool:
            return account.outcomes == ["retried"]

        await wait_until(has_failed)

    [delivery] = await account.deliveries.list_deliveries(second.id)
    assert delivery.attempts[0].error == "the signing secret cannot be decrypted: replace it"
    assert receiver.received == []
