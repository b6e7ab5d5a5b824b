"""API keys: what they may do, and how they end."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person, assert_problem
from todo_service.accounts.documents import ApiKey
from todo_service.store.base import DocumentStore

pytestmark = pytest.mark.anyio


async def a_key(person: Person, **fields: Any) -> dict[str, Any]:
    answer = await person.post("/v1/api-keys", json={"name": "script", "scope": "write"} | fields)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def holder(person: Person, key: dict[str, Any]) -> Person:
    """Return someone who has nothing but the key."""
    script = copy.copy(person)
    script.access_token = key["secret"]
    return script


async def test_a_secret_is_shown_once_and_never_stored(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    answer = await ada.post("/v1/api-keys", json={"name": " backup ", "scope": "read"})

    made = answer.json()
    secret = made.pop("secret")
    assert answer.headers["location"] == f"/v1/api-keys/{made['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert made == {
        "id": made["id"],
        "name": "backup",
        "prefix": secret[:13],
        "scope": "read",
        "created_at": made["created_at"],
        "expires_at": None,
    }
    assert (await ada.get("/v1/api-keys")).json() == {"items": [made], "next_cursor": None}
    stored = await store.get(ApiKey, ApiKey.id == ObjectId(made["id"]))
    assert secret[13:] not in repr(stored)


async def test_a_key_that_may_write_does_what_its_owner_may(ada: Person, bob: Person) -> None:
    script = holder(ada, await a_key(ada))
    todo = await script.todo()

    assert await ada.titles() == ["Water the plants"]
    assert (await script.delete(f"/v1/todos/{todo['id']}")).status_code == 204
    foreign = await bob.todo()
    assert_problem(await script.get(f"/v1/todos/{foreign['id']}"), 404)


async def test_a_key_that_may_read_writes_nothing(ada: Person) -> None:
    script = holder(ada, await a_key(ada, scope="read"))
    todo = await ada.todo()
    path = f"/v1/todos/{todo['id']}"

    assert await script.titles() == ["Water the plants"]
    for answer in (
        await script.post("/v1/todos", json={"title": "x"}),
        await script.patch(path, json={"title": "x"}),
        await script.delete(path),
        await script.post(f"{path}/complete"),
        await script.post("/v1/todos/batch", json={"operations": []}),
    ):
        assert_problem(answer, 403)
        assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    assert (await ada.get(path)).json() == todo


async def test_a_key_cannot_make_keys_or_sign_anyone_out(ada: Person) -> None:
    key = await a_key(ada)
    script = holder(ada, key)
    passwords = {"current_password": ada.password, "new_password": "a new password of ours"}

    for answer in (
        await script.post("/v1/api-keys", json={"name": "x", "scope": "write"}),
        await script.delete(f"/v1/api-keys/{key['id']}"),
        await script.delete("/v1/sessions"),
        await script.post("/v1/users/me/password", json=passwords),
        await script.ask("DELETE", "/v1/users/me", json={"password": ada.password}),
    ):
        assert_problem(answer, 403)
        assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    assert len((await ada.get("/v1/sessions")).json()["items"]) == 1


@pytest.mark.parametrize("scope", ["read", "write"])
async def test_a_key_neither_changes_the_email_nor_lists_sessions(ada: Person, scope: str) -> None:
    script = holder(ada, await a_key(ada, scope=scope))

    for answer in (
        await script.patch("/v1/users/me", json={"email": "mallory@example.com"}),
        await script.patch("/v1/users/me", json={"email": ada.email, "display_name": "Ada"}),
        await script.get("/v1/sessions"),
    ):
        assert_problem(answer, 403)
        assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    renamed = await script.patch("/v1/users/me", json={"display_name": "Ada"})
    assert renamed.status_code == (200 if scope == "write" else 403)
    assert (await ada.get("/v1/users/me")).json()["email"] == ada.email


async def test_a_deleted_key_stops_working_at_once(ada: Person, bob: Person) -> None:
    key = await a_key(ada)
    script = holder(ada, key)
    assert await script.titles() == []

    assert_problem(await bob.delete(f"/v1/api-keys/{key['id']}"), 404)
    assert (await ada.delete(f"/v1/api-keys/{key['id']}")).status_code == 204

    problem = await script.get("/v1/todos")
    assert_problem(problem, 401)
    assert problem.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    for unknown in (key["id"], "nonsense"):
        assert_problem(await ada.delete(f"/v1/api-keys/{unknown}"), 404)


async def test_nothing_of_a_deleted_key_is_left_but_that_it_was_there(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    key = await a_key(ada, name="my script")
    assert (await ada.delete(f"/v1/api-keys/{key['id']}")).status_code == 204

    [tombstone] = [found async for found in store.scan(ApiKey)]

    assert (tombstone.owner, tombstone.name, tombstone.prefix, tombstone.secret_hash) == (None, "", "", b"")
    assert tombstone.expires_at is not None
    assert timedelta(hours=24) < tombstone.expires_at - datetime.now(UTC) < timedelta(hours=26)


async def test_an_expired_key_stops_working(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="milliseconds")
    key = await a_key(ada, expires_at=soon)
    assert key["expires_at"] == soon.replace("+00:00", "Z")
    past = datetime.now(UTC) - timedelta(seconds=1)
    await store.update(ApiKey, ApiKey.id == ObjectId(key["id"]), changes={"expires_at": past})

    assert_problem(await holder(ada, key).get("/v1/todos"), 401)
    assert (await ada.get("/v1/api-keys")).json()["items"] == []


@pytest.mark.parametrize("change", [lambda text: text[:-1] + "!", lambda text: text[:30] + "A" * 29, lambda _: "todo_"])
async def test_a_text_that_is_no_key_is_refused(ada: Person, change: Any) -> None:
    key = await a_key(ada)

    assert_problem(await holder(ada, key | {"secret": change(key["secret"])}).get("/v1/todos"), 401)


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
async def test_a_field_that_breaks_a_rule_is_named(ada: Person, fields: dict[str, Any], place: str) -> None:
    body = {"name": "x", "scope": "read"} | fields

    assert_problem(await ada.post("/v1/api-keys", json=body), 422, place)


async def test_an_account_has_a_hundred_keys_at_most_and_reads_them_page_by_page(ada: Person) -> None:
    made = [(await a_key(ada, name=str(number)))["name"] for number in range(100)]
    assert_problem(await ada.post("/v1/api-keys", json={"name": "x", "scope": "read"}), 403)

    found, path = [], "/v1/api-keys?limit=40"
    while path:
        answer = await ada.get(path)
        found += [key["name"] for key in answer.json()["items"]]
        path = answer.headers.get("link", "").split(">")[0].lstrip("<")

    assert found == made[::-1]


async def test_an_account_has_a_hundred_keys_at_most_however_many_are_created_at_once(ada: Person, bob: Person) -> None:
    async def create(number: int) -> list[httpx.Response]:
        body = {"name": "x", "scope": "read"}
        return await asyncio.gather(*(ada.post("/v1/api-keys", json=body) for _ in range(number)))

    made = [answer for answer in await create(150) if answer.status_code == 201]
    assert len(made) == 100
    assert len((await ada.get("/v1/api-keys?limit=200")).json()["items"]) == 100
    for answer in made[:3]:
        assert (await ada.delete(answer.headers["location"])).status_code == 204

    assert Counter(answer.status_code for answer in await create(5)) == {201: 3, 403: 2}
    await a_key(bob)


async def test_a_deleted_account_s_keys_are_gone(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    key = await a_key(ada)
    script = holder(ada, key)
    assert await script.titles() == []

    assert (await ada.delete(f"/v1/api-keys/{(await a_key(ada))['id']}")).status_code == 204

    assert (await ada.ask("DELETE", "/v1/users/me", json={"password": ada.password})).status_code == 204

    assert_problem(await script.get("/v1/todos"), 401)
    assert [found async for found in store.scan(ApiKey)] == []
