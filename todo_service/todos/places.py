"""Places in a manual order, as requests name them."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from msgspec import UNSET
from odmantic import ObjectId

from todo_service.errors import Invalid, ValidationIssue
from todo_service.todos.moves import Move
from todo_service.todos.validation import is_id

_NAMES: Final = ("before", "after", "to")
"""The fields of which a move has exactly one."""


class Place(NamedTuple):
    """A place in a manual order.

    Attributes:
        kind: The field of the request that names the neighbour, or the end of the order.
        neighbour: The id of the neighbour; None for an end of the order.
    """

    kind: Literal["before", "after", "first", "last"]
    neighbour: ObjectId | None


def parse_place(move: Move) -> Place:
    """Return the place that a request names.

    Raises:
        Invalid: It does not name exactly one, or the id is malformed.
    """
    given = [name for name in _NAMES if getattr(move, name) is not UNSET]
    if not given:
        raise Invalid([ValidationIssue("", "Expected one of `before`, `after` and `to`")])
    if len(given) > 1:
        raise Invalid([ValidationIssue(f"/{name}", f"Expected only `{given[0]}`") for name in given[1:]])
    if move.before is not UNSET:
        return Place("before", _parse_neighbour("before", move.before))
    if move.after is not UNSET:
        return Place("after", _parse_neighbour("after", move.after))
    assert move.to is not UNSET  # one of the three is given
    return Place(move.to, None)


def create_neighbour_error(name: str) -> Invalid:
    """Return the error for a neighbour that the order does not have.

    Args:
        name: The field of the request that names it.
    """
    return Invalid([ValidationIssue(f"/{name}", "Expected the id of another item of the same order")])


def _parse_neighbour(name: str, text: str) -> ObjectId:
    if not is_id(text):
        raise create_neighbour_error(name)
    return ObjectId(text)
