"""The requests in flight, and whether the service is shutting down."""

from __future__ import annotations


class InFlightRequests:
    """Counts the requests in flight.

    Attributes:
        draining: Whether the service is shutting down. Readiness then fails, and connections are closed after the
            response.
    """

    def __init__(self) -> None:
        self.draining = False
        self._count = 0

    @property
    def is_idle(self) -> bool:
        """Whether no request is in flight."""
        return self._count == 0

    def add(self) -> None:
        """Count a request that begins."""
        self._count += 1

    def remove(self) -> None:
        """Stop counting a request that has ended."""
        self._count -= 1
