"""The manual order of todos or lists: finds the position for a place, and makes room where there is none.

A document moves by one write, which sets its position between those of its new neighbors. If no float lies between
them, some documents around the gap get new positions at equal distances. They are taken from a window that doubles
until it has enough room. Each of them is written on its own, in an order in which no write changes the sequence of the
documents, so the sequence is correct even if the process dies halfway.

The last document does not get a higher position, because new documents are placed after it at the same time. Only if
the order has no room at all is the whole of it renumbered.

The caller holds the account's lease (`account_lease`), so that no other move changes the order meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from odmantic import ObjectId
from odmantic.query import asc, desc

from todo_service.errors import NotFound
from todo_service.positions import find_between, renumber_all, spread
from todo_service.store.base import Condition, DocumentStore
from todo_service.store.optimistic import Attempts
from todo_service.store.paging import iterate_pages, read_page
from todo_service.todos.places import Place, create_neighbor_error

_FIRST_WINDOW: Final = 8
"""How many documents are considered first to make room."""
_PAGE_SIZE: Final = 1000

Write = Callable[[str, float, float], Awaitable[bool]]
"""Takes the id of a document, the position that it should have and a new one, and writes the new one.

It returns False, and writes nothing, if the document has another position by now or is no longer in the order.
"""


class Renumbered(Protocol):
    """A todo or a list after a change of its position."""

    @property
    def version(self) -> int:
        """The version."""

    @property
    def position(self) -> float:
        """The position."""


Renumber = Callable[[str, Container[int] | None, float, float], Awaitable[Renumbered]]
"""Moves a document. The arguments are its id, the accepted versions (None for any), its old and its new position.

It returns the document, which is unchanged if it has another position by now or is no longer in the order. It raises
`NotFound` if the document does not exist, and `Stale` if it has a version that is not accepted.
"""


class Placed(msgspec.Struct, frozen=True):
    """A document in the order."""

    id: str
    position: float


class _Gap(NamedTuple):
    """Two neighbors; None at an end of the order."""

    lower: Placed | None
    upper: Placed | None


class Renumbering:
    """Writes the new positions that make room for a move.

    The document that moves may itself get a new position, and with it a new version. From then on, this version is the
    one that the move accepts.

    Args:
        moved_id: The id of the document that moves.
        versions: The versions of this document that the caller accepts; None for any.
        renumber: Changes the position of a document.

    Attributes:
        versions: The versions of the document that the move accepts now; None for any.
    """

    def __init__(self, moved_id: str, versions: Container[int] | None, renumber: Renumber) -> None:
        self.versions = versions
        self._moved_id = moved_id
        self._renumber = renumber

    async def write(self, document_id: str, old: float, new: float) -> bool:
        """Change the position of a document, as `Write`."""
        versions = self.versions if document_id == self._moved_id else None
        try:
            changed = await self._renumber(document_id, versions, old, new)
        except NotFound:
            return False
        if versions is not None:
            self.versions = frozenset({changed.version})
        return changed.position == new


class ManualOrder:
    """The documents of an account that match some conditions, ordered by position and id.

    Args:
        store: The store.
        model: The model. An index serves the conditions with this order.
        owner: The account.
        *conditions: Further conditions.
        write: Writes a new position.
    """

    def __init__(
        self, store: DocumentStore, model: type[Any], owner: ObjectId, *conditions: Condition, write: Write
    ) -> None:
        self._store = store
        self._model: Any = model
        self._owner = owner
        self._conditions = conditions
        self._write = write

    async def find_position(self, place: Place, moved: ObjectId) -> float | None:
        """Return the position for a place, or None if the document that moves is already there.

        Args:
            place: The place.
            moved: The id of the document that moves. It may be outside the order.

        Raises:
            Invalid: The neighbor is not in the order, or is the document that moves.
            Busy: Other clients are changing the positions continuously.
        """
        async for _ in Attempts():
            gap = await self._find_gap(place, moved)
            if str(moved) in (each.id for each in gap if each is not None):
                return None
            position = find_between(*(None if each is None else each.position for each in gap))
            if position is not None:
                return position
            await self._make_room(gap)
        raise AssertionError  # unreachable: the last attempt raises `Busy`

    async def _find_gap(self, place: Place, moved: ObjectId) -> _Gap:
        descending = place.kind in ("before", "last")
        given: Placed | None = None
        if place.neighbor is not None:
            where = [self._model.id == place.neighbor, self._model.owner == self._owner, *self._conditions]
            given = await self._store.get(self._model, *where, into=Placed)
            if given is None or place.neighbor == moved:
                raise create_neighbor_error(place.kind)
        (other,) = await self._read(given, 1, descending=descending) or (None,)
        return _Gap(other, given) if descending else _Gap(given, other)

    async def _read(self, after: Placed | None, number: int, *, descending: bool) -> Sequence[Placed]:
        """Return up to `number` documents that follow `after` in a direction, or the first ones if it is None."""
        direction = desc if descending else asc
        key = (after.position, ObjectId(after.id)) if after is not None else None
        read = partial(
            read_page,
            self._store,
            self._model,
            self._model.owner == self._owner,
            *self._conditions,
            sort=(direction(self._model.position), direction(self._model.id)),
            limit=min(number, _PAGE_SIZE),
            into=Placed,
            position=lambda last: (last.position, ObjectId(last.id)),
        )
        found: list[Placed] = []
        pages = iterate_pages(lambda after: read(after=after or key))
        async for page in pages:
            found += page
            if len(found) >= number:
                break
        await pages.aclose()
        return found[:number]

    async def _make_room(self, gap: _Gap) -> None:
        """Give documents around a gap new positions, unless other clients move them meanwhile."""
        number = _FIRST_WINDOW
        while True:
            # the outermost documents keep their positions
            left = [gap.lower, *await self._read(gap.lower, number, descending=True)] if gap.lower is not None else []
            right = [gap.upper, *await self._read(gap.upper, number, descending=False)] if gap.upper is not None else []
            left.reverse()
            positions = _choose_positions(left, right, is_first=len(left) <= number)
            if positions is None and len(left) <= number and len(right) <= number:
                positions = list(zip([*left, *right], renumber_all(len(left) + len(right)), strict=True))
            if positions is not None:
                for document, position in _order_writes(positions):
                    if not await self._write(document.id, document.position, position):
                        return
                return
            number *= 2


def _choose_positions(
    left: Sequence[Placed], right: Sequence[Placed], *, is_first: bool
) -> Sequence[tuple[Placed, float]] | None:
    """Return new positions for the documents on one side of a gap, or on both, or None if there is too little room.

    Args:
        left: The documents before the gap, in order.
        right: The documents after it. The last of them keeps its position.
        is_first: Whether `left` begins at the start of the order. If not, its first document keeps its position.
    """
    inner_left = left if is_first else left[1:]
    before = None if is_first else left[0].position
    after = right[-1].position if right else sys.float_info.max
    candidates = (
        (left[-1].position if left else None, right[:-1], after),
        (before, inner_left, right[0].position if right else after),
        (before, [*inner_left, *right[:-1]], after),
    )
    for lower, documents, upper in candidates:
        if documents and (positions := spread(lower, upper, len(documents))) is not None:
            return list(zip(documents, positions, strict=True))
    return None


def _order_writes(positions: Sequence[tuple[Placed, float]]) -> Iterator[tuple[Placed, float]]:
    """Yield new positions in an order in which no document passes another one.

    Documents that move up are written from the last to the first, then those that move down from the first to the last.
    """
    yield from ((document, position) for document, position in reversed(positions) if position > document.position)
    yield from ((document, position) for document, position in positions if position < document.position)
