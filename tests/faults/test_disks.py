"""Full and unwritable disks, and damaged files, beneath the embedded store."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.faults.figures import Figures
from tests.faults.processes import ServiceProcess
from tests.faults.writers import Client, Writers, running_for_writers
from tests.mongod import free_port
from tests.serving import environment

pytestmark = pytest.mark.anyio
_UNLIMITED: Final = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
_ROUNDS: Final = 5


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small in-memory disk until the block ends. Requires root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)  # noqa: S607
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


async def remount(disk: Path, mode: str) -> None:
    """Remount a disk as `ro` or `rw`."""
    command = ["mount", "-o", f"remount,{mode}", str(disk)]
    await asyncio.to_thread(subprocess.run, command, check=True)


def fill(disk: Path) -> Path:
    """Fill a disk completely, and return the file that fills it."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return path


async def test_a_full_disk_loses_no_write(tmp_path: Path, folder: Path, figures: Figures) -> None:
    with small_disk(tmp_path / "disk", "24m") as disk:
        service = ServiceProcess(folder, f"lmdb://{disk / 'store'}")
        async with (
            running_for_writers(service, figures, 4, "embedded on a full disk") as (client, writers),
            client.checking_liveness(),
        ):
            for _ in range(_ROUNDS):
                async with writers.writing():
                    await writers.await_acknowledged(100)
                    filler = await asyncio.to_thread(fill, disk)
                    figures.faults["disk full"] += 1
                    await writers.await_rejection()
                    read = await client.ask("GET", "/v1/todos", params={"limit": 200})
                    filler.unlink()
                    back = time.monotonic()
                    await writers.await_acknowledged(5)
                    figures.recovered("disk full", time.monotonic() - back)
                    assert read is not None
                    assert read.status == 200


async def test_a_disk_that_fails_during_a_commit_loses_no_write(tmp_path: Path, folder: Path, figures: Figures) -> None:
    """Repeatedly, the writer process cannot write for a moment: in about half of the cases, after the data and before
    LMDB's meta page.

    LMDB then gives up its environment, so that the process ends, and the service starts another one.
    """
    service = ServiceProcess(folder, f"lmdb://{tmp_path / 'store'}")
    async with (
        running_for_writers(service, figures, 5, "embedded on a disk that fails") as (client, writers),
        writers.writing(),
        client.checking_liveness(),
    ):
        for number in range(100):
            await writers.await_acknowledged(1 + number % 5)
            # a process that has given up its environment has ended
            with suppress(ProcessLookupError):
                if (writer := service.writer_pid) is None:
                    continue
                resource.prlimit(writer, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
                await asyncio.sleep(0.005)
                resource.prlimit(writer, resource.RLIMIT_FSIZE, _UNLIMITED)
            figures.faults["writing to the disk fails"] += 1
            back = time.monotonic()
            await writers.await_acknowledged(1)
            figures.recovered("writing to the disk fails", time.monotonic() - back)
    assert "the writer process has ended" in (folder / "service.log").read_text()


def try_to_start(folder: Path, store: Path) -> subprocess.CompletedProcess[str]:
    """Try to start the service on an unusable store."""
    command = [sys.executable, "-m", "todo_service", "serve", "--port", str(free_port())]
    return subprocess.run(
        command,
        env=environment(folder, STORE_URL=f"lmdb://{store}"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_rejected(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 1, done
    assert done.stderr.startswith("todo-service: store (STORE_URL): "), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


async def test_unusable_stores_are_rejected_and_unchanged(tmp_path: Path, folder: Path, figures: Figures) -> None:
    with small_disk(tmp_path / "disk", "24m") as disk:
        store = disk / "store"
        service = ServiceProcess(folder, f"lmdb://{store}")
        async with Client(service.url, figures).opened() as client:
            service.start()
            await client.await_ready()
            await client.sign_up()
            writers = Writers(client, 6)
            async with writers.writing():
                await writers.await_acknowledged(300)
            assert service.stop() == 0
            data = store / "data.mdb"
            whole = data.read_bytes()

            for fault, content in (
                ("file cut short", whole[:100]),
                ("file cut short", whole[:4096]),
                *(("file cut short", whole[: len(whole) * part // 8]) for part in range(1, 8)),
                ("foreign file", b"holiday photos" * 1000),
                ("foreign file", b"\x00" * 65536),
            ):
                data.write_bytes(content)
                figures.faults[fault] += 1
                assert_rejected(await asyncio.to_thread(try_to_start, folder, store))
                assert data.read_bytes() == content
            data.write_bytes(whole)

            filler = fill(disk)
            figures.faults["disk full at the start"] += 1
            assert_rejected(await asyncio.to_thread(try_to_start, folder, disk / "another"))
            filler.unlink()

            await remount(disk, "ro")
            figures.faults["disk read-only"] += 1
            assert_rejected(await asyncio.to_thread(try_to_start, folder, store))
            await remount(disk, "rw")

            service.start()
            await client.await_ready()
            await writers.finish()
            await writers.compare("embedded after corruption was repaired", figures)
            assert service.stop() == 0
