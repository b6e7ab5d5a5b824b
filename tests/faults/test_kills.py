"""SIGKILL at random times under load: acknowledged writes survive, and retries have no second effect."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.faults.figures import Figures
from tests.faults.processes import ServiceProcess
from tests.faults.writers import Client, Writers, running_for_writers
from tests.mongod import Mongod
from tests.waiting import wait_until
from tests.writer_process import is_running

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
async def test_acknowledged_writes_survive_a_kill_of_the_writer_process(
    tmp_path: Path, folder: Path, figures: Figures
) -> None:
    """The service goes on: it starts another one, and what was not answered gets a 503."""
    service = ServiceProcess(folder, f"lmdb://{tmp_path / 'store'}")
    chance = random.Random(3)  # noqa: S311  # no secret
    async with (
        running_for_writers(service, figures, 3, "embedded, writer process killed") as (client, writers),
        writers.writing(),
        client.checking_liveness(),
    ):
        for _ in range(KILLS):
            await writers.await_acknowledged(chance.randrange(1, 40))
            await asyncio.sleep(chance.random() * 0.01)
            if (writer := service.writer_pid) is None:
                continue
            os.kill(writer, signal.SIGKILL)
            figures.faults["writer process killed"] += 1
            killed = time.monotonic()
            await writers.await_acknowledged(1)
            figures.recovered("writer process killed", time.monotonic() - killed)
    assert figures.faults["writer process killed"] > KILLS / 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_writer_process_ends_with_the_service(
    tmp_path: Path, folder: Path, figures: Figures, number: signal.Signals
) -> None:
    service = ServiceProcess(folder, f"lmdb://{tmp_path / 'store'}")
    async with Client(service.url, figures, mortal=True).opened() as client:
        service.start()
        try:
            await client.await_ready()
            await client.sign_up()
            writer = service.writer_pid
            assert writer is not None
        finally:
            if number is signal.SIGKILL:
                service.kill()
            else:
                assert service.stop() == 0

    async def has_ended() -> bool:
        return not is_running(writer)

    await wait_until(has_ended)


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
