"""Pages of an account's todos: lists and searches (see `todos.query` for what they cost)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from msgspec import UNSET
from odmantic import ObjectId

from todo_service.bounds.todos import PAGE_BYTES, SORTED_BYTES, SORTED_TODOS, TAGS
from todo_service.errors import InvalidParameter
from todo_service.store.base import Condition, DocumentStore, FindResult
from todo_service.timestamps import now
from todo_service.todos import dto
from todo_service.todos.documents import Todo
from todo_service.todos.query import (
    KeyRange,
    Position,
    filters_of,
    key_ranges,
    not_overdue,
    ordered,
    position_of,
    query_words,
    sort_in_memory,
)
from todo_service.todos.validation import is_id

_COUNTED_FILTERS: Final = 8
"""How many filters are counted to find the rarest: the first and the last of them, in equal parts."""


class Listing:
    """Reads pages of the todos of one account.

    Args:
        store: The store.
        owner: The account.
        in_memory_limit: How many todos are put in order in memory.
    """

    def __init__(self, store: DocumentStore, owner: ObjectId, in_memory_limit: int = SORTED_TODOS) -> None:
        self._store = store
        self._owner = owner
        self._in_memory_limit = in_memory_limit

    async def page(self, query: dto.TodoQuery, after: Position | None) -> tuple[list[dto.Todo], Position | None]:
        """Return a page. It ends early where its todos reach `PAGE_BYTES`.

        Args:
            query: The filters, the order and how many todos.
            after: Where the page begins; None for the beginning.

        Returns:
            The todos, and where the next page begins, or None where this is the last.

        Raises:
            InvalidParameter: a filter breaks a rule.
        """
        if query.list_id is not UNSET and query.list_id != "inbox" and not is_id(query.list_id):
            raise InvalidParameter("list_id", "Expected `inbox` or the 24 hex digits of a list")
        if query.q is not UNSET and not query_words(query.q):
            return [], None
        if (query.completed is True and query.overdue is True) or len(set(query.tag)) > TAGS:
            return [], None
        moment = now()
        filters, late = filters_of(query, moment), not_overdue(query, moment)
        wanted = query.limit + 1
        found = None if len(filters) == 1 or ordered(query) else await self._sort_in_memory(query, filters, late, after)
        if found is None:
            every = [*(condition for conditions in filters for condition in conditions), *late]
            # what is equal to the last todo of the page before is seldom anything, but for priorities
            together = 1 if after is None or query.sort.endswith("priority") else 2
            found = await self._read_ranges(list(key_ranges(query, after)), every, wanted, together)
        page = found[: query.limit]
        more = len(found) > len(page) or found.truncated
        return page, position_of(query.sort, page[-1]) if more else None

    async def _read_ranges(
        self, parts: list[KeyRange], every: list[Condition], wanted: int, together: int
    ) -> FindResult[dto.Todo]:
        """Read key ranges until there are as many todos as are wanted, or as many bytes as a page may have.

        Args:
            parts: The key ranges.
            every: What holds for every todo.
            wanted: How many todos.
            together: How many of the first ranges are asked for at once, since one alone is likely to be too little.
        """

        def reading(part: KeyRange, limit: int) -> Awaitable[FindResult[dto.Todo]]:
            # the store reads the index that holds the first conditions
            where = (Todo.owner == self._owner, *part.where, *every)
            return self._store.find(Todo, *where, sort=part.sort, limit=limit, max_bytes=PAGE_BYTES, into=dto.Todo)

        found: FindResult[dto.Todo] = FindResult()
        first, rest = parts[:together], parts[together:]
        for todos in await asyncio.gather(*(reading(part, wanted) for part in first)):
            if not found.truncated:
                found.extend(todos)
                found.truncated = todos.truncated
        for part in rest:
            if len(found) >= wanted or found.truncated:
                break
            todos = await reading(part, wanted - len(found))
            found.extend(todos)
            found.truncated = todos.truncated
        return found

    async def _sort_in_memory(
        self, query: dto.TodoQuery, filters: list[list[Condition]], late: list[Condition], after: Position | None
    ) -> FindResult[dto.Todo] | None:
        """Return what the rarest of the filters leaves, in order, or None where that is too much."""
        most = self._in_memory_limit
        *rare, _ = filters
        if len(rare) > _COUNTED_FILTERS:
            # the longest words stand first, what is not a word last
            rare = rare[: _COUNTED_FILTERS // 2] + rare[-_COUNTED_FILTERS // 2 :]
        numbers = [
            await self._store.count(Todo, Todo.owner == self._owner, *conditions, limit=most + 1) for conditions in rare
        ]
        if min(numbers) > most:
            return None
        rarest_first = [rare[numbers.index(min(numbers))], *filters]
        where = [condition for conditions in rarest_first for condition in conditions]
        # meanwhile it may have become a few more
        few = await self._store.find(
            Todo,
            Todo.owner == self._owner,
            *where,
            *late,
            sort=None,
            limit=2 * most,
            max_bytes=SORTED_BYTES,
            into=dto.Todo,
        )
        if few.truncated or len(few) >= 2 * most:
            return None
        return _page_of(sort_in_memory(few, query.sort, after), query.limit + 1)


def _page_of(todos: list[dto.Todo], wanted: int) -> FindResult[dto.Todo]:
    """Return the first todos, as many as are wanted or as a page may have bytes."""
    size = 0
    for number, todo in enumerate(todos[:wanted], 1):
        size += text_bytes(todo)
        if size >= PAGE_BYTES:
            return FindResult(todos[:number], truncated=number < len(todos))
    return FindResult(todos[:wanted])


def text_bytes(todo: dto.Todo) -> int:
    """Return about how many bytes the texts of a todo take up, 4 for each character."""
    steps = sum(len(step.title) for step in todo.steps)
    return 4 * (len(todo.title) + len(todo.description) + steps)
