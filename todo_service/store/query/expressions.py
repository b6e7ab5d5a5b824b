"""Conditions: ODMantic's expressions, normalized for both stores.

`normalize` checks an expression against the operators of `base` and converts its values to their stored form. The
MongoDB store translates the result into a filter; the embedded store evaluates it (`predicates`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeGuard

from odmantic import Model

from todo_service.store.base import OPERATORS, Condition
from todo_service.store.defaults import make_getter
from todo_service.store.errors import UnsupportedExpression
from todo_service.store.query.kinds import INT64_MAX, INT64_MIN, ValueKind, get_kind
from todo_service.store.query.predicates import STARTS_WITH, Comparison, Disjunction, Node, Predicate, compile_predicate

_PREFIX_PATTERN: Final = re.compile(r"\^((?:[^\\^$.|?*+()\[\]{}]|\\[^A-Za-z0-9])+)", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def is_id_equality(node: Node) -> TypeGuard[Comparison]:
    """Return whether a condition is equality on the id."""
    return isinstance(node, Comparison) and node.key == "_id" and node.operator == "$eq"


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
    return compile_predicate(nodes, partial(make_getter, model))
