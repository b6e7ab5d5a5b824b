"""Events of todos reach the receivers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from litestar import Litestar

from tests.people import Person
from tests.waiting import wait_until
from tests.web.attempts import KEY, crash_before_the_response
from tests.webhooks.receiver import Received, Receiver, running_receiver, status

pytestmark = pytest.mark.anyio
TODO_EVENTS = ["todo.changed", "todo.deleted", "todo.completed"]


async def create_hook(person: Person, url: str, *events: str, **fields: Any) -> dict[str, Any]:
    """Create a webhook and return it."""
    body = {"url": url, "events": list(events) or TODO_EVENTS} | fields
    response = await person.post("/v1/webhooks", json=body)
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


async def list_deliveries(person: Person, hook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the deliveries of a webhook, the newest first."""
    response = await person.get(f"/v1/webhooks/{hook['id']}/deliveries")
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def await_state(person: Person, hook: dict[str, Any], state: str) -> dict[str, Any]:
    """Wait until the newest delivery has a state and an attempt, and return it."""
    found: list[dict[str, Any]] = []

    async def has_state() -> bool:
        found[:] = await list_deliveries(person, hook)
        return bool(found) and found[0]["state"] == state and bool(found[0]["attempts"])

    await wait_until(has_state)
    return found[0]


async def has_attempts(person: Person, hook: dict[str, Any], number: int) -> bool:
    """Return whether the newest delivery has a number of attempts."""
    return len((await list_deliveries(person, hook))[0]["attempts"]) == number


async def test_changes_completions_and_deletions_are_delivered(ada: Person, receiver: Receiver) -> None:
    earlier = await ada.todo(title="Before the webhook")
    hook = await create_hook(ada, receiver.url)

    todo = await ada.todo(title="Water the plants")
    await receiver.await_events(1)
    completed = (await ada.post(f"/v1/todos/{todo['id']}/complete")).json()
    await receiver.await_events(3)
    await ada.delete(f"/v1/todos/{todo['id']}")
    received = await receiver.await_events(4)

    assert receiver.list_events() == [
        ("todo.changed", todo),
        ("todo.changed", completed),
        ("todo.completed", completed),
        ("todo.deleted", {"id": todo["id"]}),
    ]
    assert len({each.id for each in received}) == 4
    for each in received:
        each.verify(hook["secret"])
        assert each.headers["content-type"] == "application/json"
        assert each.headers["host"] in receiver.url
        assert each.target == "/hook?key=1"
    assert earlier["id"] not in {each.event["data"]["id"] for each in received}


async def test_every_completion_of_a_recurring_todo_is_delivered(ada: Person, receiver: Receiver) -> None:
    await create_hook(ada, receiver.url, "todo.completed")
    todo = await ada.todo(due_on="2026-01-01", recurrence="FREQ=DAILY")

    for count in (1, 2):
        await ada.post(f"/v1/todos/{todo['id']}/complete")
        await receiver.await_events(count)
    await ada.patch(f"/v1/todos/{todo['id']}", json={"title": "Renamed"})
    await ada.post(f"/v1/todos/{todo['id']}/complete")
    received = await receiver.await_events(3)

    assert len({each.event["data"]["due_on"] for each in received}) == 3


async def test_a_hook_gets_only_its_types_and_its_account(ada: Person, bob: Person, receiver: Receiver) -> None:
    await create_hook(ada, receiver.url, "todo.deleted", "list.deleted", "todo.due")

    for person in (bob, ada):
        todo = await person.todo()
        await person.delete(f"/v1/todos/{todo['id']}")
    received = await receiver.await_events(1)

    assert [each.event["data"] for each in received] == [{"id": todo["id"]}]


