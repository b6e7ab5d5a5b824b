"""The manual order of the todos in a calendar file.

RFC 5545 has no property for it. Apple Reminders, Tasks.org and Nextcloud Tasks sort by `X-APPLE-SORT-ORDER`; they place
a todo without it by the time of its creation, in seconds since 2001.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from todo_service.exchange.formats.calendar_components import SORT_ORDER, Component

_EPOCH: Final = datetime(2001, 1, 1)  # noqa: DTZ001  # like the local time that is compared with it
_NUMBER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_SECOND: Final = re.compile(r"\d{8}T\d{6}", re.ASCII)


def has_sort_order(todo: Component) -> bool:
    """Return whether a todo states its position."""
    return SORT_ORDER in todo.properties


def read_sort_order(todo: Component) -> float | None:
    """Return the position of a todo, or None to put it last. At least one todo of the file states its position."""
    stated, created = todo.get(SORT_ORDER), todo.get("CREATED")
    if stated is not None and _NUMBER.fullmatch(stated.value.strip()):
        return float(stated.value)
    if created is not None and (match := _SECOND.match(created.value.strip())) is not None:
        try:
            # the UTC offset is ignored: hours make no difference to an order of days and weeks
            return (datetime.strptime(match[0], "%Y%m%dT%H%M%S") - _EPOCH).total_seconds()  # noqa: DTZ007
        except ValueError:
            return None
    return None
