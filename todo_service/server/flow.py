"""Flow control for connections: paused reading, minimum transfer rates and memory budgets."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from enum import Enum
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

from todo_service.bounds.connections import CLIENT_SHARE, REJECTION_PAUSE_SECONDS

_CONTINUE: Final = b"HTTP/1.1 1"
_RATE_LIMITED: Final = b"HTTP/1.1 429"
_FULL_PAUSE: Final = 5
"""The number of consecutive responses with status 429 after which a pause has its full length."""
_JOINED_BYTES: Final = 16 * 1024
"""The largest part of a body that is copied, to be written together with the head."""


class ReadFlowControl(FlowControl):
    """Flow control that can hold reading, and that measures the time spent reading.

    Args:
        transport: The transport of the connection.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._held = False
        self._paused_since = 0.0
        self._paused_seconds = 0.0

    def hold(self) -> None:
        """Pause reading until `release`; `resume_reading` has no effect until then."""
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
        """Resume reading, unless it is held."""
        if self.read_paused and not self._held:
            self._paused_seconds += time.monotonic() - self._paused_since
            super().resume_reading()

    def measure_reading(self) -> float:
        """Return the time in seconds, by a monotonic clock that stops while reading is paused."""
        now = self._paused_since if self.read_paused else time.monotonic()
        return now - self._paused_seconds


class ResponseWriter:
    """Writes the head of each response together with the first part of its body.

    Uvicorn writes them separately, which costs a second system call.

    Args:
        transport: The transport of the connection.

    Attributes:
        written: The total number of bytes passed to the transport.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self.written = 0
        self._rejections = 0

    @property
    def sent(self) -> int:
        """The total number of bytes passed to the kernel."""
        return self.written - self.unsent

    @property
    def unsent(self) -> int:
        """The number of bytes in the transport's buffer."""
        return self._transport.get_write_buffer_size()

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next request is read: 0 unless the last response had status 429."""
        return REJECTION_PAUSE_SECONDS * min(self._rejections / _FULL_PAUSE, 1)

    def write(self, data: bytes) -> None:
        """Write data, or buffer the head of a response until the next write."""
        if not self._head and data.startswith(b"HTTP/1.1 ") and not data.startswith(_CONTINUE):
            self._head = data
            self._rejections = self._rejections + 1 if data.startswith(_RATE_LIMITED) else 0
        elif len(data) > _JOINED_BYTES:
            self.flush()
            self._write(data)
        else:
            self._write(self._head + data if self._head else data)
            self._head = b""

    def flush(self) -> None:
        """Write the buffered head, if there is one."""
        if self._head:
            self._write(self._head)
            self._head = b""

    def close(self) -> None:
        """Flush the buffer and close the connection."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Return whether the connection is closing."""
        return self._transport.is_closing()

    def _write(self, data: bytes) -> None:
        self.written += len(data)
        self._transport.write(data)


class MinimumRate:
    """The minimum average rate of a transfer in each window of time.

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
        """Start a new window.

        Args:
            now: The time of any monotonic clock, in seconds.
            total: The total number of bytes transferred.
        """
        self._since, self._total = now, total

    def is_missed(self, now: float, total: int) -> bool:
        """Return whether a window has ended with too few bytes. The next window starts when one has ended."""
        elapsed = now - self._since
        if elapsed < self._seconds:
            return False
        missed = total - self._total < self._rate * elapsed
        self.restart(now, total)
        return missed


class Shortage(Enum):
    """Why a reservation cannot grow."""

    BUDGET = "the budget is used up"
    SHARE = "the client has used up its share"


class MemoryBudget:
    """Memory that all connections of a process share. A client can reserve `CLIENT_SHARE` of it.

    Args:
        limit: The size of the budget in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._used_by: Counter[str] = Counter()

    def reserve(self, client: str) -> Reservation:
        """Return an empty reservation. Its owner must release it.

        Args:
            client: The client that it is charged to.
        """
        return Reservation(self, client)

    def _find_shortage(self, client: str, size: int, spare: int) -> Shortage | None:
        limit = self._limit - spare
        if self._used_by[client] + size > limit * CLIENT_SHARE:
            return Shortage.SHARE
        return Shortage.BUDGET if self._used + size > limit else None

    def _add(self, client: str, size: int) -> None:
        self._used += size
        self._used_by[client] += size
        if not self._used_by[client]:
            del self._used_by[client]


class Reservation:
    """Bytes of a `MemoryBudget`.

    Args:
        budget: The budget.
        client: The client that the bytes are charged to.
    """

    def __init__(self, budget: MemoryBudget, client: str) -> None:
        self._budget = budget
        self._client = client
        self._size = 0

    def grow(self, size: int, *, spare: int = 0) -> Shortage | None:
        """Reserve more of the budget.

        Args:
            size: The number of additional bytes.
            spare: The number of bytes of the budget that must remain free. The client's share is a share of the rest.

        Returns:
            None if the bytes were reserved. Otherwise nothing has changed.
        """
        shortage = self._budget._find_shortage(self._client, size, spare)
        if shortage is None:
            self._budget._add(self._client, size)
            self._size += size
        return shortage

    def charge(self, client: str) -> None:
        """Charge the bytes to another client, even if that exceeds the client's share."""
        self._budget._add(self._client, -self._size)
        self._client = client
        self._budget._add(client, self._size)

    def release(self) -> None:
        """Return all reserved bytes to the budget."""
        if self._size:
            self._budget._add(self._client, -self._size)
            self._size = 0


class LaggingConnections:
    """The connections whose clients read their responses too slowly.

    Args:
        limit: The maximum number of unsent bytes of all these connections.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lagging: dict[asyncio.Transport, str] = {}

    def add(self, transport: asyncio.Transport, network: str) -> None:
        """Add a connection, and abort connections until the unsent bytes are within the limit.

        Connections of the network with the most unsent bytes are aborted first, the longest lagging ones before the
        others. A client that opens many connections therefore does not affect other clients.

        Args:
            transport: The transport of the connection.
            network: The network of its client.
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
        """Remove a connection whose client has caught up or disconnected."""
        self._lagging.pop(transport, None)
