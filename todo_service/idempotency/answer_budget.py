"""How much disk the stored answers to requests with an `Idempotency-Key` may take."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from odmantic import ObjectId

from todo_service.bounds.requests import IDEMPOTENCY_SECONDS, STORED_ANSWER_BYTES
from todo_service.web.problems import ProblemError

_RECORD_BYTES: Final = 500
"""What a record takes beside its answer."""
_ACCOUNTS: Final = 50_000


class _Window(NamedTuple):
    ends: float
    size: int


class AnswerBudget:
    """Counts the bytes of the stored answers of each account over a day, in this process.

    A small request can have a large answer, and an answer is stored for a day.

    Args:
        limit: Bytes for each account.
        seconds: Length of a day.
    """

    def __init__(self, limit: int = STORED_ANSWER_BYTES, seconds: float = IDEMPOTENCY_SECONDS) -> None:
        self._limit = limit
        self._seconds = seconds
        self._windows: dict[ObjectId, _Window] = {}

    def require_room(self, owner: ObjectId) -> None:
        """Return if an account may have another answer stored.

        Raises:
            ProblemError: 429, the account has used up its bytes; with the seconds to wait.
        """
        window = self._windows.get(owner)
        now = time.monotonic()
        if window is not None and window.size >= self._limit and now < window.ends:
            raise ProblemError(
                "rate-limited",
                "the stored answers of this account take too much room: send this without an Idempotency-Key",
                headers={"Retry-After": str(int(window.ends - now) + 1)},
            )

    def add(self, owner: ObjectId, size: int) -> None:
        """Count an answer that is stored."""
        now = time.monotonic()
        window = self._windows.get(owner)
        if window is None or now >= window.ends:
            self._windows.pop(owner, None)
            if len(self._windows) >= _ACCOUNTS:
                del self._windows[next(iter(self._windows))]
            window = _Window(now + self._seconds, 0)
        self._windows[owner] = window._replace(size=window.size + size + _RECORD_BYTES)
