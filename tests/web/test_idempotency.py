"""`Idempotency-Key`: a request and its retries have one effect."""

from __future__ import annotations

import asyncio
import zlib
from datetime import timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar

from tests.people import Person, assert_problem
from tests.web.attempts import CREATING, KEY, REGISTRATION, crash_before_the_response
from todo_service.bounds.accounts import PASSWORDS_OF_ADDRESS
from todo_service.idempotency.documents import IdempotentRequest
from todo_service.store.base import DocumentStore
from todo_service.store.instrumentation import observe
from todo_service.timestamps import now

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


@pytest.mark.parametrize(("path", "body"), CREATING)
async def test_retry_returns_the_first_response(ada: Person, path: str, body: dict[str, Any]) -> None:
    first = await ada.post(path, json=body, headers=KEY)
    again = await ada.post(path, json=body, headers=KEY)
    other = await ada.post(path, json=body, headers={"Idempotency-Key": "another"})

    assert first.status_code == again.status_code == other.status_code
    assert again.content == first.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    for name in ("location", "etag", "content-type", "cache-control"):
        assert again.headers.get(name) == first.headers.get(name)
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert other.content != first.content


@pytest.mark.parametrize(("path", "body"), CREATING)
async def test_retry_after_a_crash_has_no_second_effect(
    ada: Person, app: Litestar, path: str, body: dict[str, Any]
) -> None:
    first = await ada.post(path, json=body, headers=KEY)
    await crash_before_the_response(app)

    again = await ada.post(path, json=body, headers=KEY)

    assert again.json() == first.json()
    assert len(await ada.titles()) == {"/v1/todos": 1, "/v1/todos/batch": 3}.get(path, 0)
    assert len((await ada.get("/v1/lists")).json()["items"]) == (path == "/v1/lists")
    assert len((await ada.get("/v1/api-keys")).json()["items"]) == (path == "/v1/api-keys")


@pytest.mark.own_app
async def test_interrupted_batch_is_completed_by_a_retry(ada: Person, app: Litestar) -> None:
    titles = [f"{number:02}" for number in range(100)]
    body = {"operations": [{"op": "create", "todo": {"title": title}} for title in titles]}

    inserts = 0

    def cancel_half_way(operation: str, seconds: float, available: bool) -> None:
        nonlocal inserts
        inserts += operation == "insert"
        if inserts == 50:
            first.cancel()

    observe(app.state.store, cancel_half_way)
    first = asyncio.create_task(ada.post("/v1/todos/batch", json=body, headers=KEY))
    with pytest.raises(asyncio.CancelledError):
        await first
    interrupted = await ada.titles(limit=200)
    await crash_before_the_response(app)
    again = await ada.post("/v1/todos/batch", json=body, headers=KEY)
    replayed = await ada.post("/v1/todos/batch", json=body, headers=KEY)

    assert 45 <= len(interrupted) <= 55
    assert [result["status"] for result in again.json()["results"]] == [201] * 100
    assert sorted(await ada.titles(limit=200)) == titles
    assert replayed.json() == again.json()
    assert replayed.headers["idempotency-replayed"] == "true"


async def test_retry_advances_a_recurring_todo_once(ada: Person, app: Litestar) -> None:
    todo = await ada.todo(due_at="2027-01-01T09:00:00Z", recurrence="FREQ=DAILY")
    path = f"/v1/todos/{todo['id']}/complete"
    operations = {"operations": [{"op": "complete", "id": todo["id"]}]}

    first = await ada.post(path, headers=KEY)
    await crash_before_the_response(app)
    again = await ada.post(path, headers=KEY)
    in_batch = await ada.post("/v1/todos/batch", json=operations, headers={"Idempotency-Key": "batch"})
    await crash_before_the_response(app)
    batch_again = await ada.post("/v1/todos/batch", json=operations, headers={"Idempotency-Key": "batch"})

    assert first.json()["due_at"] == again.json()["due_at"] == "2027-01-02T09:00:00.000Z"
    assert in_batch.json() == batch_again.json()
    assert in_batch.json()["results"][0]["todo"]["due_at"] == "2027-01-03T09:00:00.000Z"


async def test_retry_of_a_deletion_in_a_batch_returns_the_same_result(ada: Person, app: Litestar) -> None:
    todo = await ada.todo()
    operations = {"operations": [{"op": "delete", "id": todo["id"]}]}

    await ada.post("/v1/todos/batch", json=operations, headers=KEY)
    await crash_before_the_response(app)
    again = await ada.post("/v1/todos/batch", json=operations, headers=KEY)

    assert again.json()["results"] == [{"status": 204}]


async def send_sixteen_times(person: Person, path: str, body: dict[str, Any] | None) -> list[httpx.Response]:
    """Send a request sixteen times concurrently, and return the responses that are not 409."""
    request = {} if body is None else {"json": body}
    responses = await asyncio.gather(*(person.post(path, headers=KEY, **request) for _ in range(16)))
    for response in responses:
        if response.status_code not in (200, 201):
            assert_problem(response, 409)
            assert response.headers["retry-after"] == "1"
    admitted = [response for response in responses if response.status_code != 409]
    assert len({response.content for response in admitted}) == 1
    return admitted


