"""Running uvicorn with uvloop and httptools, in one process or with several workers."""

from __future__ import annotations

import os
import socket
from tempfile import TemporaryDirectory
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
from todo_service.settings import Settings

_APPLICATION: Final = "todo_service.app:create_app_from_environment"
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108  # only as the parent of a TemporaryDirectory


class Workers(Multiprocess):
    """The supervisor of several workers, which drops the gauges of workers that have died."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], metrics_folder: str) -> None:
        super().__init__(config, sockets)
        self._metrics_folder = metrics_folder

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
        timeout_graceful_shutdown=5,
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
