"""Limits of connections."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Connections")

MAX_CONNECTIONS: Final = section.declare(
    20_000,
    "Open connections of a process, or the open file limit minus 256 if that is lower",
    enforced_in="server.capacity",
    response="Idle connections are closed, then incomplete requests; if there are none, 503 with `Retry-After`",
)
IDLE_SECONDS: Final = section.declare(
    15,
    "Idle time between two requests on a connection",
    unit="s",
    enforced_in="server.protocol",
    response="The connection is closed.",
)
HEAD_SECONDS: Final = section.declare(
    10.0, "Time to receive the request line and headers", unit="s", enforced_in="server.protocol", response="408"
)
BODY_WINDOW_SECONDS: Final = section.declare(
    20.0,
    "Window for measuring the upload rate of a body",
    unit="s",
    enforced_in="server.protocol",
    response="see next row",
)
BODY_BYTES_PER_SECOND: Final = section.declare(
    16 * 1024,
    "Minimum average upload rate of a body in each window",
    unit="bytes/s",
    enforced_in="server.protocol",
    response="408",
)
BODY_SECONDS: Final = section.declare(
    600.0, "Time to receive a body", unit="s", enforced_in="server.protocol", response="408"
)
BODY_MEMORY_BYTES: Final = section.declare(
    176 * 1024 * 1024,
    "Memory of a process for the bodies of requests in progress; the first 16 KiB of each do not count",
    unit="bytes",
    enforced_in="server.capacity",
    response="503 with `Retry-After` for the body that exceeds it",
)
SPARE_BODY_MEMORY_BYTES: Final = section.declare(
    32 * 1024 * 1024,
    "Part of this memory that is reserved for bodies of up to 1 MiB",
    unit="bytes",
    enforced_in="server.protocol",
    response="503 with `Retry-After` for a larger body that exceeds the rest",
)
CLIENT_SHARE: Final = section.declare(
    0.5,
    "Share of this memory that one account, or one address without an account, can use; for a body above 1 MiB, share "
    "of the part that is not reserved. The same share applies to each address in the next row.",
    enforced_in="server.flow",
    response="429 with `Retry-After` for the body that exceeds it; see next row for pipelined requests",
)
PIPELINED_BYTES: Final = section.declare(
    32 * 1024 * 1024,
    "Memory of a process for pipelined requests; at most one read for each connection",
    unit="bytes",
    enforced_in="server.capacity",
    response="Pipelined requests are dropped, and the connection is closed after the current response.",
)
REJECTION_PAUSE_SECONDS: Final = section.declare(
    0.25,
    "Pause before the next request is read, after five or more consecutive responses with status 429; a fifth of it "
    "for each if there are fewer",
    unit="s",
    enforced_in="server.flow",
    response="The next request waits.",
)
RESPONSE_WINDOW_SECONDS: Final = section.declare(
    30.0,
    "Window for measuring how fast a client reads a response",
    unit="s",
    enforced_in="server.protocol",
    response="see next row",
)
RESPONSE_BYTES_PER_SECOND: Final = section.declare(
    4 * 1024,
    "Minimum average rate at which a client reads a response in each window",
    unit="bytes/s",
    enforced_in="server.protocol",
    response="The connection is aborted.",
)
UNSENT_BYTES: Final = section.declare(
    64 * 1024 * 1024,
    "Memory of a process for unsent responses",
    unit="bytes",
    enforced_in="server.capacity",
    response="Connections of the network with the most unsent bytes are aborted, the longest lagging first.",
)
LINGER_SECONDS: Final = section.declare(
    2.0,
    "Time for a client to read the response to a rejected request",
    unit="s",
    enforced_in="server.protocol",
    response="The connection is closed.",
)
LINGER_BYTES: Final = section.declare(
    1024 * 1024,
    "Bytes that are read and discarded after a rejected request",
    unit="bytes",
    enforced_in="server.protocol",
    response="The connection is closed.",
)
REJECTION_LOG_SECONDS: Final = section.declare(
    10.0,
    "Interval between log lines about rejected requests, for each process",
    unit="s",
    enforced_in="server.capacity",
    response="Rejections are counted and logged together.",
)
