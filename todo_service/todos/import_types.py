"""The types of the fields of an imported todo that may be larger than those of a todo.

An import shortens them (`exchange.text_rules`). Before that, only the size of the record limits them.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from todo_service.api_types import NOT_BLANK, SHOWN
from todo_service.bounds.exchange import IMPORT_RECORD_BYTES
from todo_service.bounds.texts import TIMESTAMP_LENGTH
from todo_service.bounds.todos import (
    DESCRIPTION_LENGTH,
    RECURRENCE_EXCEPTIONS,
    REMINDERS,
    STEPS,
    TAG_LENGTH,
    TAGS,
    TITLE_LENGTH,
)
from todo_service.todos.reminder_types import ReminderCreate


def _limit_title(excess: str) -> Meta:
    return Meta(
        max_length=IMPORT_RECORD_BYTES,
        description=f"The title. The part beyond {TITLE_LENGTH} characters is {excess}.",
        examples=["Water the plants"],
        extra_json_schema={SHOWN: {"minLength": 1, "pattern": NOT_BLANK}},
    )


def _limit_items(name: str, most: int, examples: list[Any] | None = None) -> Meta:
    return Meta(
        max_length=IMPORT_RECORD_BYTES,
        description=f"{name} beyond the first {most} are left out.",
        examples=examples,
    )


ImportedTitle = Annotated[str, _limit_title("moved to the description")]
ImportedStepTitle = Annotated[str, _limit_title("left out")]
ImportedDescription = Annotated[
    str,
    Meta(
        max_length=IMPORT_RECORD_BYTES,
        description=f"Details, as plain text. The part beyond {DESCRIPTION_LENGTH} characters is left out.",
        examples=["The ficus needs little."],
    ),
]
ImportedTags = Annotated[
    list[
        Annotated[
            str,
            Meta(
                max_length=IMPORT_RECORD_BYTES,
                description=f"A tag. The part beyond {TAG_LENGTH} characters is left out.",
                examples=["home"],
            ),
        ]
    ],
    _limit_items("Duplicates are dropped, and the order is preserved. Tags", TAGS),
]
ImportedSteps = _limit_items("The checklist. Step ids are unique within a todo. Steps", STEPS)
ImportedExceptions = Annotated[
    list[Annotated[str, Meta(max_length=TIMESTAMP_LENGTH, extra_json_schema={"format": "recurrence-exception"})]],
    _limit_items(
        "Dates and moments at which the todo does not occur. A date excludes the occurrences on that day in the time "
        "zone of the todo. If the todo has a start, they are compared with the start instead of the due date. "
        "Exceptions",
        RECURRENCE_EXCEPTIONS,
        [["2027-12-25"]],
    ),
]
ImportedReminders = Annotated[
    list[ReminderCreate],
    _limit_items(
        "When to send reminders. Duplicates are dropped. `minutes_before` requires a due date. Those", REMINDERS
    ),
]
