"""One log line for many events of one kind, so that nobody can fill the log."""

from __future__ import annotations

import asyncio
from collections import Counter

import structlog

logger = structlog.get_logger(__name__)


class SummaryLog:
    """Counts events by name, and logs the counts now and then. Use it from one event loop only.

    Args:
        event: The message of the lines.
        seconds: The least time between two lines.
    """

    def __init__(self, event: str, seconds: float) -> None:
        self._event = event
        self._seconds = seconds
        self._counts: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, name: str) -> None:
        """Count an event: log it at once, or with the others that follow the last line."""
        self._counts[name] += 1
        if self._timer is None:
            self._write()

    def _write(self) -> None:
        self._timer = None
        if self._counts:
            logger.info(self._event, **self._counts)
            self._counts.clear()
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._write)
