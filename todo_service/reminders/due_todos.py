"""Reads the todos that are due, in rounds in which each account has a share.

Each round reads the todos that have become due since the previous round, and yields at most a share of each account's
todos. The rest wait. The next round continues with the next share of each waiting account, from the position at which
its last share ended. So an account with many due todos does not delay the others, and each todo is read at most twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec
from odmantic import ObjectId
from odmantic.query import asc

from todo_service.bounds.reminders import ACCOUNT_SHARE
from todo_service.store.base import DocumentStore
from todo_service.store.paging import iterate_pages, read_page
from todo_service.todos.documents import Todo

_PAGE_SIZE: Final = 1_000
_next_fire: Final[Any] = Todo.next_fire
_BY_MOMENT: Final = (asc(_next_fire), asc(Todo.id))
_Position = tuple[datetime, ObjectId]


class DueReminder(msgspec.Struct, frozen=True):
    """A reminder of a `DueTodo`."""

    at: datetime | None
    minutes_before: int | None


class DueTodo(msgspec.Struct, frozen=True):
    """A todo that fires, with the fields that determine when."""

    id: str
    account: str
    completed: bool
    due_at: datetime | None
    due_on: str | None
    due_end: datetime | None
    time_zone: str | None
    reminders: list[DueReminder]
    next_fire: datetime
    version: int


class DueTodos:
    """The todos that have become due since a moment.

    Args:
        store: The store.
        start: The moment.
        share: The maximum number of todos of an account in a round, 1 to 9 999.

    Attributes:
        found: The number of due todos that the rounds have found, including those that wait.
    """

    def __init__(self, store: DocumentStore, start: datetime, share: int = ACCOUNT_SHARE) -> None:
        self._store = store
        self._share = share
        self._unread = _next_fire >= start
        self._waiting: dict[str, _Position] = {}
        self.found = 0

    @property
    def waiting(self) -> bool:
        """Whether an account may have more due todos than the rounds have yielded."""
        return bool(self._waiting)

    async def read_round(self, end: datetime) -> AsyncGenerator[list[DueTodo], None]:
        """Yield the todos of the next round in parts.

        Args:
            end: The current time. Later todos are not due yet.

        Raises:
            StoreUnavailable: Read the todos again, with another instance.
        """
        waiting = list(self._waiting.items())
        async for todos in self._read_new(end):
            yield todos
        for account, position in waiting:
            todos, following = await self._read_share(account, position, end)
            if following is None:
                del self._waiting[account]
            else:
                self._waiting[account] = following
            yield todos

    async def _read_new(self, end: datetime) -> AsyncGenerator[list[DueTodo], None]:
        """Yield what has become due since the last round, except the todos of accounts that wait."""
        read = partial(
            read_page,
            self._store,
            Todo,
            self._unread,
            _next_fire <= end,
            sort=_BY_MOMENT,
            limit=_PAGE_SIZE,
            into=DueTodo,
            position=_get_position,
        )
        shares: Counter[str] = Counter()
        async for page in iterate_pages(read):
            self.found += len(page)
            chosen = []
            for todo in page:
                if todo.account in self._waiting:
                    continue
                chosen.append(todo)
                shares[todo.account] += 1
                if shares[todo.account] == self._share:
                    self._waiting[todo.account] = _get_position(todo)
            yield chosen
        self._unread = _next_fire > end

    async def _read_share(
        self, account: str, position: _Position, end: datetime
    ) -> tuple[list[DueTodo], _Position | None]:
        """Return the next share of an account that waits, and the position at which it ends; None if it is the last."""
        return await read_page(
            self._store,
            Todo,
            Todo.owner == ObjectId(account),
            _next_fire <= end,
            sort=_BY_MOMENT,
            after=position,
            limit=self._share,
            into=DueTodo,
            position=_get_position,
        )


def _get_position(todo: DueTodo) -> _Position:
    return todo.next_fire, ObjectId(todo.id)
