"""`Idempotency-Key`: retries after a deletion, and after a rotation of SECRET_KEY."""

from __future__ import annotations

import zlib
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person, assert_problem
from tests.web.attempts import CREATING, KEY, REGISTRATION, crash_before_the_response
from todo_service.accounts.documents import User
from todo_service.accounts.dto import UserCreate
from todo_service.app import create_app
from todo_service.applied_changes import encode_change
from todo_service.bounds.todos import APPLIED_CHANGES
from todo_service.idempotency.documents import IdempotentRequest
from todo_service.idempotency.fingerprints import digest_request
from todo_service.security.sealing import compute_mac
from todo_service.settings import Settings
from todo_service.store.base import DocumentStore
from todo_service.timestamps import now

PASSWORD = "/v1/users/me/password"
pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


@pytest.mark.parametrize("crashed", [False, True], ids=["completed", "crashed"])
async def test_retry_is_gone_after_the_api_key_was_deleted(ada: Person, app: Litestar, crashed: bool) -> None:
    body = {"name": "script", "scope": "write"}
    created = (await ada.post("/v1/api-keys", json=body, headers=KEY)).json()
    if crashed:
        await crash_before_the_response(app)
    assert (await ada.delete(f"/v1/api-keys/{created['id']}")).status_code == 204

    for _ in range(2):
        again = await ada.post("/v1/api-keys", json=body, headers=KEY)
        assert_problem(again, 410)
        assert "secret" not in again.text

    ada.access_token, session = created["secret"], ada.access_token
    assert_problem(await ada.get("/v1/todos"), 401)
    ada.access_token = session
    assert (await ada.get("/v1/api-keys")).json()["items"] == []


@pytest.mark.parametrize("crashed", [False, True], ids=["completed", "crashed"])
@pytest.mark.parametrize("path", ["/v1/todos", "/v1/lists"])
async def test_retry_is_gone_after_the_document_was_deleted(
    ada: Person, app: Litestar, path: str, crashed: bool
) -> None:
    body = {"title": "x"} if path == "/v1/todos" else {"name": "x"}
    created = (await ada.post(path, json=body, headers=KEY)).json()
    if crashed:
        await crash_before_the_response(app)
    assert (await ada.delete(f"{path}/{created['id']}")).status_code == 204

    for _ in range(2):
        assert_problem(await ada.post(path, json=body, headers=KEY), 410)

    assert (await ada.get(path)).json()["items"] == []


async def test_retry_of_a_batch_reports_the_deleted_todos(ada: Person) -> None:
    kept = await ada.todo(title="kept")
    operations: list[dict[str, Any]] = [{"op": "create", "todo": {"title": str(number)}} for number in range(3)]
    body = {"operations": [*operations, {"op": "complete", "id": kept["id"]}]}
    first = (await ada.post("/v1/todos/batch", json=body, headers=KEY)).json()["results"]
    for todo_id in (first[1]["todo"]["id"], kept["id"]):
        assert (await ada.delete(f"/v1/todos/{todo_id}")).status_code == 204

    again = (await ada.post("/v1/todos/batch", json=body, headers=KEY)).json()["results"]

    assert again[1]["status"] == again[1]["problem"]["status"] == 410
    assert [again[0], *again[2:]] == [first[0], *first[2:]]


@pytest.mark.parametrize("crashed", [False, True], ids=["completed", "crashed"])
@pytest.mark.own_app
async def test_retry_is_gone_after_the_account_was_deleted(
    client: httpx.AsyncClient, app: Litestar, crashed: bool
) -> None:
    eve = await Person.register(client)
    body = {"username": "mallory", "email": "mallory@example.com", "password": eve.password}
    assert (await client.post("/v1/users", json=body, headers=KEY)).status_code == 201
    if crashed:
        await crash_before_the_response(app)
    mallory = Person(client, UserCreate(**body))
    await mallory.sign_in()
    assert (await mallory.ask("DELETE", "/v1/users/me", json={"password": eve.password})).status_code == 204

    for _ in range(2):
        assert_problem(await client.post("/v1/users", json=body, headers=KEY), 410)


def create_app_with_rotated_key(app: Litestar, settings: Settings) -> Litestar:
    """Return an application with the same store and a new SECRET_KEY."""
    replaced = msgspec.structs.replace(
        settings, secret_key=b"another secret key of the tests, long", previous_secret_keys=(settings.secret_key,)
    )
    return create_app(replaced, app.state.store)


def connect(app: Litestar) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # httpx types scopes as plain dictionaries
    return httpx.AsyncClient(transport=transport, base_url="http://testserver")


@pytest.mark.parametrize("crashed", [False, True], ids=["completed", "crashed"])
@pytest.mark.parametrize(("path", "body"), CREATING)
@pytest.mark.own_app
async def test_retry_after_a_secret_key_rotation_has_no_second_effect(
    ada: Person, app: Litestar, settings: Settings, path: str, body: dict[str, Any], crashed: bool
) -> None:
    first = await ada.post(path, json=body, headers=KEY)
    if crashed:
        await crash_before_the_response(app)
    async with connect(create_app_with_rotated_key(app, settings)) as ada.client:
        again = await ada.post(path, json=body, headers=KEY)

        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert len(await ada.titles()) == {"/v1/todos": 1, "/v1/todos/batch": 3}.get(path, 0)
        assert len((await ada.get("/v1/lists")).json()["items"]) == (path == "/v1/lists")
        assert len((await ada.get("/v1/api-keys")).json()["items"]) == (path == "/v1/api-keys")


