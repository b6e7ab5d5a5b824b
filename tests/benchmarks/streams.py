"""Event streams: the time from the response to a write to its event, and the cost of idle streams.

The latency is the time from the response to a write until the event arrives. Processes poll for changes at regular
intervals, so the client waits a random time before each write. The stream is first open on the process that handles the
write, then on another process on the same store.

The idle streams belong to many accounts, because an account may have ten streams in each process. `--help` lists the
options.
"""

from __future__ import annotations

import random
import resource
import shlex
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit

import click
import httpx
import msgspec

from tests.benchmarks import report
from tests.benchmarks.accounts import PASSWORD, Account, UnexpectedResponse
from tests.benchmarks.bulk import load_accounts
from tests.benchmarks.contestants import EMBEDDED, MONGODB, Contestant, Running, serving
from tests.benchmarks.growth import Connection
from tests.benchmarks.machine import machine
from tests.benchmarks.running import HERE, mongod, reported, store_option
from tests.cost import processor_seconds
from todo_service.bounds.events import HEARTBEAT_SECONDS, STREAMS

GOALS: Final = {
    (EMBEDDED.name, False): 100,
    (EMBEDDED.name, True): 300,
    (MONGODB.name, False): 1000,
    (MONGODB.name, True): 1000,
}
"""The maximum time to an event in ms, by store and whether another process wrote."""
MEGABYTES: Final = 400
SHARE: Final = 0.1
"""The maximum memory of the idle streams, and their share of a CPU."""
_SPREAD_SECONDS: Final = 0.5
_WARM_UP: Final = 5
_OPENED_TOGETHER: Final = 200
_RESERVED_FILES: Final = 200


class Latency(msgspec.Struct):
    """The time from the response to a write to its event, in milliseconds."""

    store: str
    elsewhere: bool
    p50: float
    p99: float
    worst: float


class Idle(msgspec.Struct):
    """The cost of idle streams.

    Attributes:
        before: The anonymous memory of the process without streams, in MB.
        after: The same with them.
        share: The CPU time that the process uses in a second.
    """

    store: str
    streams: int
    before: float
    after: float
    share: float


class Stream:
    """An event stream.

    Args:
        url: The URL of the service.
        token: The access token.
    """

    def __init__(self, url: str, token: str) -> None:
        address = urlsplit(url)
        self._received = b""
        self._socket = socket.create_connection((address.hostname, address.port), timeout=60)
        self._socket.sendall(
            f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )

    def close(self) -> None:
        """Close the stream."""
        self._socket.close()

    def read_until(self, text: bytes) -> None:
        """Read until the stream contains a text.

        Raises:
            UnexpectedResponse: The stream has ended.
        """
        while text not in self._received:
            part = self._socket.recv(2**16)
            if not part:
                raise UnexpectedResponse(f"the stream ended: {self._received[:600]!r}")
            self._received += part
        self._received = b""

    def await_ready(self) -> None:
        """Wait until it has sent everything that was missed."""
        self.read_until(b"event: ready")


@click.command()
@click.option("--samples", default=300, show_default=True, type=click.IntRange(3), help="Number of measured writes.")
@click.option("--streams", default=10_000, show_default=True, type=click.IntRange(1), help="Number of idle streams.")
@click.option(
    "--seconds", default=60, show_default=True, type=click.IntRange(1), help="How long to measure idle streams."
)
@store_option
@click.option("--publish", is_flag=True, help="Write the results into tests/benchmarks/README.md.")
@click.option("--quick", is_flag=True, help="A smoke test with 5 writes and 20 streams. The numbers mean nothing.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Folder for the data.  [default: the system's]",
)
def main(
    samples: int,
    streams: int,
    seconds: int,
    stores: tuple[str, ...],
    folder: Path | None,
    *,
    publish: bool,
    quick: bool,
) -> None:
    """Measure event streams on both stores: the time from a write to its event, and the cost of 10 000 idle streams."""
    if quick:
        samples, streams, seconds = 5, 20, 1
    _raise_file_limit(streams + _RESERVED_FILES)
    latencies: list[Latency] = []
    idles: list[Idle] = []
    with (
        TemporaryDirectory(dir=folder, prefix="todo-service-bench-") as work,
        reported(),
        mongod(Path(work)) as url,
    ):
        for contestant in (EMBEDDED, MONGODB):
            if contestant.name in stores:
                latencies += measure_latencies(contestant, Path(work), url, samples)
                idles.append(measure_idle_streams(contestant, Path(work), url, streams, seconds))
    text = "\n\n".join([describe(samples, seconds), table(latencies), idle_table(idles)])
    click.echo(text)
    if publish:
        report.publish(HERE / "README.md", "streams", text)


def measure_latencies(contestant: Contestant, folder: Path, mongod_url: str, samples: int) -> Iterator[Latency]:
    """Measure the time to an event of the same and of another process."""
    with serving([contestant, contestant], folder, mongod_url, 1, label="-streams") as (own, other):
        account = Account(own.url, "follower")
        with account:
            for elsewhere in (False, True):
                yield _measure_latency(account, own, other if elsewhere else own, samples, elsewhere=elsewhere)


