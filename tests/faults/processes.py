"""The service as a process that tests can kill and restart many times, quickly."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from tests.forking import ForkedProcess
from tests.mongod import free_port
from tests.serving import START_SECONDS, environment

SECRET: Final = "a secret of the tests, 32 bytes long"


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
        self._process: ForkedProcess | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def set(self, **variables: str) -> None:
        """Set environment variables for the next start."""
        self._variables |= variables

    def start(self) -> None:
        """Start the service without waiting."""
        log = self._folder / "service.log"
        self._process = ForkedProcess(
            ("serve", "--port", str(self._port)), self._variables, self._folder, stdout=log, stderr=log
        )

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
        return self._process.pid

    def _signal(self, number: signal.Signals) -> int | None:
        if self._process is None:
            return None
        self._process.send_signal(number)
        return self._process.wait(START_SECONDS)
