"""What is counted while faults are injected, and printed at the end."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

RESPONSE_SECONDS: Final = 5.0
"""Within this every request ends, whatever the store does."""
RECOVERY_SECONDS: Final = 15.0
"""Within this the service serves again when its store is back."""


class Figures:
    """The figures of a test, or of a run.

    Attributes:
        faults: How many faults were injected, by kind.
        acknowledged: Writes that were answered with success, by the store.
        found: Those of them whose effect was there afterwards, by the store.
        statuses: Answers by status; `none` where the service itself was killed meanwhile.
        slowest: Seconds that the slowest answer took.
        recoveries: The worst seconds from the store's return to the next success, by kind of fault.
    """

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.acknowledged: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.slowest = 0.0
        self.recoveries: dict[str, float] = {}

    def recovered(self, fault: str, seconds: float) -> None:
        """Note how long it took to serve again, and that it was not too long."""
        self.recoveries[fault] = max(seconds, self.recoveries.get(fault, 0.0))
        assert seconds < RECOVERY_SECONDS, f"{fault}: served again only after {seconds:.1f} s"

    def add(self, other: Figures) -> None:
        """Count what another test has counted as well."""
        for own, others in zip(self._counters(), other._counters(), strict=True):
            own.update(others)
        self.slowest = max(self.slowest, other.slowest)
        for fault, seconds in other.recoveries.items():
            self.recoveries[fault] = max(seconds, self.recoveries.get(fault, 0.0))

    def plain(self) -> list[Any]:
        """Return them as what one process can tell another."""
        return [*map(dict, self._counters()), self.slowest, self.recoveries]

    @classmethod
    def of(cls, plain: list[Any]) -> Figures:
        """Return what `plain` has told."""
        figures = cls()
        *counters, figures.slowest, figures.recoveries = plain
        for own, others in zip(figures._counters(), counters, strict=True):
            own.update(others)
        return figures

    def _counters(self) -> list[Counter[str]]:
        return [self.faults, self.acknowledged, self.found, self.statuses]

    def lines(self) -> list[str]:
        """Return them for people."""
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
            f"slowest answer: {self.slowest:.2f} s",
            "worst recovery: " + (_listed({name: f"{value:.2f} s" for name, value in self.recoveries.items()}) or "-"),
        ]


_ALLOWED: Final = ("503", "none")


def _listed(figures: dict[str, int] | dict[str, str]) -> str:
    return ", ".join(f"{name} {figures[name]}" for name in sorted(figures))
