"""Reports: the results as Markdown tables and as a chart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from tests.benchmarks.contestants import BARE, CONTESTANTS, EMBEDDED, EMPTY, MONGODB, PEER, SERVICES
from tests.benchmarks.machine import Machine
from tests.benchmarks.measures import CEILING, MEASURES
from tests.benchmarks.results import Results, Series

GOALS: Final = {
    "get": {EMBEDDED.name: 0.33, MONGODB.name: 0.23},
    "list20": {EMBEDDED.name: 0.20, MONGODB.name: 0.09},
    "list100": {EMBEDDED.name: 0.15, MONGODB.name: 0.07},
    "filtered": {EMBEDDED.name: 0.10, MONGODB.name: 0.07},
    "create": {EMBEDDED.name: 0.20, MONGODB.name: 0.13},
    "patch": {EMBEDDED.name: 0.18, MONGODB.name: 0.08},
    "complete": {EMBEDDED.name: 0.17, MONGODB.name: 0.08},
    "changes": {EMBEDDED.name: 0.15, MONGODB.name: 0.07},
}
"""The share of the empty Litestar handler that a call should reach, at 16 connections and with one worker."""
PEER_RATIO: Final = 2.0
"""How many times as many requests as the peer a call should serve."""
START_SECONDS: Final = 1.2
IDLE_MEGABYTES: Final = 110.0
LOADED_MEGABYTES: Final = 200.0
TAIL: Final = 4.0
"""The maximum ratio of the 99th percentile of the latencies to their median."""
_CONNECTIONS: Final = 16
_WORKERS: Final = 1
_TITLES: Final = {contestant.name: contestant.title for contestant in CONTESTANTS}
_COLOURS: Final = {EMBEDDED.name: "#2e7d4f", MONGODB.name: "#3d6fb4", PEER.name: "#9a9a9a"}


def table(results: Results) -> str:
    """Return the results as Markdown."""
    workers, connections = _choose_load(results)
    parts = [
        _about(results),
        f"### {_many(connections, 'connection')}, {_many(workers, 'worker')}",
        _ceilings(results, workers, connections),
        _calls(results, workers, connections),
        "### Goals",
        _goals(results),
        "### Every number of connections and workers",
        "Requests per second, and their share of the empty Litestar handler with the same connections and workers.",
        _everywhere(results),
        "### What it takes",
        _footprints(results),
    ]
    if results.exports:
        parts += ["### Export", _exports(results)]
    return "\n\n".join(part for part in parts if part)


def publish(page: Path, name: str, text: str) -> None:
    """Replace the text between two markers in a page.

    Raises:
        ValueError: The page has no such markers.
    """
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} has no part for {name}")
    page.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", encoding="utf-8")


def rows(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, with the first column aligned left and the others aligned right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *lines])


def about(machine: Machine) -> str:
    """Return a description of the machine and the software."""
    packages = ", ".join(f"{name} {number}" for name, number in machine.packages.items())
    return (
        f"{machine.processor}, {machine.cores} cores, {machine.memory_gib:.0f} GiB; {machine.system}; "
        f"Python {machine.python}, mongod {machine.mongod}, wrk {machine.wrk}; {packages}."
    )


def draw(results: Results, path: Path) -> None:
    """Draw the share of the ceiling that each call reaches, with the goals as lines across the bars."""
    from matplotlib import pyplot, rcParams  # imported on demand: it takes a second

    # keep text as text, and make the output reproducible
    rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "todo_service", "font.family": "sans-serif"})
    workers, connections = _choose_load(results)
    measures = [m for m in MEASURES if results.find(EMBEDDED.name, m.name, workers, connections)]
    figure, axes = pyplot.subplots(figsize=(9, 0.62 * len(measures) + 1.6), layout="constrained")
    height = 0.26
    for row, measure in enumerate(measures):
        for row_number, service in enumerate(SERVICES):
            series = results.find(service.name, measure.name, workers, connections)
            if series is None:
                continue
            y = row + (row_number - 1) * height
            axes.barh(
                y, 100 * series.share, height, color=_COLOURS[service.name], label=service.title if row == 0 else None
            )
            axes.text(100 * series.share, y, f" {series.requests_per_second:,.0f}/s", va="center", fontsize=8)
            goal = GOALS.get(measure.name, {}).get(service.name)
            if goal is not None:
                axes.plot([100 * goal] * 2, [y - height / 2, y + height / 2], color="#b3261e", linewidth=2)
    axes.plot([], [], color="#b3261e", linewidth=2, label="goal")
    axes.set_yticks(range(len(measures)), [measure.title for measure in measures])
    axes.invert_yaxis()
    axes.set_xlabel(
        f"share of the empty Litestar handler in %; {_many(connections, 'connection')}, {_many(workers, 'worker')}"
    )
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    pyplot.close(figure)


def _choose_load(results: Results) -> tuple[int, int]:
    """Return the workers and connections of the goals, or the smallest measured ones instead."""
    loads = {(series.workers, series.connections) for series in results.series}
    return (_WORKERS, _CONNECTIONS) if (_WORKERS, _CONNECTIONS) in loads else min(loads)


def _about(results: Results) -> str:
    return (
        f"`{results.command.strip()}` on {results.date}: {_many(results.rounds, 'round')} of {results.seconds} s, "
        f"an account of {results.todos} todos. Medians of the rounds; ± is the range of the rounds, in % of the "
        f"median.\n\n"
        f"{about(results.machine)}"
    )


def _ceilings(results: Results, workers: int, connections: int) -> str:
    found = [(ceiling, results.find(ceiling.name, CEILING, workers, connections)) for ceiling in (EMPTY, BARE)]
    return rows(
        ["ceiling", "requests/s", "±", "p50 ms", "p99 ms"],
        [[contestant.title, *_cells(series)] for contestant, series in found if series is not None],
    )


def _calls(results: Results, workers: int, connections: int) -> str:
    lines = []
    for measure in MEASURES:
        for service in SERVICES:
            series = results.find(service.name, measure.name, workers, connections)
            if series is not None:
                peer = results.find(PEER.name, measure.name, workers, connections)
                beside = "" if peer is None else f"{series.requests_per_second / peer.requests_per_second:.1f} ×"
                lines.append([measure.title, service.title, *_cells(series), f"**{series.share:.3f}**", beside])
    return rows(["call", "by", "requests/s", "±", "p50 ms", "p99 ms", "share", "of the peer"], lines)


def _cells(series: Series) -> list[str]:
    return [
        f"{series.requests_per_second:,.0f}",
        f"{100 * series.spread:.0f} %",
        f"{series.p50:.2f}",
        f"{series.p99:.2f}",
    ]


def _goals(results: Results) -> str:
    lines = []
    for measure in MEASURES:
        for name, goal in GOALS.get(measure.name, {}).items():
            series = results.find(name, measure.name, _WORKERS, _CONNECTIONS)
            if series is not None:
                lines.append(_goal(f"{measure.title}, {_TITLES[name]}", "share ≥", goal, series.share, 2))
    for name in (EMBEDDED.name, MONGODB.name):
        ratios = [
            (series.requests_per_second / peer.requests_per_second, measure.title)
            for measure in MEASURES
            if measure.name in GOALS
            and (series := results.find(name, measure.name, _WORKERS, _CONNECTIONS)) is not None
            and (peer := results.find(PEER.name, measure.name, _WORKERS, _CONNECTIONS)) is not None
        ]
        if ratios:
            least, title = min(ratios)
            lines.append(_goal(f"least ratio ({title}), {_TITLES[name]}", "× the peer ≥", PEER_RATIO, least, 1))
        tails = [
            (series.p99 / series.p50, measure.title)
            for measure in MEASURES
            if (series := results.find(name, measure.name, _WORKERS, _CONNECTIONS)) is not None
        ]
        if tails:
            worst, title = max(tails)
            lines.append(_goal(f"p99 of the worst call ({title}), {_TITLES[name]}", "× p50 ≤", TAIL, worst, 1))
        footprint = results.footprints.get(name)
        if footprint is not None and footprint.start_seconds:
            start, idle = median(footprint.start_seconds), median(footprint.idle_resident)
            lines.append(_goal(f"cold start, {_TITLES[name]}", "s ≤", START_SECONDS, start, 2))
            lines.append(_goal(f"idle, {_TITLES[name]}", "MB resident ≤", IDLE_MEGABYTES, idle, 0))
        if footprint is not None and footprint.loaded_anonymous:
            loaded = footprint.loaded_anonymous
            lines.append(_goal(f"loaded, {_TITLES[name]}", "MB RssAnon ≤", LOADED_MEGABYTES, loaded, 0))
    return rows(["goal", "", "wanted", "measured", "met"], lines) if lines else ""


def _goal(what: str, unit: str, wanted: float, measured: float, digits: int) -> list[str]:
    met = measured >= wanted if "≥" in unit else measured <= wanted
    return [what, unit, f"{wanted:.{digits}f}", f"{measured:.{digits}f}", "yes" if met else "**no**"]


def _everywhere(results: Results) -> str:
    loads = sorted({(series.workers, series.connections) for series in results.series})
    names = [(CEILING, "nothing")] + [(measure.name, measure.title) for measure in MEASURES]
    lines = []
    for name, title in names:
        for contestant in CONTESTANTS:
            found = [results.find(contestant.name, name, *load) for load in loads]
            if any(found):
                lines.append([f"{title}, {contestant.title}", *(_short(series) for series in found)])
    head = [f"{connections} conn., {_many(workers, 'worker')}" for workers, connections in loads]
    return rows(["", *head], lines)


def _short(series: Series | None) -> str:
    if series is None:
        return ""
    share = f" · {series.share:.2f}" if series.shares else ""
    return f"{series.requests_per_second:,.0f}{share}"


def _footprints(results: Results) -> str:
    lines = []
    for name, footprint in results.footprints.items():
        started = bool(footprint.start_seconds)
        lines.append(
            [
                _TITLES[name],
                f"{median(footprint.start_seconds):.2f}" if started else "",
                f"{min(footprint.start_seconds):.2f}–{max(footprint.start_seconds):.2f}" if started else "",
                f"{median(footprint.idle_anonymous):.0f}" if started else "",
                f"{median(footprint.idle_resident):.0f}" if started else "",
                f"{footprint.loaded_anonymous:.0f}" if footprint.loaded_resident else "",
                f"{footprint.loaded_resident:.0f}" if footprint.loaded_resident else "",
            ]
        )
    head = ["", "start to first 200, s", "from – to", "idle RssAnon, MB", "idle RSS", "loaded RssAnon", "loaded RSS"]
    image = (
        f"A container of the image is ready {median(results.image_start_seconds):.2f} s after `podman run`."
        if results.image_start_seconds
        else "The start of the image was not measured."
    )
    return (
        f"{rows(head, lines)}\n\nAll values are for one worker, without mongod. RSS also counts mapped files that are "
        f"in memory, such as the pages of the embedded store that have been read. {image}"
    )


def _exports(results: Results) -> str:
    return rows(
        ["", "todos", "MB", "MB/s", "todos/s"],
        [
            [
                _TITLES[name],
                f"{export.todos:,}",
                f"{export.megabytes:.1f}",
                f"{export.megabytes_per_second:.1f}",
                f"{export.todos / median(export.seconds):,.0f}",
            ]
            for name, export in results.exports.items()
        ],
    )


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
