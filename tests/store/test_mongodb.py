"""Promises of the MongoDB store only."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from odmantic import ObjectId
from odmantic.query import asc, desc
from pymongo import MongoClient
from pymongo.uri_parser import parse_uri

from tests.cost import Lowest
from tests.mongod import free_port
from tests.store.models import MODELS, Thing
from todo_service.store.errors import StoreUnavailable, StoreUnusable
from todo_service.store.mongodb.store import MongoDBStore
from todo_service.store.registry import create_store

pytestmark = pytest.mark.anyio
UNAVAILABLE_SECONDS = 5
"""The maximum time until an unreachable server is reported."""


async def test_queries_use_an_index_without_sorting_in_memory(mongodb_url: str) -> None:
    store = MongoDBStore(mongodb_url)
    await store.open(*MODELS)
    await store.insert(*(Thing(id=ObjectId(), value=number, tags=["a"]) for number in range(50)))
    database = parse_uri(mongodb_url)["database"]
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        client[database].command("profile", 2)
        await store.find(Thing, Thing.shelf == "shelf", Thing.value > 10, sort=desc(Thing.value), limit=5)
        await store.find(Thing, Thing.shelf == "shelf", Thing.tags == "a", sort=asc(Thing.value), limit=5)
        await store.get(Thing, Thing.shelf == "shelf", Thing.name == "x")
        await store.count(Thing, Thing.shelf == "shelf", Thing.value < 10)
        await store.delete(Thing, Thing.shelf == "shelf", Thing.value < 10)
        client[database].command("profile", 0)
        seen = list(client[database]["system.profile"].find({"ns": f"{database}.things"}))
    await store.close()

    assert len(seen) == 6
    for operation in seen:
        assert operation["planSummary"].startswith(("IXSCAN", "COUNT_SCAN")), operation["planSummary"]
        assert not operation.get("hasSortStage")


async def test_delete_works_in_batches(mongodb_url: str) -> None:
    store = MongoDBStore(mongodb_url)
    await store.open(*MODELS)
    await store.insert(*(Thing(id=ObjectId(), value=number) for number in range(1000)))
    await store.insert(*(Thing(id=ObjectId(), value=number, shelf="other") for number in range(3)))
    database = parse_uri(mongodb_url)["database"]
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        client[database].command("profile", 2)
        deleted = await store.delete(Thing, Thing.shelf == "shelf")
        client[database].command("profile", 0)
        numbers = [operation["ndeleted"] for operation in client[database]["system.profile"].find({"op": "remove"})]
    left = await store.count(Thing, Thing.shelf == "other")
    await store.close()

    assert (deleted, left) == (1000, 3)
    assert sum(numbers) == 1000
    assert max(numbers) <= 100


async def test_every_write_waits_for_a_majority_and_the_journal(mongodb_url: str) -> None:
    store = MongoDBStore(f"{mongodb_url}?w=0&journal=false")
    await store.open(*MODELS)
    database = parse_uri(mongodb_url)["database"]
    document = Thing(id=ObjectId())
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        client[database].command("profile", 2)
        await store.insert(document)
        await store.update(Thing, Thing.id == document.id, changes={"name": "x"})
        await store.delete(Thing, Thing.id == document.id)
        client[database].command("profile", 0)
        seen = [operation.get("command", {}) for operation in client[database]["system.profile"].find()]
    await store.close()

    concerns = [command["writeConcern"] for command in seen if "writeConcern" in command]
    assert concerns
    assert all(concern["w"] == "majority" and concern["j"] is True for concern in concerns)


async def test_a_write_that_fails_before_it_has_a_connection_fails_at_once(mongodb_url: str) -> None:
    store = MongoDBStore(mongodb_url)
    await store.open(*MODELS)
    (server,) = store._connection.client._topology._servers.values()
    await server.reset()  # as after a network error

    with pytest.raises(StoreUnavailable, match="AutoReconnect"):
        await store.insert(Thing(id=ObjectId()))
    await store.insert(Thing(id=ObjectId()))

    assert await store.count(Thing, Thing.shelf == "shelf") == 1
    await store.close()


async def test_concurrent_calls_share_round_trips(mongodb_url: str) -> None:
    store = MongoDBStore(mongodb_url)
    await store.open(*MODELS)
    database = parse_uri(mongodb_url)["database"]
    things = [Thing(id=ObjectId()) for _ in range(50)]
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        client[database].command("profile", 2)
        await asyncio.gather(*(store.insert(one) for one in things))
        found = await asyncio.gather(*(store.get(Thing, Thing.id == one.id) for one in things))
        client[database].command("profile", 0)
        seen = list(client[database]["system.profile"].find({"ns": f"{database}.things"}))
    await store.close()

    assert found == things
    assert [(operation["op"], operation.get("ninserted", operation.get("nreturned"))) for operation in seen] == [
        ("insert", 50),
        ("query", 50),
    ]


# a cancelled call may leave the socket of a new connection to the garbage collector
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("call", ["count", "update"])
async def test_a_call_ends_with_its_cancellation_whenever_that_arrives(mongodb_url: str, call: str) -> None:
    store = MongoDBStore(mongodb_url)
    await store.open(*MODELS)
    document = Thing(id=ObjectId())
    await store.insert(document)

    async def execute() -> object:
        if call == "count":
            return await store.count(Thing, Thing.shelf == "shelf")
        return await store.update(Thing, Thing.id == document.id, changes={"name": "x"})

    for turns in range(30):
        task = asyncio.create_task(execute())
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            break
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), turns
    await store.close()


async def test_a_cancellation_that_was_requested_before_a_call_ends_it(mongodb_url: str) -> None:
    store = MongoDBStore(mongodb_url)
    await store.open(*MODELS)

    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await store.count(Thing, Thing.shelf == "shelf")

    for _ in range(20):
        task = asyncio.create_task(cancel_itself())
        await asyncio.wait([task])
        assert task.cancelled()
    await store.close()


async def test_an_unreachable_server_is_unavailable_in_time() -> None:
    seconds = Lowest(UNAVAILABLE_SECONDS)
    for _ in seconds:
        store = MongoDBStore(f"mongodb://127.0.0.1:{free_port()}/test")
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.open(Thing)
        await store.close()
        seconds.add(time.monotonic() - started)

    assert seconds.value <= UNAVAILABLE_SECONDS


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://",
        "mongodb://user:secret@",
        "mongodb://user:secret@host:port/db",
        "mongodb://host/db?w=majority&unknown=%zz",
        "mongodb://a b/db",
        "http://127.0.0.1/",
        "lmdb://host/path",
        "lmdb://",
        "nonsense",
        "",
    ],
)
async def test_an_invalid_address_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises((StoreUnusable, StoreUnavailable)) as raised:
        await create_store(url).open(Thing)

    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_an_unknown_host_of_an_srv_address_makes_the_store_unavailable_and_nothing_worse() -> None:
    """DNS may know the host a moment later."""
    store = create_store("mongodb+srv://user:secret@todo.example.invalid/todo")
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as raised:
            await store.open(Thing)
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "host:27017", "one.example.invalid,two.example.invalid"])
async def test_an_srv_address_that_is_no_host_makes_the_store_unusable(host: str) -> None:
    with pytest.raises(StoreUnusable):
        await create_store(f"mongodb+srv://{host}/todo").open(Thing)


async def test_a_conflicting_index_makes_the_store_unusable(mongodb_url: str) -> None:
    database = parse_uri(mongodb_url)["database"]
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        client[database]["badges"].create_index([("number", 1)], name="number")
    store = MongoDBStore(mongodb_url)

    with pytest.raises(StoreUnusable):
        await store.open(*MODELS)


async def test_every_read_is_from_the_primary(mongodb_url: str) -> None:
    store = MongoDBStore(f"{mongodb_url}?readPreference=secondaryPreferred")
    await store.open(*MODELS)
    database = parse_uri(mongodb_url)["database"]
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        client[database].command("profile", 2)
        await store.get(Thing, Thing.id == ObjectId())
        assert [document async for document in store.scan(Thing)] == []
        client[database].command("profile", 0)
        seen = [operation.get("command", {}) for operation in client[database]["system.profile"].find()]
    await store.close()

    assert seen
    assert all(command.get("$readPreference", {}).get("mode", "primary") == "primary" for command in seen)
