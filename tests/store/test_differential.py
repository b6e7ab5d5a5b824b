"""Differential test: the same operations return the same results on all stores.

A Hypothesis state machine generates operations and runs each of them on the embedded store, a real MongoDB and the
store of `dict_store`. It compares the results: documents, their order, counts and errors. `DIFFERENTIAL_OPERATIONS` is
the minimum number of operations; `pdm run test-differential` compares 100 000.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import msgspec
import pytest
from bson import Timestamp
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from odmantic import Model, ObjectId
from odmantic.query import QueryExpression, and_, asc, desc, or_
from pymongo import MongoClient

from tests.mongod import running_mongod, wait_for_ttl_passes
from tests.store.models import MODELS, Badge, Crate, Note, Seal, Thing, ThingView, Ticket, Voucher
from tests.waiting import wait_until
from todo_service.store.base import OPERATORS, DocumentStore, starts_with
from todo_service.store.embedded.store import EmbeddedStore
from todo_service.store.errors import StoreError
from todo_service.store.mongodb.store import MongoDBStore
from todo_service.store.registry import create_store

OPERATIONS = int(os.environ.get("DIFFERENTIAL_OPERATIONS", "4000"))
STEPS = 50
IDS = [ObjectId(bytes([number]) * 12) for number in (0, 1, 2, 127, 254, 255)]
SHELVES = ["one", "two"]
NAMES = [
    None,
    "",
    "a",
    "A",
    "ab",
    "a\x00",
    "é",
    "e\u0301",
    "🌱",
    "\uffff",
    "x" * 245,
    "x" * 244 + "y",
    "x" * 600,
    "🌱" * 61,
]
INTEGERS: list[Any] = [0, -1, 1, 2**31 - 1, 2**31, -(2**31) - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
FLOATS: list[Any] = [1.0, 0.5, -0.0, 2.0**53, 2.0**63, -(2.0**63), 1e308, -1e308, float("inf"), float("-inf"), 5e-324]
TIMES: list[Any] = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999000, UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, 0, 1000, UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999000, UTC),
]
VALUES: list[Any] = [
    None,
    True,
    False,
    *INTEGERS,
    *FLOATS,
    "",
    "a",
    "é",
    b"",
    b"\x00",
    b"\xff",
    IDS[0],
    IDS[5],
    *TIMES,
]
TAGS = ["", "a", "ab", "b", "c.*", "é", "x" * 162, "x" * 163]
PREFIXES = ["a", "ab", "c.", "x" * 161, "x" * 499, "é", "🌱"]
FIELDS: dict[Any, dict[str, list[Any]]] = {
    Thing: {"name": NAMES, "value": VALUES, "tags": TAGS},
    Crate: {"mixed": VALUES, "number": [None, *INTEGERS, *FLOATS], "at": [None, *TIMES]},
}
"""The fields that occur in conditions, with their values."""
ORDERS = {Thing: (Thing.name, Thing.value), Crate: (Crate.number, Crate.at)}

ids = st.sampled_from(IDS)
shelves = st.sampled_from(SHELVES)
names = st.sampled_from(NAMES)
values = st.sampled_from(VALUES)
models = st.sampled_from([Thing, Crate])
tags = st.lists(st.sampled_from(TAGS), max_size=3)
mixed = st.lists(values, max_size=4)
labels = st.sampled_from(NAMES[1:])
numbers = st.sampled_from([None, *INTEGERS, *FLOATS])
times = st.sampled_from([None, *TIMES])
things = st.builds(Thing, id=ids, shelf=shelves, name=names, value=values, tags=tags)
crates = st.builds(Crate, id=ids, shelf=shelves, mixed=mixed, number=numbers, at=times)


@st.composite
def comparisons(draw: st.DrawFn, model: type[Model]) -> QueryExpression:
    key = draw(st.sampled_from(list(FIELDS[model])))
    operator = draw(st.sampled_from([*OPERATORS, "starts_with"]))
    if operator == "starts_with":
        return starts_with(getattr(model, key), draw(st.sampled_from(PREFIXES)))  # type: ignore[return-value]  # a QueryExpression
    those = st.sampled_from(FIELDS[model][key])
    return QueryExpression({key: {operator: draw(st.lists(those, max_size=3) if "in" in operator else those)}})


def conditions(model: type[Model]) -> st.SearchStrategy[QueryExpression]:
    return st.recursive(
        comparisons(model),
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: or_(*parts)),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: and_(*parts)),
        ),
        max_leaves=4,
    )


CONDITIONS = {model: conditions(model) for model in FIELDS}


@st.composite
def wheres(draw: st.DrawFn, most: int = 2) -> tuple[Any, list[QueryExpression]]:
    """Generate a model and conditions on it."""
    model = draw(models)
    return model, draw(st.lists(CONDITIONS[model], max_size=most))


class Stores:
    """The stores, and the number of operations that were compared."""

    def __init__(self, runner: asyncio.Runner, stores: list[DocumentStore]) -> None:
        self.runner = runner
        self.stores = stores
        self.compared = 0

    def execute(self, ask: Callable[[DocumentStore], Awaitable[Any]]) -> list[Any]:
        """Execute an operation on each store, and return the results or the types of the errors."""

        async def execute_on(store: DocumentStore) -> Any:
            try:
                return await ask(store)
            except (StoreError, msgspec.ValidationError) as error:
                return type(error), getattr(error, "model", None), getattr(error, "field", None)

        async def execute_all() -> list[Any]:
            return [await execute_on(store) for store in self.stores]

        self.compared += 1
        return self.runner.run(execute_all())

    def compare(self, ask: Callable[[DocumentStore], Awaitable[Any]], *, exactly: bool = True) -> None:
        """Execute an operation on each store and compare the results; if `exactly`, the types of numbers too."""
        embedded, *others = self.execute(ask)
        for other in others:
            assert embedded == other
            assert not exactly or repr(embedded) == repr(other)


async def everything(store: DocumentStore, *models: type[Model]) -> list[Model]:
    return [document for model in models for document in [found async for found in store.scan(model)]]


class Comparison(RuleBasedStateMachine):
    """The operations of a store."""

    all: Stores

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[ObjectId] = []

    @rule(documents=st.lists(things, min_size=1, max_size=3))
    def insert_things(self, documents: list[Thing]) -> None:
        self.all.compare(lambda store: store.insert(*documents))

    @rule(documents=st.lists(crates, min_size=1, max_size=3))
    def insert_crates(self, documents: list[Crate]) -> None:
        self.all.compare(lambda store: store.insert(*documents))

    @rule(thing=things, missing=st.sets(st.sampled_from(["name", "value", "tags", "colour", "version", "made_at"])))
    def load_a_thing_without_some_keys(self, thing: Thing, missing: set[str]) -> None:
        document = {key: value for key, value in thing.model_dump_doc().items() if key not in missing}
        raw = bson.encode({"_id": thing.id} | document)
        self.all.compare(lambda store: store.load(Thing, [raw]))

    @rule(crate=crates, missing=st.sets(st.sampled_from(["mixed", "number", "at"]), min_size=1))
    def load_a_crate_without_some_keys(self, crate: Crate, missing: set[str]) -> None:
        document = {key: value for key, value in crate.model_dump_doc().items() if key not in missing}
        raw = bson.encode({"_id": crate.id} | document)
        self.all.compare(lambda store: store.load(Crate, [raw]))

    @rule(identity=ids, number=st.integers(0, 3), label=labels)
    def insert_a_badge(self, identity: ObjectId, number: int, label: str) -> None:
        badge = Badge(id=identity, number=number, owner=IDS[0], label=label)
        self.all.compare(lambda store: store.insert(badge))

    @rule(identity=ids, number=st.integers(0, 3), label=labels)
    def change_a_badge(self, identity: ObjectId, number: int, label: str) -> None:
        changes = {"number": number, "label": label}
        self.all.compare(lambda store: store.update(Badge, Badge.id == identity, changes=changes))

    @rule(number=st.integers(0, 3))
    def get_a_badge_by_its_number(self, number: int) -> None:
        self.all.compare(lambda store: store.get(Badge, Badge.number == number))

    @rule(number=st.integers(0, 3))
    def delete_a_badge(self, number: int) -> None:
        self.all.compare(lambda store: store.delete(Badge, Badge.number == number))

    @rule(identity=ids, shelf=shelves, code=values, there=st.booleans())
    def load_a_seal(self, identity: ObjectId, shelf: str, code: Any, there: bool) -> None:
        raw = bson.encode({"_id": identity, "shelf": shelf} | ({"code": code} if there else {}))
        self.all.compare(lambda store: store.load(Seal, [raw]))

    @rule(shelf=shelves, code=values)
    def get_a_seal(self, shelf: str, code: Any) -> None:
        self.all.compare(lambda store: store.get(Seal, Seal.shelf == shelf, Seal.code == code))

    @rule(shelf=shelves)
    def delete_seals(self, shelf: str) -> None:
        self.all.compare(lambda store: store.delete(Seal, Seal.shelf == shelf))

    @rule(identity=ids, where=wheres(1))
    def get(self, identity: ObjectId, where: Any) -> None:
        model, more = where
        self.all.compare(lambda store: store.get(model, model.id == identity, *more))

    @rule(identity=ids)
    def get_a_view(self, identity: ObjectId) -> None:
        self.all.compare(lambda store: store.get(Thing, Thing.id == identity, into=ThingView))

    @rule(
        shelf=shelves,
        where=wheres(),
        which=st.booleans(),
        down=st.booleans(),
        limit=st.integers(1, 5),
        selective=st.booleans(),
    )
    def find_in_order(self, shelf: str, where: Any, which: bool, down: bool, limit: int, selective: bool) -> None:
        model, more = where
        direction = desc if down else asc
        sort = (direction(ORDERS[model][which]), direction(model.id))
        self.all.compare(
            lambda store: store.find(model, model.shelf == shelf, *more, sort=sort, limit=limit, selective=selective)
        )

    @rule(shelf=shelves, where=wheres(), begins=st.sampled_from([None, *PREFIXES]))
    def find_in_no_order(self, shelf: str, where: Any, begins: str | None) -> None:
        model, more = where
        if begins and model is Thing:
            more = [*more, starts_with(Thing.tags, begins)]

        async def find(store: DocumentStore) -> list[Any]:
            found = await store.find(model, model.shelf == shelf, *more, sort=None, limit=100)
            return sorted(found, key=lambda document: document.id.binary)

        self.all.compare(find)

    @rule(shelf=shelves, where=wheres(), limit=st.sampled_from([None, 1, 3]))
    def count(self, shelf: str, where: Any, limit: int | None) -> None:
        model, more = where
        self.all.compare(lambda store: store.count(model, model.shelf == shelf, *more, limit=limit))

    @rule(identity=ids, where=st.lists(CONDITIONS[Thing], max_size=1), name=names, value=values, some=tags)
    def change_a_thing(
        self, identity: ObjectId, where: list[QueryExpression], name: str | None, value: Any, some: list[str]
    ) -> None:
        changes = {"name": name, "value": value, "tags": some}
        self.all.compare(lambda store: store.update(Thing, Thing.id == identity, *where, changes=changes))

    @rule(identity=ids, where=st.lists(CONDITIONS[Crate], max_size=1), some=mixed, number=numbers, at=times)
    def change_a_crate(
        self, identity: ObjectId, where: list[QueryExpression], some: list[Any], number: Any, at: datetime | None
    ) -> None:
        changes = {"mixed": some, "number": number, "at": at}
        self.all.compare(lambda store: store.update(Crate, Crate.id == identity, *where, changes=changes))

    @rule(identity=ids)
    def change_nothing(self, identity: ObjectId) -> None:
        self.all.compare(lambda store: store.update(Thing, Thing.id == identity, changes={}))

    @rule(shelf=shelves, where=wheres())
    def delete(self, shelf: str, where: Any) -> None:
        model, more = where
        self.all.compare(lambda store: store.delete(model, model.shelf == shelf, *more))

    @rule(identity=ids, where=wheres(1))
    def delete_one(self, identity: ObjectId, where: Any) -> None:
        model, more = where
        self.all.compare(lambda store: store.delete(model, model.id == identity, *more))

    @rule(identity=ids)
    def write_a_note(self, identity: ObjectId) -> None:
        """Insert a note, or update it if it exists, so that it moves to the end of the notes in the order of stamps."""
        new = identity not in self.notes

        async def write(store: DocumentStore) -> bool:
            resolved = await store.resolved_stamp()
            if new:
                await store.insert(Note(id=identity))
            else:
                await store.update(Note, Note.id == identity, changes={"name": "changed"})
            note = await store.get(Note, Note.id == identity)
            return note is not None and note.changed > resolved

        self.all.compare(write)
        self.notes = [*(note for note in self.notes if note != identity), identity]
        self.all.compare(self._notes_in_order)

    @rule(identity=ids)
    def delete_a_note(self, identity: ObjectId) -> None:
        self.all.compare(lambda store: store.delete(Note, Note.id == identity))
        self.notes = [note for note in self.notes if note != identity]

    async def _notes_in_order(self, store: DocumentStore) -> list[ObjectId]:
        found = await store.find(
            Note,
            Note.shelf == "shelf",
            Note.changed > Timestamp(0, 0),
            sort=(asc(Note.changed), asc(Note.id)),
            limit=10,
        )
        stamps = [note.changed for note in found]
        assert stamps == sorted(set(stamps))
        assert [note.id for note in found] == self.notes
        return [note.id for note in found]

    def teardown(self) -> None:
        self.all.compare(lambda store: everything(store, Thing, Badge, Crate, Seal))
        self.all.runner.run(self._clear())

    async def _clear(self) -> None:
        for store in self.all.stores:
            for model in MODELS:
                await store.clear(model)


def test_all_stores_return_the_same_results(
    tmp_path: Path, mongodb_url: str, dict_url: str, figure: Callable[[str], None]
) -> None:
    urls = [f"lmdb://{tmp_path / 'store'}", mongodb_url, dict_url]
    with asyncio.Runner() as runner:
        stores = Stores(runner, [create_store(url) for url in urls])
        machine = type("Machine", (Comparison,), {"all": stores})
        for store in stores.stores:
            runner.run(store.open(*MODELS))
        try:
            while stores.compared < OPERATIONS:
                run_state_machine_as_test(
                    machine,
                    settings=settings(
                        max_examples=max(1, (OPERATIONS - stores.compared) // STEPS),
                        stateful_step_count=STEPS,
                        deadline=None,
                        suppress_health_check=list(HealthCheck),
                        derandomize=False,
                        database=None,
                    ),
                )
        finally:
            for store in stores.stores:
                runner.run(store.close())
    figure(f"{stores.compared} operations compared, no difference")
    assert stores.compared >= OPERATIONS


MOMENTS: list[Any] = [
    *TIMES,
    datetime(2020, 1, 1, tzinfo=UTC),
    datetime(2999, 1, 1, tzinfo=UTC),
    None,
    "2020-01-01T00:00:00Z",
    1577836800,
    Timestamp(1577836800, 1),
    [],
    [datetime(2020, 1, 1, tzinfo=UTC)],
    [datetime(2020, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)],
    [datetime(2999, 1, 1, tzinfo=UTC), None, "text"],
]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "moments"), [(Ticket, MOMENTS), (Voucher, [each for each in MOMENTS if not isinstance(each, list)])]
)
async def test_both_stores_expire_the_same_documents(
    model: type[Ticket | Voucher], moments: list[Any], tmp_path: Path
) -> None:
    """Times in any form, other values and missing keys expire, or do not, on both stores alike."""
    documents: list[dict[str, Any]] = [{"expires_at": moment} for moment in moments]
    documents += [{}, {"expires_at": datetime.now(UTC) + timedelta(days=1)}]
    raws = [bson.encode({"_id": ObjectId(), "code": str(number)} | rest) for number, rest in enumerate(documents)]
    (tmp_path / "mongod").mkdir()

    async def codes(store: DocumentStore) -> list[str]:
        async with store.snapshot() as view:
            return [bson.decode(raw)["code"] async for batch in view.documents(model) for raw in batch]

    with running_mongod(tmp_path / "mongod", "--setParameter", "ttlMonitorSleepSecs=1") as (url, _):
        embedded, mongodb = EmbeddedStore(tmp_path / "store", expiry_seconds=0.1), MongoDBStore(f"{url}/test")
        for store in (embedded, mongodb):
            await store.open(*MODELS)
            await store.load(model, raws)
        with MongoClient[dict[str, Any]](url) as client:
            # a pass may have started before the documents were inserted
            await wait_for_ttl_passes(client, 2)
        kept = await codes(mongodb)

        async def are_equal() -> bool:
            return await codes(embedded) == kept

        await wait_until(are_equal)
        for store in (embedded, mongodb):
            await store.close()

    assert 0 < len(kept) < len(documents)
