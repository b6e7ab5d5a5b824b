"""The Structs of reminders in requests and responses."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.bounds.todos import REMINDER_MINUTES, REMINDERS
from todo_service.timestamps import Timestamp

MORNING: Final = timedelta(hours=9)
"""The time of day from which `minutes_before` counts back, for a todo that is due on a day."""
ReminderAt = Meta(description="The moment of the reminder: RFC 3339, any UTC offset.")
MinutesBefore = Annotated[
    int,
    Meta(
        ge=0,
        le=REMINDER_MINUTES,
        description=(
            "How many minutes before the todo is due. For a todo that is due on a day, they count back from 09:00 on "
            "that day."
        ),
        examples=[30],
    ),
]


class ReminderCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new reminder. It has exactly one of the two fields."""

    at: Annotated[Timestamp | UnsetType, ReminderAt] = UNSET
    minutes_before: MinutesBefore | UnsetType = UNSET


class Reminder(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reminder. It has exactly one of the two fields."""

    # without an example, so that the example of a reminder has one field
    at: Annotated[Annotated[str, Meta(extra_json_schema={"format": "date-time"})] | None, ReminderAt] = None
    minutes_before: MinutesBefore | None = None


NewReminders = Annotated[
    list[ReminderCreate],
    Meta(
        max_length=REMINDERS,
        description="When to send reminders. Duplicates are dropped. `minutes_before` requires a due date.",
    ),
]
