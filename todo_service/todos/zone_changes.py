"""Recomputes `due_end` when an account has changed its time zone (see `accounts.time_zones`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from odmantic import ObjectId
from odmantic.query import asc

from todo_service.bounds.todos import PAGE_BYTES
from todo_service.errors import NotFound
from todo_service.store.base import DocumentStore
from todo_service.store.paging import read_page
from todo_service.timestamps import EARLIEST
from todo_service.todos.documents import Todo
from todo_service.todos.schedule import derive_in_zone
from todo_service.todos.writes import TodoWriter

DueEndPosition = tuple[datetime, ObjectId]
"""The position of a todo in the order of `due_end`, then of ids."""
_CONCURRENT_WRITES: Final = 32


class _Row(msgspec.Struct, frozen=True):
    """The fields that depend on the time zone, and those that they are derived from."""

    id: str
    due_at: datetime | None
    due_on: str | None
    due_end: datetime | None
    time_zone: str | None


async def refresh_due_ends(
    store: DocumentStore,
    owner: ObjectId,
    writer: TodoWriter,
    get_time_zone: Callable[[], Awaitable[str]],
    after: DueEndPosition | None,
    limit: int,
) -> DueEndPosition | None:
    """Recompute the `due_end` of some of the todos that follow the account's time zone.

    Todos whose value is unchanged are not written. A todo that moves to after the position is read again.

    Args:
        store: The store.
        owner: The account.
        writer: Changes its todos.
        get_time_zone: Returns the account's time zone (an IANA name) without marking it as used.
        after: The position after which to begin; None for the first todos.
        limit: The maximum number of todos to read, 1 to 9 999.

    Returns:
        The position of the last todo that was read; None if there are no more.

    Raises:
        NotFound: The account has been deleted.
    """
    rows, following = await read_page(
        store,
        Todo,
        Todo.owner == owner,
        Todo.completed.in_([False, True]),  # type: ignore[attr-defined]  # ODMantic's field proxy has it
        Todo.due_end >= EARLIEST,  # type: ignore[operator]  # an expression, which never matches null
        sort=(asc(Todo.due_end), asc(Todo.id)),
        after=after,
        limit=limit,
        max_bytes=PAGE_BYTES,
        into=_Row,
        position=_get_position,
    )
    zone = ZoneInfo(await get_time_zone())
    wrong = [row.id for row in rows if _recompute(row, zone)]
    for start in range(0, len(wrong), _CONCURRENT_WRITES):
        changes = (_change(writer, todo_id, get_time_zone) for todo_id in wrong[start : start + _CONCURRENT_WRITES])
        for error in await asyncio.gather(*changes, return_exceptions=True):
            if error is not None:
                raise error
    return following


def _get_position(row: _Row) -> DueEndPosition:
    assert row.due_end is not None  # by the condition
    return row.due_end, ObjectId(row.id)


async def _change(writer: TodoWriter, todo_id: str, get_time_zone: Callable[[], Awaitable[str]]) -> None:
    async def decide(todo: Todo, _: datetime) -> dict[str, Any]:
        # read after the todo, so that of two concurrent jobs the one with the latest time zone wins
        return _recompute(todo, ZoneInfo(await get_time_zone()))

    try:
        await writer.change(todo_id, None, decide)
    except NotFound:
        return  # it has been deleted meanwhile


def _recompute(todo: Todo | _Row, zone: ZoneInfo) -> dict[str, Any]:
    return derive_in_zone(todo, zone) if todo.time_zone is None else {}
