"""Load from wrk, on one thread, with the scripts in `wrk/`. Any unexpected response fails the run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

SCRIPTS: Final = Path(__file__).parent / "wrk"
_TIMEOUT_SECONDS: Final = 30
_WARM_UP_CONNECTIONS: Final = 16


class LoadFailure(Exception):
    """A load failed: a request failed, or wrk is not installed."""


class Load(NamedTuple):
    """The requests that wrk sends.

    Attributes:
        script: A script in `wrk/`, without its extension.
        path: The path and query. A script may send others.
        arguments: The arguments of the script.
        headers: The headers of every request.
        most_connections: The maximum number of connections, or None for no maximum.
    """

    script: str
    path: str
    arguments: tuple[str, ...]
    headers: Mapping[str, str]
    most_connections: int | None = None


class Sample(msgspec.Struct, frozen=True):
    """The result of one wrk run.

    Attributes:
        requests_per_second: The number of responses per second.
        p50: The median latency, in milliseconds.
        p99: The 99th percentile of the latencies, in milliseconds.
    """

    requests_per_second: float
    p50: float
    p99: float


class _Report(msgspec.Struct):
    """The output of `wrk/done.lua`."""

    requests: int
    microseconds: int
    p50: int
    p99: int
    refused: int
    broken: int


def require_wrk() -> None:
    """Check that wrk is installed.

    Raises:
        LoadFailure: wrk is not installed.
    """
    if shutil.which("wrk") is None:
        raise LoadFailure("wrk is not installed: on Debian and Ubuntu `apt-get install wrk`")


def run(url: str, load: Load, connections: int, seconds: int) -> Sample:
    """Send requests over several connections. Each connection waits for the response before it sends the next request.

    Args:
        url: The URL of the server.
        load: The requests.
        connections: The number of connections, unless the load allows fewer.
        seconds: The duration.

    Raises:
        LoadFailure: A request got no response or a status of 400 or above, or there were no responses at all.
    """
    if load.most_connections is not None:
        connections = min(connections, load.most_connections)
    headers = [part for name, value in load.headers.items() for part in ("-H", f"{name}: {value}")]
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={_TIMEOUT_SECONDS}s"]
    command = ["wrk", *options, "-s", f"{load.script}.lua", *headers, url + load.path, "--", *load.arguments]
    done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=False)
    last = done.stdout.rpartition("\n{")[2]
    if done.returncode != 0 or not last:
        raise LoadFailure(f"{load.script} {load.path}: wrk ended with {done.returncode}\n{done.stdout}{done.stderr}")
    report = msgspec.json.decode("{" + last, type=_Report)
    if report.refused or report.broken or not report.requests:
        raise LoadFailure(
            f"{load.script} {load.path}: of {report.requests} requests, {report.refused} got a status of 400 or "
            f"above, and {report.broken} got no response\n{done.stderr}"
        )
    return Sample(report.requests / (report.microseconds / 1e6), report.p50 / 1000, report.p99 / 1000)


def warm_up(url: str) -> None:
    """Send requests to a server for a second."""
    run(url, Load("same", "", ("GET",), {}), _WARM_UP_CONNECTIONS, 1)
