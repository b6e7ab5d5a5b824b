"""The same operations on both stores have the same answers.

Hypothesis makes up rows of operations; each is carried out on the embedded store and on a real MongoDB, and every
answer is compared: documents, counts, and which error. `DIFFERENTIAL_EXAMPLES` says how many rows are tried.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odmantic import ObjectId
from odmantic.query import QueryExpression, and_, asc, desc, or_

from tests.store.models import MODELS, Badge, Thing
from todo_service.store.base import OPERATORS, DocumentStore, StoreError, beginning
from todo_service.store.embedded import EmbeddedStore
from todo_service.store.mongodb import MongoDBStore

EXAMPLES = int(os.environ.get("DIFFERENTIAL_EXAMPLES", "60"))
IDS = [ObjectId(bytes([number]) * 12) for number in (0, 1, 2, 127, 254, 255)]
NAMES = [None, "", "a", "A", "ab", "a\x00", "é", "🌱", "x" * 600, "x" * 599 + "y", "x" * 470, "🌱" * 130]
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    1.0,
    0.5,
    -0.0,
    2**53,
    2**53 + 1,
    float(2**53),
    2**63 - 1,
    -(2**63),
    float("inf"),
    float("-inf"),
    5e-324,
    "",
    "a",
    b"",
    b"\x00",
    b"\xff",
    IDS[0],
    IDS[5],
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999000, UTC),
]
TAGS = ["", "a", "ab", "b", "c.*", "x" * 500]
BEGINNINGS = ["a", "ab", "c.", "x" * 499, "é", "🌱"]

ids = st.sampled_from(IDS)
shelves = st.sampled_from(["one", "two"])
names = st.sampled_from(NAMES)
values = st.sampled_from(VALUES)
tags = st.lists(st.sampled_from(TAGS), max_size=3)
fields = st.one_of(
    st.tuples(st.just("name"), names),
    st.tuples(st.just("value"), values),
    st.tuples(st.just("tags"), st.sampled_from(TAGS)),
)


@st.composite
def comparisons(draw: st.DrawFn) -> QueryExpression:
    key, value = draw(fields)
    operator = draw(st.sampled_from([*OPERATORS, "beginning"]))
    if operator == "beginning":
        return beginning(getattr(Thing, key), draw(st.sampled_from(BEGINNINGS)))  # type: ignore[return-value]  # it is
    if operator in ("$in", "$nin"):
        more = {"name": names, "value": values, "tags": st.sampled_from(TAGS)}[key]
        return QueryExpression({key: {operator: draw(st.lists(more, max_size=3))}})
    return QueryExpression({key: {operator: value}})


conditions = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: or_(*parts)),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: and_(*parts)),
    ),
    max_leaves=4,
)
places = st.one_of(shelves, st.lists(shelves, max_size=3))
wheres = st.tuples(places, st.lists(conditions, max_size=2))
sorts = st.sampled_from(
    [(direction(key), direction(Thing.id)) for direction in (asc, desc) for key in (Thing.value, Thing.name)]
)
operations = st.one_of(
    st.tuples(st.just("insert"), ids, shelves, names, values, tags),
    st.tuples(st.just("insert"), ids, shelves, names, values, tags),
    st.tuples(st.just("badge"), ids, st.integers(0, 3), st.sampled_from(NAMES[1:])),
    st.tuples(st.just("get"), ids),
    st.tuples(st.just("find"), wheres, sorts, st.integers(1, 5)),
    st.tuples(st.just("find"), wheres, sorts, st.integers(1, 5)),
    st.tuples(st.just("collect"), wheres, st.sampled_from([None, *BEGINNINGS])),
    st.tuples(st.just("tally"), shelves, st.sampled_from([Thing.value, Thing.name])),
    st.tuples(st.just("update"), ids, st.lists(conditions, max_size=1), names, values, tags),
    st.tuples(st.just("rename"), ids, st.integers(0, 3), st.sampled_from(NAMES[1:])),
    st.tuples(st.just("delete"), wheres),
    st.tuples(st.just("delete_one"), ids, st.lists(conditions, max_size=1)),
    st.tuples(st.just("count"), wheres),
    st.tuples(st.just("scan")),
)


def on(shelf: str | list[str]) -> QueryExpression:
    """Return the condition that a thing is on a shelf, or on one of several."""
    found = Thing.shelf.in_(shelf) if isinstance(shelf, list) else Thing.shelf == shelf
    return found  # type: ignore[return-value]  # it is one


async def answer(store: DocumentStore, operation: tuple[Any, ...]) -> Any:
    """Carry out an operation, and return its answer or the kind of its error."""
    try:
        match operation:
            case ("insert", identity, shelf, name, value, some):
                await store.insert(Thing(id=identity, shelf=shelf, name=name, value=value, tags=some))
                return None
            case ("badge", identity, number, label):
                await store.insert(Badge(id=identity, number=number, owner=IDS[0], label=label))
                return None
            case ("get", identity):
                return await store.get(Thing, Thing.id == identity)
            case ("find", (shelf, where), sort, limit):
                return await store.find(Thing, on(shelf), *where, sort=sort, limit=limit)
            case ("collect", (shelf, where), begins):
                among = [*where, beginning(Thing.tags, begins)] if begins else where
                found = await store.find(Thing, on(shelf), *among, sort=None, limit=100)
                return sorted(found, key=lambda thing: str(thing.id))
            case ("tally", shelf, by):
                return sorted((await store.tally(Thing, Thing.shelf == shelf, by=by)).items(), key=repr)
            case ("update", identity, where, name, value, some):
                changes = {"name": name, "value": value, "tags": some}
                return await store.update(Thing, Thing.id == identity, *where, changes=changes)
            case ("rename", identity, number, label):
                return await store.update(Badge, Badge.id == identity, changes={"number": number, "label": label})
            case ("delete", (shelf, where)):
                return await store.delete(Thing, on(shelf), *where)
            case ("delete_one", identity, where):
                return await store.delete(Thing, Thing.id == identity, *where)
            case ("count", (shelf, where)):
                return await store.count(Thing, on(shelf), *where)
            case ("scan",):
                return [thing async for thing in store.scan(Thing)], [badge async for badge in store.scan(Badge)]
    except StoreError as error:
        return type(error), getattr(error, "field", None)
    raise AssertionError(operation)


def test_both_stores_answer_alike(tmp_path: Path, mongodb_url: str) -> None:
    compared = 0

    with asyncio.Runner() as runner:
        stores: list[DocumentStore] = [EmbeddedStore(tmp_path / "store"), MongoDBStore(mongodb_url)]

        async def compare(row: list[tuple[Any, ...]]) -> None:
            nonlocal compared
            for store in stores:
                for thing in [thing async for thing in store.scan(Thing)]:
                    await store.delete(Thing, Thing.id == thing.id)
                for badge in [badge async for badge in store.scan(Badge)]:
                    await store.delete(Badge, Badge.id == badge.id)
            for operation in [*row, ("scan",)]:
                embedded, mongodb = [await answer(store, operation) for store in stores]
                assert embedded == mongodb, operation
                assert repr(embedded) == repr(mongodb), operation
                compared += 1

        async def open_all() -> None:
            for store in stores:
                await store.open(*MODELS)

        async def close_all() -> None:
            for store in stores:
                await store.close()

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(operations, min_size=15, max_size=60))
        def run(row: list[tuple[Any, ...]]) -> None:
            runner.run(compare(row))

        runner.run(open_all())
        try:
            run()
        finally:
            runner.run(close_all())
    print(f"{compared} operations compared, no difference")  # noqa: T201  # a figure
    assert compared >= EXAMPLES
