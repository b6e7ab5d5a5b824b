"""The limits that all connections of a process share: their number, and the memory for their data."""

from __future__ import annotations

import resource
from functools import cache
from typing import Final

from todo_service.bounds.connections import (
    BODY_MEMORY_BYTES,
    MAX_CONNECTIONS,
    PIPELINED_BYTES,
    REJECTION_LOG_SECONDS,
    UNSENT_BYTES,
)
from todo_service.observability.summary_log import SummaryLog
from todo_service.server.flow import LaggingConnections, MemoryBudget

_RESERVED_FILES: Final = 256
_MIN_CONNECTIONS: Final = 64


@cache
def max_connections() -> int:
    """Return the maximum number of open connections: 20 000, or the open file limit minus 256 if that is lower."""
    available = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _RESERVED_FILES
    return max(_MIN_CONNECTIONS, min(MAX_CONNECTIONS, available))


class SharedCapacity:
    """The state that all connections of a process share.

    Attributes:
        bodies: Memory for the bodies of requests in progress.
        pipelined: Memory for pipelined requests.
        unsent: The connections whose clients read too slowly.
        rejections: The log of rejected requests.
        full_until: The time before which no connection can be shed, by the event loop's clock.
    """

    def __init__(self) -> None:
        self.bodies = MemoryBudget(BODY_MEMORY_BYTES)
        self.pipelined = MemoryBudget(PIPELINED_BYTES)
        self.unsent = LaggingConnections(UNSENT_BYTES)
        self.rejections = SummaryLog("requests rejected", REJECTION_LOG_SECONDS)
        self.full_until = 0.0
