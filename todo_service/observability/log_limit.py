"""A limit on the log lines of requests that rate limits do not bound, or not all of them.

These are requests that a rate limit has already rejected, health checks, and requests without a route, of which only
`OPTIONS` requests and those that match no handler count against a rate limit (`rate_limits.policies`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import structlog

from todo_service.bounds.requests import ALL_REFUSALS_LOGGED, REFUSALS_LOGGED

INTERVAL_SECONDS: Final = 10.0
logger = structlog.get_logger("todo_service.requests")


class LogLimit:
    """Allows a bounded number of log lines in each interval, and logs at its end how many were suppressed.

    Args:
        seconds: The length of an interval, in seconds.
    """

    def __init__(self, seconds: float = INTERVAL_SECONDS) -> None:
        self._seconds = seconds
        self._logged: Counter[str] = Counter()
        self._total = 0
        self._suppressed = 0
        self._timer: asyncio.TimerHandle | None = None

    def allows(self, network: str) -> bool:
        """Return whether a request may be logged.

        Args:
            network: The network of the client (see `web.client_address`).
        """
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end_interval)
        if self._total >= ALL_REFUSALS_LOGGED or self._logged[network] >= REFUSALS_LOGGED:
            self._suppressed += 1
            return False
        self._logged[network] += 1
        self._total += 1
        return True

    def _end_interval(self) -> None:
        if self._suppressed:
            logger.warning("suppressed log lines of requests", count=self._suppressed, seconds=self._seconds)
        self._logged.clear()
        self._total = self._suppressed = 0
        self._timer = None
