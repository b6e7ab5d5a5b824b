"""The requests in flight, which a graceful shutdown waits for."""

from __future__ import annotations

import asyncio


class InFlightRequests:
    """Counts the requests in flight, and drains them at shutdown.

    Attributes:
        draining: Whether the service is shutting down. Readiness then fails, and connections are closed after the
            response.
    """

    def __init__(self) -> None:
        self.draining = False
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_idle(self) -> bool:
        """Whether no request is in flight."""
        return self._count == 0

    def add(self) -> None:
        """Count a request that begins."""
        self._count += 1
        self._idle.clear()

    def remove(self) -> None:
        """Stop counting a request that has ended."""
        self._count -= 1
        if self._count == 0:
            self._idle.set()

    async def drain(self, seconds: float) -> bool:
        """Start draining, and wait until no request is in flight.

        Args:
            seconds: The timeout, in seconds.

        Returns:
            Whether every request completed before the timeout.
        """
        self.draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True