async def test_lists_are_delivered(ada: Person, receiver: Receiver) -> None:
    await create_hook(ada, receiver.url, "list.changed", "list.deleted", "todo.changed")

    created = (await ada.post("/v1/lists", json={"name": "Garden"})).json()
    await receiver.await_events(1)
    todo = await ada.todo(list_id=created["id"])
    await receiver.await_events(2)
    await ada.delete(f"/v1/lists/{created['id']}")
    received = await receiver.await_events(4)

    assert [each.event["data"] for each in received[:2]] == [created, todo]
    assert {each.event["type"] for each in received[2:]} == {"list.deleted", "todo.changed"}


async def test_deliveries_show_their_attempts(ada: Person, receiver: Receiver) -> None:
    hook = await create_hook(ada, receiver.url)
    receiver.answer = status(500)
    await ada.todo()
    await await_state(ada, hook, "pending")
    receiver.answer = status(200)

    [delivery] = [await await_state(ada, hook, "delivered")]

    assert [each["status_code"] for each in delivery["attempts"]] == [200, 500]
    assert delivery["attempts"][0]["at"] > delivery["attempts"][1]["at"] >= delivery["created_at"]
    assert delivery["type"] == "todo.changed"
    assert {each.id for each in receiver.received} == {delivery["id"]}
    assert receiver.received[0].body == receiver.received[1].body


async def test_a_ping_and_a_retry_are_sent_at_once(ada: Person, receiver: Receiver) -> None:
    hook = await create_hook(ada, receiver.url, "todo.deleted")

    ping = await ada.post(f"/v1/webhooks/{hook['id']}/test")
    [first] = await receiver.await_events(1)
    await await_state(ada, hook, "delivered")
    again = await ada.post(f"/v1/webhooks/{hook['id']}/deliveries/{first.id}/retry")
    received = await receiver.await_events(2)

    assert (ping.status_code, again.status_code) == (202, 202)
    assert again.json()["state"] == "pending"
    assert [each.id for each in received] == [ping.json()["id"]] * 2
    assert [each.event["type"] for each in received] == ["ping", "ping"]
    assert received[0].event["data"] == {}


async def test_a_repeated_request_for_a_retry_sends_nothing_more(
    ada: Person, receiver: Receiver, app: Litestar
) -> None:
    hook = await create_hook(ada, receiver.url, "todo.deleted")
    await ada.post(f"/v1/webhooks/{hook['id']}/test")
    [ping] = await receiver.await_events(1)
    await await_state(ada, hook, "delivered")
    path = f"/v1/webhooks/{hook['id']}/deliveries/{ping.id}/retry"
    assert (await ada.post(path, headers=KEY)).status_code == 202
    await receiver.await_events(2)
    await wait_until(lambda: has_attempts(ada, hook, 2))
    await crash_before_the_response(app)

    repeat = await ada.post(path, headers=KEY)

    assert repeat.status_code == 202
    assert (repeat.json()["state"], len(repeat.json()["attempts"])) == ("delivered", 2)


async def test_a_retry_that_fails_is_not_repeated(ada: Person, receiver: Receiver) -> None:
    hook = await create_hook(ada, receiver.url)
    await ada.post(f"/v1/webhooks/{hook['id']}/test")
    [ping] = await receiver.await_events(1)
    await await_state(ada, hook, "delivered")
    receiver.answer = status(503)

    await ada.post(f"/v1/webhooks/{hook['id']}/deliveries/{ping.id}/retry")

    assert [each["status_code"] for each in (await await_state(ada, hook, "failed"))["attempts"]] == [503, 204]


async def test_what_happens_while_a_hook_is_paused_is_not_sent(ada: Person, receiver: Receiver) -> None:
    hook = await create_hook(ada, receiver.url)
    await ada.todo(title="first")
    await receiver.await_events(1)

    await ada.patch(f"/v1/webhooks/{hook['id']}", json={"enabled": False})
    paused = await ada.todo(title="meanwhile")
    await ada.post(f"/v1/todos/{paused['id']}/complete")
    enabled = await ada.patch(f"/v1/webhooks/{hook['id']}", json={"enabled": True})
    await ada.todo(title="last")
    await receiver.await_events(2)
    await ada.patch(f"/v1/todos/{paused['id']}", json={"title": "renamed"})
    await receiver.await_events(3)

    assert enabled.json()["enabled"]
    assert [data["title"] for _, data in receiver.list_events()] == ["first", "last", "renamed"]


