"""The cost of calls as an account, or the number of accounts, grows, relative to an account of a thousand todos.

Each size has its own store and its own service. The services of one kind of store run at the same time, and each call
goes to one after the other, so that other activity on the machine affects all of them alike. The accounts are
bulk-loaded. `--help` lists the options.
"""

from __future__ import annotations

import itertools
import re
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

import click
import msgspec

from tests.benchmarks import report
from tests.benchmarks.accounts import Account, UnexpectedResponse
from tests.benchmarks.bulk import load_accounts, load_todos
from tests.benchmarks.contestants import EMBEDDED, MONGODB, Contestant, Running, serving
from tests.benchmarks.machine import Machine, machine
from tests.benchmarks.running import HERE, mongod, reported, store_option
from tests.benchmarks.todos import RARE, RARE_WORD, todos

BASE: Final = 1000
GOAL: Final = 1.3
"""The maximum cost of a call, relative to its cost at a thousand todos."""
_IDS: Final = 200
_PAGE: Final = 200
_WARM_UP: Final = 10


class Subject(NamedTuple):
    """An account of a given size.

    Attributes:
        title: The name in tables.
        running: The service.
        account: The account.
        ids: A sample of its todos, spread over the account.
        deep: The cursor of the page in the middle of the list.
        since: The sync token of a client that has every change.
    """

    title: str
    running: Running
    account: Account
    ids: list[str]
    deep: str
    since: str


class Call(NamedTuple):
    """A call to measure: its title, and the requests to send in turn."""

    title: str
    requests: Callable[[Subject], Iterator[bytes]]


class Cost(msgspec.Struct):
    """The cost of a call for a subject, in milliseconds."""

    subject: str
    p50: float
    p99: float


class Growth(msgspec.Struct):
    """The results of a run: for each store, the costs of each call in the order of the subjects."""

    machine: Machine
    command: str
    date: str
    samples: int
    load_seconds: dict[str, dict[str, float]] = {}
    costs: dict[str, dict[str, list[Cost]]] = {}


class Connection:
    """A persistent connection with one request at a time, and little overhead.

    Args:
        url: The URL of the service.
    """

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def milliseconds(self, request: bytes) -> float:
        """Send a request, and return the time until its response was complete.

        Raises:
            UnexpectedResponse: The status is not 2xx.
        """
        since = time.perf_counter()
        self._socket.sendall(request)
        response = self._received(b"")
        while (end := response.find(b"\r\n\r\n")) < 0:
            response = self._received(response)
        length = re.search(rb"\r\ncontent-length: (\d+)", response[: end + 2], re.IGNORECASE)
        if not response.startswith(b"HTTP/1.1 2") or length is None:
            raise UnexpectedResponse(f"{request[:300]!r} returned {response[:600]!r}")
        while len(response) < end + 4 + int(length[1]):
            response = self._received(response)
        return (time.perf_counter() - since) * 1000

    def _received(self, before: bytes) -> bytes:
        part = self._socket.recv(2**18)
        if not part:
            raise UnexpectedResponse("the service closed the connection")
        return before + part


def _request(subject: Subject, method: str, path: str, body: object = None) -> bytes:
    content = b"" if body is None else msgspec.json.encode(body)
    media_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in subject.account.authorization.items()]
    lines += [f"Content-Type: {media_type}", f"Content-Length: {len(content)}"] if content else []
    return "\r\n".join([*lines, "", ""]).encode() + content


def _same(path: str) -> Callable[[Subject], Iterator[bytes]]:
    return lambda subject: itertools.repeat(_request(subject, "GET", path))


def _deep(subject: Subject) -> Iterator[bytes]:
    return itertools.repeat(_request(subject, "GET", f"/v1/todos?cursor={quote(subject.deep)}"))


def _nothing_new(subject: Subject) -> Iterator[bytes]:
    return itertools.repeat(_request(subject, "GET", f"/v1/todos/changes?since={quote(subject.since)}"))


def _each(subject: Subject) -> Iterator[bytes]:
    return itertools.cycle([_request(subject, "GET", f"/v1/todos/{todo_id}") for todo_id in subject.ids])


def _create(subject: Subject) -> Iterator[bytes]:
    return (_request(subject, "POST", "/v1/todos", body) for body in todos(10**6, start=10**8, total=10**9))


