"""From a list's filters and order to what the store is asked.

A list is a row of key ranges, read one after the other until the page is full: each is served by one index from one
seek, so that a page costs the same at any depth. Where a page begins within equal values, the rest of these is a
range of its own; todos without a due date are the last range whichever way the list runs.

What a page costs. Open todos, completed ones or both, in each order and between two moments of that order; a list's or
a tag's by creation, a list's by position, some priorities' by priority, overdue ones by due date: the page alone, for
an index has these filters before the order (`ordered`). With any other filter what the rarest of them leaves is read
and put in order here, if it is `SORTED_TODOS` and `SORTED_BYTES` at most: the page costs that much, however large the
account. Only where each filter leaves more, the order's index is walked and the filters are applied to each todo: then
the page costs so many looks as it takes to find its todos, few where the filters leave much, and in the worst case,
filters of which each leaves much and all together almost nothing, or `overdue=false` where most todos are overdue, the
account's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
from todo_service.todos.words import sort_key, words_of

PRIORITIES: Final = ("none", "low", "medium", "high", "urgent")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Value = datetime | str | float | int


class Position(msgspec.Struct, array_like=True):
    """Where a page begins: after the todo with this value of the sorted field (None: no due date) and this id."""

    value: str | float | int | None
    id: str


class Order(NamedTuple):
    """An order that a list can have.

    Attributes:
        field: The sorted field, as ODMantic knows it.
        value_of: Reads the value that a position keeps from a todo.
        stored: Makes what the store compares from it.
        absent_last: Whether the field may be null, and those todos come last.
    """

    field: Any
    value_of: Callable[[TodoView], str | float | int | None]
    stored: Callable[[Any], Value]
    absent_last: bool = False


def priority_rank(priority: str) -> int:
    """Return what priorities are sorted by, 0 for none to 4 for urgent."""
    return PRIORITIES.index(priority)


ORDERS: Final = {
    "created_at": Order(Todo.created_at, lambda todo: todo.created_at, Timestamp.parse),
    "updated_at": Order(Todo.updated_at, lambda todo: todo.updated_at, Timestamp.parse),
    "due_at": Order(Todo.due_at, lambda todo: todo.due_at, Timestamp.parse, absent_last=True),
    "priority": Order(Todo.priority_rank, lambda todo: priority_rank(todo.priority), int),
    "title": Order(Todo.title_key, lambda todo: sort_key(todo.title), str),
    "position": Order(Todo.position, lambda todo: todo.position, float),
}


class KeyRange(NamedTuple):
    """A part of a list that one index serves from one seek."""

    where: tuple[Condition, ...]
    sort: tuple[SortExpression, ...]


def key_ranges(query: TodoQuery, after: Position | None) -> Iterator[KeyRange]:
    """Return the key ranges of a list from a position on, or from its beginning, in order.

    Raises:
        ValueError: the position is not of this order.
    """
    order = ORDERS[query.sort.removeprefix("-")]
    descending = query.sort.startswith("-")
    towards = desc if descending else asc
    by_value = (towards(order.field), towards(Todo.id))
    by_id = (towards(Todo.id),)
    value: Any = order.stored(after.value) if after is not None and after.value is not None else None
    if after is not None:
        beyond_id = Todo.id < ObjectId(after.id) if descending else Todo.id > ObjectId(after.id)
        yield KeyRange((order.field == value, beyond_id), by_id)
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
        yield KeyRange((order.field >= _EPOCH,) if order.absent_last else (), by_value)
    if order.absent_last and not _has_due_date(query):
        yield KeyRange((order.field == None,), by_id)  # noqa: E711  # an expression, not a comparison


def _has_due_date(query: TodoQuery) -> bool:
    return query.due_after is not UNSET or query.due_before is not UNSET or query.overdue is True


_BETWEEN: Final = {
    "created_at": {"created_after", "created_before"},
    "updated_at": {"updated_after"},
    "due_at": {"due_after", "due_before", "overdue"},
    "priority": {"priority"},
}
"""The filters that bound an order."""
_BEFORE: Final = {"created_at": ("tag", "list_id"), "position": ("list_id",)}
"""The filters of which one may stand before an order in an index."""


def ordered(query: TodoQuery) -> bool:
    """Tell whether an index has the list's filters before its order, so that a page is read and nothing else."""
    sort = query.sort.removeprefix("-")
    named = ("list_id", "due_after", "due_before", "overdue", "created_after", "created_before", "updated_after")
    given = {name for name in named if getattr(query, name) is not UNSET}
    given |= {name for name in ("tag", "priority") if getattr(query, name)}
    if len(query.tag) > 1 or query.overdue is False or query.q is not UNSET:
        return False
    left = given - _BETWEEN.get(sort, set())
    return not left or (len(left) == 1 and left <= set(_BEFORE.get(sort, ())))


