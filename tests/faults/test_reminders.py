"""Reminders fire once, as their receivers see them, while replicas are killed."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.faults.figures import Figures
from tests.faults.processes import running_processes
from tests.people import Person
from tests.serving import PLAIN_HTTP, START_SECONDS
from tests.waiting import wait_until
from tests.webhooks.receiver import Received, Receiver, running_receiver, status

pytestmark = pytest.mark.anyio
REMINDERS: Final = int(os.environ.get("FAULTS_REMINDERS", "600"))
"""The number of reminders. They fire at a rate of 10 000 per minute, but over at least six seconds."""
REPLICAS: Final = 3
LATEST_SECONDS: Final = 40
"""How late the first attempt of a reminder may be if a replica is killed."""
_OF_ACCOUNT: Final = 250
_WINDOW: Final = timedelta(seconds=max(6.0, REMINDERS * 60 / 10_000))
_PREPARATION: Final = timedelta(seconds=5 + REMINDERS / 200)
"""The time in which the todos are written."""


class Arrivals:
    """When the deliveries of each reminder arrived.

    Attributes:
        first: When the first attempt of each delivery arrived, by `webhook-id`.
        ids: The ids of the deliveries, by todo.
        lateness: By how many seconds the first attempt was late, by `webhook-id`.
        fired: By how many seconds the reminder fired late, by `webhook-id`.
    """

    def __init__(self) -> None:
        self.first: dict[str, datetime] = {}
        self.ids: defaultdict[str, set[str]] = defaultdict(set)
        self.lateness: dict[str, float] = {}
        self.fired: dict[str, float] = {}
        self._accept = status(204)

    async def answer(self, received: Received, writer: asyncio.StreamWriter) -> None:
        """Accept a delivery, as `receiver.Answer`."""
        moment = datetime.now(UTC)
        data = received.event["data"]
        self.ids[data["todo"]["id"]].add(received.id)
        if received.id not in self.first:
            self.first[received.id] = moment
            occurrence = datetime.fromisoformat(data["occurrence"])
            self.lateness[received.id] = (moment - occurrence).total_seconds()
            fired_at = datetime.fromisoformat(received.event["timestamp"])
            self.fired[received.id] = (fired_at - occurrence).total_seconds()
        await self._accept(received, writer)


async def create_reminders(url: str, receiver: Receiver, start: datetime) -> set[str]:
    """Create accounts with webhooks and todos whose reminders are spread over the window, and return the titles."""
    titles: set[str] = set()
    async with httpx.AsyncClient(base_url=url, timeout=START_SECONDS, verify=PLAIN_HTTP) as client:
        for first in range(0, REMINDERS, _OF_ACCOUNT):
            person = await Person.register(client)
            hook = await person.post("/v1/webhooks", json={"url": receiver.url, "events": ["todo.reminder"]})
            assert hook.status_code == 201, hook.text
            numbers = range(first, min(first + _OF_ACCOUNT, REMINDERS))
            todos: list[dict[str, Any]] = [
                {"title": str(each), "reminders": [{"at": (start + _WINDOW * each / REMINDERS).isoformat()}]}
                for each in numbers
            ]
            imported = await person.post("/v1/todos/import", json={"todos": todos})
            assert imported.status_code == 200, imported.text
            assert imported.json()["imported"] == len(todos), imported.text
            titles |= {todo["title"] for todo in todos}
    return titles


@pytest.mark.slow
async def test_each_reminder_fires_once_while_replicas_are_killed(
    tmp_path: Path, store_url: str, figures: Figures
) -> None:
    arrivals = Arrivals()
    variables = {"WEBHOOK_NETWORKS": "127.0.0.0/8", "DATA_DIR": str(tmp_path)}
    async with (
        running_receiver() as receiver,
        running_processes(tmp_path, store_url, REPLICAS, **variables) as replicas,
    ):
        receiver.answer = arrivals.answer
        start = datetime.now(UTC) + _PREPARATION
        titles = await create_reminders(replicas[0].url, receiver, start)
        assert datetime.now(UTC) < start, "the machine is too slow to write the todos in time"
        for number, replica in enumerate(replicas[:2], 1):
            moment = start + _WINDOW * number / REPLICAS
            await asyncio.sleep((moment - datetime.now(UTC)).total_seconds())
            await asyncio.to_thread(replica.kill)
            figures.faults["replica killed while reminders fire"] += 1

        async def have_arrived() -> bool:
            return len(arrivals.ids) >= len(titles)

        await asyncio.sleep((start + _WINDOW - datetime.now(UTC)).total_seconds())
        await wait_until(have_arrived)

    assert {each.event["data"]["todo"]["title"] for each in receiver.received} == titles
    assert [ids for ids in arrivals.ids.values() if len(ids) != 1] == []
    assert len(arrivals.first) == REMINDERS
    assert min(arrivals.fired.values()) >= 0
    store, worst = store_url.partition(":")[0], max(arrivals.lateness.values())
    figures.lateness |= {f"fired on {store}": max(arrivals.fired.values()), f"sent on {store}": worst}
    assert worst < LATEST_SECONDS
