"""A budget for the disk space of requests with an `Idempotency-Key`: their records and stored responses."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from odmantic import ObjectId

from todo_service.bounded_cache import BoundedCache
from todo_service.bounds.requests import IDEMPOTENCY_SECONDS, STORED_RESPONSES_BYTES
from todo_service.web.problems import ProblemError

RECORD_BYTES: Final = 500
"""The size of a record without its response, with its index entries."""
_MAX_ACCOUNTS: Final = 50_000


class _Window(NamedTuple):
    ends: float
    size: int


class ResponseBudget:
    """Limits the bytes of records and responses stored for each account, counted in this process.

    They are stored for a day. A limit on the size of requests would not bound this space, because a small request can
    have a large response. A record counts from its insertion, so that interrupted requests, and those without a stored
    response, count as well.

    Args:
        limit: The budget of an account, in bytes.
        seconds: The length of the window, in seconds.
    """

    def __init__(self, limit: int = STORED_RESPONSES_BYTES, seconds: float = IDEMPOTENCY_SECONDS) -> None:
        self._limit = limit
        self._seconds = seconds
        self._windows: BoundedCache[ObjectId, _Window] = BoundedCache(_MAX_ACCOUNTS)

    def add_record(self, owner: ObjectId) -> None:
        """Count a record, without its response, if the account has budget left.

        Raises:
            ProblemError: 429, the budget is used up. `Retry-After` says when the window ends.
        """
        window = self._windows.get(owner)
        now = time.monotonic()
        if window is not None and window.size >= self._limit and now < window.ends:
            raise ProblemError(
                "rate-limited",
                "the stored responses of this account take too much space: send the request without an Idempotency-Key",
                headers={"Retry-After": str(int(window.ends - now) + 1)},
            )
        self.add(owner, RECORD_BYTES)

    def remove_record(self, owner: ObjectId) -> None:
        """Stop counting a record that has been deleted without a response."""
        window = self._windows.get(owner)
        if window is not None:
            self._windows[owner] = window._replace(size=max(0, window.size - RECORD_BYTES))

    def add(self, owner: ObjectId, size: int) -> None:
        """Count a stored response.

        Args:
            owner: The account.
            size: The size of the stored response, in bytes.
        """
        now = time.monotonic()
        window = self._windows.get(owner)
        if window is None or now >= window.ends:
            window = _Window(now + self._seconds, 0)
        self._windows[owner] = window._replace(size=window.size + size)
