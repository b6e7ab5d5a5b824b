"""The contestants: the service on both stores, the peer, and two ceilings. Each is a process on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.benchmarks.load import warm_up
from tests.benchmarks.machine import Memory, descendants, processor_seconds, read_memory
from tests.mongod import free_port
from tests.serving import REPOSITORY

START_SECONDS: Final = 60
_POLL_SECONDS: Final = 0.002
_IDLE_SECONDS: Final = 0.05
_SECRET_KEY: Final = "benchmarks, benchmarks, benchmarks, benchmarks"
_METRICS_TOKEN: Final = "benchmarks-benchmarks"
# more than any load reaches, but few enough that a lease from MongoDB lasts for seconds rather than hours
_PLENTY: Final = "2000000/minute"


class Contestant(NamedTuple):
    """A program to measure.

    Attributes:
        name: A short name, used for its files and its database.
        title: The name in tables.
        command: The command that starts it, without port and workers.
        ready_path: A path that returns 200 once it is ready.
        service: Whether it is a to-do service rather than a ceiling.
        whole: Whether it has all calls of the service. The peer has only the basic ones.
    """

    name: str
    title: str
    command: tuple[str, ...]
    ready_path: str
    service: bool
    whole: bool


_UVICORN: Final = (sys.executable, "-m", "uvicorn", "--loop", "uvloop", "--http", "httptools")
BARE: Final = Contestant(
    "bare",
    "bare ASGI",
    (*_UVICORN, "--no-access-log", "--lifespan", "off", "tests.benchmarks.ceilings:bare"),
    "/",
    service=False,
    whole=False,
)
EMPTY: Final = Contestant(
    "empty",
    "empty Litestar handler",
    (*_UVICORN, "--no-access-log", "tests.benchmarks.ceilings:empty"),
    "/",
    service=False,
    whole=False,
)
_SERVE: Final = (sys.executable, "-m", "todo_service", "serve")
EMBEDDED: Final = Contestant("embedded", "todo_service, embedded", _SERVE, "/health/ready", service=True, whole=True)
MONGODB: Final = Contestant("mongodb", "todo_service, MongoDB", _SERVE, "/health/ready", service=True, whole=True)
PEER: Final = Contestant(
    "peer", "FastAPI + Beanie", (*_UVICORN, "tests.benchmarks.peer:app"), "/docs", service=True, whole=False
)
CONTESTANTS: Final = (EMPTY, BARE, EMBEDDED, MONGODB, PEER)
SERVICES: Final = tuple(contestant for contestant in CONTESTANTS if contestant.service)


class ContestantFailure(Exception):
    """A contestant did not start, or has ended. The message includes the end of its log."""


class Running:
    """A running contestant.

    Attributes:
        contestant: The contestant.
        url: The base URL.
        process: The process; with several workers, their parent.
        start_seconds: The time from its start to its first 200.
        store_url: The address of its store, if it has one.
    """

    def __init__(
        self, contestant: Contestant, process: subprocess.Popen[bytes], port: int, log: Path, store_url: str
    ) -> None:
        self.contestant = contestant
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.store_url = store_url
        self.start_seconds = 0.0
        self._port = port
        self._log = log

    def await_ready(self, since: float) -> None:
        """Wait for the first 200, and record how long it took.

        Args:
            since: The start time, by `time.perf_counter`.
        """
        while not responds(self._port, self.contestant.ready_path):
            if self.process.poll() is not None or time.perf_counter() - since > START_SECONDS:
                raise ContestantFailure(f"{self.contestant.title} does not respond\n{self._read_log_tail()}")
            time.sleep(_POLL_SECONDS)
        self.start_seconds = time.perf_counter() - since

    def warm_up(self, workers: int) -> None:
        """Send requests for a second at a time, until every worker has served its share."""
        deadline = time.perf_counter() + START_SECONDS
        while True:
            before = self._worked()
            warm_up(self.url + self.contestant.ready_path)
            shares = [seconds - before.get(pid, 0.0) for pid, seconds in self._worked().items()]
            if len(shares) == workers and min(shares) >= max(shares) / 4:
                return
            if time.perf_counter() > deadline:
                raise ContestantFailure(f"{self.contestant.title}: not every worker responds\n{self._read_log_tail()}")

    def wait_until_idle(self) -> None:
        """Wait until it is idle. A load ends with requests in flight, which it still completes."""
        deadline = time.perf_counter() + START_SECONDS
        busy = True
        while busy and time.perf_counter() < deadline:
            before = self._worked()
            time.sleep(_IDLE_SECONDS)
            busy = self._worked() != before

    def memory(self) -> Memory:
        """Return the memory of all its workers together."""
        return read_memory(self.process.pid)

    def stop(self) -> None:
        """Stop it with SIGTERM."""
        self.process.terminate()
        try:
            self.process.wait(timeout=START_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _worked(self) -> dict[int, float]:
        pids = [pid for pid in descendants(self.process.pid) if _is_worker(pid)] or [self.process.pid]
        return {pid: processor_seconds(pid) for pid in pids}

    def _read_log_tail(self) -> str:
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


@contextmanager
def serving(
    contestants: Sequence[Contestant], folder: Path, mongod_url: str, workers: int, *, label: str = ""
) -> Iterator[list[Running]]:
    """Run contestants, with their data and logs in a folder, until the block ends. They are started one after the
    other.

    Args:
        contestants: The contestants.
        folder: The folder of their data and logs. Existing data is reused.
        mongod_url: The address of a MongoDB, without a database.
        workers: The number of processes of each contestant.
        label: A suffix for the data. The same label reuses the same data.
    """
    started: list[Running] = []
    try:
        for contestant in contestants:
            running = start(contestant, folder, mongod_url, workers, label)
            started.append(running)
        yield started
    finally:
        for running in started:
            running.stop()


def start(contestant: Contestant, folder: Path, mongod_url: str, workers: int, label: str) -> Running:
    """Start a contestant, wait for its first response, and return it. See `serving` for the arguments."""
    port = free_port()
    own = folder / f"{contestant.name}{label}"
    own.mkdir(parents=True, exist_ok=True)
    store_url = _store_url(contestant, own, mongod_url, label)
    log = own / "log"
    command = [*contestant.command, "--port", str(port), "--workers", str(workers)]
    with log.open("ab") as output:
        since = time.perf_counter()
        process = subprocess.Popen(
            command, env=_environment(contestant, own, store_url), cwd=own, stdout=output, stderr=output
        )
    running = Running(contestant, process, port, log, store_url)
    try:
        running.await_ready(since)
    except BaseException:
        running.stop()
        raise
    return running


def responds(port: int, path: str) -> bool:
    """Return whether a server on loopback responds with 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False


def _store_url(contestant: Contestant, own: Path, mongod_url: str, label: str) -> str:
    if contestant is EMBEDDED:
        return f"lmdb://{own / 'store'}"
    # our store sets its write concern itself; set the same one for the peer
    options = "?w=majority&journal=true" if contestant is PEER else ""
    return f"{mongod_url.rstrip('/')}/bench_{contestant.name}{label.replace('-', '_')}{options}"


def _environment(contestant: Contestant, own: Path, store_url: str) -> Mapping[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    common = kept | {"PYTHONPATH": str(REPOSITORY), "SECRET_KEY": _SECRET_KEY}
    if contestant is PEER:
        return common | {"MONGODB_URL": store_url}
    return common | {
        "ENVIRONMENT": "production",
        "STORE_URL": store_url,
        "DATA_DIR": str(own),
        # enabled but never reached: the cost is in the counting
        "RATE_LIMIT_API": _PLENTY,
        "MAX_TODOS": "10000000",
        "RATE_LIMIT_AUTH": _PLENTY,
        "METRICS_TOKEN": _METRICS_TOKEN,
        "ACCESS_TOKEN_SECONDS": "86400",
        "LOG_FORMAT": "json",
    }


def _is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False
