"""Limits of due dates and reminders that fire."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Due dates and reminders that fire")

LATEST_HOURS: Final = section.declare(
    24,
    "How late a due date or a reminder may fire, if no process could fire it before",
    enforced_in="reminders.service",
    response="It is skipped.",
    unit="h",
)
FIRINGS: Final = section.declare(
    100_000,
    "Due dates and reminders of an account that have fired and are stored, for a week; each process may exceed it by "
    "1 000",
    enforced_in="reminders.service",
    response="The oldest are deleted, even if a webhook has not read them.",
)
ACCOUNT_SHARE: Final = section.declare(
    500,
    "Todos of an account that fire in a row while todos of other accounts wait, in each process",
    enforced_in="reminders.due_todos",
    response="The others fire after the todos of other accounts.",
)
CONCURRENT_TODOS: Final = section.declare(
    32,
    "Todos that fire at the same time, in each process",
    enforced_in="reminders.service",
    response="The others wait.",
)
