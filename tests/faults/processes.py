"""The service as a process that tests can kill and restart many times, quickly.

Each start forks a server process that has already imported the service, so that it costs only the service's own
startup. The process runs `todo-service serve`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

from tests.mongod import free_port
from tests.serving import START_SECONDS, environment
from todo_service.cli import main

SECRET: Final = "a secret of the tests, 32 bytes long"
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["todo_service.app", "todo_service.server.run", "tests.faults.processes"])


class ServiceProcess:
    """The service on a port that stays the same across restarts.

    Args:
        folder: The folder of its log and its data.
        store_url: The address of its store.
    """

    def __init__(self, folder: Path, store_url: str) -> None:
        self._folder = folder
        self._variables = environment(
            folder, STORE_URL=store_url, SECRET_KEY=SECRET, ACCESS_TOKEN_SECONDS="86400", LOG_LEVEL="warning"
        )
        self._port = free_port()
        self._process: ForkServerProcess | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def set(self, **variables: str) -> None:
        """Set environment variables for the next start."""
        self._variables |= variables

    def start(self) -> None:
        """Start the service without waiting."""
        self._process = _context.Process(target=_serve, args=(self._folder, self._variables, self._port), daemon=True)
        self._process.start()

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.is_alive()

    def kill(self) -> None:
        """Kill the service, and wait until the process has ended."""
        self._signal(signal.SIGKILL)

    def stop(self) -> int | None:
        """Stop the service with SIGTERM, and return its exit status."""
        return self._signal(signal.SIGTERM)

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def _signal(self, number: signal.Signals) -> int | None:
        if self._process is None:
            return None
        if self._process.is_alive():
            os.kill(self.pid, number)
        self._process.join(START_SECONDS)
        return self._process.exitcode


def _serve(folder: Path, variables: dict[str, str], port: int) -> None:
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    log = os.open(folder / "service.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    main(["serve", "--port", str(port)])
