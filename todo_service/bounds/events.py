"""Limits of event streams."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Event streams")

STREAMS: Final = section.declare(
    10,
    "Open event streams of an account, in each process",
    enforced_in="events.hub",
    response="429 with `Retry-After`",
)
TICKET_SECONDS: Final = section.declare(
    60, "Lifetime of an event ticket", unit="s", enforced_in="accounts.tickets", response="401"
)
HEARTBEAT_SECONDS: Final = section.declare(
    15.0, "Time between two comments of an event stream", unit="s", enforced_in="events.hub", response="none"
)
STREAM_PAGE: Final = section.declare(
    50,
    "Changes that an event stream holds in memory; fewer if their todos are large (see `todos.listing`)",
    enforced_in="events.stream",
    response="The others are read once the client has received these.",
)
