"""A budget for the disk space of the stored responses to requests with an `Idempotency-Key`."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from odmantic import ObjectId

from todo_service.bounded_cache import BoundedCache
from todo_service.bounds.requests import IDEMPOTENCY_SECONDS, STORED_RESPONSES_BYTES
from todo_service.web.problems import ProblemError

_RECORD_BYTES: Final = 500
"""The size of a record without its response."""
_MAX_ACCOUNTS: Final = 50_000


class _Window(NamedTuple):
    ends: float
    size: int


class ResponseBudget:
    """Limits the bytes of responses stored for each account, counted in this process.

    Responses are stored for a day, and a small request can have a large response.

    Args:
        limit: The budget of an account, in bytes.
        seconds: The length of the window, in seconds.
    """

    def __init__(self, limit: int = STORED_RESPONSES_BYTES, seconds: float = IDEMPOTENCY_SECONDS) -> None:
        self._limit = limit
        self._seconds = seconds
        self._windows: BoundedCache[ObjectId, _Window] = BoundedCache(_MAX_ACCOUNTS)

    def require_available(self, owner: ObjectId) -> None:
        """Check that an account has budget left.

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
        self._windows[owner] = window._replace(size=window.size + size + _RECORD_BYTES)