def _measure_latency(account: Account, reader: Running, writer: Running, samples: int, *, elsewhere: bool) -> Latency:
    chance = random.Random(1)  # noqa: S311  # the same in every run
    token = account.authorization["Authorization"].removeprefix("Bearer ")
    taken = []
    label = f"{reader.contestant.title}: writes of {'another' if elsewhere else 'the same'} process"
    with (
        closing(Connection(writer.url)) as connection,
        closing(Stream(reader.url, token)) as stream,
        click.progressbar(range(_WARM_UP + samples), label=label, show_pos=True, file=sys.stderr) as numbers,
    ):
        stream.await_ready()
        for number in numbers:
            title = f"todo {number} of {writer.url}"
            time.sleep(chance.random() * _SPREAD_SECONDS)
            connection.milliseconds(_build_create(title, token))
            since = time.perf_counter()
            stream.read_until(f'"title":"{title}"'.encode())
            if number >= _WARM_UP:
                taken.append((time.perf_counter() - since) * 1000)
    return Latency(
        reader.contestant.name, elsewhere, median(taken), quantiles(taken, n=100, method="inclusive")[98], max(taken)
    )


def _build_create(title: str, token: str) -> bytes:
    body = msgspec.json.encode({"title": title})
    lines = [
        "POST /v1/todos HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def measure_idle_streams(contestant: Contestant, folder: Path, mongod_url: str, streams: int, seconds: int) -> Idle:
    """Measure the memory and the CPU time of a process with idle streams."""
    accounts = -(-streams // STREAMS)
    with ExitStack() as stack:
        (running,) = stack.enter_context(serving([contestant], folder, mongod_url, 1, label="-idle"))
        pid = running.process.pid
        load_accounts(running.store_url, accounts, f"{contestant.title}: {accounts:,} accounts")
        tokens = _sign_in(running.url, accounts)
        before = running.memory().anonymous
        label = f"{contestant.title}: {streams:,} streams"
        with click.progressbar(length=streams, label=label, show_pos=True, file=sys.stderr) as progress:
            for start in range(0, streams, _OPENED_TOGETHER):
                numbers = range(start, min(start + _OPENED_TOGETHER, streams))
                opened = [
                    stack.enter_context(closing(Stream(running.url, tokens[number // STREAMS]))) for number in numbers
                ]
                for each in opened:
                    each.await_ready()
                progress.update(len(opened))
        time.sleep(0 if streams <= _OPENED_TOGETHER else 2 * HEARTBEAT_SECONDS)
        used, since = processor_seconds(pid), time.perf_counter()
        time.sleep(seconds)
        share = (processor_seconds(pid) - used) / (time.perf_counter() - since)
        return Idle(contestant.name, streams, before, running.memory().anonymous, share)


def _sign_in(url: str, accounts: int) -> list[str]:
    """Sign in to the accounts that `load_accounts` has created, and return their access tokens."""

    def sign_in(number: int) -> str:
        form = {"grant_type": "password", "username": f"somebody-{number}", "password": PASSWORD}
        response = client.post("/v1/auth/token", data=form)
        if response.status_code != 200:
            raise UnexpectedResponse(f"signing in returned {response.status_code}\n{response.text[:500]}")
        token: str = response.json()["access_token"]
        return token

    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(4) as threads:
        return list(threads.map(sign_in, range(accounts)))


def _raise_file_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted > hard:
        raise click.ClickException(f"{wanted} open files are needed, and the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def describe(samples: int, seconds: int) -> str:
    """Return how the figures were measured, as Markdown."""
    command = f"pdm run bench-streams {shlex.join(sys.argv[1:])}".strip()
    date = datetime.now(UTC).date().isoformat()
    return (
        f"`{command}` on {date}: {samples} writes for each line; CPU time over {seconds} s.\n\n"
        f"{report.about(machine())}"
    )


def table(latencies: Sequence[Latency]) -> str:
    """Return the times to an event as Markdown."""
    head = ["time from a write to its event, ms", "p50", "p99", "worst", "goal", "met"]
    lines = []
    for each in latencies:
        goal = GOALS[each.store, each.elsewhere]
        title = f"{_title(each.store)}, {'another' if each.elsewhere else 'the same'} process"
        figures = [f"{value:.0f}" for value in (each.p50, each.p99, each.worst, goal)]
        lines.append([title, *figures, _tell(met=each.p99 <= goal)])
    return report.rows(head, lines)


def idle_table(idles: Sequence[Idle]) -> str:
    """Return the cost of idle streams as Markdown."""
    head = ["idle streams", "number", "RssAnon before, MB", "with them, MB", "of a CPU", "goal", "met"]
    lines = []
    for each in idles:
        met = each.after - each.before < MEGABYTES and each.share < SHARE
        figures = [f"{each.streams:,}", f"{each.before:.0f}", f"{each.after:.0f}", f"{100 * each.share:.1f} %"]
        lines.append([_title(each.store), *figures, f"< {MEGABYTES} MB, < {100 * SHARE:.0f} %", _tell(met=met)])
    return report.rows(head, lines)


def _title(store: str) -> str:
    return next(contestant.title for contestant in (EMBEDDED, MONGODB) if contestant.name == store)


def _tell(*, met: bool) -> str:
    return "yes" if met else "**no**"


if __name__ == "__main__":
    main()
