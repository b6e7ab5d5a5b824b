"""The service in a process of its own, on a loopback port."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.mongod import free_port

START_SECONDS = 60
"""How long a busy machine may take to start or stop the service, and to respond to a request."""
_POLL_SECONDS = 0.02
PLAIN_HTTP = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A TLS context for clients that never use TLS. By default, each client of httpx loads all trusted certificates, which
takes longer than ten requests."""
REPOSITORY = Path(__file__).parent.parent


class Service:
    """A running service.

    Attributes:
        url: The base URL.
        process: The process; with several workers, their supervisor.
        folder: The directory of its data and of `service.log`.
    """

    def __init__(self, url: str, process: subprocess.Popen[str], folder: Path) -> None:
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
    folder: Path, variables: Mapping[str, str] | None = None, port: int | None = None, files: int | None = None
) -> Iterator[Service]:
    """Run `todo-service serve` until the block ends.

    Args:
        folder: The directory of its data and its log.
        variables: Environment variables in addition to the defaults of the tests. An IPv6 `HOST` has brackets.
        port: The port to listen on; None for any free port.
        files: The limit of open files; None for that of the tests.
    """
    port = port or free_port()
    limited = [] if files is None else ["prlimit", f"--nofile={files}:{files}", "--"]
    command = [*limited, sys.executable, "-m", "todo_service", "serve", "--port", str(port)]
    with (folder / "service.log").open("a") as log:
        process = subprocess.Popen(
            command, env=environment(folder, **(variables or {})), stderr=log, stdout=log, cwd=folder, text=True
        )
    host = (variables or {}).get("HOST", "127.0.0.1")
    service = Service(f"http://{host}:{port}", process, folder)
    try:
        service.await_ready()
        yield service
    finally:
        if process.poll() is None:
            service.stop()


def caught_signals(process: int) -> set[int]:
    """Return the numbers of the signals for which a process has handlers."""
    status = Path(f"/proc/{process}/status").read_text()
    mask = int(status.split("SigCgt:")[1].split()[0], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}
