"""SIGKILL at random times during requests that span two documents: one effect each, and nothing revoked comes back."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faults.effects import SCENARIOS, Account
from tests.faults.figures import Figures
from tests.faults.processes import ServiceProcess
from tests.faults.writers import Client
from todo_service.bounds.requests import LEASE_SECONDS

pytestmark = pytest.mark.anyio
KILLS: Final = int(os.environ.get("FAULTS_MOMENTS", "50"))
_SPREAD: Final = 1.2
"""The service is killed within this time, in seconds; the slowest request takes about as long."""
_SECRETS: Final = ("one secret key of the tests: 32 bytes", "another secret key of the tests: long")
_RECORDS: Final = 10_000


@pytest.mark.slow
async def test_a_kill_between_two_documents_violates_no_guarantee(
    folder: Path, store_url: str, figures: Figures
) -> None:
    service = ServiceProcess(folder, store_url)
    service.set(SECRET_KEY=_SECRETS[0])
    chance = random.Random(16)  # noqa: S311  # no secret
    async with Client(service.url, figures, mortal=True).opened() as client:
        service.start()
        try:
            await client.await_ready()
            scenarios = [kind(Account(client)) for kind in SCENARIOS]
            for scenario in scenarios:
                await scenario.account.sign_up()
            for number in range(KILLS):
                running = [asyncio.create_task(scenario.run()) for scenario in scenarios]
                await asyncio.sleep(chance.random() * _SPREAD)
                await asyncio.to_thread(service.kill)
                figures.faults["service killed between two documents"] += 1
                await asyncio.gather(*running)
                present, previous = _SECRETS[1 - number % 2], _SECRETS[number % 2]
                service.set(SECRET_KEY=present, PREVIOUS_SECRET_KEYS=previous)
                service.start()
                figures.recovered("service killed between two documents", await client.await_ready())
                await asyncio.gather(*(scenario.after_restart() for scenario in scenarios))
            # concurrently: each retry of an interrupted request first watches its lease for more than a second
            await asyncio.gather(*(scenario.finish() for scenario in scenarios))
        finally:
            assert service.stop() == 0

    faults = [fault for scenario in scenarios for fault in scenario.faults]
    by_kind = {type(scenario).__name__: len(scenario.faults) for scenario in scenarios}
    assert [scenario.interrupted for scenario in scenarios] == [KILLS] * len(scenarios)
    assert not any(by_kind.values()), f"{by_kind}: {faults[:20]}"
    assert not client.faults, client.faults[:10]


async def test_an_import_that_is_repeated_while_it_runs_is_executed_once(
    folder: Path, store_url: str, figures: Figures
) -> None:
    service = ServiceProcess(folder, store_url)
    rows = "".join(f"todo {number},list {number % 3}\n" for number in range(_RECORDS))
    headers = {"Content-Type": "text/csv"}
    file: dict[str, Any] = {"content": f"title,list\n{rows}", "headers": headers, "timeout": 120}
    async with Client(service.url, figures).opened() as client:
        service.start()
        try:
            await client.await_ready()
            ada = Account(client)
            await ada.sign_up()
            began = time.monotonic()
            first = asyncio.create_task(ada.ask("POST", "/v1/todos/import", key="import", **file))
            while not first.done():
                await asyncio.wait([first], timeout=1)
                again = await ada.ask("POST", "/v1/todos/import", key="import", **file)
                assert again is not None
                assert again.status == 409 or first.done(), again
            seconds = time.monotonic() - began
            response, again = await first, await ada.ask("POST", "/v1/todos/import", key="import", **file)
            summary = await ada.retry("GET", "/v1/todos/summary")
        finally:
            assert service.stop() == 0

    assert response is not None
    assert again is not None
    assert (response.status, response.body["imported"]) == (200, _RECORDS)
    assert (again.status, again.body) == (200, response.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert sorted(each["count"] for each in summary.body["by_list"]) == [3333, 3333, 3334]
    figures.faults["lease outlived" if seconds > LEASE_SECONDS else "lease not outlived"] += 1
