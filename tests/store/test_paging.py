"""Keyset pages, on every store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from msgspec import Struct
from odmantic import ObjectId
from odmantic.query import SortExpression, asc, desc

from tests.store.models import Thing
from todo_service.store.base import DocumentStore, FindResult
from todo_service.store.paging import iterate_pages, read_page, read_ranges

pytestmark = pytest.mark.anyio
ASCENDING = (asc(Thing.value), asc(Thing.id))
DESCENDING = (desc(Thing.value), desc(Thing.id))


class Value(Struct, frozen=True):
    """A view of a thing."""

    id: str
    value: int

    def key(self) -> tuple[int, ObjectId]:
        """Return the values that the pages are sorted by."""
        return self.value, ObjectId(self.id)


async def page(
    store: DocumentStore, limit: int, after: Sequence[Any] | None = None, sort: Sequence[SortExpression] = ASCENDING
) -> tuple[list[int], tuple[int, ObjectId] | None]:
    items, position = await read_page(
        store, Thing, Thing.shelf == "mine", sort=sort, after=after, limit=limit, into=Value, position=Value.key
    )
    return [item.value for item in items], position


async def put(store: DocumentStore, *values: int, shelf: str = "mine") -> list[Thing]:
    things = [Thing(id=ObjectId(), shelf=shelf, value=value) for value in values]
    await store.insert(*things)
    return things


@pytest.mark.parametrize("sort", [ASCENDING, DESCENDING])
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_return_every_document_once_in_order(
    store: DocumentStore, sort: Sequence[SortExpression], limit: int
) -> None:
    things = await put(store, 2, 1, 1, 1, 3, 1, 2)
    await put(store, 0, 1, 9, shelf="other")

    read = partial(
        read_page, store, Thing, Thing.shelf == "mine", sort=sort, limit=limit, into=Value, position=Value.key
    )
    pages = [[item.key() for item in items] async for items in iterate_pages(read)]

    everything = sorted(((thing.value, thing.id) for thing in things), reverse=sort is DESCENDING)
    assert pages == [everything[start : start + limit] for start in range(0, len(everything), limit)]


async def test_the_last_page_has_no_next_position(store: DocumentStore) -> None:
    assert await page(store, 2) == ([], None)

    first, second, _ = await put(store, 1, 2, 3)

    assert await page(store, 2) == ([1, 2], (2, second.id))
    assert await page(store, 2, (1, first.id)) == ([2, 3], None)
    assert await page(store, 3) == ([1, 2, 3], None)


async def test_a_page_after_a_prefix_of_the_key_skips_equal_documents(store: DocumentStore) -> None:
    await put(store, 1, 2, 2, 3)

    assert await page(store, 5, (2,)) == ([3], None)
    assert await page(store, 5, (2,), DESCENDING) == ([1], None)


async def test_a_page_ends_early_at_its_maximum_size(store: DocumentStore) -> None:
    things = await put(store, 1, 2)

    items, position = await read_page(
        store,
        Thing,
        Thing.shelf == "mine",
        sort=ASCENDING,
        after=None,
        limit=10,
        max_bytes=1,
        into=Value,
        position=Value.key,
    )

    assert [item.value for item in items] == [1]
    assert position == (1, things[0].id)


@pytest.mark.parametrize("concurrent", [1, 2, 4])
async def test_ranges_are_read_in_order_until_the_page_is_full(concurrent: int) -> None:
    ranges = {"a": [1], "b": [2, 3], "c": [4], "d": [5]}
    read: list[str] = []

    async def find(name: str, limit: int) -> FindResult[int]:
        read.append(name)
        return FindResult(ranges[name][:limit])

    assert await read_ranges(find, ranges, 2, str, concurrent) == ([1, 2], "2")
    assert read == list(ranges)[: max(2, concurrent)]


async def test_what_follows_a_truncated_range_is_left_to_the_next_page() -> None:
    async def find(name: str, limit: int) -> FindResult[int]:
        return FindResult([1], truncated=True) if name == "large" else FindResult([2])

    assert await read_ranges(find, ["large", "small"], 5, str, concurrent=2) == ([1], "1")
