"""Documents of an earlier release, which lack fields that the model has now: reads and queries use the defaults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from odmantic import EmbeddedModel, Field, Index, Model, ObjectId
from odmantic.query import asc, desc

from tests.store.models import Colour
from todo_service.store.base import DEFAULT_FROM, UNSTAMPED, DocumentStore, Stamp, starts_with
from todo_service.store.registry import create_store
from todo_service.store.structs import derive_struct
from todo_service.store.transfer.copying import copy

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 1, 31, 12, 0, 0, 123000, UTC)
MAKER = ObjectId("65f1a2b3c4d5e6f708192a3b")


class OldPart(EmbeddedModel):
    """A part as an earlier release stored it."""

    name: str


class OldBox(Model):
    """A box as an earlier release stored it."""

    shelf: str
    label: str
    parts: list[OldPart]
    lid: OldPart

    model_config = {"collection": "boxes", "indexes": lambda: [Index(OldBox.shelf, OldBox.id, name="shelf")]}


class Size(EmbeddedModel):
    """An embedded document that no earlier release stored."""

    width: int = 10
    unit: str = "cm"


class BoxPart(EmbeddedModel):
    """A part with new fields."""

    name: str
    count: int = 1
    tags: list[str] = Field(default_factory=lambda: ["spare"])
    size: Size = Size()


class Box(Model):
    """A box with new fields, one for each kind of default."""

    shelf: str
    label: str
    parts: list[BoxPart]
    lid: BoxPart
    rank: int = 2
    colour: Colour = Colour.RED
    open: bool = False
    note: str | None = None
    made_at: datetime = NOON
    maker: ObjectId = MAKER
    tags: list[str] = ["new"]
    words: list[str] = Field(default_factory=list)
    size: Size = Size()
    changed: Stamp = UNSTAMPED
    name: str | None = Field(default=None, json_schema_extra={DEFAULT_FROM: "label"})

    model_config = {
        "collection": "boxes",
        "indexes": lambda: [
            Index(Box.shelf, Box.id, name="shelf"),
            Index(Box.shelf, Box.name, Box.id, name="shelf_name"),
            Index(Box.shelf, Box.open, Box.rank, Box.id, name="shelf_open_rank"),
            Index(Box.shelf, Box.tags, Box.rank, Box.id, name="shelf_tags_rank"),
        ],
    }


class PartView(Struct):
    """A view of a part without defaults of its own."""

    name: str
    count: int
    tags: list[str]
    size: dict[str, Any]


class BoxView(Struct):
    """A view of a box without defaults of its own. Ids, times and stamps are texts."""

    id: str
    label: str
    parts: list[PartView]
    lid: PartView
    rank: int
    colour: Colour
    open: bool
    note: str | None
    made_at: str
    maker: str
    tags: list[str]
    words: list[str]
    size: dict[str, Any]
    changed: str
    name: str | None


class NameView(Struct):
    """A view of a field whose default is the value of another one."""

    name: str


class LabelView(Struct):
    """A view of a field that every release has stored."""

    label: str


SIZE = {"width": 10, "unit": "cm"}
OLD = OldBox(
    id=ObjectId("0" * 24), shelf="one", label="old", parts=[OldPart(name="a"), OldPart(name="b")], lid=OldPart(name="c")
)
EXPECTED = Box(
    id=OLD.id, shelf="one", label="old", parts=[BoxPart(name="a"), BoxPart(name="b")], lid=BoxPart(name="c"), name="old"
)
EXPECTED_VIEW = BoxView(
    id=str(OLD.id),
    label="old",
    parts=[PartView(name, 1, ["spare"], SIZE) for name in "ab"],
    lid=PartView("c", 1, ["spare"], SIZE),
    rank=2,
    colour=Colour.RED,
    open=False,
    note=None,
    made_at="2026-01-31T12:00:00.123Z",
    maker=str(MAKER),
    tags=["new"],
    words=[],
    size=SIZE,
    changed="0" * 16,
    name="old",
)


def box(label: str, **fields: Any) -> Box:
    return Box(id=ObjectId(), shelf="one", label=label, parts=[], lid=BoxPart(name="lid"), **fields)


@pytest.fixture
async def boxes(store_url: str) -> AsyncIterator[DocumentStore]:
    """Provide a store with a box of an earlier release, opened with the current model."""
    async with open_store(store_url, OldBox) as before:
        await before.insert(OLD)
    async with open_store(store_url, Box) as store:
        yield store


class open_store:  # noqa: N801  # used as a context manager
    """Open a store, and close it at the end."""

    def __init__(self, url: str, *models: type[Model]) -> None:
        self._store, self._models = create_store(url), models

    async def __aenter__(self) -> DocumentStore:
        await self._store.open(*self._models)
        return self._store

    async def __aexit__(self, *_: object) -> None:
        await self._store.close()


class TestReads:
    async def test_get(self, boxes: DocumentStore) -> None:
        for where in ([Box.id == OLD.id], [Box.id == OLD.id, Box.shelf == "one"], [Box.shelf == "one"]):
            assert await boxes.get(Box, *where) == EXPECTED
            assert await boxes.get(Box, *where, into=BoxView) == EXPECTED_VIEW
            assert await boxes.get(Box, *where, into=LabelView) == LabelView("old")
            assert await boxes.get(Box, *where, into=NameView) == NameView("old")

    async def test_find(self, boxes: DocumentStore) -> None:
        for sort in (None, asc(Box.id)):
            assert await boxes.find(Box, Box.shelf == "one", sort=sort, limit=9) == [EXPECTED]
            assert await boxes.find(Box, Box.shelf == "one", sort=sort, limit=9, into=BoxView) == [EXPECTED_VIEW]

    async def test_scan(self, boxes: DocumentStore) -> None:
        assert [one async for one in boxes.scan(Box)] == [EXPECTED]

    async def test_a_derived_struct(self, boxes: DocumentStore) -> None:
        found = await boxes.get(Box, Box.id == OLD.id, into=derive_struct(Box))

        assert found is not None
        assert (found.rank, found.colour, found.note, found.made_at) == (2, "red", None, NOON)
        assert (found.maker, found.tags, found.words, found.changed) == (MAKER, ["new"], [], UNSTAMPED)
        assert found.name == "old"
        assert (found.parts, found.lid, found.size) == (EXPECTED.parts, EXPECTED.lid, EXPECTED.size)

    async def test_the_result_of_an_update(self, boxes: DocumentStore) -> None:
        expected = EXPECTED.model_copy(update={"note": "n"})

        unchanged = await boxes.update(Box, Box.id == OLD.id, changes={})
        changed = await boxes.update(Box, Box.id == OLD.id, Box.rank == 2, Box.open == False, changes={"note": "n"})  # noqa: E712  # builds an expression
        view = await boxes.update(Box, Box.id == OLD.id, Box.colour == Colour.RED, changes={"label": "l"}, into=BoxView)

        assert unchanged == EXPECTED
        assert changed is not None
        assert changed.changed > UNSTAMPED
        assert changed.model_copy(update={"changed": UNSTAMPED}) == expected
        assert view is not None
        assert (view.label, view.note, view.rank, view.parts) == ("l", "n", 2, EXPECTED_VIEW.parts)

    async def test_results_do_not_share_mutable_defaults(self, boxes: DocumentStore) -> None:
        first = await boxes.get(Box, Box.id == OLD.id)
        assert first is not None
        first.tags.append("x")
        first.parts[0].tags.append("x")
        first.size.width = 7

        assert await boxes.get(Box, Box.id == OLD.id) == EXPECTED
        assert await boxes.get(Box, Box.id == OLD.id, into=BoxView) == EXPECTED_VIEW


OTHERS = {
    "low": {"rank": 1, "open": False, "colour": Colour.RED},
    "same": {"rank": 2, "open": False, "colour": Colour.BLUE, "tags": ["new", "x"]},
    "high": {"rank": 3, "open": False, "note": "n", "words": ["w"]},
    "opened": {"rank": 2, "open": True, "tags": [], "made_at": NOON.replace(year=2030)},
}
CONDITIONS: list[tuple[Any, set[str]]] = [
    (Box.rank == 2, {"old", "same", "opened"}),
    (Box.rank != 2, {"low", "high"}),
    (Box.rank == None, set()),  # noqa: E711  # builds an expression
    (Box.rank != None, {"old", "low", "same", "high", "opened"}),  # noqa: E711  # builds an expression
    (Box.rank > 1, {"old", "same", "high", "opened"}),
    (Box.rank < 2, {"low"}),
    (Box.rank <= 2, {"old", "low", "same", "opened"}),
    (Box.rank.in_([2, 3]), {"old", "same", "high", "opened"}),
    (Box.rank.in_([None, 3]), {"high"}),
    (Box.rank.not_in([2]), {"low", "high"}),
    (Box.open == False, {"old", "low", "same", "high"}),  # noqa: E712  # builds an expression
    (Box.colour == Colour.RED, {"old", "low", "high", "opened"}),
    (Box.colour != Colour.RED, {"same"}),
    (Box.colour.in_(["red", "green"]), {"old", "low", "high", "opened"}),
    (Box.colour.not_in([None]), {"old", "low", "same", "high", "opened"}),
    (Box.note == None, {"old", "low", "same", "opened"}),  # noqa: E711  # builds an expression
    (Box.note != "n", {"old", "low", "same", "opened"}),
    (Box.made_at <= NOON, {"old", "low", "same", "high"}),
    (Box.maker == MAKER, {"old", "low", "same", "high", "opened"}),
    (Box.tags == "new", {"old", "low", "same", "high"}),
    (Box.tags != "new", {"opened"}),
    (Box.tags == None, set()),  # noqa: E711  # builds an expression
    (Box.tags != None, {"old", "low", "same", "high", "opened"}),  # noqa: E711  # builds an expression
    (starts_with(Box.tags, "ne"), {"old", "low", "same", "high"}),
    (Box.words == None, set()),  # noqa: E711  # builds an expression
    (Box.words != None, {"old", "low", "same", "high", "opened"}),  # noqa: E711  # builds an expression
    (Box.name == "old", {"old"}),
    (Box.name != "old", {"low", "same", "high", "opened"}),
    (Box.name == None, {"low", "same", "high", "opened"}),  # noqa: E711  # builds an expression
    (starts_with(Box.name, "o"), {"old"}),
    ((Box.name == "old") | (Box.rank == 3), {"old", "high"}),
    ((Box.colour == Colour.BLUE) | (Box.rank == 2), {"old", "same", "opened"}),
    ((Box.colour == Colour.RED) & (Box.made_at == NOON), {"old", "low", "high"}),
]


async def insert_others(store: DocumentStore) -> None:
    await store.insert(*(box(label, **fields) for label, fields in OTHERS.items()))


class TestQueries:
    async def test_conditions(self, boxes: DocumentStore) -> None:
        await insert_others(boxes)

        for where, expected in CONDITIONS:
            mine = [Box.shelf == "one", where]
            found = await boxes.find(Box, *mine, sort=None, limit=9)
            by_id = {
                label: await boxes.count(Box, Box.id == one.id, where)
                for label, one in {one.label: one async for one in boxes.scan(Box)}.items()
            }
            assert {one.label for one in found} == expected, where
            assert len(found) == len(expected), where
            assert await boxes.count(Box, *mine) == len(expected), where
            assert {label for label, counted in by_id.items() if counted} == expected, where
            got = await boxes.get(Box, Box.id == OLD.id, where, into=LabelView)
            assert (got is not None) == ("old" in expected), where

    async def test_a_sort_and_its_pages(self, boxes: DocumentStore) -> None:
        await insert_others(boxes)
        closed = [Box.shelf == "one", Box.open == False]  # noqa: E712  # builds an expression
        expected = ["low", "old", "same", "high"]  # the old box has the lowest id

        for direction, labels in ((asc, expected), (desc, expected[::-1])):
            sort = (direction(Box.rank), direction(Box.id))
            found = await boxes.find(Box, *closed, sort=sort, limit=9, into=BoxView)
            assert [one.label for one in found] == labels
        paged: list[Box] = []
        while True:
            where: list[Any] = [Box.rank >= paged[-1].rank] if paged else []
            if paged:
                where.append((Box.rank > paged[-1].rank) | (Box.id > paged[-1].id))
            page = await boxes.find(Box, *closed, *where, sort=(asc(Box.rank), asc(Box.id)), limit=1)
            if not page:
                break
            paged += page
        assert [one.label for one in paged] == expected

    async def test_an_index_of_a_list(self, boxes: DocumentStore) -> None:
        await insert_others(boxes)

        sort = (asc(Box.rank), asc(Box.id))
        found = await boxes.find(Box, Box.shelf == "one", Box.tags == "new", sort=sort, limit=9)

        assert [one.label for one in found] == ["low", "old", "same", "high"]

    async def test_a_default_taken_from_another_field_is_indexed_until_the_field_is_set(
        self, boxes: DocumentStore
    ) -> None:
        async def find(name: str) -> list[str]:
            sort = (asc(Box.name), asc(Box.id))
            found = await boxes.find(Box, Box.shelf == "one", Box.name >= name, sort=sort, limit=9, into=LabelView)
            return [one.label for one in found]

        assert await find("old") == ["old"]
        await boxes.update(Box, Box.id == OLD.id, changes={"label": "new", "name": "a"})
        assert (await find("a"), await find("b")) == (["new"], [])

    async def test_an_update_moves_the_box_in_its_indexes(self, boxes: DocumentStore) -> None:
        await insert_others(boxes)

        await boxes.update(Box, Box.id == OLD.id, Box.rank == 2, changes={"rank": 9})

        sort = (desc(Box.rank), desc(Box.id))
        found = await boxes.find(Box, Box.shelf == "one", Box.open == False, sort=sort, limit=9)  # noqa: E712  # builds an expression
        assert [one.label for one in found] == ["old", "high", "same", "low"]
        assert await boxes.delete(Box, Box.shelf == "one", Box.rank == 9) == 1
        assert await boxes.count(Box, Box.shelf == "one", Box.open == False) == 3  # noqa: E712  # builds an expression


@pytest.mark.parametrize("direction", ["from the store", "to the store"])
async def test_a_copy(store_url: str, tmp_path: Path, direction: str) -> None:
    """A copy keeps the box as it is stored, and the service on the copy reads and finds it with the defaults."""
    urls = [store_url, f"lmdb://{tmp_path / 'other'}"]
    source, target = urls if direction == "from the store" else urls[::-1]
    async with open_store(source, OldBox) as before:
        await before.insert(OLD)

    copied = await copy(source, target, [Box])

    assert copied.documents == {"boxes": 1}
    async with open_store(target, Box) as store:
        await insert_others(store)
        assert await store.get(Box, Box.id == OLD.id) == EXPECTED
        for where, expected in CONDITIONS:
            found = await store.find(Box, Box.shelf == "one", where, sort=None, limit=9)
            assert {one.label for one in found} == expected, where
        sort = (asc(Box.rank), asc(Box.id))
        found = await store.find(Box, Box.shelf == "one", Box.open == False, sort=sort, limit=9)  # noqa: E712  # builds an expression
        assert [one.label for one in found] == ["low", "old", "same", "high"]