def _patch(subject: Subject) -> Iterator[bytes]:
    for number in itertools.count():
        yield _request(
            subject, "PATCH", f"/v1/todos/{subject.ids[number % _IDS]}", {"title": f"Water all the plants, {number}"}
        )


CALLS: Final = (
    Call("get", _each),
    Call("page 1", _same("/v1/todos")),
    Call("page deep", _deep),
    Call("open ones by title", _same("/v1/todos?completed=false&sort=title")),
    Call("a tag's by priority", _same("/v1/todos?completed=false&tag=home&sort=-priority")),
    Call(f"search, {RARE} hits", _same(f"/v1/todos?q={RARE_WORD}")),
    Call("search, many hits", _same("/v1/todos?q=ka")),
    Call("changes, first page", _same("/v1/todos/changes")),
    Call("changes, nothing new", _nothing_new),
    Call("tags", _same("/v1/tags")),
    Call("summary", _same("/v1/todos/summary")),
    Call("create", _create),
    Call("patch", _patch),
)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--size",
    "sizes",
    multiple=True,
    default=(10_000, 100_000, 1_000_000),
    show_default=True,
    type=click.IntRange(1),
    help="Todos in an account; may be repeated. A thousand is always measured.",
)
@click.option(
    "--accounts", default=100_000, show_default=True, type=click.IntRange(0), help="Accounts in a store; 0 for none."
)
@click.option(
    "--samples", default=300, show_default=True, type=click.IntRange(3), help="Number of requests for each call."
)
@store_option
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write all results to this file."
)
@click.option("--publish", is_flag=True, help="Write the results into tests/benchmarks.")
@click.option(
    "--quick", is_flag=True, help="A smoke test: 2 000 todos, 100 accounts, few samples. The numbers mean nothing."
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Folder for the data; a million todos take some GB.  [default: the system's]",
)
def main(
    sizes: tuple[int, ...],
    accounts: int,
    samples: int,
    stores: tuple[str, ...],
    json_path: Path | None,
    folder: Path | None,
    *,
    publish: bool,
    quick: bool,
) -> None:
    """Measure the cost of calls in accounts of 1 000 to 1 000 000 todos, and among 100 000 accounts, on both stores."""
    if quick:
        sizes, accounts, samples = (2000,), 100, 5
    with (
        TemporaryDirectory(dir=folder, prefix="todo-service-bench-") as work,
        reported(),
        mongod(Path(work)) as url,
    ):
        growth = Growth(
            machine=machine(),
            command="pdm run bench-growth " + shlex.join(sys.argv[1:]),
            date=datetime.now(UTC).date().isoformat(),
            samples=samples,
        )
        for contestant in (EMBEDDED, MONGODB):
            if contestant.name in stores:
                take(growth, contestant, Path(work), url, sorted({BASE, *sizes}), accounts)
    click.echo(table(growth))
    if publish:
        json_path = json_path or HERE / "growth.json"
        report.publish(HERE / "README.md", "growth", table(growth))
    if json_path is not None:
        json_path.write_bytes(msgspec.json.format(msgspec.json.encode(growth), indent=1) + b"\n")


def take(
    growth: Growth, contestant: Contestant, folder: Path, mongod_url: str, sizes: Sequence[int], accounts: int
) -> None:
    """Load each size into its own store, then measure each call on all of them in turn."""
    titles = {size: f"{size:,} todos" for size in sizes}
    wanted: list[tuple[str, int, int]] = [(titles[size], size, 0) for size in sizes]
    if accounts:
        wanted.append((f"{BASE:,} among {accounts:,} accounts", BASE, accounts))
    with ExitStack() as stack:
        loaded: list[tuple[str, Running, Account]] = []
        seconds = growth.load_seconds.setdefault(contestant.name, {})
        for number, (title, size, others) in enumerate(wanted):
            label = f"-growth-{number}"
            (running,) = stack.enter_context(serving([contestant], folder, mongod_url, 1, label=label))
            account = stack.enter_context(Account(running.url, "grower"))
            owner = account.ask("GET", "/v1/users/me", 200).json()["id"]
            since = time.perf_counter()
            if others:
                load_accounts(running.store_url, others, f"{contestant.title}: {others:,} accounts")
            load_todos(running.store_url, owner, size, f"{contestant.title}: {title}")
            seconds[title] = round(time.perf_counter() - since, 1)
            loaded.append((title, running, account))
        subjects = [_prepare_subject(*each) for each in loaded]
        costs = growth.costs.setdefault(contestant.name, {})
        with click.progressbar(CALLS, label=f"{contestant.title}: calls", show_pos=True, file=sys.stderr) as progress:
            for call in progress:
                costs[call.title] = _costs(call, subjects, growth.samples)


def _prepare_subject(title: str, running: Running, account: Account) -> Subject:
    """Read an account's list and its changes to the end, as a client does."""
    count = sum(account.ask("GET", "/v1/todos/summary", 200).json()[name] for name in ("open", "completed"))
    ids: list[str] = []
    cursor = deep = ""
    label = f"{running.contestant.title}: walking {title}"
    with click.progressbar(length=2 * count, label=label, show_pos=True, file=sys.stderr) as progress:
        walked = 0
        every = max(1, count // _IDS)
        while cursor or not walked:
            page = _ask(account, f"/v1/todos?limit={_PAGE}" + (f"&cursor={quote(cursor)}" if cursor else ""))
            ids += [item["id"] for number, item in enumerate(page["items"], walked) if number % every == 0]
            walked += len(page["items"])
            cursor = page["next_cursor"] or ""
            deep = cursor if not deep and walked >= count // 2 else deep
            progress.update(len(page["items"]))
        page = _ask(account, f"/v1/todos/changes?limit={_PAGE}")
        while page["has_more"]:
            progress.update(len(page["changed"]))
            page = _ask(account, f"/v1/todos/changes?limit={_PAGE}&since={quote(page['next'])}")
    if walked != count:
        raise UnexpectedResponse(f"the list of {title} has {walked} todos, its summary {count}")
    return Subject(title, running, account, ids[:_IDS], deep, page["next"])


def _ask(account: Account, path: str) -> Any:
    return account.ask("GET", path, 200).json()


def _costs(call: Call, subjects: Sequence[Subject], samples: int) -> list[Cost]:
    taken: list[list[float]] = [[] for _ in subjects]
    with ExitStack() as stack:
        asked = [
            (stack.enter_context(closing(Connection(subject.running.url))), call.requests(subject))
            for subject in subjects
        ]
        for number in range(_WARM_UP + samples):
            for (connection, requests), milliseconds in zip(asked, taken, strict=True):
                cost = connection.milliseconds(next(requests))
                if number >= _WARM_UP:
                    milliseconds.append(cost)
    return [
        Cost(subject.title, median(milliseconds), quantiles(milliseconds, n=100)[98])
        for subject, milliseconds in zip(subjects, taken, strict=True)
    ]


def table(growth: Growth) -> str:
    """Return the results as Markdown."""
    parts = [
        (
            f"`{growth.command.strip()}` on {growth.date}: each call {growth.samples} times, to all sizes in turn, "
            f"over one connection; the median in ms, and its ratio to that of {BASE:,} todos. "
            f"The goal is a ratio of at most {GOAL}."
        ),
        report.about(growth.machine),
    ]
    titles = {contestant.name: contestant.title for contestant in (EMBEDDED, MONGODB)}
    for name, calls in growth.costs.items():
        subjects = [cost.subject for cost in next(iter(calls.values()))]
        lines = [[title, *(_cell(cost, costs[0]) for cost in costs)] for title, costs in calls.items()]
        ratios = [
            (cost.p50 / costs[0].p50, title, cost.subject) for title, costs in calls.items() for cost in costs[1:]
        ]
        worst, call, subject = max(ratios)
        above = sum(1 for ratio, _, _ in ratios if ratio > GOAL)
        seconds = ", ".join(f"{title} {taken:,.0f} s" for title, taken in growth.load_seconds[name].items())
        parts += [
            f"### {titles[name]}",
            report.rows(["", *subjects], lines),
            (
                f"The worst ratio is {worst:.2f} ({call}, {subject}); {above} of {len(ratios)} are above {GOAL}. "
                f"Loading took: {seconds}."
            ),
        ]
    return "\n\n".join(parts)


def _cell(cost: Cost, base: Cost) -> str:
    if cost is base:
        return f"{cost.p50:.2f}"
    ratio = cost.p50 / base.p50
    return f"{cost.p50:.2f} · {f'{ratio:.2f}' if ratio <= GOAL else f'**{ratio:.2f}**'}"


if __name__ == "__main__":
    main()
