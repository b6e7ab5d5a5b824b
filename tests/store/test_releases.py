"""The databases of all releases: this version opens them, reads everything, and writes (`tests/store/releases`)."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from odmantic.query import asc
from pymongo import MongoClient
from pymongo.uri_parser import parse_uri

from tests.people import Person
from tests.store.releases.files import Kept, Release, list_releases
from tests.store.releases.sample import IDEMPOTENCY_KEY, LOOPBACK, PASSWORD, REPEATABLE, serve
from tests.webhooks.receiver import running_receiver
from todo_service import __version__
from todo_service.accounts.dto import UserCreate
from todo_service.services import MODELS
from todo_service.store.base import Access
from todo_service.store.embedded.integrity import is_damaged
from todo_service.store.registry import create_store, find_local_folder
from todo_service.store.structs import derive_struct
from todo_service.store.transfer.copying import copy
from todo_service.timestamps import EARLIEST
from todo_service.todos.documents import Todo

pytestmark = pytest.mark.anyio


@pytest.fixture(params=list_releases(), ids=lambda release: f"{release.version}-{release.store}")
def release(request: pytest.FixtureRequest) -> Release:
    """A release whose database is kept."""
    found: Release = request.param
    return found


@pytest.fixture
def kept(release: Release) -> Kept:
    """What is known about its database."""
    return release.load_kept()


@pytest.fixture
def url(release: Release, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a copy of its database."""
    address: str = (
        request.getfixturevalue("mongodb_url") if release.store == "mongodb" else f"lmdb://{tmp_path / 'kept'}"
    )
    release.restore(address)
    return address


