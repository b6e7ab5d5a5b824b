"""From a list's filters and order to what the store is asked.

A list is a row of spans, read one after the other until the page is full: each span is served by one index from one
seek, so that a page costs the same at any depth. Where a page begins within equal values, the rest of these is a span
of its own; todos without a due date are the last span whichever way the list runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET
from odmantic import ObjectId
from odmantic.query import SortExpression, asc, desc

from todo_service.store.base import Condition
from todo_service.timestamps import Timestamp
from todo_service.todos.documents import Todo
from todo_service.todos.dto import Todo as TodoView
from todo_service.todos.dto import TodoQuery
from todo_service.todos.words import fold

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
    "title": Order(Todo.title_key, lambda todo: fold(todo.title), str),
    "position": Order(Todo.position, lambda todo: todo.position, float),
}


class Span(NamedTuple):
    """A part of a list that one index serves from one seek."""

    where: tuple[Condition, ...]
    sort: tuple[SortExpression, ...]


def spans(sort: str, after: Position | None) -> Iterator[Span]:
    """Return the spans of a list from a position on, or from its beginning, in order.

    Raises:
        ValueError: the position is not of this order.
    """
    order = ORDERS[sort.removeprefix("-")]
    descending = sort.startswith("-")
    towards = desc if descending else asc
    by_value = (towards(order.field), towards(Todo.id))
    by_id = (towards(Todo.id),)
    if after is not None:
        beyond_id = Todo.id < ObjectId(after.id) if descending else Todo.id > ObjectId(after.id)
        if after.value is None:
            yield Span((order.field == None, beyond_id), by_id)  # noqa: E711  # an expression, not a comparison
            return
        value = order.stored(after.value)
        yield Span((order.field == value, beyond_id), by_id)
        yield Span((order.field < value if descending else order.field > value,), by_value)
    else:
        yield Span((order.field >= _EPOCH,) if order.absent_last else (), by_value)
    if order.absent_last:
        yield Span((order.field == None,), by_id)  # noqa: E711  # an expression, not a comparison


def position_of(sort: str, todo: TodoView) -> Position:
    """Return the position after a todo, in an order."""
    return Position(ORDERS[sort.removeprefix("-")].value_of(todo), todo.id)


def arranged(todos: Iterable[TodoView], sort: str, after: Position | None) -> list[TodoView]:
    """Put todos in an order, and leave out those before a position: what `spans` asks of a store, for a few of them."""
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


def conditions(query: TodoQuery, now: datetime) -> list[Condition]:
    """Return the filters of a list, without its order and its page.

    Args:
        query: What the caller asks for.
        now: The moment by which a todo is overdue.
    """
    where: list[Condition] = [Todo.tags == tag.strip() for tag in query.tag]  # type: ignore[comparison-overlap]  # of one element
    if query.completed is not UNSET:
        where.append(Todo.completed == query.completed)
    if query.priority:
        where.append(Todo.priority.in_(query.priority))  # type: ignore[attr-defined]  # ODMantic's field proxy has it
    if query.list_id is not UNSET:
        where.append(Todo.list_id == (None if query.list_id == "inbox" else ObjectId(query.list_id)))
    if query.due_after is not UNSET:
        where.append(Todo.due_at > query.due_after)  # type: ignore[operator]  # an expression, which null never meets
    if query.due_before is not UNSET:
        where.append(Todo.due_at < query.due_before)  # type: ignore[operator]  # as above
    if query.created_after is not UNSET:
        where.append(Todo.created_at > query.created_after)
    if query.created_before is not UNSET:
        where.append(Todo.created_at < query.created_before)
    if query.updated_after is not UNSET:
        where.append(Todo.updated_at > query.updated_after)
    if query.overdue is True:
        where += [Todo.completed == False, Todo.due_at < now]  # type: ignore[operator]  # noqa: E712  # as above
    elif query.overdue is False:
        late = (Todo.completed == True) | (Todo.due_at == None) | (Todo.due_at >= now)  # type: ignore[operator]  # noqa: E711, E712  # as above
        where.append(late)
    return where
