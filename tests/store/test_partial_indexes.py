"""Indexes that hold only the documents with a time in one of their keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import lmdb
import pytest
from odmantic import Field, Index, Model, ObjectId
from odmantic.query import asc
from pymongo import IndexModel, MongoClient

from tests.store.models import Alarm
from todo_service.store.base import DEFAULT_FROM, DocumentStore
from todo_service.store.errors import UnsupportedExpression
from todo_service.store.registry import create_store
from todo_service.store.structs import partial_to_times
from todo_service.timestamps import EARLIEST

pytestmark = pytest.mark.anyio
NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
At: Any = Alarm.at


async def put(store: DocumentStore, *moments: datetime | None) -> list[Alarm]:
    alarms = [Alarm(id=ObjectId(), at=moment, name=str(number)) for number, moment in enumerate(moments)]
    await store.insert(*alarms)
    return alarms


async def list_names(store: DocumentStore, *where: Any) -> list[str]:
    found = await store.find(Alarm, *where, sort=(asc(At), asc(Alarm.id)), limit=100)
    assert await store.count(Alarm, *where) == len(found)
    return [each.name for each in found]


async def test_documents_are_found_by_their_times(store: DocumentStore) -> None:
    await put(store, NOON, None, NOON - HOUR, EARLIEST, NOON - HOUR, EARLIEST - HOUR)

    assert await list_names(store, At >= EARLIEST) == ["3", "2", "4", "0"]
    assert await list_names(store, At >= EARLIEST, At < NOON) == ["3", "2", "4"]
    assert await list_names(store, At > NOON - HOUR) == ["0"]
    assert await list_names(store, At == NOON - HOUR) == ["2", "4"]
    either = await store.find(Alarm, At.in_([NOON, NOON - HOUR]), sort=None, limit=100)
    assert {each.name for each in either} == {"0", "2", "4"}
    assert await list_names(store, At == NOON - HOUR, Alarm.id > ObjectId("f" * 24)) == []


async def test_documents_are_found_by_their_times_after_a_fixed_key(store: DocumentStore) -> None:
    moments = (NOON, None, NOON - HOUR, EARLIEST, EARLIEST - HOUR, NOON)
    alarms = [Alarm(id=ObjectId(), at=moment, name=name) for moment in moments for name in ("morning", "evening")]
    await store.insert(*alarms)
    evening = Alarm.name == "evening"

    async def list_moments(*where: Any) -> list[datetime | None]:
        found = await store.find(Alarm, *where, sort=(asc(At), asc(Alarm.id)), limit=100)
        assert await store.count(Alarm, *where) == len(found)
        assert {each.name for each in found} <= {"evening"}
        return [each.at for each in found]

    assert await list_moments(evening, At >= EARLIEST) == [EARLIEST, NOON - HOUR, NOON, NOON]
    assert await list_moments(evening, At > EARLIEST, At < NOON) == [NOON - HOUR]
    assert await list_moments(evening, At == NOON) == [NOON, NOON]
    assert await list_moments(evening, At == NOON, Alarm.id > alarms[1].id) == [NOON]
    await store.update(Alarm, Alarm.id == alarms[1].id, changes={"at": None})
    assert await list_moments(evening, At == NOON) == [NOON]


async def test_a_document_enters_and_leaves_the_index(store: DocumentStore) -> None:
    [alarm] = await put(store, None)
    for moment, expected in ((NOON, ["0"]), (NOON + HOUR, ["0"]), (None, []), (NOON, ["0"])):
        await store.update(Alarm, Alarm.id == alarm.id, changes={"at": moment})
        assert await list_names(store, At >= EARLIEST) == expected
        assert await list_names(store, At == moment if moment else At == NOON) == expected
    assert await store.delete(Alarm, Alarm.id == alarm.id) == 1
    assert await list_names(store, At >= EARLIEST) == []


@pytest.mark.parametrize(
    "where",
    [
        [At == None],  # noqa: E711  # an expression
        [At < NOON],
        [At > EARLIEST - HOUR],
        [At.in_([NOON, None])],
        [At != NOON],
        [(At > NOON) | (At < NOON - HOUR)],
        [Alarm.name == "0"],
        [Alarm.name == "0", At < NOON],
        [Alarm.name == "0", At.in_([NOON, None])],
        [Alarm.name > "0"],
    ],
    ids=str,
)
async def test_a_condition_that_other_documents_may_meet_is_refused(store: DocumentStore, where: list[Any]) -> None:
    with pytest.raises(UnsupportedExpression):
        await store.find(Alarm, *where, sort=None, limit=10)


async def put_and_close(url: str) -> None:
    """Store five documents, two of which have a time."""
    store = create_store(url)
    await store.open(Alarm)
    await put(store, NOON, None, None, EARLIEST - HOUR, NOON)
    await store.close()


async def test_documents_without_a_time_have_no_entry_in_an_embedded_store(tmp_path: Path) -> None:
    await put_and_close(f"lmdb://{tmp_path}")

    with lmdb.open(str(tmp_path), readonly=True, max_dbs=128) as environment:
        for name in (b"index:alarms:at", b"index:alarms:name_at"):
            database = environment.open_db(name, create=False)
            with environment.begin() as transaction:
                assert transaction.stat(database)["entries"] == 2


async def test_documents_without_a_time_have_no_entry_in_mongodb(mongodb_url: str) -> None:
    await put_and_close(mongodb_url)

    with MongoClient[dict[str, Any]](mongodb_url) as client:
        report = client.get_default_database().command("validate", "alarms", full=True)
    assert (report["keysPerIndex"]["at"], report["keysPerIndex"]["name_at"]) == (2, 2)


class Early(Model):
    """A document of an earlier release, without an index on its time."""

    due: datetime | None
    name: str

    model_config = {"collection": "reminders"}


class Full(Model):
    """The same document, with an index on a new field that holds every document."""

    due: datetime | None
    name: str
    at: datetime | None = Field(default=None, json_schema_extra={DEFAULT_FROM: "due"})

    model_config = {"collection": "reminders", "indexes": lambda: [Index(Full.at, Full.id, name="at")]}


class Partial(Model):
    """The same document, with a partial index."""

    due: datetime | None
    name: str
    at: datetime | None = Field(default=None, json_schema_extra={DEFAULT_FROM: "due"})

    model_config = {
        "collection": "reminders",
        "indexes": lambda: [
            IndexModel([("at", 1), ("_id", 1)], name="at", partialFilterExpression=partial_to_times("at"))
        ],
    }


@pytest.mark.parametrize("earlier", [(Early,), (Early, Full), (Early, Partial)])
async def test_an_index_may_become_partial(store_url: str, earlier: tuple[type[Model], ...]) -> None:
    for model in earlier:
        store = create_store(store_url)
        await store.open(model)
        if model is Early:
            alarms = [Early(id=ObjectId(), due=NOON, name="due"), Early(id=ObjectId(), due=None, name="never")]
            await store.insert(*alarms)
        await store.close()

    store = create_store(store_url)
    await store.open(Partial)
    at: Any = Partial.at
    found = await store.find(Partial, at >= EARLIEST, sort=asc(at), limit=10)
    await store.close()

    assert [each.name for each in found] == ["due"]
