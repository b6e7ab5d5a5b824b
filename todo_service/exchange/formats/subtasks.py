"""Subtasks of other programs.

A subtask with nothing but a title and a status becomes a step of its parent; any other becomes a todo of its own.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

from todo_service.bounds.exchange import IMPORT_SUBTASK_BYTES
from todo_service.bounds.todos import STEPS
from todo_service.todos.dto import StepImport

T = TypeVar("T")

PARENT_LOST: Final = "Parent was left out: the subtask became a todo"
ENTRY_BYTES: Final = 200
"""Estimated overhead per record, besides its strings, in bytes."""


class _Subtask(NamedTuple):
    id: str
    title: str
    completed: bool


class Subtasks:
    """Finds the subtasks of records that name their parents by id, in any order.

    Add every record of a file before asking about any. Memory is bounded: records added beyond the bound are ignored,
    so they get no steps and become todos themselves.
    """

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._parents: set[str] = set()
        self._candidates: dict[str, list[_Subtask]] = {}
        self._bytes = 0
        self._steps: set[str] | None = None

    def add(self, record_id: str, parent_id: str, title: str, completed: bool, title_only: bool) -> None:
        """Add a record.

        Args:
            record_id: Its id.
            parent_id: The id of its parent, or an empty string.
            title: Its title.
            completed: Whether it is completed.
            title_only: Whether it has nothing but a title and a status.
        """
        self._bytes += len(record_id) + len(parent_id) + (len(title) if parent_id else 0) + ENTRY_BYTES
        if not record_id or self._bytes > IMPORT_SUBTASK_BYTES:
            return
        self._ids.add(record_id)
        if parent_id:
            self._parents.add(parent_id)
            if title_only and title.strip() and parent_id != record_id:
                self._candidates.setdefault(parent_id, []).append(_Subtask(record_id, title, completed))

    def take_steps(self, record_id: str) -> list[StepImport]:
        """Remove and return the steps of a record; a second call returns an empty list."""
        self._resolve_steps()
        return [StepImport(each.title, each.completed) for each in self._candidates.pop(record_id, ())]

    def is_step(self, record_id: str) -> bool:
        """Return whether a record is a step of another one."""
        return record_id in self._resolve_steps()

    def _resolve_steps(self) -> set[str]:
        """Drop the candidates that cannot become steps, and return the ids of the rest. Computed once."""
        if self._steps is None:
            self._candidates = {
                parent_id: limit_steps([each for each in subtasks if each.id not in self._parents])
                for parent_id, subtasks in self._candidates.items()
                if parent_id in self._ids
            }
            self._steps = {step.id for steps in self._candidates.values() for step in steps}
        return self._steps


def limit_steps(subtasks: list[T]) -> list[T]:
    """Return the subtasks that become steps: as many as a todo may have."""
    return subtasks[:STEPS]
