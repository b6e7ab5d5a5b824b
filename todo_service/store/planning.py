"""Which declared index serves a query: one planner for both stores.

The embedded store walks the index as the plan says; MongoDB is given the index as a hint. So what one store refuses the
other refuses too, and no query ever reads a whole collection.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, Union, get_args, get_origin

from odmantic import Model
from odmantic.query import SortExpression

from todo_service.store.base import Sort, UnsupportedExpression
from todo_service.store.expressions import BEGINS, Comparison, Kind, Node, kind_of

PRIMARY: Final = "_id_"


class DeclaredIndex(NamedTuple):
    """An index that a model declares, or its primary key.

    Attributes:
        name: Its name in MongoDB.
        keys: The documents' keys, in order.
        unique: Whether no two documents may agree in all of them.
        expires_after: Seconds after the time in its one key at which a document expires, or None.
        list_key: The key that holds a list, each of whose elements is indexed, or None.
    """

    name: str
    keys: tuple[str, ...]
    unique: bool = False
    expires_after: int | None = None
    list_key: str | None = None


class Plan(NamedTuple):
    """How a query is served.

    Attributes:
        declared: The index.
        equal: The values of its first keys.
        bounds: The comparisons that bound the key after them.
        residual: The conditions that the index does not settle.
        descending: Whether the index is walked backwards.
    """

    declared: DeclaredIndex
    equal: tuple[Any, ...]
    bounds: tuple[Comparison, ...]
    residual: tuple[Node, ...]
    descending: bool


@cache
def declared_indexes(model: type[Model]) -> tuple[DeclaredIndex, ...]:
    """Return a model's indexes, the primary key first.

    Raises:
        UnsupportedExpression: an index is of a sort that is not part of the interface: partial, text, of mixed
            directions, over two lists.
    """
    lists = {field.key_name for name, field in model.__odm_fields__.items() if _is_list(model, name)}
    found = [DeclaredIndex(PRIMARY, ("_id",), unique=True)]
    for declared in model.__indexes__():
        described = (declared if hasattr(declared, "document") else declared.get_pymongo_index()).document
        pairs = list(described["key"].items())
        options = set(described) - {"key", "name", "unique", "expireAfterSeconds"}
        list_keys = [key for key, _ in pairs if key in lists]
        if options or len({direction for _, direction in pairs}) != 1 or len(list_keys) > 1:
            raise UnsupportedExpression(
                f"the index {described['name']} of {model.__name__} is not part of the interface"
            )
        found.append(
            DeclaredIndex(
                name=described["name"],
                keys=tuple(key for key, _ in pairs),
                unique=bool(described.get("unique")),
                expires_after=described.get("expireAfterSeconds"),
                list_key=list_keys[0] if list_keys else None,
            )
        )
    return tuple(found)


def _is_list(model: type[Model], field: str) -> bool:
    annotation = model.model_fields[field].annotation
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return any((get_origin(option) or option) in (list, tuple, set, frozenset) for option in options)


def sort_keys(sort: Sort) -> tuple[tuple[str, ...], bool]:
    """Return a sort's keys, and whether it runs downwards.

    Raises:
        UnsupportedExpression: it is empty, or of mixed directions.
    """
    parts: Sequence[SortExpression] = [sort] if isinstance(sort, SortExpression) else list(sort)
    pairs = [pair for part in parts for pair in part.items()]
    directions = {direction for _, direction in pairs}
    if len(directions) != 1:
        raise UnsupportedExpression("a sort needs one direction")
    return tuple(key for key, _ in pairs), directions == {-1}


def plan(model: type[Model], where: Iterable[Node], sort: Sort | None = None) -> Plan:
    """Return how a query is served best: by the index that fixes most, then the one that bounds.

    Args:
        model: The model.
        where: Normalised conditions.
        sort: The order, or None for any.

    Raises:
        UnsupportedExpression: no declared index serves it.
    """
    nodes = tuple(where)
    wanted, descending = sort_keys(sort) if sort is not None else ((), False)
    best: tuple[tuple[bool, int, int, int], Plan] | None = None
    for index in declared_indexes(model):
        candidate = _candidate(index, nodes, wanted, descending)
        if candidate is not None:
            # the beginning of a word is rarer than anything else that documents agree in
            by_word = any(bound.operator == BEGINS for bound in candidate.bounds)
            rank = (by_word, len(candidate.equal), len(candidate.bounds), -len(index.keys))
            if best is None or rank > best[0]:
                best = rank, candidate
    if best is None:
        order = f" in the order {', '.join(wanted)}" if wanted else ""
        keys = ", ".join(sorted({node.key for node in nodes if isinstance(node, Comparison)})) or "nothing"
        raise UnsupportedExpression(f"no index of {model.__name__} serves conditions on {keys}{order}")
    return best[1]


def tally_plan(model: type[Model], where: Iterable[Node], key: str) -> Plan:
    """Return how documents are counted by the value of a key.

    Raises:
        UnsupportedExpression: no declared index ends with this key and the id, all its other keys fixed by equality.
    """
    nodes = tuple(where)
    fixed = [node.key for node in nodes if isinstance(node, Comparison) and node.operator == "$eq"]
    for index in declared_indexes(model):
        *before, last = (*index.keys[:-2], index.keys[-2:])
        if (
            last == (key, "_id")
            and sorted(before) == sorted(fixed)
            and len(nodes) == len(before)
            and not index.list_key
        ):
            found = _candidate(index, nodes, (), False)
            assert found is not None  # equality on all that comes before
            return found
    raise UnsupportedExpression(f"no index of {model.__name__} counts by {key}")


def _candidate(index: DeclaredIndex, nodes: tuple[Node, ...], wanted: tuple[str, ...], descending: bool) -> Plan | None:
    used: list[Node] = []
    equal: list[Any] = []
    for key in index.keys:
        node = next((node for node in nodes if isinstance(node, Comparison) and node[:2] == (key, "$eq")), None)
        if node is None:
            break
        used.append(node)
        equal.append(node.value)
    rest = index.keys[len(equal) :]
    bounds = _bounds(nodes, rest[0]) if rest else ()
    # it holds a document once for each element; only a walk in no order can leave the doubles out
    if index.list_key in rest and (wanted or rest[0] != index.list_key or [b.operator for b in bounds] != [BEGINS]):
        return None
    fixed = set(index.keys[: len(equal)]) - {index.list_key}
    order = tuple(key for key in wanted if key not in fixed)
    if order != rest[: len(order)]:
        return None
    if not equal and not bounds:
        return None
    residual = tuple(node for node in nodes if node not in used and node not in bounds)
    return Plan(index, tuple(equal), bounds, residual, descending)


def _bounds(nodes: tuple[Node, ...], key: str) -> tuple[Comparison, ...]:
    """Return the comparisons that bound a key: a beginning, or one from below and one from above, of one kind."""
    begins = next((n for n in nodes if isinstance(n, Comparison) and n[:2] == (key, BEGINS)), None)
    if begins is not None:
        return (begins,)
    below = next(
        (n for n in nodes if isinstance(n, Comparison) and n.key == key and n.operator in ("$gt", "$gte")), None
    )
    above = next(
        (n for n in nodes if isinstance(n, Comparison) and n.key == key and n.operator in ("$lt", "$lte")), None
    )
    found = tuple(node for node in (below, above) if node is not None and kind_of(node.value) is not Kind.NULL)
    return found if len({kind_of(node.value) for node in found}) == 1 else found[:1]
