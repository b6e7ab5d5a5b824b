"""Translates the filters and the sort order of a list into store queries.

A list is a sequence of key ranges, read one after the other until the page is full. One index serves each range from
one seek, so that a page costs the same at any depth (keyset pagination). If a page begins within a run of equal
values, the rest of the run is a range of its own. Todos without a due date are the last range in both directions.

The cost of a page depends on its filters:

- The index of the sort order covers them (`is_served_by_index`): only the page is read. This holds for open todos,
  completed todos or both, in each order and between two bounds of that order; for one list or tag by creation; for one
  list by position; for priorities by priority; and for overdue todos by due date.
- Otherwise the todos that the most selective filter leaves are read and sorted in memory, if they are at most
  `SORTED_TODOS` and `SORTED_BYTES`. The cost does not depend on the size of the account.
- If every filter leaves more than that, the index of the sort order is scanned, and the filters are applied to each
  todo until the page is full. The worst case is a scan of the account: filters that each match many todos and together
  almost none, or `overdue=false` when most todos are overdue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET
from odmantic import ObjectId
from odmantic.query import SortExpression, asc, desc

from todo_service.bounds.todos import QUERY_WORDS
from todo_service.errors import InvalidParameter
from todo_service.store.base import Condition, starts_with
from todo_service.timestamps import Timestamp
from todo_service.todos.documents import Todo
from todo_service.todos.dto import Todo as TodoView
from todo_service.todos.dto import TodoQuery
from todo_service.todos.words import extract_words, sort_key

PRIORITIES: Final = ("none", "low", "medium", "high", "urgent")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Value = datetime | str | float | int


class TodoPosition(msgspec.Struct, array_like=True, frozen=True):
    """The keyset position of a page: it begins after the todo with this value and id.

    Attributes:
        value: The value of the sorted field; None for no due date.
        id: The id of the todo.
    """

    value: str | float | int | None
    id: str


class Order(NamedTuple):
    """A sort order of lists.

    Attributes:
        field: The sorted field of the model.
        read_value: Reads the value that a position holds from a todo.
        to_stored: Converts the value of a position to the stored value.
        nulls_last: Whether the field may be null; todos without a value come last.
    """

    field: Any
    read_value: Callable[[TodoView], str | float | int | None]
    to_stored: Callable[[Any], Value]
    nulls_last: bool = False


def priority_rank(priority: str) -> int:
    """Return the sort key of a priority: 0 for none to 4 for urgent."""
    return PRIORITIES.index(priority)


ORDERS: Final = {
    "created_at": Order(Todo.created_at, lambda todo: todo.created_at, Timestamp.parse),
    "updated_at": Order(Todo.updated_at, lambda todo: todo.updated_at, Timestamp.parse),
    "due_at": Order(Todo.due_at, lambda todo: todo.due_at, Timestamp.parse, nulls_last=True),
    "priority": Order(Todo.priority_rank, lambda todo: priority_rank(todo.priority), int),
    "title": Order(Todo.title_key, lambda todo: sort_key(todo.title), str),
    "position": Order(Todo.position, lambda todo: todo.position, float),
}


class KeyRange(NamedTuple):
    """A part of a list that one index serves from one seek.

    Attributes:
        where: The conditions of the range.
        sort: The order of the range.
    """

    where: tuple[Condition, ...]
    sort: tuple[SortExpression, ...]


def key_ranges(query: TodoQuery, after: TodoPosition | None) -> Iterator[KeyRange]:
    """Yield the key ranges of a list in order.

    Args:
        query: The filters and the sort order.
        after: The position to begin at; None for the beginning.

    Raises:
        ValueError: the position belongs to another sort order.
    """
    order = ORDERS[query.sort.removeprefix("-")]
    descending = query.sort.startswith("-")
    direction = desc if descending else asc
    by_value = (direction(order.field), direction(Todo.id))
    by_id = (direction(Todo.id),)
    value: Any = order.to_stored(after.value) if after is not None and after.value is not None else None
    if after is not None:
        following_id = Todo.id < ObjectId(after.id) if descending else Todo.id > ObjectId(after.id)
        yield KeyRange((order.field == value, following_id), by_id)
        if value is None:
            return
    if order.field is Todo.priority_rank and query.priority:
        ranks = sorted({priority_rank(name) for name in query.priority}, reverse=descending)
        for rank in ranks:
            if value is None or (rank < value if descending else rank > value):
                yield KeyRange((order.field == rank,), by_id)
    elif value is not None:
        yield KeyRange((order.field < value if descending else order.field > value,), by_value)
    else:
        yield KeyRange((order.field >= _EPOCH,) if order.nulls_last else (), by_value)
    if order.nulls_last and not _has_due_date(query):
        yield KeyRange((order.field == None,), by_id)  # noqa: E711  # an expression, not a comparison


def _has_due_date(query: TodoQuery) -> bool:
    return query.due_after is not UNSET or query.due_before is not UNSET or query.overdue is True


_RANGE_FILTERS: Final = {
    "created_at": {"created_after", "created_before"},
    "updated_at": {"updated_after"},
    "due_at": {"due_after", "due_before", "overdue"},
    "priority": {"priority"},
}
"""The filters that restrict each sort order to a range of its index."""
_PREFIX_FILTERS: Final = {"created_at": ("tag", "list_id"), "position": ("list_id",)}
"""The filters that precede each sort order in an index; an index has one of them."""


def is_served_by_index(query: TodoQuery) -> bool:
    """Return whether the index of the sort order covers the filters, so that only the page is read."""
    sort = query.sort.removeprefix("-")
    optional = ("list_id", "due_after", "due_before", "overdue", "created_after", "created_before", "updated_after")
    given = {name for name in optional if getattr(query, name) is not UNSET}
    given |= {name for name in ("tag", "priority") if getattr(query, name)}
    if len(query.tag) > 1 or query.overdue is False or query.q is not UNSET:
        return False
    remaining = given - _RANGE_FILTERS.get(sort, set())
    return not remaining or (len(remaining) == 1 and remaining <= set(_PREFIX_FILTERS.get(sort, ())))


def parse_query_words(q: str) -> list[str]:
    """Return the distinct words of a search, longest first, without prefixes of other words.

    Raises:
        InvalidParameter: there are more than `QUERY_WORDS`.
    """
    found: list[str] = []
    # a prefix sorts immediately before the words that it begins
    for word in sorted(extract_words(q)):
        if found and word.startswith(found[-1]):
            found.pop()
        found.append(word)
    if len(found) > QUERY_WORDS:
        raise InvalidParameter("q", f"Expected at most {QUERY_WORDS} different words")
    return sorted(found, key=len, reverse=True)


def build_filters(query: TodoQuery, now: datetime) -> list[list[Condition]]:
    """Return the filters of a list, each a group of conditions that one index serves.

    The last group only restricts `completed`. See `exclude_overdue` for the one filter that no index serves.

    Args:
        query: The filters.
        now: The time before which an open todo is overdue.
    """
    # name both values for a list of all todos, so that an index that begins with `completed` serves it
    allowed = [query.completed] if query.completed is not UNSET else [False, True]
    if query.overdue is True:
        allowed = [completed for completed in allowed if not completed]
    completion: Condition = Todo.completed.in_(allowed)  # type: ignore[attr-defined]  # ODMantic's field proxy has it
    words = parse_query_words(query.q) if query.q is not UNSET else []
    found: list[list[Condition]] = [[starts_with(Todo.words, word)] for word in words]
    found += [[Todo.tags == tag, completion] for tag in dict.fromkeys(map(str.strip, query.tag))]  # type: ignore[comparison-overlap]  # of one element
    if query.list_id is not UNSET:
        found.append([Todo.list_id == (None if query.list_id == "inbox" else ObjectId(query.list_id)), completion])
    if query.priority:
        ranks = sorted({priority_rank(name) for name in query.priority})
        found.append([Todo.priority_rank.in_(ranks), completion])  # type: ignore[attr-defined]  # as above
    due: list[Condition] = []
    if query.due_after is not UNSET:
        due.append(Todo.due_at > query.due_after)  # type: ignore[operator]  # an expression, which never matches null
    if query.due_before is not UNSET:
        due.append(Todo.due_at < query.due_before)  # type: ignore[operator]  # as above
    if query.overdue is True:
        due.append(Todo.due_at < now)  # type: ignore[operator]  # as above
    created: list[Condition] = []
    if query.created_after is not UNSET:
        created.append(Todo.created_at > query.created_after)
    if query.created_before is not UNSET:
        created.append(Todo.created_at < query.created_before)
    updated: list[Condition] = [Todo.updated_at > query.updated_after] if query.updated_after is not UNSET else []
    return [*found, *([*between, completion] for between in (due, created, updated) if between), [completion]]


def exclude_overdue(query: TodoQuery, now: datetime) -> list[Condition]:
    """Return the condition of `overdue=false`, which no index serves, or no condition."""
    if query.overdue is not False:
        return []
    return [(Todo.completed == True) | (Todo.due_at == None) | (Todo.due_at >= now)]  # type: ignore[operator]  # noqa: E711, E712  # expressions


def build_position(sort: str, todo: TodoView) -> TodoPosition:
    """Return the position after a todo in a sort order."""
    return TodoPosition(ORDERS[sort.removeprefix("-")].read_value(todo), todo.id)


def sort_in_memory(todos: Sequence[TodoView], sort: str, after: TodoPosition | None) -> list[TodoView]:
    """Sort todos and drop those up to a position, as a store does with `key_ranges`."""
    order = ORDERS[sort.removeprefix("-")]
    descending = sort.startswith("-")

    valued: dict[Any, TodoView] = {
        (value, todo.id): todo for todo in todos if (value := order.read_value(todo)) is not None
    }
    nulls: dict[Any, TodoView] = {("", todo.id): todo for todo in todos if order.read_value(todo) is None}
    if after is not None:
        start: Any = ("" if after.value is None else after.value, after.id)

        def drop_preceding(part: dict[Any, TodoView]) -> dict[Any, TodoView]:
            return {key: todo for key, todo in part.items() if (key < start if descending else key > start)}

        valued, nulls = ({}, drop_preceding(nulls)) if after.value is None else (drop_preceding(valued), nulls)
    return [part[key] for part in (valued, nulls) for key in sorted(part, reverse=descending)]
