"""How fast bytes move and how many of them wait: flow control, least rates and budgets of memory for connections."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

_CONTINUE: Final = b"HTTP/1.1 1"
_JOINED_BYTES: Final = 16 * 1024
"""A larger part of a body is not copied to stand behind its head."""


class ReadingFlow(FlowControl):
    """Flow control that knows how long reading was paused, and that can hold reading back.

    Args:
        transport: The transport of the connection.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._held = False
        self._paused_since = 0.0
        self._paused_seconds = 0.0

    def hold(self) -> None:
        """Pause reading until `release`, whoever asks for more meanwhile."""
        self.pause_reading()
        self._held = True

    def release(self) -> None:
        """Resume reading after `hold`."""
        if self._held:
            self._held = False
            self.resume_reading()

    def pause_reading(self) -> None:
        """Pause reading."""
        if not self.read_paused:
            self._paused_since = time.monotonic()
            super().pause_reading()

    def resume_reading(self) -> None:
        """Resume reading, unless it is held back."""
        if self.read_paused and not self._held:
            self._paused_seconds += time.monotonic() - self._paused_since
            super().resume_reading()

    def reading_seconds(self) -> float:
        """Return a clock, in seconds, that stands still while reading is paused."""
        now = self._paused_since if self.read_paused else time.monotonic()
        return now - self._paused_seconds


class ResponseWriter:
    """Writes responses, the head of each together with the beginning of its body.

    Uvicorn writes them one after the other, which is a system call more.

    Args:
        transport: The transport of the connection.

    Attributes:
        written: How many bytes have been handed to the transport so far.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self.written = 0

    @property
    def taken(self) -> int:
        """How many bytes the client, or the kernel for it, has taken so far."""
        return self.written - self.unsent

    @property
    def unsent(self) -> int:
        """How many bytes wait for the client to take them."""
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Write, or keep the head of a response until the next write."""
        if not self._head and data.startswith(b"HTTP/1.1 ") and not data.startswith(_CONTINUE):
            self._head = data
        elif len(data) > _JOINED_BYTES:
            self.flush()
            self._write(data)
        else:
            self._write(self._head + data if self._head else data)
            self._head = b""

    def flush(self) -> None:
        """Write a head that nothing has followed."""
        if self._head:
            self._write(self._head)
            self._head = b""

    def close(self) -> None:
        """Write what is left and close the connection."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Return whether the connection is being closed."""
        return self._transport.is_closing()

    def _write(self, data: bytes) -> None:
        self.written += len(data)
        self._transport.write(data)


class MinimumRate:
    """The rate that a transfer must keep up on average over each window.

    Args:
        bytes_per_second: The rate.
        seconds: The length of a window.
    """

    def __init__(self, bytes_per_second: float, seconds: float) -> None:
        self._rate = bytes_per_second
        self._seconds = seconds
        self._since = 0.0
        self._total = 0

    def restart(self, now: float, total: int) -> None:
        """Begin a window.

        Args:
            now: The time on any monotonic clock, in seconds.
            total: How many bytes have been transferred so far.
        """
        self._since, self._total = now, total

    def is_missed(self, now: float, total: int) -> bool:
        """Return whether the window has ended with too few bytes; begin the next window when it has ended."""
        elapsed = now - self._since
        if elapsed < self._seconds:
            return False
        missed = total - self._total < self._rate * elapsed
        self.restart(now, total)
        return missed


class MemoryBudget:
    """A number of bytes that all connections of this process share.

    Args:
        limit: The number of bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    def reserve(self) -> Reservation:
        """Return an empty reservation, which its owner grows and finally releases."""
        return Reservation(self)

    def _take(self, size: int, limit: int) -> bool:
        if self._used + size > limit:
            return False
        self._used += size
        return True

    def _give_back(self, size: int) -> None:
        self._used -= size


class Reservation:
    """A share of a `MemoryBudget`.

    Args:
        budget: The budget.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._size = 0

    def grow(self, size: int, *, spare: int = 0) -> bool:
        """Take more of the budget.

        Args:
            size: How many more bytes.
            spare: How many bytes of the budget must be left for others.

        Returns:
            Whether the budget had them; otherwise nothing has changed.
        """
        if not self._budget._take(size, self._budget._limit - spare):
            return False
        self._size += size
        return True

    def release(self) -> None:
        """Give everything back."""
        if self._size:
            self._budget._give_back(self._size)
            self._size = 0


class UnsentResponses:
    """The connections whose clients do not keep up with their responses.

    Args:
        limit: How many bytes may wait for all of them together.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lagging: dict[asyncio.Transport, str] = {}

    def add(self, transport: asyncio.Transport, network: str) -> None:
        """Add a connection whose client lags, and abort connections while there is too much unsent.

        Those of the network with the most unsent bytes are aborted, the ones that have lagged longest first: a client
        that opens many connections does not end those of others.

        Args:
            transport: The transport of the connection.
            network: Where its client is.
        """
        self._lagging[transport] = network
        unsent = {lagging: lagging.get_write_buffer_size() for lagging in self._lagging}
        excess = sum(unsent.values()) - self._limit
        if excess <= 0:
            return
        networks: Counter[str] = Counter()
        for lagging, size in unsent.items():
            networks[self._lagging[lagging]] += size
        while excess > 0:
            [(most, _)] = networks.most_common(1)
            longest = next(lagging for lagging, where in self._lagging.items() if where == most)
            excess -= unsent[longest]
            networks[most] -= unsent[longest]
            del self._lagging[longest]
            longest.abort()

    def discard(self, transport: asyncio.Transport) -> None:
        """Remove a connection whose client has caught up or has gone."""
        self._lagging.pop(transport, None)
