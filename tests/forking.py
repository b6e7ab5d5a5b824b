"""Commands of `todo-service` in processes forked from one that has already imported the service.

Importing the service takes longer than running most commands. A process of multiprocessing's fork server runs the
same `main()` as an interpreter of its own. Where the interpreter matters, use one: `run_command` of `tests/serving.py`,
or `running_service` with `forked=False`.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from todo_service.cli import main

_context: Final = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "__main__",  # it would be imported by each process otherwise
        "tests.forking",
        "todo_service.accounts.administration",
        "todo_service.app",
        "todo_service.server.run",
        "todo_service.store.embedded.store",
        "todo_service.store.mongodb.store",
        "todo_service.store.transfer.copying",
        "uvloop",
    ]
)
_STOP_SECONDS: Final = 60
_READ: Final = os.O_RDONLY
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT


class ForkedProcess:
    """A process that runs a command, with the methods of `subprocess.Popen` that tests use.

    Args:
        arguments: The command without `todo-service`.
        variables: All of its environment variables.
        folder: Its current directory.
        stdout: The file to which its standard output is appended.
        stderr: The file to which its standard error is appended.
        stdin: The file that it reads as standard input.
        files: The limit of its open files; None for that of this process.

    Attributes:
        pid: The process id.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        variables: Mapping[str, str],
        folder: Path,
        stdout: Path,
        stderr: Path,
        stdin: Path = Path(os.devnull),
        files: int | None = None,
    ) -> None:
        self._arguments = arguments
        streams = ((stdin, _READ), (stdout, _APPEND), (stderr, _APPEND))
        self._process = _context.Process(
            target=_run, args=(list(arguments), dict(variables), folder, streams, files), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        with self._lock:  # the status can be read once
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended, and return its exit status.

        Raises:
            subprocess.TimeoutExpired: It still runs after `timeout` seconds.
        """
        if not wait([self._process.sentinel], timeout):
            assert timeout is not None
            raise subprocess.TimeoutExpired(list(self._arguments), timeout)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run_forked(
    folder: Path, *arguments: str, variables: Mapping[str, str], text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command, and wait until it has ended.

    Args:
        folder: Its current directory.
        *arguments: The command without `todo-service`.
        variables: All of its environment variables.
        text: Its standard input.
    """
    with TemporaryDirectory() as streams:
        stdin, stdout, stderr = (Path(streams) / name for name in ("stdin", "stdout", "stderr"))
        stdin.write_text(text)
        process = ForkedProcess(arguments, variables, folder, stdout, stderr, stdin)
        try:
            status = process.wait(_STOP_SECONDS)
        finally:
            process.kill()
        return subprocess.CompletedProcess(list(arguments), status, stdout.read_text(), stderr.read_text())


def _run(
    arguments: list[str],
    variables: dict[str, str],
    folder: Path,
    streams: tuple[tuple[Path, int], ...],
    files: int | None,
) -> None:
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    for number, (path, flags) in enumerate(streams):
        descriptor = os.open(path, flags, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    if files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    sys.stdin = os.fdopen(0, closefd=False)  # multiprocessing has replaced it
    sys.argv = ["todo-service", *arguments]
    main()
