"""Conditions: ODMantic's expressions, normalized for both stores.

`normalize` checks an expression against the operators of `base` and converts its values to their stored form. The
MongoDB store translates the result into a filter; the embedded store evaluates it, with MongoDB's semantics.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import IntEnum
from functools import cache
from typing import Any, Final, NamedTuple, TypeGuard

from bson import Int64, ObjectId, Timestamp
from odmantic import Model

from todo_service.store.base import OPERATORS, Condition
from todo_service.store.defaults import make_getter
from todo_service.store.errors import UnsupportedExpression

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
STARTS_WITH: Final = "$startsWith"
"""The operator of `base.starts_with`, which MongoDB evaluates as an anchored regular expression."""
_PREFIX_PATTERN: Final = re.compile(r"\^((?:[^\\^$.|?*+()\[\]{}]|\\[^A-Za-z0-9])+)", re.DOTALL)
_MANY_PREFIXES: Final = 4
"""From this number of prefixes, sorting a document's values once is cheaper than searching them for each prefix."""
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
Document = Mapping[str, Any]
Predicate = Callable[[Document], bool]


class ValueKind(IntEnum):
    """The kinds of values, in their sort order."""

    NULL = 1
    NUMBER = 2
    TEXT = 3
    BYTES = 4
    OBJECT_ID = 5
    BOOLEAN = 6
    TIME = 7
    STAMP = 8


_KINDS: Final[Mapping[type, ValueKind]] = {
    type(None): ValueKind.NULL,
    bool: ValueKind.BOOLEAN,
    int: ValueKind.NUMBER,
    Int64: ValueKind.NUMBER,
    float: ValueKind.NUMBER,
    str: ValueKind.TEXT,
    bytes: ValueKind.BYTES,
    ObjectId: ValueKind.OBJECT_ID,
    datetime: ValueKind.TIME,
    Timestamp: ValueKind.STAMP,
}


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


def is_id_equality(node: Node) -> TypeGuard[Comparison]:
    """Return whether a condition is equality on the id."""
    return isinstance(node, Comparison) and node.key == "_id" and node.operator == "$eq"


def get_kind(value: object) -> ValueKind | None:
    """Return the kind of a value, or None if it can be neither compared nor indexed (a list, a document)."""
    return _KINDS.get(type(value)) or _find_kind(type(value))  # type: ignore[arg-type]  # a class is hashable


@cache
def _find_kind(kind: type) -> ValueKind | None:
    return next((found for base, found in _KINDS.items() if issubclass(kind, base)), None)


def normalize_value(value: object) -> Any:
    """Return a value in the form in which values are compared: times are in UTC, with millisecond precision.

    Raises:
        UnsupportedExpression: The value cannot be compared, is an integer of more than 64 bits, or is NaN.
    """
    kind = get_kind(value)
    if kind is None:
        raise UnsupportedExpression(f"a {type(value).__name__} cannot be compared")
    if kind is ValueKind.TIME:
        assert isinstance(value, datetime)
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        milliseconds = moment.microsecond // 1000
        # not a subclass of datetime: drivers check the exact type
        return datetime.combine(moment.date(), moment.time().replace(microsecond=milliseconds * 1000), UTC)
    # NaN is the only value that differs from itself
    if (isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX) or value != value:
        raise UnsupportedExpression("a number must fit into 64 bits and must not be NaN")
    return value


def normalize(where: Iterable[Condition]) -> tuple[Node, ...]:
    """Normalize the conditions of a call. All of the returned conditions must hold.

    Raises:
        UnsupportedExpression: A condition is not an expression, or uses an unsupported operator or value.
    """
    nodes: list[Node] = []
    for condition in where:
        # a mistake in an expression makes it a plain boolean, which ODMantic's `&` and `|` accept
        if not isinstance(condition, dict) or not condition:
            raise UnsupportedExpression(f"{condition!r} is not an expression on a field")
        for key, operand in condition.items():
            nodes += _parse_junction(key, operand) if key.startswith("$") else _parse_comparisons(key, operand)
    return tuple(nodes)


def _parse_junction(operator: str, parts: Any) -> list[Node]:
    if operator == "$and":
        return list(normalize(parts))
    if operator == "$or":
        return [Disjunction(tuple(normalize([part]) for part in parts))]
    raise UnsupportedExpression(f"the operator {operator} is not supported")


def _parse_comparisons(key: str, operand: Any) -> list[Node]:
    if not isinstance(operand, dict) or not operand:
        raise UnsupportedExpression(f"the condition on {key} has no operator")
    found: list[Node] = []
    for operator, value in operand.items():
        if operator == "$regex":
            found.append(Comparison(key, STARTS_WITH, _parse_prefix(value)))
            continue
        if operator not in OPERATORS:
            raise UnsupportedExpression(f"the operator {operator} is not supported")
        several = operator in ("$in", "$nin")
        found.append(
            Comparison(
                key, operator, tuple(normalize_value(item) for item in value) if several else normalize_value(value)
            )
        )
    return found


def _parse_prefix(pattern: object) -> str:
    """Return the literal prefix of a pattern that `base.starts_with` created."""
    match = _PREFIX_PATTERN.fullmatch(pattern) if isinstance(pattern, str) else None
    if match is None or "\x00" in match[1]:
        raise UnsupportedExpression("regular expressions are supported only as literal prefixes")
    return _ESCAPED.sub(r"\1", match[1])


def collect_keys(nodes: Iterable[Node]) -> frozenset[str]:
    """Return the keys that occur in conditions."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, Disjunction):
            found.update(*map(collect_keys, node.alternatives))
        else:
            found.add(node.key)
    return frozenset(found)


def build_predicate(nodes: Iterable[Node], model: type[Model]) -> Predicate | None:
    """Return a function that evaluates all conditions on a document, or None if there are no conditions.

    The values of the document are as BSON decodes them. Its times have a UTC offset.

    Args:
        nodes: Normalized conditions.
        model: The model of the document, whose defaults stand for missing keys.
    """
    nodes = tuple(nodes)
    many = _find_many_prefixes(nodes)
    tests = [_build_test(node, model) for node in nodes if not (isinstance(node, Comparison) and node.key in many)]
    tests += [_build_prefixes_test(make_getter(model, key), prefixes) for key, prefixes in many.items()]
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda document: all(test(document) for test in tests)


def _build_test(node: Node, model: type[Model]) -> Predicate:
    if isinstance(node, Disjunction):
        alternatives = [build_predicate(alternative, model) for alternative in node.alternatives]
        return lambda document: any(test is None or test(document) for test in alternatives)
    key, operator, value = node
    negated = operator in ("$ne", "$nin")
    holds = _build_value_test({"$ne": "$eq", "$nin": "$in"}.get(operator, operator), value)
    get_value = make_getter(model, key)

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