@pytest.mark.parametrize(("path", "body"), CREATING)
async def test_only_one_of_sixteen_concurrent_attempts_has_an_effect(
    ada: Person, path: str, body: dict[str, Any]
) -> None:
    admitted = await send_sixteen_times(ada, path, body)

    assert admitted[0].status_code == (200 if path.endswith("batch") else 201)
    assert len(await ada.titles()) == {"/v1/todos": 1, "/v1/todos/batch": 3}.get(path, 0)
    assert len((await ada.get("/v1/lists")).json()["items"]) == (path == "/v1/lists")
    assert len((await ada.get("/v1/api-keys")).json()["items"]) == (path == "/v1/api-keys")


async def test_only_one_of_sixteen_concurrent_completions_advances_a_recurring_todo(ada: Person) -> None:
    todo = await ada.todo(due_at="2027-01-01T09:00:00Z", recurrence="FREQ=DAILY")

    [moved, *_] = await send_sixteen_times(ada, f"/v1/todos/{todo['id']}/complete", None)

    assert moved.json()["due_at"] == "2027-01-02T09:00:00.000Z"
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json() == moved.json()


@pytest.mark.own_app
async def test_only_one_of_several_concurrent_registrations_creates_an_account(client: httpx.AsyncClient) -> None:
    body = REGISTRATION

    responses = await asyncio.gather(
        *(client.post("/v1/users", json=body, headers=KEY) for _ in range(PASSWORDS_OF_ADDRESS))
    )

    assert {response.status_code for response in responses} <= {201, 409}
    assert len({response.content for response in responses if response.status_code == 201}) == 1


async def test_request_in_progress_is_not_executed_again(ada: Person, app: Litestar) -> None:
    await ada.post("/v1/todos", json={"title": "x"}, headers=KEY)
    await crash_before_the_response(app, renewed_at=now())

    assert_problem(await ada.post("/v1/todos", json={"title": "x"}, headers=KEY), 409)


async def test_key_belongs_to_one_request(ada: Person, bob: Person) -> None:
    await ada.post("/v1/todos", json={"title": "x"}, headers=KEY)

    for path, body in (("/v1/todos", {"title": "y"}), ("/v1/lists", {"name": "x"})):
        assert_problem(await ada.post(path, json=body, headers=KEY), 422, "Idempotency-Key")
    assert (await bob.post("/v1/todos", json={"title": "z"}, headers=KEY)).status_code == 201
    assert await ada.titles() == ["x"]
    assert await bob.titles() == ["z"]


