"""The load: wrk, on one thread, with the scripts of `wrk/`. Any answer but the right one fails the run."""

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
    """A load did not go as it should: a request failed, or wrk is not there."""


class Load(NamedTuple):
    """What wrk is to send.

    Attributes:
        script: A script of `wrk/`, without its ending.
        path: The path, with its query; a script may send others.
        arguments: What the script is given.
        headers: What every request carries.
    """

    script: str
    path: str
    arguments: tuple[str, ...]
    headers: Mapping[str, str]


class Sample(msgspec.Struct, frozen=True):
    """What came of one run.

    Attributes:
        requests_per_second: How many were answered.
        p50: The median of the latencies, in milliseconds.
        p99: Their 99th percentile, in milliseconds.
    """

    requests_per_second: float
    p50: float
    p99: float


class _Report(msgspec.Struct):
    """What `wrk/done.lua` writes."""

    requests: int
    microseconds: int
    p50: int
    p99: int
    refused: int
    broken: int


def require_wrk() -> None:
    """Return if wrk is installed.

    Raises:
        LoadFailure: it is not.
    """
    if shutil.which("wrk") is None:
        raise LoadFailure("wrk is not installed: on Debian and Ubuntu `apt-get install wrk`")


def run(url: str, load: Load, connections: int, seconds: int) -> Sample:
    """Send requests over some connections, each waiting for its answer before it sends the next.

    Args:
        url: The server.
        load: What to send.
        connections: How many there are.
        seconds: How long.

    Raises:
        LoadFailure: a request was not answered, or with a status of 400 or above, or nothing was answered at all.
    """
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
            f"{load.script} {load.path}: of {report.requests} requests {report.refused} were answered with 400 or "
            f"above, {report.broken} were not answered\n{done.stderr}"
        )
    return Sample(report.requests / (report.microseconds / 1e6), report.p50 / 1000, report.p99 / 1000)


def warm_up(url: str) -> None:
    """Let a server answer for a second."""
    run(url, Load("same", "", ("GET",), {}), _WARM_UP_CONNECTIONS, 1)
