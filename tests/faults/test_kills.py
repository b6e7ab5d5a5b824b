"""SIGKILL at random times under load: acknowledged writes survive, and retries have no second effect."""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.faults.figures import Figures
from tests.faults.processes import ServiceProcess
from tests.faults.writers import Client, Writers
from tests.mongod import Mongod

pytestmark = pytest.mark.anyio
KILLS: Final = int(os.environ.get("FAULTS_KILLS", "200"))
_LANES: Final = 2


@pytest.mark.slow
async def test_acknowledged_writes_survive_a_kill_of_the_service_on_the_embedded_store(
    tmp_path: Path, figures: Figures
) -> None:
    async def lane(number: int) -> None:
        folder = tmp_path / f"lane-{number}"
        folder.mkdir()
        service = ServiceProcess(folder, f"lmdb://{folder / 'store'}")
        chance = random.Random(number)  # noqa: S311  # no secret
        async with Client(service.url, figures, mortal=True).opened() as client:
            try:
                service.start()
                await client.await_ready()
                await client.sign_up()
                writers = Writers(client, number)
                for _ in range(KILLS // _LANES):
                    async with writers.writing():
                        await writers.await_acknowledged(chance.randrange(5, 40))
                        await asyncio.sleep(chance.random() * 0.01)
                        await asyncio.to_thread(service.kill)
                        figures.faults["service killed (embedded)"] += 1
                    service.start()
                    figures.recovered("service killed (embedded)", await client.await_ready())
                await writers.finish()
                await writers.compare("embedded", figures)
            finally:
                assert service.stop() == 0

    await asyncio.gather(*(lane(number) for number in range(_LANES)))


@pytest.mark.slow
async def test_acknowledged_writes_survive_a_kill_of_mongod_or_the_service(tmp_path: Path, figures: Figures) -> None:
    async def lane(number: int) -> None:
        folder = tmp_path / f"lane-{number}"
        (folder / "mongod").mkdir(parents=True)
        mongod = Mongod(folder / "mongod", "--wiredTigerCacheSizeGB", "0.25")
        service = ServiceProcess(folder, f"{mongod.url}/todo")
        chance = random.Random(number)  # noqa: S311  # no secret
        async with AsyncExitStack() as stack:
            await asyncio.to_thread(mongod.start)
            stack.callback(mongod.stop)
            client = await stack.enter_async_context(Client(service.url, figures).opened())
            service.start()
            stack.callback(service.stop)
            await client.await_ready()
            await client.sign_up()
            writers = Writers(client, number)
            for _ in range(KILLS // 2 // _LANES):
                async with writers.writing():
                    await writers.await_acknowledged(chance.randrange(5, 30))
                    async with client.checking_liveness():
                        await asyncio.to_thread(mongod.kill)
                        figures.faults["mongod killed"] += 1
                        await asyncio.to_thread(mongod.start)
                        back = time.monotonic()
                        await writers.await_acknowledged(1)
                        figures.recovered("mongod killed", time.monotonic() - back)
                    await writers.await_acknowledged(chance.randrange(5, 40))
                    await asyncio.sleep(chance.random() * 0.01)
                    client.mortal = True
                    await asyncio.to_thread(service.kill)
                    figures.faults["service killed (mongodb)"] += 1
                service.start()
                figures.recovered("service killed (mongodb)", await client.await_ready())
                client.mortal = False
            await writers.finish()
            await writers.compare("mongodb", figures)

    await asyncio.gather(*(lane(number) for number in range(_LANES)))
