"""The cost of requests to a running service: CPU time, memory, and delays for other clients.

Wall-clock time alone proves nothing, because other processes share the machine. The service therefore counts as
*frozen* only while another client waits for `/health/live`, and never for longer than the CPU time that the service
used meanwhile.
"""

from __future__ import annotations

import http.client
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.writer_process import find_writers

FACTOR = 15
"""How much more work ten times the input may cost."""
FROZEN_SECONDS = 0.1
"""The maximum time that one request may delay other clients."""
ATTEMPTS = 8
"""How often a cost is measured before it counts as too high. Even CPU time varies by half on a shared machine."""
PRECISE_SECONDS = 0.3
"""A cost that is high enough to reveal faster growth. Larger inputs would only take longer."""
_PROBE_SECONDS = 0.002
_NOISE_SECONDS = 0.010
"""Shorter times are too imprecise to compare."""


def processor_seconds(pid: int) -> float:
    """Return the CPU time that all threads of a process have used so far, with a resolution of nanoseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has just ended
    return total / 1e9


def resident_bytes(pid: int) -> int:
    """Return the anonymous memory of a process (RssAnon)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


class Probe:
    """A second client that requests `/health/live` continuously.

    Attributes:
        frozen: The longest time that the service was frozen, in seconds.
        responses: The number of responses.
    """

    def __init__(self, url: str, pid: int) -> None:
        self._address = urlsplit(url)
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.frozen = 0.0
        self.responses = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        host, port = self._address.hostname, self._address.port
        assert host is not None
        connection = http.client.HTTPConnection(host, port, timeout=60)
        while not self._stop.is_set():
            used, begun = processor_seconds(self._pid), time.monotonic()
            connection.request("GET", "/health/live")
            response = connection.getresponse()
            response.read()
            assert response.status == 200
            waited = time.monotonic() - begun
            self.frozen = max(self.frozen, min(waited, processor_seconds(self._pid) - used))
            self.responses += 1
            self._stop.wait(_PROBE_SECONDS)
        connection.close()


@contextmanager
def probing(url: str, pid: int) -> Iterator[Probe]:
    """Probe a service until the block ends. `pid` is its only process."""
    probe = Probe(url, pid)
    probe.start()
    try:
        yield probe
    finally:
        probe.stop()


def cost(pid: int, action: Callable[[], object]) -> float:
    """Return the CPU time that a service and its writer process use while an action runs, in seconds."""
    before = _sum_seconds(pid)
    action()
    return _sum_seconds(pid) - before


def _sum_seconds(pid: int) -> float:
    return sum(map(processor_seconds, [pid, *find_writers(pid)]))


def assert_grows_linearly(
    measure: Callable[[int], float], sizes: Sequence[int], factor: float = FACTOR
) -> dict[int, float]:
    """Assert that ten times the input costs at most `factor` times the work, from each size to the next.

    Other work of the service or the machine can only add to a measurement. If the work seems to grow faster, every size
    is therefore measured again, `ATTEMPTS` times in total. It suffices if the work grows slowly enough in one attempt,
    or by the lowest cost of each size: other work slows all sizes of an attempt down alike, or only some of them.

    Args:
        measure: Returns the CPU time for an input of a given size, in seconds.
        sizes: The sizes of the input, at least three, in ascending order. Those after the third one are left out once a
            size costs more than `PRECISE_SECONDS`.
        factor: The allowed factor for ten times the input. Other ratios are scaled proportionally.

    Returns:
        The lowest cost of each measured size, in seconds.

    Raises:
        AssertionError: The work grows faster in every attempt, and by the lowest costs.
    """
    assert len(sizes) >= 3
    costs: dict[int, float] = {}
    for size in sizes:
        costs[size] = measure(size)
        if len(costs) >= 3 and costs[size] > PRECISE_SECONDS:
            break
    growth = find_growth(costs, factor)
    for _ in range(ATTEMPTS - 1):
        if not growth:
            break
        again = {size: measure(size) for size in costs}
        costs = {size: min(cost, again[size]) for size, cost in costs.items()}
        growth = find_growth(again, factor) and find_growth(costs, factor)
    assert not growth, growth
    return costs


class Lowest:
    """The lowest of several measurements, for costs that other work of the machine can only increase.

    Iterating over it allows `ATTEMPTS` measurements. It ends early, once one is within the limit:

        frozen = Lowest(FROZEN_SECONDS)
        for _ in frozen:
            ...
            frozen.add(probe.frozen)
        assert frozen.value <= FROZEN_SECONDS

    Args:
        limit: The highest cost that needs no further measurement.

    Attributes:
        value: The lowest measurement; infinite if there is none yet.
    """

    def __init__(self, limit: float) -> None:
        self.value = math.inf
        self._limit = limit

    def __iter__(self) -> Iterator[int]:
        for attempt in range(ATTEMPTS):
            if self.value <= self._limit:
                return
            yield attempt

    def add(self, measured: float) -> None:
        """Add a measurement."""
        self.value = min(self.value, measured)


def find_growth(costs: Mapping[int, float], factor: float = FACTOR) -> str:
    """Describe the first step between two sizes at which the cost grows too fast. Return "" if there is none."""
    for (small, before), (large, after) in itertools.pairwise(costs.items()):
        allowed = factor * (large / small) / 10
        if after > allowed * max(before, _NOISE_SECONDS):
            return f"{large} cost {after:.4f} s, {small} cost {before:.4f} s: more than {allowed:.1f} times as much"
    return ""
