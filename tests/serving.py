"""The service in a process of its own, on a loopback port."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.forking import ForkedProcess
from tests.mongod import free_port

START_SECONDS = 60
"""How long a busy machine may take to start or stop the service, and to respond to a request."""
SECRET_KEY = "a secret of the tests, 32 bytes long"
"""The secret key of services whose tokens outlive them, or that share a database."""
_POLL_SECONDS = 0.02
PLAIN_HTTP = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A TLS context for clients that never use TLS. By default, each client of httpx loads all trusted certificates, which
takes longer than ten requests."""
REPOSITORY = Path(__file__).parent.parent
_INTERPRETER_VARIABLES = ("LD_", "MALLOC_", "PYTHON")
"""The beginnings of the names of environment variables that take effect when an interpreter starts."""
Process = subprocess.Popen[str] | ForkedProcess
"""A running command."""


class Service:
    """A running service.

    Attributes:
        url: The base URL.
        process: The process; with several workers, their supervisor.
        folder: The directory of its data and of `service.log`.
    """

    def __init__(self, url: str, process: Process, folder: Path) -> None:
        self.url = url
        self.process = process
        self.folder = folder

    def await_ready(self) -> None:
        """Wait until the service is ready."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_POLL_SECONDS)
            assert self.process.poll() is None, "the service ended at once"
            try:
                if httpx.get(f"{self.url}/health/ready", verify=PLAIN_HTTP).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, "the service does not respond"

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Send a GET request with the given options of httpx."""
        return httpx.get(self.url + path, timeout=START_SECONDS, verify=PLAIN_HTTP, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Send a POST request with the given options of httpx."""
        return httpx.post(self.url + path, timeout=START_SECONDS, verify=PLAIN_HTTP, **options)

    def stop(self) -> int:
        """Stop the service with SIGTERM, and return its exit status."""
        self.process.terminate()
        return self.process.wait(timeout=START_SECONDS)


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a service with its data in a folder."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"DATA_DIR": str(folder), "RATE_LIMIT_ENABLED": "false", "PYTHONPATH": str(REPOSITORY)} | variables


@contextmanager
def running_service(
    folder: Path,
    variables: Mapping[str, str] | None = None,
    port: int | None = None,
    files: int | None = None,
    *,
    forked: bool = True,
) -> Iterator[Service]:
    """Run `todo-service serve` until the block ends.

    Args:
        folder: The directory of its data and its log.
        variables: Environment variables in addition to the defaults of the tests. An IPv6 `HOST` has brackets.
        port: The port to listen on; None for any free port.
        files: The limit of open files; None for that of the tests.
        forked: Whether the process is forked from one that has imported the service, which is faster. A service with
            several workers or variables for the interpreter has an interpreter of its own.
    """
    variables = variables or {}
    port = port or free_port()
    own = "WORKERS" in variables or any(map(_is_for_interpreter, variables))
    start = _start_forked if forked and not own else _start_interpreter
    process = start(folder, environment(folder, **variables), port, files)
    service = Service(f"http://{variables.get('HOST', '127.0.0.1')}:{port}", process, folder)
    try:
        service.await_ready()
        yield service
    finally:
        if process.poll() is None:
            service.stop()


def _is_for_interpreter(variable: str) -> bool:
    return variable.startswith(_INTERPRETER_VARIABLES)


def _start_forked(folder: Path, variables: dict[str, str], port: int, files: int | None) -> Process:
    log = folder / "service.log"
    return ForkedProcess(("serve", "--port", str(port)), variables, folder, stdout=log, stderr=log, files=files)


def _start_interpreter(folder: Path, variables: dict[str, str], port: int, files: int | None) -> Process:
    limited = [] if files is None else ["prlimit", f"--nofile={files}:{files}", "--"]
    command = [*limited, sys.executable, "-m", "todo_service", "serve", "--port", str(port)]
    with (folder / "service.log").open("a") as log:
        return subprocess.Popen(command, env=variables, stderr=log, stdout=log, cwd=folder, text=True)


def run_command(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with an interpreter of its own, and wait until it exits."""
    return subprocess.run(
        [sys.executable, "-m", "todo_service", *arguments],
        env=environment(folder, **variables),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


def run_on_both_stores(check: Callable[[Path, str], Coroutine[Any, Any, None]], folder: Path, mongodb_url: str) -> None:
    """Run a check that waits most of the time on both stores at once, each in a thread with an event loop.

    Args:
        check: The check. Its arguments are an empty folder and the address of the store.
        folder: A folder for the folders.
        mongodb_url: The address of the store on MongoDB.
    """
    urls = {"embedded": f"lmdb://{folder / 'embedded' / 'store'}", "mongodb": mongodb_url}
    for name in urls:
        (folder / name).mkdir()
    with ThreadPoolExecutor(len(urls)) as threads:
        list(threads.map(lambda name: asyncio.run(check(folder / name, urls[name])), urls))


def caught_signals(process: int) -> set[int]:
    """Return the numbers of the signals for which a process has handlers."""
    status = Path(f"/proc/{process}/status").read_text()
    mask = int(status.split("SigCgt:")[1].split()[0], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}
