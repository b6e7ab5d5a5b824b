"""The figures of the fault tests, printed at the end of the run."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

RESPONSE_SECONDS: Final = 5.0
"""The maximum duration of a request, whatever the store does."""
RECOVERY_SECONDS: Final = 15.0
"""The maximum time from the return of the store to the first successful write."""


class Figures:
    """The figures of a test, or of a run.

    Attributes:
        faults: The number of injected faults, by kind.
        acknowledged: The number of acknowledged writes, by store.
        found: The number of those whose effect was found afterwards, by store.
        statuses: The number of responses by status; `none` if the service itself was killed.
        slowest: The duration of the slowest request, in seconds.
        recoveries: The longest time from the return of the store to the next success in seconds, by kind of fault.
        lateness: The longest time from the moment of a reminder until it was fired or sent in seconds, by store.
    """

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.acknowledged: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.slowest = 0.0
        self.recoveries: dict[str, float] = {}
        self.lateness: dict[str, float] = {}

    def recovered(self, fault: str, seconds: float) -> None:
        """Record how long the service took to recover, and assert that it was short enough."""
        self.recoveries[fault] = max(seconds, self.recoveries.get(fault, 0.0))
        assert seconds < RECOVERY_SECONDS, f"{fault}: served again only after {seconds:.1f} s"

    def add(self, other: Figures) -> None:
        """Add the figures of another test."""
        for own, others in zip(self._counters(), other._counters(), strict=True):
            own.update(others)
        self.slowest = max(self.slowest, other.slowest)
        for fault, seconds in other.recoveries.items():
            self.recoveries[fault] = max(seconds, self.recoveries.get(fault, 0.0))
        for event, seconds in other.lateness.items():
            self.lateness[event] = max(seconds, self.lateness.get(event, 0.0))

    def plain(self) -> list[Any]:
        """Return the figures as plain values, to send them to another process."""
        return [*map(dict, self._counters()), self.slowest, self.recoveries, self.lateness]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> Figures:
        """Return the figures from the result of `plain`."""
        figures = cls()
        *counters, figures.slowest, figures.recoveries, figures.lateness = plain
        for own, others in zip(figures._counters(), counters, strict=True):
            own.update(others)
        return figures

    def _counters(self) -> list[Counter[str]]:
        return [self.faults, self.acknowledged, self.found, self.statuses]

    def lines(self) -> list[str]:
        """Return the figures as lines of text."""
        failures = sum(number for status, number in self.statuses.items() if status >= "500" and status not in _ALLOWED)
        stores = [
            f"{store}: {number} writes acknowledged, {self.found[store]} found, {number - self.found[store]} lost"
            for store, number in sorted(self.acknowledged.items())
        ]
        return [
            f"faults injected: {self.faults.total()} ({_listed(self.faults)})",
            *stores,
            f"requests by status: {_listed(self.statuses)}",
            f"5xx other than 503: {failures}",
            f"slowest response: {self.slowest:.2f} s",
            "worst recovery: " + (_listed({name: f"{value:.2f} s" for name, value in self.recoveries.items()}) or "-"),
            "latest reminder: " + (_listed({name: f"{value:.2f} s" for name, value in self.lateness.items()}) or "-"),
        ]


_ALLOWED: Final = ("503", "none")


def _listed(figures: dict[str, int] | dict[str, str]) -> str:
    return ", ".join(f"{name} {figures[name]}" for name in sorted(figures))
