"""API keys: permissions, expiry and deletion."""

from __future__ import annotations

import asyncio
import copy
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.openapi.document import iterate_operations
from tests.people import Person, assert_problem
from todo_service.accounts.documents import ApiKey, Session, User
from todo_service.store.base import DocumentStore

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


async def create_key(person: Person, **fields: Any) -> dict[str, Any]:
    response = await person.post("/v1/api-keys", json={"name": "script", "scope": "write"} | fields)
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


def use_key(person: Person, key: dict[str, Any]) -> Person:
    """Return a person who authenticates with the key."""
    script = copy.copy(person)
    script.access_token = key["secret"]
    return script


async def test_secret_is_shown_once_and_never_stored(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    response = await ada.post("/v1/api-keys", json={"name": " backup ", "scope": "read"})

    created = response.json()
    secret = created.pop("secret")
    assert response.headers["location"] == f"/v1/api-keys/{created['id']}"
    assert response.headers["cache-control"] == "no-store"
    assert created == {
        "id": created["id"],
        "name": "backup",
        "prefix": secret[:13],
        "scope": "read",
        "created_at": created["created_at"],
        "expires_at": None,
    }
    assert (await ada.get("/v1/api-keys")).json() == {"items": [created], "next_cursor": None}
    stored = await store.get(ApiKey, ApiKey.id == ObjectId(created["id"]))
    assert secret[13:] not in repr(stored)


async def test_write_key_can_read_and_write(ada: Person, bob: Person) -> None:
    script = use_key(ada, await create_key(ada))
    todo = await script.todo()

    assert await ada.titles() == ["Water the plants"]
    assert (await script.delete(f"/v1/todos/{todo['id']}")).status_code == 204
    foreign = await bob.todo()
    assert_problem(await script.get(f"/v1/todos/{foreign['id']}"), 404)


async def test_read_key_cannot_write(ada: Person) -> None:
    script = use_key(ada, await create_key(ada, scope="read"))
    todo = await ada.todo()
    path = f"/v1/todos/{todo['id']}"

    assert await script.titles() == ["Water the plants"]
    for response in (
        await script.post("/v1/todos", json={"title": "x"}),
        await script.patch(path, json={"title": "x"}),
        await script.delete(path),
        await script.post(f"{path}/complete"),
        await script.post("/v1/todos/batch", json={"operations": []}),
    ):
        assert_problem(response, 403)
        assert response.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    assert (await ada.get(path)).json() == todo


async def test_read_key_cannot_call_any_operation_that_writes(ada: Person) -> None:
    script = use_key(ada, await create_key(ada, scope="read"))
    document = (await ada.client.get("/schema/openapi.json")).json()
    refused = set()

    for operation in iterate_operations(document):
        if operation.method != "GET" and operation.raw.get("security") != []:
            path = re.sub(r"\{\w+\}", "0" * 24, operation.path)
            response = await script.ask(operation.method, path)
            assert_problem(response, 403)
            assert response.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
            refused.add(operation.id)

    assert refused >= {
        "createTodo",
        "updateTodo",
        "deleteTodo",
        "batchTodos",
        "importTodos",
        "createApiKey",
        "updateMe",
    }


async def test_key_cannot_create_keys_or_end_sessions(ada: Person) -> None:
    key = await create_key(ada)
    script = use_key(ada, key)
    passwords = {"current_password": ada.password, "new_password": "a new password of ours"}

    for response in (
        await script.post("/v1/api-keys", json={"name": "x", "scope": "write"}),
        await script.delete(f"/v1/api-keys/{key['id']}"),
        await script.delete("/v1/sessions"),
        await script.post("/v1/users/me/password", json=passwords),
        await script.ask("DELETE", "/v1/users/me", json={"password": ada.password}),
    ):
        assert_problem(response, 403)
        assert response.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    assert len((await ada.get("/v1/sessions")).json()["items"]) == 1


@pytest.mark.parametrize("scope", ["read", "write"])
async def test_key_can_neither_change_the_email_nor_list_sessions(ada: Person, scope: str) -> None:
    script = use_key(ada, await create_key(ada, scope=scope))

    for response in (
        await script.patch("/v1/users/me", json={"email": "mallory@example.com"}),
        await script.patch("/v1/users/me", json={"email": ada.email, "display_name": "Ada"}),
        await script.get("/v1/sessions"),
    ):
        assert_problem(response, 403)
        assert response.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    renamed = await script.patch("/v1/users/me", json={"display_name": "Ada"})
    assert renamed.status_code == (200 if scope == "write" else 403)
    assert (await ada.get("/v1/users/me")).json()["email"] == ada.email


async def test_deleted_key_stops_working_immediately(ada: Person, bob: Person) -> None:
    key = await create_key(ada)
    script = use_key(ada, key)
    assert await script.titles() == []

    assert_problem(await bob.delete(f"/v1/api-keys/{key['id']}"), 404)
    assert (await ada.delete(f"/v1/api-keys/{key['id']}")).status_code == 204

    problem = await script.get("/v1/todos")
    assert_problem(problem, 401)
    assert problem.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    for unknown in (key["id"], "nonsense"):
        assert_problem(await ada.delete(f"/v1/api-keys/{unknown}"), 404)


@pytest.mark.own_app
async def test_deleted_key_leaves_only_a_tombstone(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    key = await create_key(ada, name="my script")
    assert (await ada.delete(f"/v1/api-keys/{key['id']}")).status_code == 204

    [tombstone] = [found async for found in store.scan(ApiKey)]

    assert (tombstone.owner, tombstone.name, tombstone.prefix, tombstone.secret_hash) == (None, "", "", b"")
    assert tombstone.expires_at is not None
    assert timedelta(hours=24) < tombstone.expires_at - datetime.now(UTC) < timedelta(hours=26)


async def test_expired_key_stops_working(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="milliseconds")
    key = await create_key(ada, expires_at=soon)
    assert key["expires_at"] == soon.replace("+00:00", "Z")
    past = datetime.now(UTC) - timedelta(seconds=1)
    await store.update(ApiKey, ApiKey.id == ObjectId(key["id"]), changes={"expires_at": past})

    assert_problem(await use_key(ada, key).get("/v1/todos"), 401)
    assert (await ada.get("/v1/api-keys")).json()["items"] == []


@pytest.mark.parametrize("change", [lambda text: text[:-1] + "!", lambda text: text[:30] + "A" * 29, lambda _: "todo_"])
async def test_invalid_key_is_rejected(ada: Person, change: Any) -> None:
    key = await create_key(ada)

    assert_problem(await use_key(ada, key | {"secret": change(key["secret"])}).get("/v1/todos"), 401)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"name": " "}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"scope": "all"}, "/scope"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "/expires_at"),
        ({"secret": "mine"}, "/secret"),
    ],
)
async def test_invalid_field_is_named(ada: Person, fields: dict[str, Any], place: str) -> None:
    body = {"name": "x", "scope": "read"} | fields

    assert_problem(await ada.post("/v1/api-keys", json=body), 422, place)


