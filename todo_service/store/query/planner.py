"""Which declared index serves a query: one planner for both stores.

The embedded store walks the index as the plan says; MongoDB is given the index as a hint. So what one store refuses the
other refuses too, and no query ever reads a whole collection.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Sequence
from functools import cache
from math import prod
from typing import Any, Final, NamedTuple, Union, get_args, get_origin

from odmantic import Model
from odmantic.query import SortExpression

from todo_service.store.base import Sort
from todo_service.store.errors import UnsupportedExpression
from todo_service.store.query.expressions import STARTS_WITH, Comparison, Disjunction, Kind, Node, get_kind

PRIMARY: Final = "_id_"
MAX_RANGES: Final = 100
"""How many ranges of an index a query may be served from at most; MongoDB takes twice as many."""
_SHAPES: Final = 1000
_SHAPE_NODES: Final = 16
"""How many conditions a shape that is remembered has at most."""
_chosen: dict[Any, DeclaredIndex] = {}
"""The index that serves each shape of query best: a few MB at most."""


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
        fixed: For each of its first keys the values that it may have: one by equality, several by `$in`. Where
            there are several, that many ranges are walked side by side and merged.
        bounds: The comparisons that bound the key after the fixed ones.
        residual: The conditions that the index does not settle.
        descending: Whether the index is walked backwards.
    """

    declared: DeclaredIndex
    fixed: tuple[tuple[Any, ...], ...]
    bounds: tuple[Comparison, ...]
    residual: tuple[Node, ...]
    descending: bool

    @property
    def constant_keys(self) -> frozenset[str]:
        """The keys that have the same value in all that is found."""
        single = (key for key, values in zip(self.declared.keys, self.fixed, strict=False) if len(values) == 1)
        return frozenset(single) - {self.declared.list_key}

    @property
    def leading_value(self) -> Any:
        """The value of the first index key, such as the account, or None if it may have several."""
        return self.fixed[0][0] if self.fixed and len(self.fixed[0]) == 1 else None


@cache
def list_indexes(model: type[Model]) -> tuple[DeclaredIndex, ...]:
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


def parse_sort(sort: Sort) -> tuple[tuple[str, ...], bool]:
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


def plan_query(model: type[Model], where: Iterable[Node], sort: Sort | None = None) -> Plan:
    """Return how a query is served best: by the id, or by the index that holds the conditions that come first.

    Args:
        model: The model.
        where: Normalised conditions.
        sort: The order, or None for any.

    Raises:
        UnsupportedExpression: no declared index serves it.
    """
    nodes = tuple(where)
    wanted, descending = parse_sort(sort) if sort is not None else ((), False)
    if len(nodes) > _SHAPE_NODES:
        return _best(model, nodes, wanted, descending)
    shape = (model, wanted, descending, *map(_shape, nodes))
    index = _chosen.get(shape)
    found = None if index is None else _candidate(index, nodes, wanted, descending)
    if found is None:
        found = _best(model, nodes, wanted, descending)
        if len(_chosen) >= _SHAPES:
            _chosen.clear()
        _chosen[shape] = found.declared
    return found


def _shape(node: Node) -> Any:
    """Return what the choice of an index goes by: not the values, but what sort of values they are, and how many."""
    if isinstance(node, Disjunction):
        return None
    several = isinstance(node.value, tuple)
    return node.key, node.operator, min(len(node.value), MAX_RANGES + 1) if several else get_kind(node.value)


def _best(model: type[Model], nodes: tuple[Node, ...], wanted: tuple[str, ...], descending: bool) -> Plan:
    best: tuple[tuple[Any, ...], Plan] | None = None
    for index in list_indexes(model):
        candidate = _candidate(index, nodes, wanted, descending)
        if candidate is not None:
            residual = set(candidate.residual)
            held = [number for number, node in enumerate(nodes) if node not in residual]
            # of two that agree the one that holds more, then the shorter one
            by_id = index.name == PRIMARY
            rank = (not (by_id and candidate.fixed), by_id, [*held, len(nodes)], len(index.keys))
            if best is None or rank < best[0]:
                best = rank, candidate
    if best is None:
        order = f" in the order {', '.join(wanted)}" if wanted else ""
        keys = ", ".join(sorted({node.key for node in nodes if isinstance(node, Comparison)})) or "nothing"
        raise UnsupportedExpression(f"no index of {model.__name__} serves conditions on {keys}{order}")
    return best[1]


def _candidate(index: DeclaredIndex, nodes: tuple[Node, ...], wanted: tuple[str, ...], descending: bool) -> Plan | None:
    used: list[Node] = []
    fixed: list[tuple[Any, ...]] = []
    for key in index.keys:
        several = key != index.list_key and key not in wanted
        node = _fixing(nodes, key, MAX_RANGES // prod(map(len, fixed)) if several else 1)
        if node is None:
            break
        used.append(node)
        fixed.append(node.value if node.operator == "$in" else (node.value,))
    rest = index.keys[len(fixed) :]
    bounds, settled = _bounds(nodes, rest[0]) if rest else ((), ())
    # it holds a document once for each element; only a walk in no order can leave the doubles out
    if index.list_key in rest and (
        wanted or rest[0] != index.list_key or [b.operator for b in bounds] != [STARTS_WITH]
    ):
        return None
    if not fixed and not bounds:
        return None
    residual = tuple(node for node in nodes if node not in used and node not in settled)
    found = Plan(index, tuple(fixed), bounds, residual, descending)
    order = tuple(key for key in wanted if key not in found.constant_keys)
    return found if order == rest[: len(order)] else None


def _fixing(nodes: tuple[Node, ...], key: str, most: int) -> Comparison | None:
    """Return the condition that says what a key's value is, or which of a few it is; equality first."""
    on_key = [node for node in nodes if isinstance(node, Comparison) and node.key == key]
    equal = next((node for node in on_key if node.operator == "$eq"), None)
    few = (node for node in on_key if node.operator == "$in" and 1 <= len(node.value) <= most)
    return equal or next((node for node in few if most > 1), None)


def _bounds(nodes: tuple[Node, ...], key: str) -> tuple[tuple[Comparison, ...], tuple[Comparison, ...]]:
    """Return the comparisons that bound a key, and all that they settle.

    A key is bounded by a beginning, or by the tightest from below and from above, of one kind.
    """
    on_key = [node for node in nodes if isinstance(node, Comparison) and node.key == key]
    begins = next((node for node in on_key if node.operator == STARTS_WITH), None)
    if begins is not None:
        return (begins,), (begins,)
    ranges = [n for n in on_key if n.operator in ("$gt", "$gte", "$lt", "$lte") and get_kind(n.value) is not Kind.NULL]
    # what is of another kind than the first is left to be applied to the documents
    settled = tuple(node for node in ranges if get_kind(node.value) is get_kind(ranges[0].value))
    below = [node for node in settled if node.operator in ("$gt", "$gte")]
    above = [node for node in settled if node.operator in ("$lt", "$lte")]
    tightest = [max(below, key=lambda node: (node.value, node.operator == "$gt"))] if below else []
    tightest += [min(above, key=lambda node: (node.value, node.operator == "$lte"))] if above else []
    return tuple(tightest), settled
