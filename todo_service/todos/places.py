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
        kind: The field of the request that names the neighbor, or the end of the order.
        neighbor: The id of the neighbor; None for an end of the order.
    """

    kind: Literal["before", "after", "first", "last"]
    neighbor: ObjectId | None


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
        return Place("before", _parse_neighbor("before", move.before))
    if move.after is not UNSET:
        return Place("after", _parse_neighbor("after", move.after))
    assert move.to is not UNSET  # one of the three is given
    return Place(move.to, None)


def create_neighbor_error(name: str) -> Invalid:
    """Return the error for a neighbor that the order does not have.

    Args:
        name: The field of the request that names it.
    """
    return Invalid([ValidationIssue(f"/{name}", "Expected the id of another item of the same order")])


def _parse_neighbor(name: str, text: str) -> ObjectId:
    if not is_id(text):
        raise create_neighbor_error(name)
    return ObjectId(text)
