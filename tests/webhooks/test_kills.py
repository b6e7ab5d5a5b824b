"""Deliveries survive kills of the service: nothing is lost, and a repeat has the same id."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.people import Person
from tests.serving import PLAIN_HTTP, SECRET_KEY, START_SECONDS, run_on_both_stores, running_service
from tests.webhooks.receiver import running_receiver

ROUNDS = 3
TODOS = 25


async def deliver_through_kills(folder: Path, store_url: str) -> None:
    variables = {
        "STORE_URL": store_url,
        "SECRET_KEY": SECRET_KEY,
        "WEBHOOK_NETWORKS": "127.0.0.0/8",
    }
    expected: set[str] = set()
    person: Person | None = None
    secret = ""
    async with running_receiver() as receiver:
        for number in range(ROUNDS + 1):
            with running_service(folder, variables) as service:
                async with httpx.AsyncClient(base_url=service.url, timeout=START_SECONDS, verify=PLAIN_HTTP) as client:
                    if person is None:
                        person = await Person.register(client)
                        body = {"url": receiver.url, "events": ["todo.changed"]}
                        secret = (await person.post("/v1/webhooks", json=body)).json()["secret"]
                    person = person.through(client)
                    expected |= {(await person.todo(title=f"todo {number} {each}"))["id"] for each in range(TODOS)}
                    if number < ROUNDS:
                        await receiver.await_events(len({each.id for each in receiver.received}) + 1)
                        service.process.kill()
                        service.process.wait()
                        continue

                    await receiver.await_todos(expected)

        by_todo = {(each.event["data"]["id"], each.id) for each in receiver.received}
        assert len(by_todo) == len(expected)
        for each in receiver.received:
            each.verify(secret)


@pytest.mark.slow
def test_every_change_is_delivered_after_kills(tmp_path: Path, mongodb_url: str) -> None:
    """Most of the time, a consumer waits for the lease of the killed one."""
    run_on_both_stores(deliver_through_kills, tmp_path, mongodb_url)