async def test_gone_disables_the_hook(ada: Person, receiver: Receiver) -> None:
    hook = await create_hook(ada, receiver.url)
    receiver.answer = status(410)
    await ada.todo()

    delivery = await await_state(ada, hook, "failed")

    async def is_disabled() -> bool:
        return not (await ada.get(f"/v1/webhooks/{hook['id']}")).json()["enabled"]

    await wait_until(is_disabled)
    shown = (await ada.get(f"/v1/webhooks/{hook['id']}")).json()
    assert (shown["disabled_reason"], shown["version"]) == ("gone", 2)
    assert [each["status_code"] for each in delivery["attempts"]] == [410]
    refused = await ada.post(f"/v1/webhooks/{hook['id']}/test")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:todo-service:problem:disabled")
    enabled = (await ada.patch(f"/v1/webhooks/{hook['id']}", json={"enabled": True})).json()
    assert enabled["disabled_reason"] is None


async def test_both_secrets_sign_after_a_rotation(ada: Person, receiver: Receiver) -> None:
    hook = await create_hook(ada, receiver.url)

    rotated = (await ada.post(f"/v1/webhooks/{hook['id']}/secret")).json()
    again = (await ada.post(f"/v1/webhooks/{hook['id']}/secret")).json()
    await ada.todo()
    [received] = await receiver.await_events(1)

    assert len({hook["secret"], rotated["secret"], again["secret"]}) == 3
    for secret in (hook["secret"], rotated["secret"], again["secret"]):
        received.verify(secret)


async def test_a_deleted_hook_gets_nothing_more(ada: Person, receiver: Receiver) -> None:
    async with running_receiver() as other:
        hook = await create_hook(ada, receiver.url)
        await create_hook(ada, other.url)
        await ada.todo()
        await receiver.await_events(1)
        await other.await_events(1)

        assert (await ada.delete(f"/v1/webhooks/{hook['id']}")).status_code == 204
        await ada.todo()
        await other.await_events(2)

        assert len(receiver.received) == 1
        assert (await ada.get(f"/v1/webhooks/{hook['id']}/deliveries")).status_code == 404


async def test_a_dead_receiver_delays_no_other(ada: Person, receiver: Receiver) -> None:
    async with running_receiver() as dead:
        await create_hook(ada, dead.url)
        await create_hook(ada, receiver.url)
        dead.answer = status(500)
        for number in range(3):
            await ada.todo(title=f"todo {number}")
        await receiver.await_events(3)
        await dead.await_events(3)

        dead.answer = status(204)
        await dead.await_events(6)

    assert [data["title"] for _, data in receiver.list_events()] == ["todo 0", "todo 1", "todo 2"]


async def test_a_silent_receiver_delays_no_other(ada: Person, receiver: Receiver) -> None:
    async def wait(_: Received, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with running_receiver() as silent:
        silent.answer = wait
        await create_hook(ada, silent.url)
        await create_hook(ada, receiver.url)
        await ada.todo(title="first")
        await silent.await_events(1)
        for number in range(3):
            await ada.todo(title=f"todo {number}")
            await receiver.await_events(number + 2)

        assert len(silent.received) == 1


async def test_attempts_and_their_lag_are_measured(ada: Person, receiver: Receiver) -> None:
    hook = await create_hook(ada, receiver.url)
    await ada.todo()
    await await_state(ada, hook, "delivered")

    text = (await ada.client.get("/metrics")).text

    assert 'todo_service_webhook_attempts_total{outcome="delivered"} 1.0' in text
    assert "todo_service_webhook_lag_seconds_count 1.0" in text