@pytest.mark.own_app
async def test_key_expires_after_a_day(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    first = await ada.post("/v1/todos", json={"title": "x"}, headers=KEY)
    [record] = [found async for found in store.scan(IdempotentRequest)]
    assert timedelta(hours=23) < record.expires_at - now() <= timedelta(hours=24)
    await store.update(IdempotentRequest, IdempotentRequest.id == record.id, changes={"expires_at": now()})

    second = await ada.post("/v1/todos", json={"title": "x"}, headers=KEY)

    assert second.json()["id"] != first.json()["id"]


@pytest.mark.own_app
async def test_rejection_is_not_stored(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    rejected = [await ada.post("/v1/todos", json={"title": title}, headers=KEY) for title in (" ", "", " ")]
    malformed = await ada.post("/v1/todos", content=b"{", headers=KEY | {"Content-Type": "application/json"})
    assert [found async for found in store.scan(IdempotentRequest)] == []
    created = await ada.post("/v1/todos", json={"title": "x"}, headers=KEY)

    assert [response.status_code for response in (*rejected, malformed, created)] == [422, 422, 422, 400, 201]
    assert all("idempotency-replayed" not in response.headers for response in rejected)


async def test_rejection_after_a_crash_does_not_release_the_key(ada: Person, app: Litestar) -> None:
    created = await ada.post("/v1/todos", json={"title": "x"}, headers=KEY)
    await crash_before_the_response(app)
    await ada.delete(f"/v1/todos/{created.json()['id']}")

    assert_problem(await ada.post("/v1/todos", json={"title": "x"}, headers=KEY), 410)
    assert_problem(await ada.post("/v1/todos", json={"title": "x"}, headers=KEY), 410)
    assert_problem(await ada.post("/v1/todos", json={"title": "y"}, headers=KEY), 422, "Idempotency-Key")
    assert await ada.titles() == []


async def test_whitespace_and_member_order_do_not_change_the_fingerprint(ada: Person) -> None:
    headers = KEY | {"Content-Type": "application/json"}
    first = await ada.post("/v1/todos", content=b'{"title":"\\u00e9","tags":["a","b"]}', headers=headers)
    again = await ada.post("/v1/todos", content='{ "tags": ["a", "b"],\n"title": "é" }'.encode(), headers=headers)
    other = await ada.post("/v1/todos", content='{"tags":["b","a"],"title":"é"}'.encode(), headers=headers)

    assert again.content == first.content
    assert_problem(other, 422, "Idempotency-Key")
    assert await ada.titles() == ["é"]


async def test_order_of_members_of_a_large_body_does_not_change_the_fingerprint(ada: Person) -> None:
    def build_batch(*names: str) -> dict[str, Any]:
        todo = {"title": "x", "description": "y" * 9_000}
        return {"operations": [{"op": "create", "todo": {name: todo[name] for name in names}} for _ in range(100)]}

    first = await ada.post("/v1/todos/batch", json=build_batch("title", "description"), headers=KEY)
    again = await ada.post("/v1/todos/batch", json=build_batch("description", "title"), headers=KEY)

    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    assert len(await ada.titles(limit=200)) == 100


async def test_if_match_changes_the_fingerprint(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo())['id']}/complete"
    first = await ada.post(path, headers=KEY | {"If-Match": '"1"'})

    assert_problem(await ada.post(path, headers=KEY | {"If-Match": '"2"'}), 422, "Idempotency-Key")
    assert_problem(await ada.post(path, headers=KEY), 422, "Idempotency-Key")
    assert (await ada.post(path, headers=KEY | {"If-Match": '"1"'})).content == first.content


@pytest.mark.own_app
async def test_anonymous_clients_do_not_share_keys(client: httpx.AsyncClient) -> None:
    other = {"username": "mallory", "email": "mallory@example.com", "password": "correct horse battery"}
    first = await client.post("/v1/users", json=REGISTRATION, headers=KEY)
    second = await client.post("/v1/users", json=other, headers=KEY)
    again = [await client.post("/v1/users", json=body, headers=KEY) for body in (REGISTRATION, other)]

    assert (first.status_code, second.status_code) == (201, 201)
    assert [response.json() for response in again] == [first.json(), second.json()]


@pytest.mark.own_app
async def test_record_of_a_registration_does_not_reveal_the_password(client: httpx.AsyncClient, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    await client.post("/v1/users", json=REGISTRATION, headers=KEY)

    [record] = [found async for found in store.scan(IdempotentRequest)]

    assert record.fingerprint == b""
    assert REGISTRATION["password"].encode() not in zlib.decompress(record.body)


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"two words", b"\xc3\xbc"])
async def test_malformed_key_is_rejected(ada: Person, key: bytes) -> None:
    headers = {b"Authorization": f"Bearer {ada.access_token}".encode(), b"Idempotency-Key": key}
    response = await ada.client.post("/v1/todos", json={"title": "x"}, headers=headers)

    assert_problem(response, 422, "Idempotency-Key")
    assert await ada.titles() == []


@pytest.mark.own_app
async def test_registration_can_be_retried(client: httpx.AsyncClient, app: Litestar) -> None:
    body = REGISTRATION
    first = await client.post("/v1/users", json=body, headers=KEY)
    again = await client.post("/v1/users", json=body, headers=KEY)
    await crash_before_the_response(app)
    after_a_crash = await client.post("/v1/users", json=body, headers=KEY)

    assert first.status_code == again.status_code == after_a_crash.status_code == 201
    assert first.json() == again.json() == after_a_crash.json()
    assert_problem(await client.post("/v1/users", json=body), 409)


@pytest.mark.own_app
async def test_the_secret_of_an_api_key_is_not_stored(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    created = await ada.post("/v1/api-keys", json={"name": "x", "scope": "read"}, headers=KEY)

    [record] = [found async for found in store.scan(IdempotentRequest)]

    assert record.body == b""
    assert created.json()["secret"][13:] not in repr(record)
    assert record.owner == await ada.account_id()


@pytest.mark.own_app
async def test_records_of_a_deleted_account_are_deleted(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    await ada.post("/v1/todos", json={"title": "x"}, headers=KEY)

    assert (await ada.ask("DELETE", "/v1/users/me", json={"password": ada.password})).status_code == 204

    assert [found async for found in store.scan(IdempotentRequest)] == []


async def test_operation_without_effect_in_a_batch_has_none_in_a_retry(ada: Person, app: Litestar) -> None:
    todo = await ada.todo()
    body = {"operations": [{"op": "reopen", "id": todo["id"]}, {"op": "complete", "id": todo["id"]}]}

    await ada.post("/v1/todos/batch", json=body, headers=KEY)
    await crash_before_the_response(app)
    await ada.post("/v1/todos/batch", json=body, headers=KEY)

    assert (await ada.get(f"/v1/todos/{todo['id']}")).json()["completed"] is True


async def test_a_key_with_another_media_type_is_refused(ada: Person) -> None:
    key = {"Idempotency-Key": "file"}
    csv = key | {"Content-Type": "text/csv"}
    first = await ada.post("/v1/todos/import", content=b"title\r\nx\r\n", headers=csv)
    again = await ada.post("/v1/todos/import", content=b"title\r\nx\r\n", headers=csv)

    other = await ada.post(
        "/v1/todos/import", content=b"title\r\nx\r\n", headers=key | {"Content-Type": "text/calendar"}
    )

    assert first.json()["imported"] == 1
    assert again.json() == first.json()
    assert_problem(other, 422)
