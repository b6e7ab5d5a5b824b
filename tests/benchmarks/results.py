"""The results, as stored in JSON."""

from __future__ import annotations

from statistics import median

import msgspec

from tests.benchmarks.load import Sample
from tests.benchmarks.machine import Machine


class Series(msgspec.Struct):
    """The measurements of one call of one contestant, with one sample per round.

    Attributes:
        shares: For each round, the ratio to the empty Litestar handler in the same round, with the same number of
            connections and workers.
    """

    contestant: str
    measure: str
    workers: int
    connections: int
    samples: list[Sample] = []
    shares: list[float] = []

    @property
    def requests_per_second(self) -> float:
        """The median of the rounds."""
        return median(sample.requests_per_second for sample in self.samples)

    @property
    def spread(self) -> float:
        """The range of the rounds, relative to their median."""
        rates = [sample.requests_per_second for sample in self.samples]
        return (max(rates) - min(rates)) / self.requests_per_second

    @property
    def p50(self) -> float:
        """The median of the rounds' medians, in milliseconds."""
        return median(sample.p50 for sample in self.samples)

    @property
    def p99(self) -> float:
        """The median of the rounds' 99th percentiles, in milliseconds."""
        return median(sample.p99 for sample in self.samples)

    @property
    def share(self) -> float:
        """The median of the rounds' shares."""
        return median(self.shares)


class Footprint(msgspec.Struct):
    """The footprint of a service.

    Attributes:
        start_seconds: The time to the first 200, for each start.
        idle_anonymous: The anonymous memory after each start, in MB.
        idle_resident: The resident memory after each start, in MB.
        loaded_anonymous: The maximum anonymous memory after a load with one worker, in MB.
        loaded_resident: The maximum resident memory after a load with one worker, in MB.
    """

    start_seconds: list[float] = []
    idle_anonymous: list[float] = []
    idle_resident: list[float] = []
    loaded_anonymous: float = 0.0
    loaded_resident: float = 0.0


class Export(msgspec.Struct):
    """The exports of an account, over one connection."""

    todos: int
    megabytes: float
    seconds: list[float] = []

    @property
    def megabytes_per_second(self) -> float:
        """The median of the rounds."""
        return self.megabytes / median(self.seconds)


class Results(msgspec.Struct):
    """The results of a run."""

    machine: Machine
    command: str
    date: str
    seconds: int
    rounds: int
    todos: int
    series: list[Series] = []
    footprints: dict[str, Footprint] = {}
    exports: dict[str, Export] = {}
    image_start_seconds: list[float] = []

    def find(self, contestant: str, measure: str, workers: int, connections: int) -> Series | None:
        """Return a series, or None if it was not measured."""
        wanted = (contestant, measure, workers, connections)
        found = (each for each in self.series if _identify(each) == wanted)
        return next(found, None)

    def at(self, contestant: str, measure: str, workers: int, connections: int) -> Series:
        """Return a series, creating it if it does not exist."""
        found = self.find(contestant, measure, workers, connections)
        if found is None:
            found = Series(contestant, measure, workers, connections)
            self.series.append(found)
        return found


def _identify(series: Series) -> tuple[str, str, int, int]:
    return series.contestant, series.measure, series.workers, series.connections
