"""Pages of lists and searches of an account's todos (`todos.query` describes their cost)."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable
from functools import partial

import msgspec
from msgspec import UNSET
from odmantic import ObjectId

from todo_service.bounds.todos import PAGE_BYTES, TAGS
from todo_service.errors import InvalidParameter
from todo_service.store.base import Condition, DocumentStore, FindResult
from todo_service.store.paging import read_ranges
from todo_service.text import compose, decompose, trim
from todo_service.timestamps import now
from todo_service.todos import dto
from todo_service.todos.documents import Todo
from todo_service.todos.query import (
    KeyRange,
    TodoPosition,
    build_filters,
    build_position,
    build_unindexed_filters,
    find_order,
    is_served_by_index,
    key_ranges,
    list_sorted_ranges,
    parse_query_words,
)
from todo_service.todos.selectivity import FilterSelector
from todo_service.todos.validation import is_id


class Listing:
    """Reads pages of the todos of one account.

    Args:
        store: The store.
        owner: The account.
        selector: Finds the most selective filter.
    """

    def __init__(self, store: DocumentStore, owner: ObjectId, selector: FilterSelector) -> None:
        self._store = store
        self._owner = owner
        self._selector = selector

    async def read_page(
        self, query: dto.TodoQuery, after: TodoPosition | None
    ) -> tuple[list[dto.Todo], TodoPosition | None]:
        """Return a page. It ends early when its todos reach `PAGE_BYTES`.

        Args:
            query: The filters, the sort order and the page size.
            after: The position of the page; None for the first page.

        Returns:
            The todos, and the position of the next page, or None if this is the last.

        Raises:
            InvalidParameter: A filter is invalid.
        """
        if query.list_id is not UNSET and query.list_id != "inbox" and not is_id(query.list_id):
            raise InvalidParameter("list_id", "Expected `inbox` or the 24 hex digits of a list")
        if query.q is not UNSET and not parse_query_words(query.q):
            return [], None
        query = msgspec.structs.replace(query, tag=list(dict.fromkeys(compose(trim(tag)) for tag in query.tag)))
        if (query.completed is True and query.overdue is True) or len(query.tag) > TAGS:
            return [], None
        page, following = await self._read_page(query, after)
        return [todo.api_view if isinstance(todo, dto.ListedTodo) else todo for todo in page], following

    async def _read_page(
        self, query: dto.TodoQuery, after: TodoPosition | None
    ) -> tuple[list[dto.Todo], TodoPosition | None]:
        """Return a page whose todos are of the Struct of the sort order (`Order.view`)."""
        moment, view = now(), find_order(query.sort).view
        filters = build_filters(query, moment, [tag for tag in query.tag if await self._has_decomposed(tag)])
        selective: list[Condition] | None = None
        if len(filters) > 1 and not is_served_by_index(query):
            selective = await self._selector.select(self._owner, query, filters[:-1])
        rest = (*itertools.chain(*filters), *build_unindexed_filters(query, moment))

        def find(part: KeyRange, limit: int) -> Awaitable[FindResult[dto.Todo]]:
            # the store chooses the index by the first conditions
            where = (*part.where, *rest) if selective is None else (*selective, *part.where, *rest)
            return self._store.find(
                Todo,
                Todo.owner == self._owner,
                *where,
                sort=part.sort,
                limit=limit,
                max_bytes=PAGE_BYTES,
                into=view,
                selective=selective is not None,
            )

        position = partial(build_position, query.sort)
        if selective is not None:
            return await read_ranges(find, list_sorted_ranges(query, after), query.limit, position)
        # few todos have the same value as the last one of the previous page, except for priorities
        concurrent = 1 if after is None or query.sort.endswith("priority") else 2
        return await read_ranges(find, key_ranges(query, after), query.limit, position, concurrent)

    async def _has_decomposed(self, tag: str) -> bool:
        """Return whether a todo of an earlier release has a tag in NFD."""
        decomposed = decompose(tag)
        if decomposed == tag:
            return False
        has_tag: Condition = Todo.tags == decomposed  # type: ignore[comparison-overlap]  # an expression
        return await self._store.count(Todo, Todo.owner == self._owner, has_tag, limit=1) > 0
