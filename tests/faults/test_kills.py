"""SIGKILL at random moments under load: what was answered is there, and no repeat has a second effect."""

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


async def test_the_service_is_killed_on_the_embedded_store(tmp_path: Path, figures: Figures) -> None:
    async def lane(number: int) -> None:
        folder = tmp_path / f"lane-{number}"
        folder.mkdir()
        service = ServiceProcess(folder, f"lmdb://{folder / 'store'}")
        chance = random.Random(number)  # noqa: S311  # no secret
        async with Client(service.url, figures, mortal=True).opened() as client:
            try:
                service.start()
                await client.until_ready()
                await client.sign_up()
                writers = Writers(client, number)
                for _ in range(KILLS // _LANES):
                    async with writers.writing():
                        await writers.until_acknowledged(chance.randrange(5, 40))
                        await asyncio.sleep(chance.random() * 0.01)
                        await asyncio.to_thread(service.kill)
                        figures.faults["service killed (embedded)"] += 1
                    service.start()
                    figures.recovered("service killed (embedded)", await client.until_ready())
                await writers.finish()
                await writers.compare("embedded", figures)
            finally:
                assert service.stop() == 0

    await asyncio.gather(*(lane(number) for number in range(_LANES)))


async def test_mongod_and_the_service_are_killed(tmp_path: Path, figures: Figures) -> None:
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
            await client.until_ready()
            await client.sign_up()
            writers = Writers(client, number)
            for _ in range(KILLS // 2 // _LANES):
                async with writers.writing():
                    await writers.until_acknowledged(chance.randrange(5, 30))
                    async with client.kept_alive():
                        await asyncio.to_thread(mongod.kill)
                        figures.faults["mongod killed"] += 1
                        await asyncio.to_thread(mongod.start)
                        back = time.monotonic()
                        await writers.until_acknowledged(1)
                        figures.recovered("mongod killed", time.monotonic() - back)
                    await writers.until_acknowledged(chance.randrange(5, 40))
                    await asyncio.sleep(chance.random() * 0.01)
                    client.mortal = True
                    await asyncio.to_thread(service.kill)
                    figures.faults["service killed (mongodb)"] += 1
                service.start()
                figures.recovered("service killed (mongodb)", await client.until_ready())
                client.mortal = False
            await writers.finish()
            await writers.compare("mongodb", figures)

    await asyncio.gather(*(lane(number) for number in range(_LANES)))
