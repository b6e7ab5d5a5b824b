"""Filters: normalized conditions in MongoDB's language."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from odmantic import Model

from todo_service.store.defaults import list_default_values
from todo_service.store.query.expressions import build_predicate
from todo_service.store.query.planner import list_indexes
from todo_service.store.query.predicates import STARTS_WITH, Comparison, Disjunction, Node

_NEGATED: Final = ("$ne", "$nin")


def to_filter(nodes: Iterable[Node], model: type[Model]) -> dict[str, Any]:
    """Translate normalized conditions into a filter.

    To MongoDB a missing key is null. The filter takes it as the default of the field instead.

    Args:
        nodes: The conditions.
        model: The model of the documents.
    """
    parts: list[dict[str, Any]] = []
    for node in nodes:
        if isinstance(node, Disjunction):
            parts.append({"$or": [to_filter(alternative, model) for alternative in node.alternatives]})
        elif node.key in list_default_values(model):
            parts.append(_with_default(node, model))
        else:
            parts.append(_translate(node))
    return {"$and": parts} if len(parts) > 1 else parts[0] if parts else {}


def _translate(node: Comparison) -> dict[str, Any]:
    if node.operator == STARTS_WITH:
        return {node.key: {"$regex": "^" + re.escape(node.value)}}
    value = list(node.value) if isinstance(node.value, tuple) else node.value
    return {node.key: {node.operator: value}}


def _with_default(node: Comparison, model: type[Model]) -> dict[str, Any]:
    translated = _translate(node)
    holds = build_predicate((node,), model)
    assert holds is not None  # there is a condition
    for_default, for_null = holds({}), holds({node.key: None})
    if for_null and not for_default:
        translated[node.key]["$exists"] = True
    # documents have the keys of indexes, except empty lists (see `indexes`), and an `$or` would keep MongoDB from using
    # the index
    elif for_default and not for_null and (node.operator in _NEGATED or node.key not in list_indexed_keys(model)):
        return {"$or": [translated, {node.key: {"$exists": False}}]}
    return translated


@cache
def list_indexed_keys(model: type[Model]) -> frozenset[str]:
    """Return the keys in the indexes of a model."""
    return frozenset(key for index in list_indexes(model) for key in index.keys)
