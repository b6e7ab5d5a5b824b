"""Keyset pagination: a page begins after the last document of the previous one, so every page costs the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec
from odmantic import Model, ObjectId
from odmantic.query import QueryExpression, SortExpression, asc, desc

from todo_service.store.base import Condition, DocumentStore, DocumentT, FindResult, StructT
from todo_service.store.structs import derive_struct
from todo_service.timestamps import Timestamp

_PAGE_SIZE: Final = 100
_GET_CREATION: Final = attrgetter("created_at", "id")
PositionT = TypeVar("PositionT")
RangeT = TypeVar("RangeT")


async def read_page(
    store: DocumentStore,
    model: type[Model],
    *where: Condition,
    sort: Sequence[SortExpression],
    after: Sequence[Any] | None,
    limit: int,
    max_bytes: int | None = None,
    into: type[StructT],
    position: Callable[[StructT], PositionT],
) -> tuple[list[StructT], PositionT | None]:
    """Return a page of a query, and the position of the next page, or None on the last page.

    Other arguments are passed to `DocumentStore.find`.

    Args:
        store: The store.
        after: The values of the sorted fields, or of the first of them, after which the page begins; None for the
            first page.
        limit: The maximum number of documents, 1 to 9 999.
        position: Returns the position after a document.
    """

    def find(key_range: list[Condition], wanted: int) -> Awaitable[FindResult[StructT]]:
        return store.find(model, *where, *key_range, sort=sort, limit=wanted, max_bytes=max_bytes, into=into)

    return await read_ranges(find, _build_key_ranges(sort, after or ()), limit, position)


async def read_ranges(
    find: Callable[[RangeT, int], Awaitable[FindResult[DocumentT]]],
    ranges: Iterable[RangeT],
    limit: int,
    position: Callable[[DocumentT], PositionT],
    concurrent: int = 1,
) -> tuple[list[DocumentT], PositionT | None]:
    """Return a page of consecutive key ranges, as `read_page` does.

    Args:
        find: Finds the first documents of a range, up to a limit.
        ranges: The ranges, in order.
        limit: As in `read_page`.
        position: As in `read_page`.
        concurrent: How many ranges are read at once at the start. 2 suits a first range that is likely to be short.
    """
    found: list[DocumentT] = []
    truncated = False
    remaining = iter(ranges)
    batch = list(islice(remaining, concurrent))
    while batch and len(found) <= limit and not truncated:
        finds = [find(key_range, limit + 1 - len(found)) for key_range in batch]
        # `gather` starts a task for each
        for documents in await asyncio.gather(*finds) if len(finds) > 1 else [await finds[0]]:
            if not truncated:
                found += documents
                truncated = documents.truncated
        batch = list(islice(remaining, 1))
    page = found[:limit]
    return page, position(page[-1]) if truncated or len(found) > limit else None


class CreationPosition(msgspec.Struct, array_like=True, frozen=True):
    """The position of a page of `read_newest_first`: it begins after the document with this time and id."""

    created_at: str
    id: str

    def key(self) -> tuple[datetime, ObjectId]:
        """Return the values of the sorted fields."""
        return Timestamp.parse(self.created_at), ObjectId(self.id)


def sort_newest_first(model: type[Any]) -> tuple[SortExpression, ...]:
    """Return the sort order of `read_newest_first`."""
    return (desc(model.created_at), desc(model.id))


async def read_newest_first(
    store: DocumentStore,
    model: type[Model],
    *where: Condition,
    after: CreationPosition | None,
    limit: int,
    into: type[StructT],
) -> tuple[list[StructT], CreationPosition | None]:
    """Return a page of a query, newest first, as `read_page` does. The documents have a time `created_at`."""
    return await read_page(
        store,
        model,
        *where,
        sort=sort_newest_first(model),
        after=after.key() if after is not None else None,
        limit=limit,
        into=into,
        position=lambda last: CreationPosition(*_GET_CREATION(last)),
    )


async def iterate_pages(
    read: Callable[..., Awaitable[tuple[list[DocumentT], PositionT | None]]],
) -> AsyncGenerator[list[DocumentT], None]:
    """Yield every page.

    Args:
        read: Reads a page, as `read_page` does. It is called with `after` only.
    """
    page, after = await read(after=None)
    yield page
    while after is not None:
        page, after = await read(after=after)
        yield page


def iterate_sorted(
    store: DocumentStore, model: type[Model], *where: Condition, by: str
) -> AsyncGenerator[list[Any], None]:
    """Yield the matching documents in pages, sorted by a field and then by id.

    Args:
        store: The store.
        model: The model.
        *where: The conditions.
        by: The name of the field.

    Yields:
        The documents of a page, as `derive_struct` represents them.
    """
    field: Any = getattr(model, by)
    read = partial(
        read_page,
        store,
        model,
        *where,
        sort=(asc(field), asc(model.id)),
        limit=_PAGE_SIZE,
        into=derive_struct(model),
        position=attrgetter(by, "id"),
    )
    return iterate_pages(read)


def _build_key_ranges(sort: Sequence[SortExpression], after: Sequence[Any]) -> list[list[Condition]]:
    """Return the key ranges after a document in a sort order, the nearest first."""
    ranges: list[list[Condition]] = []
    equal: list[Condition] = []
    for expression, value in zip(sort, after, strict=False):
        ((key, direction),) = expression.items()
        ranges.insert(0, [*equal, QueryExpression({key: {"$gt" if direction > 0 else "$lt": value}})])
        equal.append(QueryExpression({key: {"$eq": value}}))
    return ranges or [[]]
