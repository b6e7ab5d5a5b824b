"""Computes what changes when a todo is updated, completed or reopened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

from odmantic import ObjectId

from todo_service.executors import Budget, BudgetExceededError, Executor
from todo_service.todos import completion
from todo_service.todos.documents import Todo
from todo_service.todos.reminders import check_reminders
from todo_service.todos.schedule import DUE_END_SOURCES, SCHEDULE, check_schedule, derive_due_end
from todo_service.todos.writes import apply_changes, merge, select_changes

ResultT = TypeVar("ResultT")

_INLINE_SECONDS: Final = 0.001
"""How long a rule may be evaluated in the event loop. Most rules take less."""


class ChangePlanner:
    """Computes the changes of the todos of one account. Each method returns the fields as the document stores them.

    Args:
        owner: The account.
        use_time_zone: Returns the account's time zone (an IANA name) for a write that depends on it, and marks it as
            used.
        rules: Evaluates recurrence rules; None if the caller never sets a rule or completes a todo.
    """

    def __init__(self, owner: ObjectId, use_time_zone: Callable[[], Awaitable[str]], rules: Executor | None) -> None:
        self._owner = owner
        self._use_time_zone = use_time_zone
        self._rules = rules

    async def canonicalize_rule(self, todo: Todo, account_zone: str | None = None) -> str:
        """Return the rule of a recurring todo as it is stored. See `completion.canonicalize_rule`.

        Args:
            todo: The todo.
            account_zone: The account's time zone, if it is known.
        """
        zone = ZoneInfo(todo.time_zone or account_zone or await self._use_time_zone())
        return await self._evaluate_rule(lambda budget: completion.canonicalize_rule(todo, zone, budget))

    async def update(self, todo: Todo, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the changes of a merge patch, without those of its completion.

        Args:
            todo: The todo.
            fields: The fields that the patch sets, as the document stores them.

        Raises:
            Invalid: The fields break a rule together, or together with those of the todo.
        """
        changes = select_changes(todo, fields)
        merged = merge(todo, changes)
        check_schedule(changes, merged)
        check_reminders(changes, merged)
        changed = apply_changes(todo, changes)
        if changed.recurrence is None:
            if todo.undo is not None:
                changes |= completion.drop_undo(todo)
        elif SCHEDULE & changes.keys():
            changes["recurrence"] = await self.canonicalize_rule(changed)
            if changes["recurrence"] == todo.recurrence:
                del changes["recurrence"]
        if DUE_END_SOURCES & changes.keys():
            # a moment is the same in every time zone
            zone = await self._find_zone(changed) if changed.due_on is not None else UTC
            changes["due_end"] = derive_due_end(merged, zone)
        return changes

    async def complete(self, todo: Todo, completed_at: datetime | None, moment: datetime) -> dict[str, Any]:
        """Return the changes that complete a todo. For one that is completed, only its time of completion may change.

        Args:
            todo: The todo.
            completed_at: When it was completed, as `completion.check_completion_time` accepts it; None for now.
            moment: The current time. The last change may be later if the clock has been set back.
        """
        if todo.completed:
            if completed_at is None or completed_at == todo.completed_at:
                return {}
            return completion.correct_completion_time(todo, completed_at)
        if todo.recurrence is None:
            return completion.build_completion(todo, completed_at or moment, moment, None)
        zone = await self._find_zone(todo)
        return await self._evaluate_rule(
            lambda budget: completion.build_completion(todo, completed_at or moment, moment, zone, budget)
        )

    async def reopen(self, todo: Todo) -> dict[str, Any]:
        """Return the changes that reopen a todo or undo its last completion. See `completion.build_reopening`."""
        return completion.build_reopening(todo, await self._find_zone(todo) if todo.undo is not None else None)

    async def _find_zone(self, todo: Todo) -> ZoneInfo:
        """Return the time zone of a todo: its own, or else the account's."""
        return ZoneInfo(todo.time_zone or await self._use_time_zone())

    async def _evaluate_rule(self, evaluate: Callable[[Budget], ResultT]) -> ResultT:
        """Evaluate a recurrence rule, in a thread if it takes milliseconds."""
        try:
            return evaluate(Budget(_INLINE_SECONDS))
        except BudgetExceededError:
            assert self._rules is not None  # a caller that sets rules or completes todos passes an executor
            return await self._rules.run(evaluate, self._owner)
