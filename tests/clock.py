"""A clock that can be set, for the tests of background jobs."""

from __future__ import annotations

from datetime import datetime, timedelta

from todo_service.timestamps import now


class Clock:
    """A clock that can be set.

    Attributes:
        ahead: How far it is ahead.
    """

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        """Return the time."""
        return now() + self.ahead

    def set(self, moment: datetime) -> None:
        """Set the time."""
        self.ahead = moment - now()
