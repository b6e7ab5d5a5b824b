"""Predicates: normalized conditions, evaluated on decoded documents with MongoDB's semantics."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from todo_service.store.query.kinds import ValueKind, get_kind

STARTS_WITH: Final = "$startsWith"
"""The operator of `base.starts_with`, which MongoDB evaluates as an anchored regular expression."""
_MANY_PREFIXES: Final = 4
"""From this number of prefixes, sorting a document's values once is cheaper than searching them for each prefix."""
Document = Mapping[str, Any]
Predicate = Callable[[Document], bool]
GetterFactory = Callable[[str], Callable[[Document], Any]]
"""Returns the function that reads a key of a document, or its default if it is missing."""


class Comparison(NamedTuple):
    """A comparison of a field with a value.

    Attributes:
        key: The document's key.
        operator: One of `base.OPERATORS`, or `STARTS_WITH`.
        value: A normalized value; a tuple of them for `$in` and `$nin`.
    """

    key: str
    operator: str
    value: Any


class Disjunction(NamedTuple):
    """Alternatives, at least one of which must hold. Each is a conjunction."""

    alternatives: tuple[tuple[Node, ...], ...]


Node = Comparison | Disjunction


def compile_predicate(nodes: Iterable[Node], make_getter: GetterFactory) -> Predicate | None:
    """Return a function that evaluates all conditions on a document, or None if there are no conditions.

    The values of the document are as BSON decodes them. Its times have a UTC offset.

    Args:
        nodes: Normalized conditions.
        make_getter: Returns the function that reads a key of a document.
    """
    nodes = tuple(nodes)
    many = _find_many_prefixes(nodes)
    tests = [
        _build_test(node, make_getter) for node in nodes if not (isinstance(node, Comparison) and node.key in many)
    ]
    tests += [_build_prefixes_test(make_getter(key), prefixes) for key, prefixes in many.items()]
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda document: all(test(document) for test in tests)


def _build_test(node: Node, make_getter: GetterFactory) -> Predicate:
    if isinstance(node, Disjunction):
        alternatives = [compile_predicate(alternative, make_getter) for alternative in node.alternatives]
        return lambda document: any(test is None or test(document) for test in alternatives)
    key, operator, value = node
    negated = operator in ("$ne", "$nin")
    holds = _build_value_test({"$ne": "$eq", "$nin": "$in"}.get(operator, operator), value)
    get_value = make_getter(key)

    def test(document: Document) -> bool:
        found = get_value(document)
        if isinstance(found, list):
            return any(holds(element) for element in found) is not negated
        return holds(found) is not negated

    return test


def _find_many_prefixes(nodes: Iterable[Node]) -> dict[str, list[str]]:
    """Return the prefixes for each key that has many prefix conditions and no others."""
    found: dict[str, list[str]] = {}
    others: set[str] = set()
    for node in nodes:
        if isinstance(node, Comparison):
            if node.operator == STARTS_WITH:
                found.setdefault(node.key, []).append(node.value)
            else:
                others.add(node.key)
    return {key: prefixes for key, prefixes in found.items() if len(prefixes) >= _MANY_PREFIXES and key not in others}


def _build_prefixes_test(get_value: Callable[[Document], Any], prefixes: list[str]) -> Predicate:
    """Return a test for many prefixes, which sorts the values of a document once and searches each prefix in them."""

    def test(document: Document) -> bool:
        found = get_value(document)
        values = sorted(value for value in (found if isinstance(found, list) else [found]) if isinstance(value, str))
        for prefix in prefixes:
            place = bisect_left(values, prefix)
            if place == len(values) or not values[place].startswith(prefix):
                return False
        return True

    return test


def _build_value_test(operator: str, value: Any) -> Callable[[Any], bool]:
    if operator == STARTS_WITH:
        return lambda found: isinstance(found, str) and found.startswith(value)
    if operator == "$in":
        allowed = frozenset((get_kind(item), item) for item in value)
        return lambda found: (get_kind(found), found) in allowed if get_kind(found) else False
    kind = get_kind(value)
    if kind is ValueKind.NULL:
        same = operator in ("$eq", "$gte", "$lte")
        return lambda found: found is None and same
    compare = _COMPARE[operator]
    return lambda found: get_kind(found) is kind and compare(found, value)


_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$eq": lambda one, other: one == other,
    "$gt": lambda one, other: one > other,
    "$gte": lambda one, other: one >= other,
    "$lt": lambda one, other: one < other,
    "$lte": lambda one, other: one <= other,
}
