"""The service as a process that can be killed and started again many times, quickly.

A process that has imported the service forks for each start, so that a start costs what the service's own start costs,
not what Python's imports do. What runs in it is `todo-service serve`.
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
    """The service on a port that it keeps when it is started again.

    Args:
        folder: Where its log and its data lie.
        store_url: Where its documents lie.
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
        """Change its environment, for when it is started the next time."""
        self._variables |= variables

    def start(self) -> None:
        """Start it, and return at once."""
        self._process = _context.Process(target=_serve, args=(self._folder, self._variables, self._port), daemon=True)
        self._process.start()

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.is_alive()

    def kill(self) -> None:
        """Kill it, and return when it is gone."""
        self._signal(signal.SIGKILL)

    def stop(self) -> int | None:
        """Stop it as an operator would, and return its exit status."""
        return self._signal(signal.SIGTERM)

    @property
    def pid(self) -> int:
        """The id of its process."""
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