async def test_account_has_at_most_a_hundred_keys_listed_in_pages(ada: Person) -> None:
    created = [(await create_key(ada, name=str(number)))["name"] for number in range(100)]
    assert_problem(await ada.post("/v1/api-keys", json={"name": "x", "scope": "read"}), 403)

    found, path = [], "/v1/api-keys?limit=40"
    while path:
        response = await ada.get(path)
        found += [key["name"] for key in response.json()["items"]]
        path = response.headers.get("link", "").split(">")[0].lstrip("<")

    assert found == created[::-1]


async def test_account_has_at_most_a_hundred_keys_when_created_concurrently(ada: Person, bob: Person) -> None:
    async def create(number: int) -> list[httpx.Response]:
        body = {"name": "x", "scope": "read"}
        return await asyncio.gather(*(ada.post("/v1/api-keys", json=body) for _ in range(number)))

    created = [response for response in await create(150) if response.status_code == 201]
    assert len(created) == 100
    assert len((await ada.get("/v1/api-keys?limit=200")).json()["items"]) == 100
    for response in created[:3]:
        assert (await ada.delete(response.headers["location"])).status_code == 204

    assert Counter(response.status_code for response in await create(5)) == {201: 3, 403: 2}
    await create_key(bob)


@pytest.mark.own_app
async def test_keys_of_a_deleted_account_are_deleted(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    key = await create_key(ada)
    script = use_key(ada, key)
    assert await script.titles() == []

    assert (await ada.delete(f"/v1/api-keys/{(await create_key(ada))['id']}")).status_code == 204

    assert (await ada.ask("DELETE", "/v1/users/me", json={"password": ada.password})).status_code == 204

    assert_problem(await script.get("/v1/todos"), 401)
    assert [found async for found in store.scan(ApiKey)] == []


async def test_a_session_that_another_worker_has_ended_cannot_create_a_key(ada: Person, app: Litestar) -> None:
    user_id = await ada.account_id()
    store: DocumentStore = app.state.store
    await store.delete(Session, Session.owner == user_id)
    assert (await ada.get("/v1/todos")).status_code == 200  # this worker has the session in its cache

    response = await ada.post("/v1/api-keys", json={"name": "backdoor", "scope": "write"})

    assert_problem(response, 401)
    assert await store.find(ApiKey, ApiKey.owner == user_id, sort=None, limit=10) == []


async def test_a_key_whose_account_is_gone_is_not_valid(ada: Person, app: Litestar) -> None:
    created = await create_key(ada)
    store: DocumentStore = app.state.store
    user_id = await ada.account_id()
    await store.delete(User, User.id == user_id)

    response = await use_key(ada, created).get("/v1/todos")

    assert_problem(response, 401)
