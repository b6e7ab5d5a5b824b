"""What was measured, as it is kept in JSON."""

from __future__ import annotations

from statistics import median

import msgspec

from tests.benchmarks.load import Sample
from tests.benchmarks.machine import Machine


class Series(msgspec.Struct):
    """One call of one contestant, at so many connections and workers: a sample a round.

    Attributes:
        shares: In each round, how many requests were answered for each that the empty Litestar handler answered in the
            same round at the same number of connections and workers.
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
        """How far the rounds lie apart, as a share of their median."""
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
    """What a service takes.

    Attributes:
        start_seconds: From its start to its first 200, for each start.
        idle_anonymous: MB that are its own, when it has just started.
        idle_resident: MB resident then.
        loaded_anonymous: The most that it had after a run, with one worker.
        loaded_resident: As above.
    """

    start_seconds: list[float] = []
    idle_anonymous: list[float] = []
    idle_resident: list[float] = []
    loaded_anonymous: float = 0.0
    loaded_resident: float = 0.0


class Export(msgspec.Struct):
    """An export of everything, over one connection."""

    todos: int
    megabytes: float
    seconds: list[float] = []

    @property
    def megabytes_per_second(self) -> float:
        """The median of the rounds."""
        return self.megabytes / median(self.seconds)


class Results(msgspec.Struct):
    """All that a run measured."""

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
        """Return a series, if it was measured."""
        wanted = (contestant, measure, workers, connections)
        found = (each for each in self.series if _place(each) == wanted)
        return next(found, None)

    def at(self, contestant: str, measure: str, workers: int, connections: int) -> Series:
        """Return a series, a new one where there is none yet."""
        found = self.find(contestant, measure, workers, connections)
        if found is None:
            found = Series(contestant, measure, workers, connections)
            self.series.append(found)
        return found


def _place(series: Series) -> tuple[str, str, int, int]:
    return series.contestant, series.measure, series.workers, series.connections
