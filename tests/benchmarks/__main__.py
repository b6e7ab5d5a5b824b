"""The benchmark command: start everything, load it, and print the results. `--help` lists the options."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import click
import msgspec

from tests.benchmarks import footprint, load, report
from tests.benchmarks.contestants import BARE, CONTESTANTS, EMPTY, SERVICES, Running, serving
from tests.benchmarks.export import Exporter
from tests.benchmarks.machine import machine
from tests.benchmarks.measures import CEILING, MEASURES, NOTHING, Measure, Person
from tests.benchmarks.results import Footprint, Results, Series
from tests.benchmarks.running import HERE, mongod, reported

_CEILINGS: Final = 3
"""How often each round measures the ceiling that everything else is compared with."""


class Plan(NamedTuple):
    """The parameters of a run. See the options of the command."""

    seconds: int
    rounds: int
    connections: Sequence[int]
    workers: Sequence[int]
    measures: Sequence[Measure]
    todos: int
    export: int
    starts: int
    podman: str
    image: str
    image_options: str

    def loads(self) -> int:
        """Return the number of wrk runs for each number of workers."""
        calls = sum(1 for measure in self.measures for service in SERVICES if service.whole or not measure.whole)
        return self.rounds * len(self.connections) * (calls + len(self.ceilings()) + 1)

    def ceilings(self) -> list[int]:
        """Return the indexes of the measures before which the ceiling is measured."""
        step = -(-len(self.measures) // _CEILINGS)
        return list(range(0, len(self.measures), step))


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--seconds", default=2, show_default=True, type=click.IntRange(1), help="Duration of each load.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Number of rounds.")
@click.option(
    "--connections",
    multiple=True,
    default=(1, 16, 64),
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Number of connections; may be repeated.",
)
@click.option(
    "--workers",
    multiple=True,
    default=(1, 2),
    show_default=True,
    type=click.IntRange(1, 64),
    help="Number of processes of each contestant; may be repeated.",
)
@click.option(
    "--measure",
    "names",
    multiple=True,
    type=click.Choice([measure.name for measure in MEASURES]),
    help="Measure only this call; may be repeated.  [default: all]",
)
@click.option(
    "--todos", default=1000, show_default=True, type=click.IntRange(100), help="Todos in the account that is read."
)
@click.option(
    "--export", default=100_000, show_default=True, type=click.IntRange(0), help="Todos to export; 0 for none."
)
@click.option(
    "--starts", default=5, show_default=True, type=click.IntRange(0), help="Number of starts of each service."
)
@click.option("--image", default="todo-service", show_default=True, help="Image to start, if podman has it.")
@click.option("--podman", default="podman", show_default=True, help="podman command, with global options.")
@click.option("--image-options", default="", help="Further options of podman run, such as --ulimit nofile=1024:1024.")
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write all results to this file."
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the shares of the ceiling to this file, .svg or .png.",
)
@click.option(
    "--publish",
    is_flag=True,
    help="Write the results into tests/benchmarks; overrides --json and --plot.",
)
@click.option(
    "--quick",
    is_flag=True,
    help="A smoke test: every contestant and every call, for a second each. The numbers mean nothing.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Folder for the data, on the disk to measure.  [default: the system's]",
)
def main(
    names: tuple[str, ...],
    json_path: Path | None,
    plot: Path | None,
    folder: Path | None,
    *,
    publish: bool,
    quick: bool,
    **options: Any,
) -> None:
    """Measure the service on both stores, next to two ceilings and a peer, in one run on this machine.

    Everything runs on loopback: the service on LMDB, the service on a real mongod, a bare ASGI application and an empty
    Litestar handler as ceilings, and a to-do service on FastAPI and Beanie as the peer. wrk loads them in turn.
    Set TEST_MONGODB_URI to use a running MongoDB.
    """
    plan = Plan(measures=[m for m in MEASURES if not names or m.name in names], **options)
    if quick:
        plan = plan._replace(
            seconds=1, rounds=1, connections=(16,), workers=(1,), todos=200, export=2000, starts=1, image=""
        )
    with (
        TemporaryDirectory(dir=folder, prefix="todo-service-bench-") as work,
        reported(),
        mongod(Path(work)) as url,
    ):
        load.require_wrk()
        results = Results(
            machine=machine(),
            command="pdm run bench " + shlex.join(sys.argv[1:]),
            date=datetime.now(UTC).date().isoformat(),
            seconds=plan.seconds,
            rounds=plan.rounds,
            todos=plan.todos,
        )
        take(plan, results, Path(work), url)
    click.echo(report.table(results))
    if publish:
        json_path, plot = HERE / "results.json", HERE / "results.svg"
        picture = f"![The share of the ceiling that each call reaches]({plot.name})"
        report.publish(HERE / "README.md", "results", f"{picture}\n\n{report.table(results)}")
    if json_path is not None:
        json_path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    if plot is not None:
        report.draw(results, plot)


def take(plan: Plan, results: Results, folder: Path, mongod_url: str) -> None:
    """Measure everything in a plan."""
    results.footprints = {service.name: Footprint() for service in SERVICES}
    for _ in range(plan.starts):
        for service in SERVICES:
            footprint.take_start(results.footprints[service.name], service, folder, mongod_url)
    if plan.image and footprint.has_image(plan.podman, plan.image):
        results.image_start_seconds = [
            footprint.image_start_seconds(plan.podman, plan.image, plan.image_options) for _ in range(plan.starts)
        ]
    for workers in plan.workers:
        with serving(CONTESTANTS, folder, mongod_url, workers, label=f"-{workers}") as all_running:
            for running in all_running:
                running.warm_up(workers)
            if plan.export and workers == plan.workers[0]:
                take_exports(plan, results, all_running)
            take_loads(plan, results, all_running, folder, workers)


def take_exports(plan: Plan, results: Results, all_running: list[Running]) -> None:
    """Measure exports, alternating between the services."""
    exporters = {
        running.contestant.name: Exporter(running, plan.export) for running in all_running if running.contestant.whole
    }
    for _ in range(plan.rounds):
        for exporter in exporters.values():
            exporter.take()
    results.exports = {name: exporter.export for name, exporter in exporters.items()}


def take_loads(plan: Plan, results: Results, all_running: list[Running], folder: Path, workers: int) -> None:
    """Measure the calls, alternating between the contestants. Record each as a share of the ceiling of its round."""
    bare, empty = (next(each for each in all_running if each.contestant is ceiling) for ceiling in (BARE, EMPTY))
    services = [running for running in all_running if running.contestant.service]
    people = {
        running: Person.at(running.url, folder / f"wrk-{running.contestant.name}-{workers}", plan.todos)
        for running in services
    }
    label = f"{workers} worker{'s' if workers > 1 else ''}"
    with click.progressbar(length=plan.loads(), label=label, show_pos=True, file=sys.stderr) as progress:

        def taken(running: Running, name: str, what: load.Load, connections: int) -> Series:
            series = results.at(running.contestant.name, name, workers, connections)
            series.samples.append(load.run(running.url, what, connections, plan.seconds))
            if running.contestant.service and workers == 1:
                footprint.take_load(results.footprints[running.contestant.name], running)
            running.wait_until_idle()
            progress.update(1)
            return series

        for _ in range(plan.rounds):
            for connections in plan.connections:
                taken(bare, CEILING, NOTHING, connections)
                ceiling: list[float] = []
                compared: list[Series] = []
                for number, measure in enumerate(plan.measures):
                    if number in plan.ceilings():
                        ceiling.append(taken(empty, CEILING, NOTHING, connections).samples[-1].requests_per_second)
                    for running in services:
                        if running.contestant.whole or not measure.whole:
                            prepared = measure.prepare(people[running], connections)
                            compared.append(taken(running, measure.name, prepared, connections))
                for series in compared:
                    series.shares.append(series.samples[-1].requests_per_second / mean(ceiling))


if __name__ == "__main__":
    main()
