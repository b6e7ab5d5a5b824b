"""Summaries of frequent events, so that clients cannot fill the log."""

from __future__ import annotations

import asyncio
from collections import Counter

import structlog

logger = structlog.get_logger(__name__)


class SummaryLog:
    """Counts events by name, and logs the counts at most once per interval. Not thread-safe.

    Args:
        event: The message of the log lines.
        seconds: The interval between two log lines, in seconds.
    """

    def __init__(self, event: str, seconds: float) -> None:
        self._event = event
        self._seconds = seconds
        self._counts: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, name: str) -> None:
        """Count an event, and log it now or at the end of the interval."""
        self._counts[name] += 1
        if self._timer is None:
            self._write()

    def _write(self) -> None:
        self._timer = None
        if self._counts:
            logger.info(self._event, **self._counts)
            self._counts.clear()
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._write)
