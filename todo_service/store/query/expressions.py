"""ODMantic's expressions as values of our own, and how one of them is applied to one document.

An expression is normalised first: checked against the operators of `base`, its values brought to what is stored. Both
stores take it from there: MongoDB gets it back as a filter, the embedded store applies it itself, as MongoDB would.
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

from todo_service.store.base import OPERATORS, Condition
from todo_service.store.errors import UnsupportedExpression

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
STARTS_WITH: Final = "$begins"
"""Our name for the comparison that `base.starts_with` makes, which MongoDB knows as an anchored regular expression."""
_BEGINNING: Final = re.compile(r"\^((?:[^\\^$.|?*+()\[\]{}]|\\[^A-Za-z0-9])+)", re.DOTALL)
_MANY: Final = 4
"""From how many beginnings on it is cheaper to sort a document's values than to go through them for each beginning."""
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
Document = Mapping[str, Any]
Predicate = Callable[[Document], bool]


class Kind(IntEnum):
    """The kinds of values, in their order."""

    NULL = 1
    NUMBER = 2
    TEXT = 3
    BYTES = 4
    OBJECT_ID = 5
    BOOLEAN = 6
    TIME = 7
    STAMP = 8


_KINDS: Final[Mapping[type, Kind]] = {
    type(None): Kind.NULL,
    bool: Kind.BOOLEAN,
    int: Kind.NUMBER,
    Int64: Kind.NUMBER,
    float: Kind.NUMBER,
    str: Kind.TEXT,
    bytes: Kind.BYTES,
    ObjectId: Kind.OBJECT_ID,
    datetime: Kind.TIME,
    Timestamp: Kind.STAMP,
}


class Comparison(NamedTuple):
    """A field compared with a value.

    Attributes:
        key: The document's key.
        operator: One of `base.OPERATORS`, or `STARTS_WITH`.
        value: A normalised value; a tuple of them for `$in` and `$nin`.
    """

    key: str
    operator: str
    value: Any


class Disjunction(NamedTuple):
    """Alternatives, each of which is a conjunction; one must hold."""

    alternatives: tuple[tuple[Node, ...], ...]


Node = Comparison | Disjunction


def is_id_equality(node: Node) -> TypeGuard[Comparison]:
    """Tell whether a condition is equality on the id."""
    return isinstance(node, Comparison) and node.key == "_id" and node.operator == "$eq"


def get_kind(value: object) -> Kind | None:
    """Return a value's kind, or None for one that can be neither compared nor indexed (a list, a document)."""
    return _KINDS.get(type(value)) or _find_kind(type(value))  # type: ignore[arg-type]  # a class is hashable


@cache
def _find_kind(kind: type) -> Kind | None:
    return next((found for base, found in _KINDS.items() if issubclass(kind, base)), None)


def normalise_value(value: object) -> Any:
    """Return a value as it is compared: times in UTC with milliseconds, each number an int or a float.

    Raises:
        UnsupportedExpression: it is of no kind that can be compared, an integer of more than 64 bits, or NaN.
    """
    kind = get_kind(value)
    if kind is None:
        raise UnsupportedExpression(f"a {type(value).__name__} cannot be compared")
    if kind is Kind.TIME:
        assert isinstance(value, datetime)
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        milliseconds = moment.microsecond // 1000
        # a plain datetime, for drivers look at a value's very type
        return datetime.combine(moment.date(), moment.time().replace(microsecond=milliseconds * 1000), UTC)
    # only NaN differs from itself
    if (isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX) or value != value:
        raise UnsupportedExpression("a number must be of 64 bits")
    return value


def normalise(where: Iterable[Condition]) -> tuple[Node, ...]:
    """Return the conditions of a call, which are joined by and.

    Raises:
        UnsupportedExpression: one is no expression, or uses an operator or a value that is not part of the interface.
    """
    nodes: list[Node] = []
    for condition in where:
        # ODMantic's `&` and `|` evaluate plain booleans too, which a slip in an expression turns it into
        if not isinstance(condition, Mapping) or not condition:
            raise UnsupportedExpression(f"{condition!r} is no expression on a field")
        for key, operand in condition.items():
            nodes += _junction(key, operand) if key.startswith("$") else _comparisons(key, operand)
    return tuple(nodes)


def _junction(operator: str, parts: Any) -> list[Node]:
    if operator == "$and":
        return list(normalise(parts))
    if operator == "$or":
        return [Disjunction(tuple(normalise([part]) for part in parts))]
    raise UnsupportedExpression(f"{operator} is not part of the interface")


