"""The clock of a running service is set forward and back (libfaketime: Debian's package `faketime`)."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.figures import Figures
from tests.faults.writers import Client, Writers
from tests.serving import SECRET_KEY, running_service
from tests.waiting import wait_until

pytestmark = pytest.mark.anyio
HOUR = 3600


def library() -> Path:
    """Return the path of the library that changes a process's clock."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.fail("no libfaketime: install Debian's package `faketime`", pytrace=False)
    return found[0]


async def await_clock(client: Client, seconds: int) -> None:
    """Wait until the service sees the new time. It reads the setting once a second."""

    async def sees_new_time() -> bool:
        made = await client.ask("POST", "/v1/lists", json={"name": "now"})
        assert made is not None
        assert made.status == 201, made
        ahead = datetime.fromisoformat(made.body["created_at"]) - datetime.now(UTC)
        return abs(ahead.total_seconds() - seconds) < 60

    await wait_until(sees_new_time)


async def test_the_clock_is_set_forward_and_back(folder: Path, store_url: str, figures: Figures) -> None:
    clock = folder / "clock"
    variables = {
        "STORE_URL": store_url,
        "SECRET_KEY": SECRET_KEY,
        "ACCESS_TOKEN_SECONDS": "86400",
        "LOG_LEVEL": "warning",
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }

    def set_to(seconds: int) -> None:
        # the service must never see a partial file
        (folder / "clock.new").write_text(f"{seconds:+d}s\n")
        os.replace(folder / "clock.new", clock)  # noqa: PTH105  # the atomic one

    set_to(0)
    with running_service(folder, variables) as service:
        async with Client(service.url, figures).opened() as client:
            await client.sign_up()
            writers = Writers(client, 7)
            async with writers.writing(), client.checking_liveness():
                for seconds in (HOUR, 0, -HOUR, 2 * HOUR, -2 * HOUR, 2, 0):
                    set_to(seconds)
                    figures.faults["clock set"] += 1
                    await await_clock(client, seconds)
                    await writers.await_acknowledged(30)
            await writers.finish()
            await writers.compare("with a clock that is set", figures)
        assert await asyncio.to_thread(service.stop) == 0
