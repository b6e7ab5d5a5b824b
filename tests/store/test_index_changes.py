"""A release that declares other indexes: its first start builds new ones and drops those no longer declared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import pytest
from odmantic import Index, Model, ObjectId
from odmantic.query import asc
from pymongo import MongoClient

from todo_service.store.base import DocumentStore
from todo_service.store.errors import StoreUnusable, UnsupportedExpression
from todo_service.store.registry import create_store, find_local_folder

pytestmark = pytest.mark.anyio


class Before(Model):
    """A document of the earlier release."""

    owner: str
    size: int
    name: str

    model_config = {
        "collection": "parcels",
        "indexes": lambda: [
            Index(Before.owner, Before.size, Before.id, name="owner_size"),
            Index(Before.owner, Before.name, Before.id, name="changing"),
        ],
    }


class After(Model):
    """The same document, with one index more, one less, and one of the same name on other fields."""

    owner: str
    size: int
    name: str

    model_config = {
        "collection": "parcels",
        "indexes": lambda: [
            Index(After.owner, After.name, After.size, name="owner_name"),
            Index(After.name, After.id, name="changing"),
        ],
    }


class Strict(Model):
    """The same document, with a unique index that the stored documents violate."""

    owner: str
    size: int
    name: str

    model_config = {
        "collection": "parcels",
        "indexes": lambda: [Index(Strict.owner, name="owner", unique=True)],
    }


class Other(Model):
    """A document of another collection."""

    name: str

    model_config = {"collection": "others", "indexes": lambda: [Index(Other.name, name="name")]}


async def open_store(url: str, *models: type[Model]) -> DocumentStore:
    store = create_store(url)
    await store.open(*models)
    return store


async def fill(url: str) -> None:
    store = await open_store(url, Before, Other)
    await store.insert(
        *(Before(id=ObjectId(), owner="ada", size=number, name=name) for number, name in enumerate("cab"))
    )
    await store.insert(Other(id=ObjectId(), name="x"))
    await store.close()


def list_entries(url: str) -> dict[str, int | None]:
    """Return the indexes of the parcels at the address of a store, with the number of their entries if it is known."""
    folder = find_local_folder(url)
    if folder is None:
        with connect(url) as parcels:
            return {name: None for name in parcels.index_information() if name != "_id_"}
    with lmdb.open(str(folder), readonly=True, max_dbs=128) as environment, environment.begin() as transaction:
        names = [bytes(name) for name in transaction.cursor().iternext(values=False)]
        entries = {
            name.decode().removeprefix("index:parcels:"): transaction.stat(
                environment.open_db(name, txn=transaction, create=False)
            )["entries"]
            for name in names
            if name.startswith(b"index:parcels:")
        }
    return {name: number for name, number in entries.items() if number}


@contextmanager
def connect(url: str) -> Iterator[Any]:
    with MongoClient[dict[str, Any]](url) as client:
        yield client.get_default_database()["parcels"]


@pytest.fixture(params=["embedded", "mongodb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a fresh store whose indexes can be listed."""
    if request.param == "mongodb":
        address: str = request.getfixturevalue("mongodb_url")
        return address
    return f"lmdb://{tmp_path / 'store'}"


async def test_a_new_index_is_built_and_serves_queries(url: str) -> None:
    await fill(url)

    store = await open_store(url, After)
    by_name = await store.find(After, After.owner == "ada", sort=(asc(After.name), asc(After.size)), limit=9)
    changed = await store.find(After, After.name > "a", sort=(asc(After.name), asc(After.id)), limit=9)
    await store.close()

    assert [one.size for one in by_name] == [1, 2, 0]
    assert [one.size for one in changed] == [2, 0]
    assert list_entries(url).keys() == {"owner_name", "changing"}


async def test_a_dropped_index_has_no_entries_and_serves_nothing(url: str) -> None:
    await fill(url)
    before = list_entries(url)

    store = await open_store(url, After)
    with pytest.raises(UnsupportedExpression):
        await store.find(After, After.owner == "ada", sort=asc(After.size), limit=9)
    await store.insert(After(id=ObjectId(), owner="ada", size=9, name="d"))
    await store.delete(After, After.owner == "ada", After.name == "a")
    await store.close()

    assert before.keys() == {"owner_size", "changing"}
    assert list_entries(url).keys() == {"owner_name", "changing"}
    assert set(list_entries(url).values()) <= {3, None}


async def test_a_dropped_index_that_returns_is_built_anew(url: str) -> None:
    await fill(url)
    store = await open_store(url, After)
    await store.insert(After(id=ObjectId(), owner="ada", size=-1, name="d"))
    await store.close()

    store = await open_store(url, Before)
    found = await store.find(Before, Before.owner == "ada", sort=(asc(Before.size), asc(Before.id)), limit=9)
    await store.close()

    assert [one.name for one in found] == ["d", "c", "a", "b"]
    assert list_entries(url).keys() == {"owner_size", "changing"}


async def test_the_indexes_of_other_collections_stay(url: str) -> None:
    await fill(url)
    for models in ((After,), (After, Other)):
        store = await open_store(url, *models)
        await store.close()

    store = await open_store(url, Other)
    assert await store.count(Other, Other.name == "x") == 1
    await store.close()


async def test_a_unique_index_that_documents_violate_is_refused(url: str) -> None:
    await fill(url)
    store = create_store(url)
    with pytest.raises(StoreUnusable):
        await store.open(Strict)
    await store.close()

    store = await open_store(url, Before)
    assert await store.count(Before, Before.owner == "ada", Before.size > 0) == 2
    await store.close()


async def test_an_index_that_an_operator_has_created_stays(mongodb_url: str) -> None:
    await fill(mongodb_url)
    with connect(mongodb_url) as parcels:
        parcels.create_index([("size", 1)], name="report")

    store = await open_store(mongodb_url, After)
    await store.close()

    assert list_entries(mongodb_url).keys() == {"owner_name", "changing", "report"}
