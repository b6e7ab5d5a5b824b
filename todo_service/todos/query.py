"""Translates the filters and the sort order of a request into store queries.

A query reads a sequence of key ranges, one after the other, until the page is full. One index serves each range from
one seek, so that a page costs the same at any depth (keyset pagination). If a page begins within a run of equal
values, the rest of the run is a range of its own. Todos without a due date are the last range in both directions.

The cost of a page depends on its filters:

- The index of the sort order covers them (`is_served_by_index`): only the page is read. This holds for open todos,
  completed todos or both, in each order and between two bounds of that order; for one list or tag by creation; for one
  list by position; for priorities by priority; and for overdue todos by due date.
- Otherwise the store reads the todos that the most selective filter leaves and sorts them in memory, if they are at
  most `SORTED_TODOS`, as counted a few seconds ago (`todos.selectivity`). The cost does not depend on the size of the
  account.
- If every filter leaves more than that, the index of the sort order is scanned, and the filters are applied to each
  todo until the page is full. The worst case is a scan of the account: filters that each match many todos and together
  almost none, or `overdue=false` when most todos are overdue.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET
from odmantic import ObjectId
from odmantic.query import SortExpression, asc, desc

from todo_service.bounds.todos import QUERY_WORDS
from todo_service.errors import InvalidParameter
from todo_service.field_table import Field, FieldKind, Filter
from todo_service.store.base import Condition, starts_with
from todo_service.store.structs import list_index_keys
from todo_service.text import decompose
from todo_service.timestamps import EARLIEST, Timestamp
from todo_service.todos.documents import Todo
from todo_service.todos.dto import ListedTodo, TodoQuery
from todo_service.todos.dto import Todo as TodoView
from todo_service.todos.fields import FIELDS, priority_rank
from todo_service.todos.words import extract_prefixes

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
        name: The name of the sorted field in the API.
        field: The field of the model that is sorted.
        view: The Struct from which `read_value` reads.
        read_value: Reads the value that a position holds from a todo.
        to_stored: Converts the value of a position to the stored value.
        lowest: A stored value that no other one precedes, if the field may be null; todos without a value come last.
        filters: The parameters of the filters that restrict the order to a range of its index.
        prefixes: The parameters of the filters that precede the sorted field in an index; an index has one of them.
    """

    name: str
    field: Any
    view: type[TodoView]
    read_value: Callable[[Any], str | float | int | None]
    to_stored: Callable[[Any], Value]
    lowest: Value | None
    filters: frozenset[str]
    prefixes: frozenset[str]


_LOWEST: Final[Mapping[FieldKind, Value]] = {FieldKind.TIME: EARLIEST, FieldKind.TEXT: "", FieldKind.CODE: ""}
_INDEX_KEYS: Final = list_index_keys(Todo)


def _build_order(field: Field) -> Order:
    name = field.compared_name
    return Order(
        field.name,
        field.get_compared(Todo),
        TodoView if field.index_key is None else ListedTodo,
        attrgetter(name),
        Timestamp.parse if field.kind is FieldKind.TIME else lambda value: value,
        _LOWEST[field.kind] if field.default is None else None,
        frozenset(each.parameter for each in field.filters),
        frozenset(
            each.parameter
            for other in FIELDS
            for each in other.filters
            if ("owner", other.compared_name, "completed", name, "_id") in _INDEX_KEYS
        ),
    )


ORDERS: Final = {field.name: _build_order(field) for field in FIELDS if field.sortable}


def find_order(sort: str) -> Order:
    """Return the sort order that a request names, without its direction."""
    return ORDERS[sort.removeprefix("-")]


class FilteredField(NamedTuple):
    """A field with filters.

    Attributes:
        name: The name of the field in the API.
        field: The field of the model that the filters compare.
        filters: The filters.
        indexed: Whether an index has it right after `owner`, or after `owner` and `completed`.
        separate: Whether an index serves only one of several conditions, because the field has several values.
    """

    name: str
    field: Any
    filters: tuple[Filter, ...]
    indexed: bool
    separate: bool


def _list_filtered_fields() -> list[FilteredField]:
    """Return the fields with filters, except `completed`, which restricts every query.

    Those that precede others in an index come first, because the store chooses the index by the first conditions.
    """
    leading = {keys[2] if keys[1] == "completed" else keys[1] for keys in _INDEX_KEYS if keys[0] == "owner"}
    prefixes = frozenset().union(*(order.prefixes for order in ORDERS.values()))
    found = [
        FilteredField(
            field.name,
            field.get_compared(Todo),
            field.filters,
            field.compared_name in leading,
            field.kind is FieldKind.TEXTS,
        )
        for field in FIELDS
        if field.filters and field.name != "completed"
    ]
    return sorted(found, key=lambda field: not prefixes.intersection(each.parameter for each in field.filters))


