"""Bounds: connections."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Connections")

MAX_CONNECTIONS: Final = section.declare(
    20_000,
    "Open connections, in each process; less where the limit of open files is lower (it leaves 256)",
    enforced_in="server.capacity",
    response="Idle connections are closed, then incomplete requests; where there are none, 503 with `Retry-After`.",
)
IDLE_SECONDS: Final = section.declare(
    15,
    "Time between two requests of a connection",
    unit="s",
    enforced_in="server.protocol",
    response="The connection is closed.",
)
HEAD_SECONDS: Final = section.declare(
    10.0, "Time for the head of a request to come in", unit="s", enforced_in="server.protocol", response="408"
)
BODY_WINDOW_SECONDS: Final = section.declare(
    20.0,
    "Window over which the rate of a body is measured",
    unit="s",
    enforced_in="server.protocol",
    response="see next row",
)
BODY_BYTES_PER_SECOND: Final = section.declare(
    16 * 1024,
    "Least rate of a body, on average over each window",
    unit="bytes/s",
    enforced_in="server.protocol",
    response="408",
)
BODY_SECONDS: Final = section.declare(
    600.0, "Time for a whole body to come in", unit="s", enforced_in="server.protocol", response="408"
)
BODY_MEMORY_BYTES: Final = section.declare(
    160 * 1024 * 1024,
    "Received bytes of all bodies whose requests are not answered, in each process; the first 16 KiB of each are free",
    unit="bytes",
    enforced_in="server.capacity",
    response="503 with `Retry-After` for the body that finds no room",
)
SPARE_BODY_MEMORY_BYTES: Final = section.declare(
    32 * 1024 * 1024,
    "Share of it that is kept for bodies of up to 1 MiB",
    unit="bytes",
    enforced_in="server.protocol",
    response="503 with `Retry-After` for a larger body that finds no room",
)
PIPELINED_BYTES: Final = section.declare(
    32 * 1024 * 1024,
    "Pipelined requests that wait for the response before them, in each process; of each connection at most one read",
    unit="bytes",
    enforced_in="server.capacity",
    response="What waits is dropped, and the connection is closed after the present response.",
)
RESPONSE_WINDOW_SECONDS: Final = section.declare(
    30.0,
    "Window over which it is measured how fast a client reads",
    unit="s",
    enforced_in="server.protocol",
    response="see next row",
)
RESPONSE_BYTES_PER_SECOND: Final = section.declare(
    4 * 1024,
    "Least rate at which a client reads a response, on average over each window",
    unit="bytes/s",
    enforced_in="server.protocol",
    response="The connection is aborted.",
)
UNSENT_BYTES: Final = section.declare(
    64 * 1024 * 1024,
    "Responses that wait for their clients to read them, in each process",
    unit="bytes",
    enforced_in="server.capacity",
    response="The connections of the address with the most of them are aborted, those that have lagged longest first.",
)
LINGER_SECONDS: Final = section.declare(
    2.0,
    "Time that a refused connection stays open, so that its client can read why",
    unit="s",
    enforced_in="server.protocol",
    response="The connection is closed.",
)
LINGER_BYTES: Final = section.declare(
    1024 * 1024,
    "Bytes that are read and dropped from a refused connection",
    unit="bytes",
    enforced_in="server.protocol",
    response="The connection is closed.",
)
REFUSAL_LOG_SECONDS: Final = section.declare(
    10.0,
    "Time between two log lines about refused connections, in each process",
    unit="s",
    enforced_in="server.capacity",
    response="Refusals are counted, and logged together.",
)