def assert_contains(found: Any, expected: Any, path: str = "$") -> None:
    """Assert that JSON has everything that is expected. A later release may add properties."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), path
        for name, value in expected.items():
            assert name in found, f"{path}.{name}"
            assert_contains(found[name], value, f"{path}.{name}")
    elif isinstance(expected, list):
        assert isinstance(found, list), path
        assert len(found) == len(expected), path
        for number, value in enumerate(expected):
            assert_contains(found[number], value, f"{path}[{number}]")
    else:
        assert found == expected, path


def test_the_database_of_this_version_is_kept() -> None:
    assert {(release.version, release.store) for release in list_releases()} >= {
        (__version__, "embedded"),
        (__version__, "mongodb"),
    }


async def test_every_document_is_read(kept: Kept, url: str) -> None:
    store = create_store(url)
    models = [model for model in MODELS if model.__collection__ in kept.documents]  # later releases may add some
    await store.open(*models, access=Access.READ)
    scanned = {model.__collection__: [one async for one in store.scan(model)] for model in models}
    structs = [
        await store.get(model, model.id == one.id, into=derive_struct(model))
        for model in models
        for one in scanned[model.__collection__]
    ]
    await store.close()

    assert {name: len(found) for name, found in scanned.items()} == kept.documents
    assert None not in structs


async def test_the_service_answers_as_the_release_did(kept: Kept, url: str) -> None:
    async with serve(url, create_store(url), kept.secret_key) as client:
        ada = Person(client, UserCreate(kept.username, "ada@example.com", kept.password))
        await ada.sign_in()
        for path, expected in kept.answers.items():
            response = await ada.get(path)
            assert response.status_code == 200, response.text
            assert_contains(response.json(), expected, path)


async def test_kept_tokens_are_valid(kept: Kept, url: str) -> None:
    async with serve(url, create_store(url), kept.secret_key) as client:
        ada = Person(client, UserCreate(kept.username, "ada@example.com", kept.password))
        refreshed = await ada.grant(grant_type="refresh_token", refresh_token=kept.refresh_token)
        ada.access_token = kept.api_key
        by_api_key = await ada.post("/v1/todos", json={"title": "By the API key"})
        changes = await ada.get("/v1/todos/changes", params={"since": kept.sync_token})
        repeated = await ada.post("/v1/todos", json=REPEATABLE, headers=IDEMPOTENCY_KEY)

        assert refreshed.status_code == 200, refreshed.text
        assert by_api_key.status_code == 201, by_api_key.text
        assert [todo["title"] for todo in changes.json()["changed"]] == ["By the API key"]
        assert changes.json()["deleted"] == []
        assert repeated.headers["idempotency-replayed"] == "true"


async def test_the_documents_are_written(kept: Kept, url: str) -> None:
    async with serve(url, create_store(url), kept.secret_key) as client:
        ada = Person(client, UserCreate(kept.username, "ada@example.com", kept.password))
        await ada.sign_in()
        todos = (await ada.get("/v1/todos")).json()["items"]
        summary = (await ada.get("/v1/todos/summary")).json()
        for todo in todos:
            changed = await ada.patch(f"/v1/todos/{todo['id']}", json={"title": "Changed", "priority": "urgent"})
            assert changed.status_code == 200, changed.text
        deleted = [(await ada.delete(f"/v1/todos/{todo['id']}")).status_code for todo in todos[:2]]
        await ada.todo(title="New", tags=["garden"])
        lists = (await ada.get("/v1/lists")).json()["items"]
        renamed = [await ada.patch(f"/v1/lists/{one['id']}", json={"name": "Renamed"}) for one in lists]
        after = (await ada.get("/v1/todos/summary")).json()

        assert deleted == [204, 204]
        assert [response.status_code for response in renamed] == [200] * len(lists)
        assert await ada.titles(q="changed") == ["Changed"] * (len(todos) - 2)
        assert after["open"] + after["completed"] == summary["open"] + summary["completed"] - 1
        again = await client.post("/v1/users", json={"username": "ADA", "email": "x@example.com", "password": PASSWORD})
        assert again.status_code == 409


async def test_todos_of_the_release_are_indexed_by_the_time_they_fire(kept: Kept, url: str) -> None:
    store = create_store(url)
    await store.open(*MODELS)
    next_fire: Any = Todo.next_fire
    found = await store.find(Todo, next_fire >= EARLIEST, sort=(asc(next_fire), asc(Todo.id)), limit=1000)
    expected = [each async for each in store.scan(Todo) if each.due_at is not None or each.next_fire is not None]
    await store.close()

    assert {each.id for each in found} == {each.id for each in expected} != set()
    assert all(each.next_fire is not None for each in found)
    [reminded] = [each for each in found if each.reminders]
    assert reminded.due_at is not None
    assert reminded.next_fire == reminded.due_at - timedelta(minutes=30)


async def test_kept_webhooks_deliver(kept: Kept, url: str) -> None:
    async with (
        running_receiver() as receiver,
        serve(url, create_store(url), kept.secret_key, LOOPBACK) as client,
    ):
        ada = Person(client, UserCreate(kept.username, "ada@example.com", kept.password))
        await ada.sign_in()
        hooks = (await ada.get("/v1/webhooks")).json()["items"]
        [hook] = [each for each in hooks if each["enabled"]]
        moved = await ada.patch(f"/v1/webhooks/{hook['id']}", json={"url": receiver.url})
        assert moved.status_code == 200, moved.text
        todo = await ada.todo(title="New")
        await receiver.await_todos({todo["id"]})

        for received in receiver.received:
            received.verify(kept.webhook_secret)


def test_the_database_passes_the_check(kept: Kept, url: str) -> None:
    environ = os.environ | {"STORE_URL": url, "SECRET_KEY": kept.secret_key}
    checked = subprocess.run(
        [sys.executable, "-m", "todo_service", "check"], env=environ, capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr
    folder = find_local_folder(url)
    if folder is not None:
        assert not is_damaged(folder)
        return
    with MongoClient[dict[str, Any]](url) as client:
        database = client[parse_uri(url)["database"]]
        for name in database.list_collection_names():
            assert database.validate_collection(name, full=True)["valid"], name


async def test_the_database_is_copied(kept: Kept, url: str, tmp_path: Path) -> None:
    copied = await copy(url, f"lmdb://{tmp_path / 'copy'}", MODELS)

    assert {name: count for name, count in (copied.documents).items() if count} == kept.documents
    assert is_damaged(tmp_path / "copy") is False