_FILTERED: Final = _list_filtered_fields()
_PARAMETERS: Final = tuple(each.parameter for field in _FILTERED for each in field.filters)


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
        after: The position to begin at, of the same sort order; None for the beginning.
    """
    order = find_order(query.sort)
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
    if order.name == "priority" and query.priority:
        ranks = sorted({priority_rank(name) for name in query.priority}, reverse=descending)
        for rank in ranks:
            if value is None or (rank < value if descending else rank > value):
                yield KeyRange((order.field == rank,), by_id)
    elif value is not None:
        yield KeyRange((order.field < value if descending else order.field > value,), by_value)
    else:
        yield KeyRange((order.field >= order.lowest,) if order.lowest is not None else (), by_value)
    if order.lowest is not None and not order.filters & _list_given(query):
        yield KeyRange((order.field == None,), by_id)  # noqa: E711  # an expression, not a comparison


def list_sorted_ranges(query: TodoQuery, after: TodoPosition | None) -> Iterator[KeyRange]:
    """Yield the parts of a list in order, as `key_ranges` does, but as few as possible: for a store that sorts them.

    Args:
        query: As in `key_ranges`.
        after: As in `key_ranges`.
    """
    order = find_order(query.sort)
    descending = query.sort.startswith("-")
    direction = desc if descending else asc
    nullable = order.lowest is not None and not order.filters & _list_given(query)
    without_value: Condition = order.field == None  # noqa: E711  # as above
    where: list[Condition] = []
    if after is not None:
        following_id = Todo.id < ObjectId(after.id) if descending else Todo.id > ObjectId(after.id)
        if after.value is None:
            yield KeyRange((without_value, following_id), (direction(Todo.id),))
            return
        value: Any = order.to_stored(after.value)
        following = order.field < value if descending else order.field > value
        where = [following | ((order.field == value) & following_id)]
    # null precedes every value, so in descending order it comes last
    if nullable and descending and where:
        where = [where[0] | without_value]  # type: ignore[operator]  # expressions
    elif nullable and not descending:
        where.append(order.field >= order.lowest)
    yield KeyRange(tuple(where), (direction(order.field), direction(Todo.id)))
    if nullable and not descending:
        yield KeyRange((without_value,), (direction(Todo.id),))


def _list_given(query: TodoQuery) -> frozenset[str]:
    """Return the parameters of the filters that are given, except `completed`, `overdue=false` and `q`."""
    return frozenset(name for name in _PARAMETERS if _is_given(value := getattr(query, name)) and value is not False)


def _is_given(value: Any) -> bool:
    return value is not UNSET and value != []


def is_served_by_index(query: TodoQuery) -> bool:
    """Return whether the index of the sort order covers the filters, so that only the page is read."""
    if len(query.tag) > 1 or query.overdue is False or query.q is not UNSET:
        return False
    order = find_order(query.sort)
    remaining = _list_given(query) - order.filters
    return not remaining or (len(remaining) == 1 and remaining <= order.prefixes)


def parse_query_words(q: str) -> list[str]:
    """Return the distinct words of a search, longest first, without prefixes of other words.

    Raises:
        InvalidParameter: There are more than `QUERY_WORDS`.
    """
    found: list[str] = []
    # a prefix sorts immediately before the words that it begins
    for word in sorted(extract_prefixes(q)):
        if found and word.startswith(found[-1]):
            found.pop()
        found.append(word)
    if len(found) > QUERY_WORDS:
        raise InvalidParameter("q", f"Expected at most {QUERY_WORDS} different words")
    return sorted(found, key=len, reverse=True)


def build_filters(query: TodoQuery, now: datetime, decomposed_tags: Collection[str] = ()) -> list[list[Condition]]:
    """Return the filters of a list, each a group of conditions that one index serves.

    The last group only restricts `completed`. See `build_unindexed_filters` for the filters that no index serves.

    Args:
        query: The filters. Tags are in NFC.
        now: The time before which an open todo is overdue.
        decomposed_tags: Those of the tags that todos of an earlier release have in NFD. No index serves both forms.
    """
    # name both values for a list of all todos, so that an index that begins with `completed` serves it
    allowed = [query.completed] if query.completed is not UNSET else [False, True]
    if query.overdue is True:
        allowed = [completed for completed in allowed if not completed]
    completion: Condition = Todo.completed.in_(allowed)  # type: ignore[attr-defined]  # ODMantic's field proxy has it
    words = parse_query_words(query.q) if query.q is not UNSET else []
    groups: list[list[Condition]] = [[starts_with(Todo.words, word)] for word in words]
    for field in _FILTERED:
        if field.indexed and (conditions := _build_conditions(field, query, now, decomposed_tags)):
            parts = [[each] for each in conditions] if field.separate else [conditions]
            groups += [[*part, completion] for part in parts]
    return [*groups, [completion]]


def build_unindexed_filters(query: TodoQuery, now: datetime) -> list[Condition]:
    """Return the conditions of the filters that no index serves. `overdue=false` is one of them."""
    found = [
        condition for field in _FILTERED if not field.indexed for condition in _build_conditions(field, query, now)
    ]
    if query.overdue is False:
        found.append((Todo.completed == True) | (Todo.due_end == None) | (Todo.due_end >= now))  # type: ignore[operator]  # noqa: E711, E712  # expressions
    return found


def _build_conditions(
    field: FilteredField, query: TodoQuery, now: datetime, decomposed_tags: Collection[str] = ()
) -> list[Condition]:
    """Return the conditions of all filters by a field."""
    found: list[Condition] = []
    for parameter, build in field.filters:
        value = getattr(query, parameter)
        if build is not None and _is_given(value):
            found += build(field.field, value)
        elif parameter == "tag":
            found += [
                field.field.in_([tag, decompose(tag)]) if tag in decomposed_tags else field.field == tag
                for tag in value
            ]
        elif parameter == "overdue" and value is True:
            found.append(field.field < now)
    return found


def build_position(sort: str, todo: TodoView) -> TodoPosition:
    """Return the position after a todo in a sort order."""
    return TodoPosition(find_order(sort).read_value(todo), todo.id)