def _comparisons(key: str, operand: Any) -> list[Node]:
    if not isinstance(operand, Mapping) or not operand:
        raise UnsupportedExpression(f"the condition on {key} has no operator")
    found: list[Node] = []
    for operator, value in operand.items():
        if operator == "$regex":
            found.append(Comparison(key, STARTS_WITH, _literal(value)))
            continue
        if operator not in OPERATORS:
            raise UnsupportedExpression(f"{operator} is not part of the interface")
        several = operator in ("$in", "$nin")
        found.append(
            Comparison(
                key, operator, tuple(normalise_value(item) for item in value) if several else normalise_value(value)
            )
        )
    return found


def _literal(pattern: object) -> str:
    """Return the characters that a pattern of `base.starts_with` stands for."""
    match = _BEGINNING.fullmatch(pattern) if isinstance(pattern, str) else None
    if match is None or "\x00" in match[1]:
        raise UnsupportedExpression("of regular expressions only the beginning of a text is part of the interface")
    return _ESCAPED.sub(r"\1", match[1])


def to_filter(nodes: Iterable[Node]) -> dict[str, Any]:
    """Return normalised conditions as a MongoDB filter."""
    parts: list[dict[str, Any]] = []
    for node in nodes:
        if isinstance(node, Disjunction):
            parts.append({"$or": [to_filter(alternative) for alternative in node.alternatives]})
        elif node.operator == STARTS_WITH:
            parts.append({node.key: {"$regex": "^" + re.escape(node.value)}})
        else:
            value = list(node.value) if isinstance(node.value, tuple) else node.value
            parts.append({node.key: {node.operator: value}})
    return {"$and": parts} if len(parts) > 1 else parts[0] if parts else {}


def collect_keys(nodes: Iterable[Node]) -> frozenset[str]:
    """Return the keys that conditions look at."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, Disjunction):
            found.update(*map(collect_keys, node.alternatives))
        else:
            found.add(node.key)
    return frozenset(found)


def build_predicate(nodes: Iterable[Node]) -> Predicate | None:
    """Return a function that tells whether all the conditions hold for a document, or None where there is none.

    The document's values are as BSON decodes them, its times with a UTC offset.
    """
    nodes = tuple(nodes)
    beginnings = _beginnings(nodes)
    tests = [_test(node) for node in nodes if not (isinstance(node, Comparison) and node.key in beginnings)]
    tests += [_test_beginnings(key, texts) for key, texts in beginnings.items()]
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda document: all(test(document) for test in tests)


def _test(node: Node) -> Predicate:
    if isinstance(node, Disjunction):
        alternatives = [build_predicate(alternative) for alternative in node.alternatives]
        return lambda document: any(test is None or test(document) for test in alternatives)
    key, operator, value = node
    negated = operator in ("$ne", "$nin")
    holds = _holding({"$ne": "$eq", "$nin": "$in"}.get(operator, operator), value)

    def test(document: Document) -> bool:
        found = document.get(key)
        if isinstance(found, list):
            return any(holds(element) for element in found) is not negated
        return holds(found) is not negated

    return test


def _beginnings(nodes: Iterable[Node]) -> dict[str, list[str]]:
    """Return the texts with which values are to begin, for each key that has many such conditions and no other."""
    found: dict[str, list[str]] = {}
    others: set[str] = set()
    for node in nodes:
        if isinstance(node, Comparison):
            if node.operator == STARTS_WITH:
                found.setdefault(node.key, []).append(node.value)
            else:
                others.add(node.key)
    return {key: texts for key, texts in found.items() if len(texts) >= _MANY and key not in others}


def _test_beginnings(key: str, beginnings: list[str]) -> Predicate:
    """Return a test for many beginnings that sorts a document's values once, instead of going through them for each."""

    def test(document: Document) -> bool:
        found = document.get(key)
        values = sorted(value for value in (found if isinstance(found, list) else [found]) if isinstance(value, str))
        for beginning in beginnings:
            place = bisect_left(values, beginning)
            if place == len(values) or not values[place].startswith(beginning):
                return False
        return True

    return test


def _holding(operator: str, value: Any) -> Callable[[Any], bool]:
    if operator == STARTS_WITH:
        return lambda found: isinstance(found, str) and found.startswith(value)
    if operator == "$in":
        allowed = frozenset((get_kind(item), item) for item in value)
        return lambda found: (get_kind(found), found) in allowed if get_kind(found) else False
    kind = get_kind(value)
    if kind is Kind.NULL:
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