@pytest.mark.own_app
async def test_registration_can_be_retried_after_a_secret_key_rotation(
    client: httpx.AsyncClient, app: Litestar, settings: Settings
) -> None:
    first = await client.post("/v1/users", json=REGISTRATION, headers=KEY)
    async with connect(create_app_with_rotated_key(app, settings)) as later:
        again = await later.post("/v1/users", json=REGISTRATION, headers=KEY)
        await crash_before_the_response(app)
        after_a_crash = await later.post("/v1/users", json=REGISTRATION, headers=KEY)

    assert (again.status_code, after_a_crash.status_code) == (201, 201)
    assert first.json() == again.json() == after_a_crash.json()


@pytest.mark.own_app
async def test_replica_without_the_secret_key_does_not_create_another_secret(
    ada: Person, app: Litestar, settings: Settings
) -> None:
    body = {"name": "script", "scope": "read"}
    here = ada.client
    async with connect(create_app_with_rotated_key(app, settings)) as ada.client:
        created = await ada.post("/v1/api-keys", json=body, headers=KEY)
    ada.client = here

    assert_problem(await ada.post("/v1/api-keys", json=body, headers=KEY), 503)
    assert [key["id"] for key in (await ada.get("/v1/api-keys")).json()["items"]] == [created.json()["id"]]


@pytest.mark.parametrize("rotated", [False, True], ids=["same key", "rotated key"])
@pytest.mark.parametrize("crashed", [False, True], ids=["completed", "crashed"])
@pytest.mark.own_app
async def test_a_change_of_the_password_can_be_retried(
    ada: Person, app: Litestar, settings: Settings, crashed: bool, rotated: bool
) -> None:
    body = {"current_password": ada.password, "new_password": "another horse battery"}
    path = "/v1/users/me/password"
    first = await ada.post(path, json=body, headers=KEY)
    if crashed:
        await crash_before_the_response(app)
    async with connect(create_app_with_rotated_key(app, settings)) as later:
        person = ada.through(later) if rotated else ada
        again = await person.post(path, json=body, headers=KEY)
        other = await person.post(path, json=body | {"new_password": "a third horse battery"}, headers=KEY)
        without_key = await person.post(path, json=body)

    assert (first.status_code, again.status_code) == (204, 204)
    assert again.headers.get("idempotency-replayed") == (None if crashed else "true")
    assert "content-length" not in again.headers
    assert_problem(other, 422, "Idempotency-Key")
    assert_problem(without_key, 403)
    ada.password = "another horse battery"
    await ada.sign_in()


async def change_password_and_crash(ada: Person, app: Litestar) -> dict[str, str]:
    """Change a password with `KEY`, as if the service had crashed before the response. Return the body."""
    body = {"current_password": ada.password, "new_password": "another horse battery"}
    assert (await ada.post(PASSWORD, json=body, headers=KEY)).status_code == 204
    await crash_before_the_response(app)
    return body


@pytest.mark.own_app
async def test_a_repeated_change_of_the_password_ends_no_session_after_the_password_was_changed_back(
    ada: Person, app: Litestar
) -> None:
    body = await change_password_and_crash(ada, app)
    back = {"current_password": body["new_password"], "new_password": body["current_password"]}
    assert (await ada.post(PASSWORD, json=back)).status_code == 204
    phone = ada.through(ada.client)
    await phone.sign_in()

    assert (await ada.post(PASSWORD, json=body, headers=KEY)).status_code == 204

    assert (await phone.get("/v1/users/me")).status_code == 200
    assert (await ada.get("/v1/users/me")).json()["version"] == 3
    await ada.sign_in()


@pytest.mark.own_app
async def test_a_repeated_change_of_the_password_deletes_no_session_that_began_under_it(
    ada: Person, app: Litestar
) -> None:
    body = await change_password_and_crash(ada, app)
    phone = ada.through(ada.client)
    phone.password = body["new_password"]
    await phone.sign_in()

    assert (await ada.post(PASSWORD, json=body, headers=KEY)).status_code == 204

    assert (await phone.get("/v1/users/me")).status_code == 200
    assert len((await ada.get("/v1/sessions")).json()["items"]) == 2


@pytest.mark.own_app
async def test_a_repeated_change_of_the_password_is_gone_if_its_effect_cannot_be_told(
    ada: Person, app: Litestar
) -> None:
    body = await change_password_and_crash(ada, app)
    later = [encode_change(now(), ObjectId()) for _ in range(APPLIED_CHANGES)]
    user_id = await ada.account_id()
    assert await app.state.store.update(User, User.id == user_id, changes={"applied_change_ids": later})

    assert_problem(await ada.post(PASSWORD, json=body, headers=KEY), 410)

    ada.password = body["new_password"]
    await ada.sign_in()


@pytest.mark.own_app
async def test_a_wrong_password_can_be_corrected_with_the_same_key(ada: Person, app: Litestar) -> None:
    path, wrong = "/v1/users/me/password", {"current_password": "not the password", "new_password": ada.password}

    for _ in range(2):
        assert_problem(await ada.post(path, json=wrong, headers=KEY), 403)
    right = {"current_password": ada.password, "new_password": "another horse battery"}
    assert (await ada.post(path, json=right, headers=KEY)).status_code == 204


@pytest.mark.own_app
async def test_the_record_of_a_change_of_the_password_does_not_help_to_guess_it(ada: Person, app: Litestar) -> None:
    body = {"current_password": ada.password, "new_password": "another horse battery"}
    headers = KEY | {"Content-Type": "application/json"}
    content = msgspec.json.encode(body)
    await ada.post("/v1/users/me/password", content=content, headers=headers)
    store: DocumentStore = app.state.store

    [record] = [found async for found in store.scan(IdempotentRequest)]

    scope: Any = {
        "path": "/v1/users/me/password",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    digest = await digest_request(scope, content)
    assert record.fingerprint
    assert record.fingerprint not in (digest, compute_mac(record.seed, digest))
    assert zlib.decompress(record.body) == b""
