"""The service as a process that tests can kill and restart many times, quickly."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.forking import ForkedProcess
from tests.mongod import free_port
from tests.serving import PLAIN_HTTP, SECRET_KEY, START_SECONDS, environment
from tests.waiting import wait_until
from tests.writer_process import find_writers


class ServiceProcess:
    """The service on a port that stays the same across restarts.

    Args:
        folder: The folder of its log and its data.
        store_url: The address of its store.
    """

    def __init__(self, folder: Path, store_url: str) -> None:
        self._folder = folder
        self._variables = environment(
            folder, STORE_URL=store_url, SECRET_KEY=SECRET_KEY, ACCESS_TOKEN_SECONDS="86400", LOG_LEVEL="warning"
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

    async def await_ready(self) -> None:
        """Wait until the service is ready."""

        async def is_ready() -> bool:
            try:
                return (await client.get("/health/ready")).status_code == 200
            except httpx.TransportError:
                return False

        async with httpx.AsyncClient(base_url=self.url, verify=PLAIN_HTTP) as client:
            await wait_until(is_ready)

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

    @property
    def writer_pid(self) -> int | None:
        """The id of the writer process, or None while there is none."""
        return next(iter(find_writers(self.pid)), None)

    def _signal(self, number: signal.Signals) -> int | None:
        if self._process is None:
            return None
        self._process.send_signal(number)
        return self._process.wait(START_SECONDS)


@asynccontextmanager
async def running_processes(
    folder: Path, store_url: str, count: int, **variables: str
) -> AsyncIterator[list[ServiceProcess]]:
    """Run processes of the service on one store until the block ends.

    Args:
        folder: The folder of their folders.
        store_url: The address of the store.
        count: The number of processes.
        **variables: Environment variables for all of them.
    """
    processes = []
    for number in range(count):
        (own := folder / f"service-{number}").mkdir()
        process = ServiceProcess(own, store_url)
        process.set(**variables)
        processes.append(process)
    try:
        for process in processes:
            process.start()
            await process.await_ready()
        yield processes
    finally:
        for process in processes:
            process.stop()
