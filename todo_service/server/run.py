"""Running uvicorn with uvloop and httptools, in one process or with several workers."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from todo_service.bounds.connections import IDLE_SECONDS
from todo_service.observability.metrics import FOLDER
from todo_service.server.listener import BACKLOG
from todo_service.server.process import raise_open_file_limit
from todo_service.server.protocol import LimitedHttpProtocol
from todo_service.server.shutdown import END_DELAY
from todo_service.settings import Settings

_APPLICATION: Final = "todo_service.app:create_app_from_environment"
_DRAIN_SECONDS: Final = 20
"""How long requests in flight may take to complete after the listener has closed."""
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108  # only as the parent of a TemporaryDirectory


class Workers(Multiprocess):
    """The supervisor of several workers.

    It drops the gauges of workers that have died. It forwards the first stop signal to the workers at once, and ends
    the delay of their shutdown at the second.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], metrics_folder: str) -> None:
        super().__init__(config, sockets)
        self._metrics_folder = metrics_folder
        self._stopped: set[int | None] = set()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._forward)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.signal_queue.append(number)
        for process in self.processes:
            if process.pid is not None and process.exitcode is None:
                forwarded = END_DELAY if process.pid in self._stopped else signal.SIGTERM
                self._stopped.add(process.pid)
                with suppress(ProcessLookupError):
                    os.kill(process.pid, forwarded)

    def terminate_all(self) -> None:
        """Stop the workers that have not been stopped yet."""
        for process in self.processes:
            if process.pid not in self._stopped:
                process.terminate()

    def keep_subprocess_alive(self) -> None:
        """Replace each worker that has died."""
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            mark_process_dead(pid, self._metrics_folder)  # type: ignore[no-untyped-call]  # it has no annotations


def run(settings: Settings, listener: socket.socket) -> int:
    """Serve until a stop signal. After shutdown, uvicorn raises the signal again for the previous handler.

    Args:
        settings: Checked settings. Workers load theirs from the environment, which must agree with these.
        listener: The listening socket.

    Returns:
        The exit status: 0 after a requested stop, 1 if the application failed to start.
    """
    config = uvicorn.Config(
        _APPLICATION,
        factory=True,
        loop="uvloop",
        http=LimitedHttpProtocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        backlog=BACKLOG,
    )
    raise_open_file_limit()
    if settings.workers > 1:
        # in memory if possible: metrics change with every request, and need not survive a restart
        parent = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
        with TemporaryDirectory(prefix=f"todo-service-{os.getpid()}-", dir=parent) as metrics_folder:
            os.environ[FOLDER] = metrics_folder
            supervisor = Workers(config, [listener], metrics_folder)
            supervisor.run()
        return int(any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes))
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    return int(not server.started)
