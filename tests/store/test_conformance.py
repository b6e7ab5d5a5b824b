"""The conformance suite: it defines the document store interface (`base`) and runs on every store."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from bson import Timestamp
from msgspec import Struct
from odmantic import Index, Model, ObjectId
from odmantic.query import QueryExpression, asc, desc, in_
from pydantic import ValidationError

from tests.store.models import MODELS, Badge, Colour, Note, Part, Thing, ThingView, Ticket, TimedView
from todo_service.bounds.store import DOCUMENT_BYTES, INDEXED_ELEMENTS, LOADED_DOCUMENT_BYTES
from todo_service.store.base import UNSTAMPED, DocumentStore, Stamp, starts_with
from todo_service.store.bson_codec import encode
from todo_service.store.capacity import compute_text_limits
from todo_service.store.codec import dump, parse_stamp
from todo_service.store.errors import (
    DocumentTooLarge,
    DuplicateDocument,
    StoreError,
    StoreUnavailable,
    UnsupportedExpression,
)
from todo_service.store.query.expressions import normalize
from todo_service.store.query.kinds import get_kind
from todo_service.store.registry import create_store

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 1, 31, 12, 0, 0, 123000, UTC)
ON_SHELF = Thing.shelf == "shelf"


def thing(**fields: Any) -> Thing:
    return Thing(id=ObjectId(), **fields)


def note(**fields: Any) -> Note:
    return Note(id=ObjectId(), **fields)


async def put(store: DocumentStore, *values: Any) -> list[Thing]:
    things = [thing(value=value) for value in values]
    await store.insert(*things)
    return things


async def values_where(store: DocumentStore, *where: Any) -> list[Any]:
    found = await store.find(Thing, ON_SHELF, *where, sort=asc(Thing.value), limit=1000)
    return [one.value for one in found]


ANY_KIND: list[Any] = [
    None,
    True,
    False,
    0,
    -(2**63),
    2**63 - 1,
    1.5,
    -0.0,
    float("inf"),
    "",
    "text",
    b"",
    b"\x00\xff",
    NOON,
    ObjectId("65f1a2b3c4d5e6f708192a3b"),
]


class Labelled(Struct):
    """A view of a thing with embedded models."""

    name: str | None
    parts: list[dict[str, Any]]


async def test_find_stops_at_max_bytes(store: DocumentStore) -> None:
    await store.insert(*(thing(name=str(number), parts=[Part(name="x" * 1000)]) for number in range(6)))

    async def find(max_bytes: int | None, *, limit: int = 10, in_order: bool = True) -> tuple[list[Any], bool]:
        sort = asc(Thing.name) if in_order else None
        found = await store.find(Thing, ON_SHELF, sort=sort, limit=limit, max_bytes=max_bytes, into=Labelled)
        return [int(one.name or "") for one in found], found.truncated

    assert await find(1) == ([0], True)
    assert await find(2500) == ([0, 1, 2], True)
    assert await find(2500, limit=3) == ([0, 1, 2], False)
    assert await find(2**20) == ([0, 1, 2, 3, 4, 5], False)
    assert await find(None) == ([0, 1, 2, 3, 4, 5], False)
    assert await find(2**20, limit=4) == ([0, 1, 2, 3], False)
    values, truncated = await find(2500, in_order=False)
    assert (len(values), truncated) == (3, True)
    assert await store.find(Thing, Thing.shelf == "another", sort=asc(Thing.name), limit=3, max_bytes=1) == []


async def test_find_with_max_bytes_returns_more_than_one_batch(store: DocumentStore) -> None:
    await store.insert(*(thing(name=f"{number:04}") for number in range(500)))

    found = await store.find(Thing, ON_SHELF, sort=asc(Thing.name), limit=400, max_bytes=2**20)

    assert [one.name for one in found] == [f"{number:04}" for number in range(400)]
    assert not found.truncated


@pytest.mark.parametrize("tag", ["every third", "ten", "the last sixty", "none"])
@pytest.mark.parametrize("order", [asc, desc])
@pytest.mark.parametrize("field", [Thing.value, Thing.name])
async def test_a_selective_find_returns_the_same(store: DocumentStore, tag: str, order: Any, field: Any) -> None:
    def list_tags(number: int) -> list[str]:
        chosen = {"every third": number % 3 == 0, "ten": number % 30 == 0, "the last sixty": number >= 240}
        return [name for name, has in chosen.items() if has]

    await store.insert(
        *(
            thing(value=number, name=None if number % 7 == 0 else f"{number % 50:02}", tags=list_tags(number))
            for number in range(300)
        )
    )
    tagged: Any = Thing.tags == tag
    sort = (order(field), order(Thing.id))

    for limit, max_bytes in ((5, None), (1000, None), (1000, 2000)):
        for where in ([tagged], [tagged, Thing.value != 240], [tagged, (Thing.value < 250) | (Thing.name == None)]):  # noqa: E711  # an expression
            plain = await store.find(Thing, ON_SHELF, *where, sort=sort, limit=limit, max_bytes=max_bytes)
            found = await store.find(
                Thing, ON_SHELF, *where, sort=sort, limit=limit, max_bytes=max_bytes, selective=True
            )
            assert found == plain
            assert found.truncated == plain.truncated


class TestInsertAndGet:
    async def test_an_inserted_document_is_read_back(self, store: DocumentStore) -> None:
        document = thing(
            name="a\x00b🌱", value=2**53 + 1, tags=["x", "y"], colour=Colour.BLUE, parts=[Part(name="p")], made_at=NOON
        )
        await store.insert(document)

        assert await store.get(Thing, Thing.id == document.id) == document

    @pytest.mark.parametrize("value", ANY_KIND, ids=repr)
    async def test_a_value_of_any_kind_is_read_back(self, store: DocumentStore, value: Any) -> None:
        document = thing(value=value, tags=[])
        await store.insert(document)

        found = await store.get(Thing, Thing.id == document.id)
        assert found is not None
        assert found.value == value
        assert get_kind(found.value) == get_kind(value)

    async def test_times_are_stored_in_milliseconds_and_read_in_utc(self, store: DocumentStore) -> None:
        document = thing(value=NOON + timedelta(microseconds=999))
        await store.insert(document)

        found = await store.get(Thing, Thing.id == document.id)
        assert found is not None
        assert found.value == NOON
        assert found.value.utcoffset() == timedelta()

    async def test_get_returns_none_for_a_missing_document(self, store: DocumentStore) -> None:
        document = thing(name="a")
        await store.insert(document)

        assert await store.get(Thing, Thing.id == ObjectId()) is None
        assert await store.get(Thing, Thing.id == document.id, Thing.name == "b") is None
        assert await store.get(Thing, ON_SHELF, Thing.name == "b") is None

    async def test_get_uses_an_index(self, store: DocumentStore) -> None:
        document = thing(name="a", version=3)
        await store.insert(document, thing(name="b", version=3))

        assert await store.get(Thing, ON_SHELF, Thing.name == "a", Thing.version == 3) == document

    async def test_a_duplicate_id_is_rejected(self, store: DocumentStore) -> None:
        document = thing(name="first")
        await store.insert(document)

        with pytest.raises(DuplicateDocument) as raised:
            await store.insert(Thing(id=document.id, name="second"))

        assert (raised.value.model, raised.value.field) == ("Thing", "id")
        found = await store.get(Thing, Thing.id == document.id)
        assert found is not None
        assert found.name == "first"

    async def test_insert_stops_at_the_first_failure(self, store: DocumentStore) -> None:
        owner = ObjectId()
        badges = [
            Badge(id=ObjectId(), number=number, owner=owner, label=str(n)) for n, number in enumerate([1, 2, 1, 3])
        ]

        with pytest.raises(DuplicateDocument):
            await store.insert(*badges)

        assert [badge.number async for badge in store.scan(Badge)] == [1, 2]


class TextView(Struct):
    """A view of a text that is not indexed."""

    text: str


class TestInto:
    async def test_a_struct_reads_its_fields_as_text(self, store: DocumentStore) -> None:
        document = thing(name="a", made_at=NOON, tags=["x"])
        await store.insert(document)

        expected = ThingView(id=str(document.id), name="a", made_at="2026-01-31T12:00:00.123Z", tags=["x"])
        assert await store.get(Thing, Thing.id == document.id, into=ThingView) == expected
        assert await store.find(Thing, ON_SHELF, sort=asc(Thing.value), limit=1, into=ThingView) == [expected]

    async def test_update_returns_the_new_document_as_a_struct(self, store: DocumentStore) -> None:
        document = thing(name="a", tags=["x"])
        await store.insert(document)
        where = Thing.id == document.id

        changed = await store.update(Thing, where, changes={"name": "b"}, into=ThingView)
        unchanged = await store.update(Thing, where, changes={}, into=ThingView)
        none = await store.update(Thing, where, Thing.name == "a", changes={"name": "c"}, into=ThingView)

        assert changed is not None
        assert (changed.id, changed.name, changed.tags) == (str(document.id), "b", ["x"])
        assert unchanged == changed == await store.get(Thing, where, into=ThingView)
        assert none is None

    @pytest.mark.parametrize("length", [1, 5000])
    async def test_a_read_after_an_update_returns_the_new_document(self, store: DocumentStore, length: int) -> None:
        """Decoded documents are cached, but reads return every change, and a change back."""
        document = thing(text="a" * length)
        await store.insert(document)
        where = Thing.id == document.id

        seen = []
        for letter in "aba":
            await store.update(Thing, where, changes={"text": letter * length})
            found = await store.get(Thing, where, into=TextView)
            model = await store.get(Thing, where)
            assert found is not None
            assert model is not None
            seen.append((found.text, model.text))

        assert seen == [(letter * length, letter * length) for letter in "aba"]

    async def test_models_are_not_shared_between_callers(self, store: DocumentStore) -> None:
        document = thing(name="a", tags=["x"])
        await store.insert(document)

        first = await store.get(Thing, Thing.id == document.id)
        assert first is not None
        first.tags.append("y")
        second = await store.get(Thing, Thing.id == document.id)

        assert second is not None
        assert second.tags == ["x"]

    @pytest.mark.parametrize("moment", [NOON.replace(microsecond=0), datetime(1, 1, 1, tzinfo=UTC), None])
    async def test_a_struct_reads_a_time_as_text_with_milliseconds_or_as_datetime(
        self, store: DocumentStore, moment: datetime | None
    ) -> None:
        document = thing(made_at=moment)
        await store.insert(document)

        text = await store.get(Thing, Thing.id == document.id, into=ThingView)
        timed = await store.get(Thing, Thing.id == document.id, into=TimedView)

        assert text is not None
        assert text.made_at == (
            None if moment is None else moment.strftime("%Y").zfill(4) + moment.isoformat()[4:-6] + ".000Z"
        )
        assert timed == TimedView(made_at=moment, missing=7)


MIXED = [
    None,
    -(2**63),
    -1.5,
    0,
    0.5,
    2**53,
    2**53 + 1,
    2**63 - 1,
    float("inf"),
    "",
    "A",
    "a",
    "a\x00",
    "ab",
    "é",
    "🌱",
    b"",
    b"a",
    ObjectId("0" * 24),
    ObjectId("f" * 24),
    False,
    True,
    datetime(1, 1, 1, tzinfo=UTC),
    NOON,
    datetime(9999, 12, 31, 23, 59, 59, 999000, UTC),
]


class TestOrder:
    async def test_kinds_are_sorted_in_both_directions(self, store: DocumentStore) -> None:
        await put(store, *MIXED[1::2], *MIXED[::2])

        up = await store.find(Thing, ON_SHELF, sort=asc(Thing.value), limit=1000)
        down = await store.find(Thing, ON_SHELF, sort=desc(Thing.value), limit=1000)

        assert [one.value for one in up] == MIXED
        assert [one.value for one in down] == MIXED[::-1]

    async def test_ties_are_broken_by_the_next_sort_field(self, store: DocumentStore) -> None:
        things = await put(store, *[7] * 20)

        up = await store.find(Thing, ON_SHELF, sort=(asc(Thing.value), asc(Thing.id)), limit=1000)
        down = await store.find(Thing, ON_SHELF, sort=(desc(Thing.value), desc(Thing.id)), limit=1000)

        ids = sorted(one.id for one in things)
        assert [one.id for one in up] == ids
        assert [one.id for one in down] == ids[::-1]

    @pytest.mark.parametrize("limit", [1, 3, 40])
    async def test_long_texts_are_sorted_by_every_character(self, store: DocumentStore, limit: int) -> None:
        texts = [*sorted("🌱" * 60 + chr(127793 + number) for number in range(20)), "🌲", "🌳" * 61]
        texts = sorted([*texts, "🌱" * 3, "🌱" * 40, "🌱" * 41])
        await store.insert(*(thing(name=text) for text in texts[::-1]))

        up = await store.find(Thing, ON_SHELF, sort=asc(Thing.name), limit=limit)
        down = await store.find(Thing, ON_SHELF, sort=desc(Thing.name), limit=limit)
        beyond = await store.find(Thing, ON_SHELF, Thing.name > texts[5], sort=asc(Thing.name), limit=limit)
        below = await store.find(Thing, ON_SHELF, Thing.name <= texts[5], sort=desc(Thing.name), limit=limit)

        assert [one.name for one in up] == texts[:limit]
        assert [one.name for one in down] == texts[::-1][:limit]
        assert [one.name for one in beyond] == texts[6:][:limit]
        assert [one.name for one in below] == texts[:6][::-1][:limit]

    async def test_limit_returns_the_first_documents(self, store: DocumentStore) -> None:
        await put(store, *range(10))

        found = await store.find(Thing, ON_SHELF, sort=desc(Thing.value), limit=3)

        assert [one.value for one in found] == [9, 8, 7]


class TestConditions:
    @pytest.mark.parametrize("bound", MIXED, ids=repr)
    async def test_comparisons_hold_within_one_kind(self, store: DocumentStore, bound: Any) -> None:
        await put(store, *MIXED)
        position = (
            MIXED.index(bound) if not isinstance(bound, bool) else next(i for i, v in enumerate(MIXED) if v is bound)
        )
        same = [value for value in MIXED if get_kind(value) == get_kind(bound)]
        first = next(index for index, value in enumerate(MIXED) if get_kind(value) == get_kind(bound))
        own = position - first

        assert await values_where(store, Thing.value == bound) == [bound]
        assert await values_where(store, Thing.value != bound) == MIXED[:position] + MIXED[position + 1 :]
        assert await values_where(store, Thing.value > bound) == same[own + 1 :]
        assert await values_where(store, Thing.value >= bound) == same[own:]
        assert await values_where(store, Thing.value < bound) == same[:own]
        assert await values_where(store, Thing.value <= bound) == same[: own + 1]

    async def test_integers_and_floats_are_one_kind(self, store: DocumentStore) -> None:
        await put(store, 1, 1.5, 2)

        assert await values_where(store, Thing.value == 1.0) == [1]
        assert await values_where(store, Thing.value > 1) == [1.5, 2]
        assert await values_where(store, Thing.value == True) == []  # noqa: E712  # builds an expression

    async def test_membership(self, store: DocumentStore) -> None:
        await put(store, None, 1, 2, "a")

        assert await values_where(store, Thing.value.in_([2.0, "a", "b"])) == [2, "a"]
        assert await values_where(store, Thing.value.in_([None])) == [None]
        assert await values_where(store, Thing.value.in_([])) == []
        assert await values_where(store, Thing.value.not_in([2, "a"])) == [None, 1]
        assert await values_where(store, Thing.value.not_in([None])) == [1, 2, "a"]

    async def test_disjunctions(self, store: DocumentStore) -> None:
        await put(store, 1, 2, 3, 4)

        found = await values_where(store, (Thing.value == 1) | ((Thing.value > 2) & (Thing.value < 4)))

        assert found == [1, 3]

    async def test_a_condition_on_a_list_holds_for_any_element(self, store: DocumentStore) -> None:
        await store.insert(
            thing(value=1, tags=["a", "b"]), thing(value=2, tags=["b"]), thing(value=3), thing(value=4, tags=["a", "c"])
        )

        async def where(*conditions: Any) -> list[Any]:
            return await values_where(store, *conditions)

        assert await where(Thing.tags == "a") == [1, 4]
        assert await where(Thing.tags == "a", Thing.tags == "b") == [1]
        assert await where(Thing.tags != "a") == [2, 3]
        assert await where(Thing.tags.in_(["b", "c"])) == [1, 2, 4]
        assert await where(Thing.tags.not_in(["b", "c"])) == [3]
        assert await where(Thing.tags > "b") == [4]
        assert await where(Thing.tags == None) == []  # noqa: E711  # builds an expression
        assert await where(Thing.tags == "a", Thing.value > 1) == [4]

    async def test_a_missing_key_is_null(self, store_url: str) -> None:
        class Old(Model):
            shelf: str
            value: Any = None

            model_config = {"collection": "things"}

        before = create_store(store_url)
        await before.open(Old)
        await before.insert(Old(id=ObjectId(), shelf="shelf", value=1))
        await before.close()

        after = create_store(store_url)
        await after.open(Thing)
        try:
            assert await values_where(after, Thing.name == None) == [1]  # noqa: E711  # builds an expression
            assert await values_where(after, Thing.name != None) == []  # noqa: E711  # builds an expression
            assert await values_where(after, Thing.name != "x") == [1]
            assert [one.value for one in await after.find(Thing, ON_SHELF, sort=asc(Thing.name), limit=9)] == [1]
        finally:
            await after.close()

    @pytest.mark.parametrize(
        "where",
        [
            (True,),
            ({"value": 1},),
            (QueryExpression({"value": {"$regex": "a"}}),),
            (QueryExpression({"value": {"$exists": True}}),),
            (QueryExpression({"$nor": [{"value": {"$eq": 1}}]}),),
            (QueryExpression({"$where": "true"}),),
            (Thing.value == {"$gt": ""},),
            (Thing.value == [1],),
            (Thing.value == 2**63,),
            (Thing.value == float("nan"),),
        ],
        ids=repr,
    )
    async def test_unsupported_conditions_are_rejected(self, store: DocumentStore, where: Any) -> None:
        with pytest.raises(UnsupportedExpression):
            await store.find(Thing, ON_SHELF, *where, sort=asc(Thing.value), limit=1)


class TestServedByAnIndex:
    async def test_a_query_without_an_index_is_rejected(self, store: DocumentStore) -> None:
        unserved: list[tuple[tuple[Any, ...], Any]] = [
            ((), asc(Thing.value)),
            ((ON_SHELF,), asc(Thing.version)),
            ((ON_SHELF,), asc(Thing.tags)),
            ((ON_SHELF,), (asc(Thing.value), asc(Thing.name))),
            ((ON_SHELF,), (asc(Thing.value), desc(Thing.id))),
            ((Thing.version == 1,), asc(Thing.value)),
            ((ON_SHELF,), ()),
        ]
        for where, sort in unserved:
            with pytest.raises(UnsupportedExpression):
                await store.find(Thing, *where, sort=sort, limit=1)
        with pytest.raises(UnsupportedExpression):
            await store.get(Thing, Thing.version == 1)
        with pytest.raises(UnsupportedExpression):
            await store.delete(Thing, Thing.version == 1)
        with pytest.raises(UnsupportedExpression):
            await store.count(Thing)

    async def test_a_list_index_returns_each_document_once_in_order(self, store: DocumentStore) -> None:
        await store.insert(*(thing(value=number, tags=["a", "b", "a"]) for number in (3, 1, 2)))

        found = await store.find(Thing, ON_SHELF, Thing.tags == "a", sort=desc(Thing.value), limit=9)

        assert [one.value for one in found] == [3, 2, 1]

    async def test_sort_by_id(self, store: DocumentStore) -> None:
        things = await put(store, *range(10))
        ids = sorted(one.id for one in things)

        up = await store.find(Thing, Thing.id > ids[2], sort=asc(Thing.id), limit=3)
        down = await store.find(Thing, Thing.id < ids[8], Thing.id >= ids[1], sort=desc(Thing.id), limit=99)

        assert [one.id for one in up] == ids[3:6]
        assert [one.id for one in down] == ids[1:8][::-1]


class TestUpdate:
    async def test_update_applies_if_the_conditions_hold(self, store: DocumentStore) -> None:
        document = thing(name="a", value=1, tags=["x"])
        await store.insert(document)

        changed = await store.update(
            Thing,
            Thing.id == document.id,
            Thing.version == 1,
            changes={
                "name": "b",
                "tags": ["y"],
                "colour": Colour.BLUE,
                "parts": [Part(name="p", size=2)],
                "version": 2,
            },
        )

        expected = document.model_copy(
            update={"name": "b", "tags": ["y"], "colour": Colour.BLUE, "parts": [Part(name="p", size=2)], "version": 2}
        )
        assert changed == expected
        assert await store.get(Thing, Thing.id == document.id) == expected
        assert await values_where(store, Thing.tags == "y") == [1]
        assert await values_where(store, Thing.tags == "x") == []
        assert await values_where(store, Thing.name == "a") == []

    async def test_update_writes_nothing_if_the_conditions_do_not_hold(self, store: DocumentStore) -> None:
        document = thing(name="a")
        await store.insert(document)

        assert await store.update(Thing, Thing.id == document.id, Thing.version == 2, changes={"name": "b"}) is None
        assert await store.update(Thing, Thing.id == ObjectId(), changes={"name": "b"}) is None
        assert await store.get(Thing, Thing.id == document.id) == document
        assert await store.count(Thing, ON_SHELF) == 1

    async def test_an_empty_update_returns_the_document(self, store: DocumentStore) -> None:
        document = thing(name="a")
        await store.insert(document)

        assert await store.update(Thing, Thing.id == document.id, changes={}) == document

    async def test_update_does_not_recreate_a_deleted_document(self, store: DocumentStore) -> None:
        document = thing()
        await store.insert(document)
        await store.delete(Thing, Thing.id == document.id)

        assert await store.update(Thing, Thing.id == document.id, changes={"name": "back"}) is None
        assert await store.count(Thing, ON_SHELF) == 0

    async def test_one_of_many_conditional_writers_succeeds(self, store: DocumentStore) -> None:
        document = thing()
        await store.insert(document)

        results = await asyncio.gather(
            *(
                store.update(
                    Thing, Thing.id == document.id, Thing.version == 1, changes={"name": str(writer), "version": 2}
                )
                for writer in range(32)
            )
        )

        winners = [result for result in results if result is not None]
        assert len(winners) == 1
        assert await store.get(Thing, Thing.id == document.id) == winners[0]

    @pytest.mark.parametrize("changes", [{"colour": "green"}, {"tags": "x"}, {"tags": [1]}, {"version": "x"}], ids=repr)
    async def test_an_invalid_value_is_rejected(self, store: DocumentStore, changes: dict[str, Any]) -> None:
        document = thing()
        await store.insert(document)

        with pytest.raises(ValidationError):
            await store.update(Thing, Thing.id == document.id, changes={"name": "b"} | changes)

        assert await store.get(Thing, Thing.id == document.id) == document

    async def test_update_needs_known_fields_and_the_id(self, store: DocumentStore) -> None:
        document = thing()
        await store.insert(document)

        for name in ("id", "_id", "nothing", "parts.0.name", "$set"):
            with pytest.raises(UnsupportedExpression):
                await store.update(Thing, Thing.id == document.id, changes={name: ObjectId()})
        with pytest.raises(UnsupportedExpression):
            await store.update(Thing, ON_SHELF, changes={"name": "b"})


class TestUnique:
    async def test_a_unique_value_cannot_be_inserted_twice(self, store: DocumentStore) -> None:
        owner = ObjectId()
        await store.insert(Badge(id=ObjectId(), number=1, owner=owner, label="a"))

        with pytest.raises(DuplicateDocument) as by_number:
            await store.insert(Badge(id=ObjectId(), number=1, owner=owner, label="b"))
        with pytest.raises(DuplicateDocument) as by_label:
            await store.insert(Badge(id=ObjectId(), number=2, owner=owner, label="a"))
        await store.insert(Badge(id=ObjectId(), number=3, owner=ObjectId(), label="a"))

        assert (by_number.value.model, by_number.value.field) == ("Badge", "number")
        assert by_label.value.field == "label"
        assert [badge.number async for badge in store.scan(Badge)] == [1, 3]

    async def test_update_cannot_take_a_unique_value(self, store: DocumentStore) -> None:
        first, second = (Badge(id=ObjectId(), number=number, owner=ObjectId(), label="x") for number in (1, 2))
        await store.insert(first, second)

        with pytest.raises(DuplicateDocument):
            await store.update(Badge, Badge.id == second.id, changes={"number": 1})
        await store.update(Badge, Badge.id == first.id, changes={"number": 5})
        await store.update(Badge, Badge.id == second.id, changes={"number": 1})

        assert [badge.number async for badge in store.scan(Badge)] == [5, 1]

    async def test_a_text_and_its_prefix_are_different_values(self, store: DocumentStore) -> None:
        owner = ObjectId()

        await store.insert(Badge(id=ObjectId(), number=1, owner=owner, label="a\x00"))
        await store.insert(Badge(id=ObjectId(), number=2, owner=owner, label="a"))

        assert await store.count(Badge, Badge.owner == owner) == 2

    async def test_a_unique_value_is_free_after_delete(self, store: DocumentStore) -> None:
        badge = Badge(id=ObjectId(), number=1, owner=ObjectId(), label="x")
        await store.insert(badge)
        await store.delete(Badge, Badge.id == badge.id)

        await store.insert(Badge(id=ObjectId(), number=1, owner=badge.owner, label="x"))

        assert await store.count(Badge, Badge.number == 1) == 1

    async def test_one_of_many_concurrent_inserts_gets_the_value(self, store: DocumentStore) -> None:
        badges = [Badge(id=ObjectId(), number=1, owner=ObjectId(), label="x") for _ in range(32)]

        results = await asyncio.gather(*(store.insert(badge) for badge in badges), return_exceptions=True)

        assert sum(result is None for result in results) == 1
        assert sum(isinstance(result, DuplicateDocument) for result in results) == 31

    async def test_long_unique_values_are_compared_by_every_character(self, store: DocumentStore) -> None:
        owner = ObjectId()
        await store.insert(Badge(id=ObjectId(), number=1, owner=owner, label="🌱" * 115 + "a"))

        second = Badge(id=ObjectId(), number=2, owner=owner, label="🌱" * 115 + "b")
        await store.insert(second)
        with pytest.raises(DuplicateDocument):
            await store.insert(Badge(id=ObjectId(), number=3, owner=owner, label="🌱" * 115 + "a"))
        with pytest.raises(DuplicateDocument):
            await store.update(Badge, Badge.id == second.id, changes={"label": "🌱" * 115 + "a"})


class TestAtTheSameTime:
    async def test_concurrent_reads_return_their_own_results(self, store: DocumentStore) -> None:
        things = [thing(name=f"{number}", version=number) for number in range(150)]
        await store.insert(*things)

        found = await asyncio.gather(*(store.get(Thing, Thing.id == one.id) for one in reversed(things)))
        views = await asyncio.gather(*(store.get(Thing, Thing.id == one.id, into=ThingView) for one in things))
        # reads of one document with different conditions on fields that are not in the Struct
        versions = await asyncio.gather(
            *(store.get(Thing, Thing.id == things[7].id, Thing.version == n, into=ThingView) for n in range(10))
        )
        neither = await asyncio.gather(*(store.get(Thing, Thing.id == ObjectId()) for _ in range(3)))

        assert found == things[::-1]
        assert [view and (view.id, view.name) for view in views] == [(str(one.id), one.name) for one in things]
        assert [view and view.name for view in versions] == [None] * 7 + ["7"] + [None] * 2
        assert neither == [None] * 3

    async def test_concurrent_reads_with_disjunctions(self, store: DocumentStore) -> None:
        things = [thing(version=number, name="x" * (number % 2)) for number in range(8)]
        await store.insert(*things)

        found = await asyncio.gather(
            *(
                store.get(Thing, Thing.id == one.id, (Thing.version == 2) | (Thing.name == "x"), into=ThingView)
                for one in things
            )
        )

        assert [view and view.id for view in found] == [
            str(one.id) if one.version == 2 or one.name else None for one in things
        ]

    async def test_concurrent_inserts_fail_independently(self, store: DocumentStore) -> None:
        owner = ObjectId()
        await store.insert(Badge(id=ObjectId(), number=-1, owner=owner, label="taken"))
        badges = [
            Badge(id=ObjectId(), number=number, owner=owner, label="taken" if number % 10 == 3 else f"{number}")
            for number in range(150)
        ]
        # a long document
        badges[8].text = "8" * 200_000

        results = await asyncio.gather(*(store.insert(badge) for badge in badges), return_exceptions=True)

        clashing = [number for number in range(150) if number % 10 == 3]
        assert [number for number, result in enumerate(results) if result is not None] == clashing
        for number in clashing:
            error = results[number]
            assert isinstance(error, DuplicateDocument)
            assert (error.model, error.field) == ("Badge", "label")
        stored = [badge async for badge in store.scan(Badge)]
        assert stored[1:] == [badge for number, badge in enumerate(badges) if number % 10 != 3]

    async def test_cancelling_a_call_does_not_affect_others(self, store: DocumentStore) -> None:
        things = [thing() for _ in range(40)]
        inserting = [asyncio.create_task(store.insert(one)) for one in things]
        await asyncio.sleep(0)
        for task in inserting[::2]:
            task.cancel()
        await asyncio.gather(*inserting[1::2])
        reading = [asyncio.create_task(store.get(Thing, Thing.id == one.id)) for one in things]
        await asyncio.sleep(0)
        for other in reading[::2]:
            other.cancel()

        assert await asyncio.gather(*reading[1::2]) == things[1::2]

    async def test_calls_that_are_cancelled_repeatedly_do_not_block_later_ones(self, store: DocumentStore) -> None:
        """AnyIO cancels the tasks of a cancelled scope in every pass of the event loop until they end."""
        things = [thing(version=number) for number in range(3)]
        await store.insert(*things)

        def start_calls() -> list[asyncio.Task[Any]]:
            calls: list[Coroutine[Any, Any, Any]] = []
            for one in things * 4:
                calls += [
                    store.find(Thing, Thing.shelf == "shelf", sort=None, limit=3),
                    store.count(Thing, Thing.shelf == "shelf"),
                    store.update(Thing, Thing.id == one.id, changes={"version": one.version}),
                    store.delete(Thing, Thing.id == ObjectId()),
                ]
            return [asyncio.create_task(call) for call in calls]

        for passes in range(40):
            tasks = start_calls()
            for _ in range(passes % 8):
                await asyncio.sleep(0)
            while not all(task.done() for task in tasks):
                for task in tasks:
                    task.cancel()
                await asyncio.sleep(0)

            assert await store.count(Thing, Thing.shelf == "shelf") == len(things)

    async def test_reads_see_earlier_writes(self, store: DocumentStore) -> None:
        document = thing(version=0)
        await store.insert(document)

        async def count_up(number: int) -> None:
            await store.update(Thing, Thing.id == document.id, changes={"version": number})
            found = await store.get(Thing, Thing.id == document.id)
            assert found is not None
            assert found.version >= number

        async def read_repeatedly() -> None:
            for _ in range(20):
                await store.get(Thing, Thing.id == document.id)

        async def count() -> None:
            for number in range(1, 21):
                await count_up(number)

        await asyncio.gather(count(), *(read_repeatedly() for _ in range(10)))


class TestCapacity:
    async def test_a_document_that_is_too_large_is_rejected(self, store: DocumentStore) -> None:
        small, large = thing(), thing(text="x" * DOCUMENT_BYTES)

        with pytest.raises(DocumentTooLarge) as raised:
            await store.insert(small, large, thing())
        for text in ("x" * (DOCUMENT_BYTES - 100), "x" * DOCUMENT_BYTES, "x" * 2 * DOCUMENT_BYTES):
            with pytest.raises(DocumentTooLarge):
                await store.update(Thing, Thing.id == small.id, changes={"text": text})
            assert await store.update(Thing, Thing.id == large.id, changes={"text": text}) is None

        assert (raised.value.model, raised.value.limit) == ("Thing", DOCUMENT_BYTES)
        assert [one async for one in store.scan(Thing)] == [small]

    async def test_a_document_of_the_maximum_size_can_be_updated(self, store: DocumentStore) -> None:
        document = thing()
        room = DOCUMENT_BYTES - len(encode(dump(document)))
        document.text = "x" * room
        await store.insert(document)

        changed = await store.update(Thing, Thing.id == document.id, changes={"text": "y" * room})
        small = await store.update(Thing, Thing.id == document.id, changes={"name": "a little more"})

        assert changed is not None
        assert small is not None
        assert (changed.text, small.name) == ("y" * room, "a little more")

    async def test_load_accepts_documents_grown_by_small_changes(self, store: DocumentStore) -> None:
        size, limit = len(encode(dump(thing()))), LOADED_DOCUMENT_BYTES
        fits, beyond = (encode(dump(thing(text="x" * (limit - size + more)))) for more in (0, 1))

        assert await store.load(Thing, [fits]) == 1
        with pytest.raises(DocumentTooLarge):
            await store.load(Thing, [beyond])

    @pytest.mark.parametrize("unit", ["x", "é", "🌱", "\x00"])
    async def test_an_indexed_text_has_a_maximum_length(self, store: DocumentStore, unit: str) -> None:
        limit = compute_text_limits(Thing)["name"]
        size = len(unit.encode()) + unit.count("\x00")
        longest = unit * (limit // size)
        document = thing(name=longest)
        await store.insert(document)

        with pytest.raises(UnsupportedExpression):
            await store.insert(thing(name=longest + unit))
        with pytest.raises(UnsupportedExpression):
            await store.update(Thing, Thing.id == document.id, changes={"name": longest + unit})
        with pytest.raises(UnsupportedExpression):
            await store.load(Thing, [encode(dump(thing(name=longest + unit)))])

        found = await store.find(Thing, ON_SHELF, Thing.name == longest, sort=asc(Thing.name), limit=9)
        assert found == [document]

    async def test_a_condition_accepts_text_of_any_length(self, store: DocumentStore) -> None:
        await store.insert(*(thing(name=letter * 200) for letter in "abc"))
        long = "b" * 10_000

        async def names(*where: Any, order: Any = asc) -> list[str | None]:
            found = await store.find(Thing, ON_SHELF, *where, sort=order(Thing.name), limit=9)
            return [one.name and one.name[0] for one in found]

        assert await names(Thing.name > long) == ["c"]
        assert await names(Thing.name >= long, order=desc) == ["c"]
        assert await names(Thing.name < long, order=desc) == ["b", "a"]
        assert await names(Thing.name <= long) == ["a", "b"]
        assert await names(Thing.name == long) == []
        assert await names(starts_with(Thing.name, long)) == []
        assert await store.count(Thing, ON_SHELF, Thing.name < long, limit=9) == 2

    async def test_an_indexed_list_has_a_maximum_length(self, store: DocumentStore) -> None:
        with pytest.raises(UnsupportedExpression):
            await store.insert(thing(tags=[str(number) for number in range(INDEXED_ELEMENTS + 1)]))

        assert [one async for one in store.scan(Thing)] == []

    @pytest.mark.parametrize(
        "value", [2**64, "\ud800", {1: 2}, object()], ids=["wide integer", "surrogate", "number as key", "object"]
    )
    async def test_values_outside_bson_are_rejected(self, store: DocumentStore, value: Any) -> None:
        document = thing()
        await store.insert(document)

        with pytest.raises(UnsupportedExpression):
            await store.insert(thing(value=value))
        with pytest.raises(UnsupportedExpression):
            await store.update(Thing, Thing.id == document.id, changes={"value": value})

        assert [one async for one in store.scan(Thing)] == [document]

    async def test_deeply_nested_values_are_rejected(self, store: DocumentStore) -> None:
        nested: Any = []
        for _ in range(100_000):
            nested = [nested]

        with pytest.raises(StoreError):
            await store.insert(thing(text="", parts=[], made_at=None).model_copy(update={"value": nested}))


async def test_many_prefix_conditions_on_a_list(store: DocumentStore) -> None:
    words = [f"{letter}{number}" for letter in "abcdef" for number in range(10)]
    await store.insert(
        thing(value=1, tags=words), thing(value=2, tags=words[:-1]), thing(value=3), thing(value=4, tags=["a"])
    )

    found = await values_where(store, *(starts_with(Thing.tags, word) for word in words))
    fewer = await values_where(store, *(starts_with(Thing.tags, letter) for letter in "abcdef"))
    together = await values_where(store, *(starts_with(Thing.tags, word) for word in words), Thing.tags != "a0")

    assert found == [1]
    assert fewer == [1, 2]
    assert together == []


class TestDeleteAndCount:
    async def test_delete_removes_every_match(self, store: DocumentStore) -> None:
        await put(store, *range(1200))

        assert await store.count(Thing, ON_SHELF, Thing.value < 1100) == 1100
        assert await store.delete(Thing, ON_SHELF, Thing.value < 1100) == 1100
        assert await store.delete(Thing, ON_SHELF, Thing.value < 1100) == 0
        assert await values_where(store) == list(range(1100, 1200))

    async def test_delete_by_id_with_conditions(self, store: DocumentStore) -> None:
        document = thing(version=2)
        await store.insert(document)

        assert await store.delete(Thing, Thing.id == document.id, Thing.version == 1) == 0
        assert await store.count(Thing, Thing.id == document.id) == 1
        assert await store.delete(Thing, Thing.id == document.id, in_(Thing.version, [1, 2])) == 1
        assert await store.count(Thing, Thing.id == document.id) == 0

    async def test_count_with_residual_conditions(self, store: DocumentStore) -> None:
        await store.insert(*(thing(value=number, version=number % 3) for number in range(30)))

        assert await store.count(Thing, ON_SHELF, Thing.version == 1) == 10
        assert await store.count(Thing, ON_SHELF, Thing.value >= 15, Thing.version == 1) == 5


class TestScan:
    async def test_scan_returns_every_document_once_by_id(self, store: DocumentStore) -> None:
        things = await put(store, *range(1203))

        found = [one.id async for one in store.scan(Thing)]

        assert found == sorted(one.id for one in things)

    async def test_scan_is_stable_under_concurrent_writes(self, store: DocumentStore) -> None:
        staying = [one.id for one in await put(store, *range(1500))]
        found: list[ObjectId] = []

        async for one in store.scan(Thing):
            if len(found) % 100 == 0:
                await put(store, "new")
                await store.update(Thing, Thing.id == one.id, changes={"name": "touched"})
            found.append(one.id)

        assert len(found) == len(set(found))
        assert set(staying) <= set(found)


class TestLife:
    async def test_documents_persist_across_reopening(self, store_url: str) -> None:
        document = thing(name="a", value=1)
        first = create_store(store_url)
        await first.open(Thing, Badge)
        await first.insert(document)
        await first.close()

        second = create_store(store_url)
        await second.open(Thing, Badge)
        found = await second.find(Thing, ON_SHELF, sort=asc(Thing.value), limit=9)
        await second.close()

        assert found == [document]

    async def test_a_new_index_is_built_from_existing_documents(self, store_url: str) -> None:
        class Plain(Model):
            shelf: str = "shelf"
            value: Any = None

            model_config = {"collection": "things"}

        first = create_store(store_url)
        await first.open(Plain)
        await first.insert(*(Plain(id=ObjectId(), value=value) for value in (3, 1, 2)))
        with pytest.raises(UnsupportedExpression):
            await first.find(Plain, Plain.shelf == "shelf", sort=asc(Plain.value), limit=9)
        await first.close()

        second = create_store(store_url)
        await second.open(Thing)
        found = await values_where(second)
        await second.close()

        assert found == [1, 2, 3]

    async def test_an_unsupported_index_is_rejected(self, store_url: str) -> None:
        class Mixed(Model):
            a: int
            b: int

            model_config = {"indexes": lambda: [Index(asc(Mixed.a), desc(Mixed.b), name="mixed")]}

        store = create_store(store_url)
        with pytest.raises(UnsupportedExpression):
            await store.open(Mixed)
        await store.close()

    async def test_a_closed_store_is_unavailable(self, store: DocumentStore) -> None:
        await store.close()
        await store.close()

        for call in (
            store.ping(),
            store.insert(thing()),
            store.get(Thing, Thing.id == ObjectId()),
            store.find(Thing, ON_SHELF, sort=asc(Thing.value), limit=1),
            store.update(Thing, Thing.id == ObjectId(), changes={"name": "x"}),
            store.delete(Thing, ON_SHELF),
            store.count(Thing, ON_SHELF),
        ):
            with pytest.raises(StoreUnavailable):
                await call
        with pytest.raises(StoreUnavailable):
            [one async for one in store.scan(Thing)]

    async def test_an_unopened_model_is_rejected(self, store: DocumentStore) -> None:
        class Stranger(Model):
            name: str

        with pytest.raises(UnsupportedExpression):
            await store.insert(Stranger(id=ObjectId(), name="x"))

    async def test_ping(self, store: DocumentStore) -> None:
        await store.ping()

    async def test_unexpired_documents_stay(self, store: DocumentStore) -> None:
        later = datetime.now(UTC) + timedelta(days=1)
        await store.insert(Ticket(id=ObjectId(), code="x", expires_at=later.replace(microsecond=0)))

        assert [ticket.code async for ticket in store.scan(Ticket)] == ["x"]
        assert await store.count(Ticket, Ticket.expires_at < later + timedelta(days=1)) == 1


def test_conditions_accept_times_with_any_offset() -> None:
    berlin = NOON.astimezone(timezone(timedelta(hours=1)))

    assert normalize([Thing.made_at == berlin]) == normalize([Thing.made_at == NOON])


async def test_stamps_increase_with_every_write(store: DocumentStore) -> None:
    first, second = note(name="first"), note(name="second")
    await store.insert(first, second)
    await store.update(Note, Note.id == first.id, changes={"name": "changed"})

    found = await store.find(Note, Note.shelf == "shelf", sort=(asc(Note.changed), asc(Note.id)), limit=10)

    assert [one.name for one in found] == ["second", "changed"]
    assert UNSTAMPED < found[0].changed < found[1].changed


class StampView(Struct):
    """A view of the stamp alone."""

    changed: str


async def test_a_stamp_in_conditions_and_as_text(store: DocumentStore) -> None:
    await store.insert(note(name="first"))
    first = await store.get(Note, Note.shelf == "shelf")
    assert first is not None
    await store.insert(note(name="second"))

    [later] = await store.find(
        Note, Note.shelf == "shelf", Note.changed > first.changed, sort=(asc(Note.changed),), limit=10
    )
    view = await store.get(Note, Note.id == first.id, into=StampView)

    assert later.name == "second"
    assert view is not None
    assert parse_stamp(view.changed) == first.changed


async def test_a_new_document_has_the_stamp_of_the_store_whatever_stamp_it_was_given(store: DocumentStore) -> None:
    await store.insert(note(name="first"))
    await store.insert(note(name="second", changed=Stamp(0, 1)))
    await store.insert(note(name="third", changed=Stamp(2**31, 1)), note(name="fourth", changed=Stamp(1, 0)))

    found = await store.find(Note, Note.shelf == "shelf", sort=(asc(Note.changed), asc(Note.id)), limit=9)
    assert [each.name for each in found] == ["first", "second", "third", "fourth"]


async def test_update_without_effect_does_not_stamp(store: DocumentStore) -> None:
    made = note()
    await store.insert(made)
    before = await store.get(Note, Note.id == made.id)

    await store.update(Note, Note.id == made.id, Note.version == 7, changes={"name": "never"})
    await store.update(Note, Note.id == made.id, changes={})

    assert await store.get(Note, Note.id == made.id) == before


async def test_a_field_may_keep_the_stamp(store: DocumentStore) -> None:
    made = note()
    await store.insert(made)
    before = await store.get(Note, Note.id == made.id)
    assert before is not None

    kept = await store.update(Note, Note.id == made.id, Note.seen == 0, changes={"seen": 1})
    stamped = await store.update(Note, Note.id == made.id, changes={"seen": 2, "version": 2})

    assert kept is not None
    assert stamped is not None
    assert (kept.seen, kept.changed) == (1, before.changed)
    assert (stamped.seen, stamped.version) == (2, 2)
    assert stamped.changed > before.changed
    in_order = await store.find(Note, Note.shelf == "shelf", sort=(asc(Note.changed), asc(Note.id)), limit=9)
    assert [(each.seen, each.changed) for each in in_order] == [(2, stamped.changed)]


async def test_reading_up_to_the_resolved_stamp_misses_nothing(store: DocumentStore) -> None:
    """Eight writers and a reader that repeatedly reads up to the resolved stamp."""
    written: set[ObjectId] = set()
    seen: set[ObjectId] = set()
    floor: Timestamp = UNSTAMPED
    writing = True

    async def write() -> None:
        for _ in range(40):
            made = note()
            await store.insert(made)
            written.add(made.id)

    async def read() -> None:
        nonlocal floor
        while writing:
            await asyncio.sleep(0)  # the embedded store returns without suspending; give the writers a turn
            resolved = await store.resolved_stamp()
            where = [Note.shelf == "shelf", Note.changed > floor]
            found = await store.find(Note, *where, sort=(asc(Note.changed), asc(Note.id)), limit=1000)
            seen.update(one.id for one in found)
            floor = max(floor, resolved)

    reader = asyncio.create_task(read())
    await asyncio.gather(*(write() for _ in range(8)))
    writing = False
    await reader
    rest = await store.find(
        Note, Note.shelf == "shelf", Note.changed > floor, sort=(asc(Note.changed), asc(Note.id)), limit=1000
    )

    assert seen | {one.id for one in rest} == written


async def test_a_store_that_resolves_at_once_resolves_every_stamp_it_shows(store: DocumentStore) -> None:
    await store.insert(made := note())
    changed = await store.update(Note, Note.id == made.id, changes={"name": "changed"})
    resolved = await store.resolved_stamp()
    await store.delete(Note, Note.id == made.id)  # writes no stamp

    assert changed is not None
    assert not store.resolves_at_once or changed.changed == resolved == await store.resolved_stamp()


async def test_stamps_increase_across_reopening(store_url: str) -> None:
    stamps = []
    for name in ("first", "second"):
        store = create_store(store_url)
        await store.open(*MODELS)
        await store.insert(made := note(name=name))
        found = await store.get(Note, Note.id == made.id)
        assert found is not None
        stamps.append(found.changed)
        await store.close()

    assert stamps[0] < stamps[1]


async def test_a_prefix_is_literal(store: DocumentStore) -> None:
    await store.insert(*(thing(name=name) for name in ("a.c", "abc", "A.c", "x a.c", None)))

    found = await store.find(Thing, Thing.shelf == "shelf", starts_with(Thing.name, "a."), sort=None, limit=10)

    assert [one.name for one in found] == ["a.c"]


async def test_a_prefix_query_returns_each_document_once(store: DocumentStore) -> None:
    await store.insert(thing(name="both", tags=["garden", "gardener"]), thing(name="one", tags=["garage"]))

    where = [Thing.shelf == "shelf", starts_with(Thing.tags, "gar")]
    found = await store.find(Thing, *where, sort=None, limit=10)

    assert sorted(str(one.name) for one in found) == ["both", "one"]
    assert await store.count(Thing, Thing.shelf == "shelf", starts_with(Thing.tags, "gard")) == 1


@pytest.mark.parametrize("pattern", ["a", "^a.*", "^", "^a|b", "^\\d", "^a\x00"])
async def test_other_regular_expressions_are_rejected(store: DocumentStore, pattern: str) -> None:
    with pytest.raises(UnsupportedExpression):
        await store.find(
            Thing, Thing.shelf == "shelf", QueryExpression({"name": {"$regex": pattern}}), sort=None, limit=1
        )


async def test_count_stops_at_its_limit(store: DocumentStore) -> None:
    await store.insert(*(thing(value=number) for number in range(7)))
    await store.insert(*(thing(value=number, shelf="other") for number in range(3)))
    either: Any = Thing.shelf.in_(["shelf", "other", "none"])

    counted = [await store.count(Thing, Thing.shelf == "shelf", Thing.value > 1, limit=limit) for limit in (1, 4, 9)]
    of_both = [await store.count(Thing, either, limit=limit) for limit in (1, 2, 3, 4, 9, 10, 11)]
    looked = [await store.count(Thing, either, Thing.version == 1, limit=limit) for limit in (3, 9, 11)]

    assert counted == [1, 4, 5]
    assert of_both == [1, 2, 3, 4, 9, 10, 10]
    assert looked == [3, 9, 10]


async def test_key_ranges_are_merged_in_order(store: DocumentStore) -> None:
    """Documents of two shelves come in the order of their names, long names included."""
    names = [text + end for text in ("a", "x" * 200) for end in ("b", "d", "a", "c")]
    for number, name in enumerate(names):
        await store.insert(thing(name=name, shelf=("one", "two")[number % 2]), thing(name=name, shelf="three"))
    where = [Thing.shelf.in_(["two", "one", "none", "one"]), Thing.name > "aa"]

    for direction, expected in ((asc, sorted(names)[1:]), (desc, sorted(names, reverse=True)[:-1])):
        found = await store.find(Thing, *where, sort=(direction(Thing.name), direction(Thing.id)), limit=100)
        assert [one.name for one in found] == expected
    assert await store.count(Thing, *where) == len(names) - 1
    assert await store.find(Thing, Thing.shelf.in_(["one"]), Thing.name == "ab", sort=asc(Thing.name), limit=1)


async def test_in_on_a_sorted_field_is_rejected(store: DocumentStore) -> None:
    with pytest.raises(UnsupportedExpression):
        await store.find(Thing, Thing.shelf.in_(["one", "two"]), sort=asc(Thing.shelf), limit=1)


async def test_documents_before_a_duplicate_are_written(store: DocumentStore) -> None:
    things = [thing(name=str(number)) for number in range(5)]
    await store.insert(things[2])

    with pytest.raises(DuplicateDocument) as caught:
        await store.insert(*things)

    assert caught.value.field == "id"
    assert await store.count(Thing, Thing.shelf == "shelf") == 3
