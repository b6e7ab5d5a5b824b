"""Whether a VTODO is completed, and when (RFC 5545, sections 3.8.1.8, 3.8.1.11 and 3.8.2.1)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, NamedTuple

from todo_service.exchange.formats.calendar_components import Component
from todo_service.exchange.formats.calendar_times import TimeReader

_STATUSES: Final = {
    "NEEDS-ACTION": False,
    "IN-PROCESS": False,
    "COMPLETED": True,
    "CANCELLED": True,
    "CANCELED": True,
}
_INTEGER: Final = re.compile(r"[+-]?\d{1,9}", re.ASCII)


class CompletionState(NamedTuple):
    """Whether a todo is completed.

    Attributes:
        completed: Whether it is completed or cancelled.
        completed_at: When, if known.
        cancelled: Whether it is cancelled.
    """

    completed: bool
    completed_at: datetime | None = None
    cancelled: bool = False


def read_completion(todo: Component, times: TimeReader) -> CompletionState:
    """Return whether a todo is completed or cancelled, and when.

    Without a known STATUS, COMPLETED or PERCENT-COMPLETE decides. Without COMPLETED, the time is LAST-MODIFIED.
    """
    completed_at = times.read_time(todo, "COMPLETED")
    percent, status = read_integer(todo, "PERCENT-COMPLETE", 100), todo.get("STATUS")
    name = re.sub(r"[ _-]+", "-", status.value.strip().upper()) if status is not None else ""
    if name and name not in _STATUSES:
        todo.warn("STATUS is unknown and was left out")
    completed = _STATUSES.get(name, completed_at is not None or percent == 100)
    if not completed:
        if percent:
            todo.warn("PERCENT-COMPLETE was left out, because the todo is open")
        if completed_at is not None:
            todo.warn("COMPLETED was left out, because STATUS says that the todo is open")
        return CompletionState(False)
    if completed_at is None:
        completed_at = times.read_time(todo, "LAST-MODIFIED")
    return CompletionState(True, completed_at, name.startswith("CANCEL"))


def read_integer(todo: Component, name: str, maximum: int) -> int:
    """Return the number of a property: 0 if it is missing or, with a warning, if it is invalid."""
    found = todo.get(name)
    text = found.value.strip() if found is not None else ""
    if not text:
        return 0
    if _INTEGER.fullmatch(text) is None or not 0 <= int(text) <= maximum:
        todo.warn(f"{name} was left out: expected a number from 0 to {maximum}")
        return 0
    return int(text)
