"""A bound on the log lines that clients cause without being served."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import structlog

from todo_service.bounds.requests import ALL_REFUSALS_LOGGED, REFUSALS_LOGGED

INTERVAL_SECONDS: Final = 10.0
logger = structlog.get_logger("todo_service.requests")


class LogLimit:
    """Lets a bounded number of log lines through in each interval, and logs how many it has left out at its end.

    It is for requests that no rate limit bounds: those that a rate limit refuses, those that reach no route, and
    those about the service's health.

    Args:
        seconds: The length of an interval.
    """

    def __init__(self, seconds: float = INTERVAL_SECONDS) -> None:
        self._seconds = seconds
        self._logged: Counter[str] = Counter()
        self._total = 0
        self._left_out = 0
        self._timer: asyncio.TimerHandle | None = None

    def allows(self, network: str) -> bool:
        """Return whether a line about a request may be logged.

        Args:
            network: Where the request comes from.
        """
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end_interval)
        if self._total >= ALL_REFUSALS_LOGGED or self._logged[network] >= REFUSALS_LOGGED:
            self._left_out += 1
            return False
        self._logged[network] += 1
        self._total += 1
        return True

    def _end_interval(self) -> None:
        if self._left_out:
            logger.warning("requests were not logged", count=self._left_out, seconds=self._seconds)
        self._logged.clear()
        self._total = self._left_out = 0
        self._timer = None