def query_words(q: str) -> list[str]:
    """Return the words that a search looks for, the longest first; without those that begin another.

    Raises:
        InvalidParameter: they are too many.
    """
    found: list[str] = []
    # a word comes right before those that it begins
    for word in sorted(words_of(q)):
        if found and word.startswith(found[-1]):
            found.pop()
        found.append(word)
    if len(found) > QUERY_WORDS:
        raise InvalidParameter("q", f"Expected at most {QUERY_WORDS} different words")
    return sorted(found, key=len, reverse=True)


def filters_of(query: TodoQuery, now: datetime) -> list[list[Condition]]:
    """Return the filters, each of which an index holds; the last says only whether todos are completed.

    Args:
        query: What the caller asks for.
        now: The moment by which a todo is overdue.
    """
    # a list of open and completed todos names both, so that an index serves it
    allowed = [query.completed] if query.completed is not UNSET else [False, True]
    if query.overdue is True:
        allowed = [completed for completed in allowed if not completed]
    either: Condition = Todo.completed.in_(allowed)  # type: ignore[attr-defined]  # ODMantic's field proxy has it
    words = query_words(query.q) if query.q is not UNSET else []
    found: list[list[Condition]] = [[starts_with(Todo.words, word)] for word in words]
    found += [[Todo.tags == tag, either] for tag in dict.fromkeys(map(str.strip, query.tag))]  # type: ignore[comparison-overlap]  # of one element
    if query.list_id is not UNSET:
        found.append([Todo.list_id == (None if query.list_id == "inbox" else ObjectId(query.list_id)), either])
    if query.priority:
        ranks = sorted({priority_rank(name) for name in query.priority})
        found.append([Todo.priority_rank.in_(ranks), either])  # type: ignore[attr-defined]  # as above
    due: list[Condition] = []
    if query.due_after is not UNSET:
        due.append(Todo.due_at > query.due_after)  # type: ignore[operator]  # an expression, which null never meets
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
    return [*found, *([*between, either] for between in (due, created, updated) if between), [either]]


def not_overdue(query: TodoQuery, now: datetime) -> list[Condition]:
    """Return the one filter that no index holds, if the caller asks for it."""
    if query.overdue is not False:
        return []
    return [(Todo.completed == True) | (Todo.due_at == None) | (Todo.due_at >= now)]  # type: ignore[operator]  # noqa: E711, E712  # expressions


def position_of(sort: str, todo: TodoView) -> Position:
    """Return the position after a todo, in an order."""
    return Position(ORDERS[sort.removeprefix("-")].value_of(todo), todo.id)


def sort_in_memory(todos: Iterable[TodoView], sort: str, after: Position | None) -> list[TodoView]:
    """Put todos in an order, and leave out those before a position: what `key_ranges` asks of a store."""
    order = ORDERS[sort.removeprefix("-")]
    descending = sort.startswith("-")

    def rank(value: Any, identity: str) -> Any:
        return value, identity

    present = {rank(value, todo.id): todo for todo in todos if (value := order.value_of(todo)) is not None}
    absent = {rank("", todo.id): todo for todo in todos if order.value_of(todo) is None}
    if after is not None:
        part, start = (absent, rank("", after.id)) if after.value is None else (present, rank(after.value, after.id))
        if part is absent:
            present = {}
        kept = {key: todo for key, todo in part.items() if (key < start if descending else key > start)}
        present, absent = (present, kept) if part is absent else (kept, absent)
    return [part[key] for part in (present, absent) for key in sorted(part, reverse=descending)]
