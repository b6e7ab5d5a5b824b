"""The query planner: it chooses the declared index that serves a query, for both stores.

The embedded store scans the index as planned, and MongoDB gets the index as a hint. Both stores therefore reject the
same queries, and no query reads a whole collection.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Sequence
from functools import cache
from math import prod
from typing import Any, Final, NamedTuple, Union, get_args, get_origin

from odmantic import Model
from odmantic.query import SortExpression

from todo_service.bounded_cache import BoundedCache
from todo_service.store.base import Sort
from todo_service.store.errors import UnsupportedExpression
from todo_service.store.query.declared import DeclaredIndex, is_indexed_time
from todo_service.store.query.kinds import ValueKind, get_kind
from todo_service.store.query.predicates import STARTS_WITH, Comparison, Disjunction, Node
from todo_service.store.structs import partial_to_times

PRIMARY: Final = "_id_"
MAX_RANGES: Final = 100
"""The maximum number of key ranges of a query. MongoDB supports twice as many."""
_CACHED_SHAPES: Final = 1000
_CACHED_SHAPE_NODES: Final = 16
"""The maximum number of conditions in a cached query shape."""
_chosen: BoundedCache[Any, DeclaredIndex] = BoundedCache(_CACHED_SHAPES)
"""The cache of the best index for each query shape: a few MB at limit."""


class Plan(NamedTuple):
    """A query plan.

    Attributes:
        declared: The index.
        fixed: The allowed values of each leading key: one by equality, several by `$in`. Several values mean several
            key ranges, which are read side by side and merged.
        bounds: The comparisons that bound the key after the fixed ones.
        residual: The conditions that remain to be evaluated on the documents.
        descending: Whether the index is scanned backwards.
    """

    declared: DeclaredIndex
    fixed: tuple[tuple[Any, ...], ...]
    bounds: tuple[Comparison, ...]
    residual: tuple[Node, ...]
    descending: bool

    @property
    def constant_keys(self) -> frozenset[str]:
        """The keys that have the same value in all matching documents."""
        single = (key for key, values in zip(self.declared.keys, self.fixed, strict=False) if len(values) == 1)
        return frozenset(single) - {self.declared.list_key}

    @property
    def leading_value(self) -> Any:
        """The value of the first index key, such as the account, or None if it may have several."""
        return self.fixed[0][0] if self.fixed and len(self.fixed[0]) == 1 else None


@cache
def list_indexes(model: type[Model]) -> tuple[DeclaredIndex, ...]:
    """Return the indexes of a model, the primary key first.

    Raises:
        UnsupportedExpression: An index is a text index, has mixed directions or includes two lists, or is partial in
            another way than `partial_to_times`.
    """
    lists = {field.key_name for name, field in model.__odm_fields__.items() if _is_list(model, name)}
    found = [DeclaredIndex(PRIMARY, ("_id",), unique=True)]
    for declared in model.__indexes__():
        described = (declared if hasattr(declared, "document") else declared.get_pymongo_index()).document
        pairs = list(described["key"].items())
        options = set(described) - {"key", "name", "unique", "expireAfterSeconds", "partialFilterExpression"}
        partial = described.get("partialFilterExpression")
        time_key = next((key for key, _ in pairs if partial == partial_to_times(key)), None)
        if partial is not None and time_key is None:
            options.add("partialFilterExpression")
        list_keys = [key for key, _ in pairs if key in lists]
        if options or len({direction for _, direction in pairs}) != 1 or len(list_keys) > 1:
            raise UnsupportedExpression(f"the index {described['name']} of {model.__name__} is of an unsupported type")
        found.append(
            DeclaredIndex(
                name=described["name"],
                keys=tuple(key for key, _ in pairs),
                unique=bool(described.get("unique")),
                expires_after=described.get("expireAfterSeconds"),
                list_key=list_keys[0] if list_keys else None,
                time_key=time_key,
            )
        )
    return tuple(found)


def _is_list(model: type[Model], field: str) -> bool:
    annotation = model.model_fields[field].annotation
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return any((get_origin(option) or option) in (list, tuple, set, frozenset) for option in options)


def parse_sort(sort: Sort) -> tuple[tuple[str, ...], bool]:
    """Return the keys of a sort, and whether it is descending.

    Raises:
        UnsupportedExpression: The sort is empty or has mixed directions.
    """
    parts: Sequence[SortExpression] = [sort] if isinstance(sort, SortExpression) else list(sort)
    pairs = [pair for part in parts for pair in part.items()]
    directions = {direction for _, direction in pairs}
    if len(directions) != 1:
        raise UnsupportedExpression("a sort must have one direction")
    return tuple(key for key, _ in pairs), directions == {-1}


def plan_query(model: type[Model], where: Iterable[Node], sort: Sort | None = None) -> Plan:
    """Return the best plan for a query: by the id, or by the index that covers the conditions that come first.

    Args:
        model: The model.
        where: Normalized conditions.
        sort: The order, or None for any order.

    Raises:
        UnsupportedExpression: No declared index serves the query.
    """
    nodes = tuple(where)
    sorted_keys, descending = parse_sort(sort) if sort is not None else ((), False)
    if len(nodes) > _CACHED_SHAPE_NODES:
        return _find_best(model, nodes, sorted_keys, descending)
    shape = (model, sorted_keys, descending, *map(_get_shape, nodes))
    index = _chosen.get(shape)
    found = None if index is None else _try_index(index, nodes, sorted_keys, descending)
    if found is None:
        found = _find_best(model, nodes, sorted_keys, descending)
        _chosen[shape] = found.declared
    return found


def _get_shape(node: Node) -> Any:
    """Return the part of a condition that determines the choice of an index: the kind and the number of its values."""
    if isinstance(node, Disjunction):
        return None
    several = isinstance(node.value, tuple)
    return node.key, node.operator, min(len(node.value), MAX_RANGES + 1) if several else get_kind(node.value)


def _find_best(model: type[Model], nodes: tuple[Node, ...], sorted_keys: tuple[str, ...], descending: bool) -> Plan:
    best: tuple[tuple[Any, ...], Plan] | None = None
    for index in list_indexes(model):
        candidate = _try_index(index, nodes, sorted_keys, descending)
        if candidate is not None:
            residual = set(candidate.residual)
            covers = [number for number, node in enumerate(nodes) if node not in residual]
            # break ties by the number of conditions covered, then by the length of the index
            by_id = index.name == PRIMARY
            rank = (not (by_id and candidate.fixed), by_id, [*covers, len(nodes)], len(index.keys))
            if best is None or rank < best[0]:
                best = rank, candidate
    if best is None:
        order = f" in the order {', '.join(sorted_keys)}" if sorted_keys else ""
        keys = ", ".join(sorted({node.key for node in nodes if isinstance(node, Comparison)})) or "nothing"
        raise UnsupportedExpression(f"no index of {model.__name__} serves conditions on {keys}{order}")
    return best[1]


def _try_index(
    index: DeclaredIndex, nodes: tuple[Node, ...], sorted_keys: tuple[str, ...], descending: bool
) -> Plan | None:
    used: list[Node] = []
    fixed: list[tuple[Any, ...]] = []
    for key in index.keys:
        several = key != index.list_key and key not in sorted_keys
        node = _find_fixing(nodes, key, MAX_RANGES // prod(map(len, fixed)) if several else 1)
        if node is None:
            break
        used.append(node)
        fixed.append(node.value if node.operator == "$in" else (node.value,))
    rest = index.keys[len(fixed) :]
    bounds, covered = _find_bounds(nodes, rest[0]) if rest else ((), ())
    # a list index holds a document once for each element; only an unordered scan can drop the duplicates
    if index.list_key in rest and (
        sorted_keys or rest[0] != index.list_key or [b.operator for b in bounds] != [STARTS_WITH]
    ):
        return None
    if not fixed and not bounds:
        return None
    if index.time_key is not None and not _is_restricted_to_times(index, fixed, bounds):
        return None
    residual = tuple(node for node in nodes if node not in used and node not in covered)
    found = Plan(index, tuple(fixed), bounds, residual, descending)
    order = tuple(key for key in sorted_keys if key not in found.constant_keys)
    return found if order == rest[: len(order)] else None


def _is_restricted_to_times(
    index: DeclaredIndex, fixed: Sequence[tuple[Any, ...]], bounds: tuple[Comparison, ...]
) -> bool:
    """Return whether the conditions that a partial index covers exclude all documents that it does not hold."""
    position = index.keys.index(index.time_key)
    if position < len(fixed):
        return all(map(is_indexed_time, fixed[position]))
    bounded = any(bound.operator in ("$gt", "$gte") and is_indexed_time(bound.value) for bound in bounds)
    return position == len(fixed) and bounded


def _find_fixing(nodes: tuple[Node, ...], key: str, limit: int) -> Comparison | None:
    """Return the condition that fixes a key to one value or a few, preferably one."""
    on_key = [node for node in nodes if isinstance(node, Comparison) and node.key == key]
    equal = next((node for node in on_key if node.operator == "$eq"), None)
    few = (node for node in on_key if node.operator == "$in" and 1 <= len(node.value) <= limit)
    return equal or next((node for node in few if limit > 1), None)


def _find_bounds(nodes: tuple[Node, ...], key: str) -> tuple[tuple[Comparison, ...], tuple[Comparison, ...]]:
    """Return the comparisons that bound a key, and all comparisons that they make redundant.

    The bound is a prefix, or the tightest lower and upper bound of one kind.
    """
    on_key = [node for node in nodes if isinstance(node, Comparison) and node.key == key]
    prefix = next((node for node in on_key if node.operator == STARTS_WITH), None)
    if prefix is not None:
        return (prefix,), (prefix,)
    ranges = [
        n for n in on_key if n.operator in ("$gt", "$gte", "$lt", "$lte") and get_kind(n.value) is not ValueKind.NULL
    ]
    # comparisons with another kind than the first one remain to be evaluated on the documents
    covered = tuple(node for node in ranges if get_kind(node.value) is get_kind(ranges[0].value))
    below = [node for node in covered if node.operator in ("$gt", "$gte")]
    above = [node for node in covered if node.operator in ("$lt", "$lte")]
    tightest = [max(below, key=lambda node: (node.value, node.operator == "$gt"))] if below else []
    tightest += [min(above, key=lambda node: (node.value, node.operator == "$lte"))] if above else []
    return tuple(tightest), covered
