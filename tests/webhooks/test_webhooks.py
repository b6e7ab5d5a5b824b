"""Webhooks are created, changed and deleted over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from litestar import Litestar

from tests.people import Person, assert_problem
from todo_service.bounds.webhooks import MAX_WEBHOOKS, SIGNING_SECRETS
from todo_service.webhooks.documents import Webhook, WebhookDelivery
from todo_service.webhooks.dto import EVENT_NAMES

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
NOBODY_S = "65f1a2b3c4d5e6f708192a3b"
URL = "https://192.0.66.1/hook"


@pytest.fixture
def settings(default_settings: Any) -> Any:
    """The default settings, so that the application is shared."""
    return default_settings


def build_body(**fields: Any) -> dict[str, Any]:
    return {"url": URL, "events": ["todo.changed"]} | fields


async def create(person: Person, **fields: Any) -> dict[str, Any]:
    response = await person.post("/v1/webhooks", json=build_body(**fields))
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


async def test_the_secret_is_shown_once(ada: Person) -> None:
    response = await ada.post("/v1/webhooks", json=build_body(events=list(EVENT_NAMES), description="bot"))
    created = response.json()
    secret = created.pop("secret")

    assert response.headers["location"] == f"/v1/webhooks/{created['id']}"
    assert response.headers["etag"] == '"1"'
    assert secret.startswith("whsec_")
    assert created["enabled"] is True
    assert created["disabled_reason"] is None
    assert created["events"] == list(EVENT_NAMES)
    read = await ada.get(f"/v1/webhooks/{created['id']}")
    assert (read.json(), read.headers["etag"]) == (created, '"1"')
    assert (await ada.get("/v1/webhooks")).json() == {"items": [created], "next_cursor": None}


async def test_webhooks_are_listed_in_pages_newest_first(ada: Person) -> None:
    ids = [(await create(ada, description=str(number)))["id"] for number in range(5)]

    first = (await ada.get("/v1/webhooks", params={"limit": 3})).json()
    second = (await ada.get("/v1/webhooks", params={"limit": 3, "cursor": first["next_cursor"]})).json()

    assert [each["id"] for each in first["items"] + second["items"]] == ids[::-1]
    assert second["next_cursor"] is None


async def test_a_merge_patch_changes_fields(ada: Person) -> None:
    hook = await create(ada, description="bot")
    path = f"/v1/webhooks/{hook['id']}"

    same = await ada.patch(path, json={"enabled": True})
    changed = await ada.patch(
        path,
        json={"url": f"{URL}/2", "events": ["list.deleted", "list.deleted"], "enabled": False, "description": None},
        headers={"If-Match": '"1"'},
    )

    assert same.json()["version"] == 1
    assert changed.headers["etag"] == '"2"'
    shown = changed.json()
    assert (shown["url"], shown["events"]) == (f"{URL}/2", ["list.deleted"])
    assert (shown["enabled"], shown["description"]) == (False, "")
    assert_problem(await ada.patch(path, json={"description": "x"}, headers={"If-Match": '"1"'}), 412)
    assert_problem(await ada.delete(path, headers={"If-Match": '"1"'}), 412)
    assert_problem(await ada.post(f"{path}/secret", headers={"If-Match": '"1"'}), 412)
    assert_problem(await ada.post(f"{path}/test", headers={"If-Match": '"1"'}), 412)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"events": []}, "/events"),
        ({"events": ["todo.created"]}, "/events/0"),
        ({"events": None}, "/events"),
        ({"url": None}, "/url"),
        ({"url": ""}, "/url"),
        ({"url": "https://example.com/" + "x" * 2048}, "/url"),
        ({"url": "https://127.0.0.1/"}, "/url"),
        ({"enabled": None}, "/enabled"),
        ({"description": "x" * 201}, "/description"),
        ({"secret": "whsec_"}, "/secret"),
    ],
)
async def test_invalid_fields_are_named(ada: Person, fields: dict[str, Any], pointer: str) -> None:
    hook = await create(ada)

    assert_problem(await ada.post("/v1/webhooks", json=build_body(**fields)), 422, pointer)
    assert_problem(await ada.patch(f"/v1/webhooks/{hook['id']}", json=fields), 422, pointer)


@pytest.mark.parametrize("others", [1, SIGNING_SECRETS - 1, SIGNING_SECRETS])
async def test_a_repeated_rotation_has_no_second_effect(ada: Person, others: int) -> None:
    hook = await create(ada)
    path = f"/v1/webhooks/{hook['id']}"
    headers = {"Idempotency-Key": "rotation"}
    first = (await ada.post(f"{path}/secret", headers=headers)).json()
    for _ in range(others):
        assert (await ada.post(f"{path}/secret")).status_code == 200

    repeated = await ada.post(f"{path}/secret", headers=headers)

    if others < SIGNING_SECRETS:
        assert (repeated.status_code, repeated.json()["secret"]) == (200, first["secret"])
    else:
        assert_problem(repeated, 410)
    assert (await ada.get(path)).json()["version"] == 2 + others
    assert (await ada.post(f"{path}/secret", headers={"Idempotency-Key": "another"})).status_code == 200


async def test_an_account_has_ten_webhooks_at_most(ada: Person) -> None:
    responses = await asyncio.gather(*(ada.post("/v1/webhooks", json=build_body()) for _ in range(MAX_WEBHOOKS + 3)))

    created = [response.json() for response in responses if response.status_code == 201]
    refused = [response for response in responses if response.status_code != 201]
    assert len(created) == MAX_WEBHOOKS
    for response in refused:
        assert assert_problem(response, 409)["type"] == "urn:todo-service:problem:quota-exceeded"
    await ada.delete(f"/v1/webhooks/{created[0]['id']}")
    await create(ada)


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"enabled": False}),
        ("DELETE", "", None),
        ("POST", "/test", None),
        ("POST", "/secret", None),
        ("GET", "/deliveries", None),
        ("POST", f"/deliveries/{NOBODY_S}/retry", None),
    ],
)
async def test_a_webhook_of_another_account_is_not_found(
    ada: Person, bob: Person, method: str, suffix: str, body: Any
) -> None:
    hook = await create(ada)

    for hook_id in (hook["id"], NOBODY_S, "x"):
        assert_problem(await bob.ask(method, f"/v1/webhooks/{hook_id}{suffix}", json=body), 404)
    assert (await ada.get(f"/v1/webhooks/{hook['id']}")).json()["version"] == 1


async def test_a_delivery_of_another_webhook_is_not_found(ada: Person) -> None:
    first, second = await create(ada), await create(ada)
    ping = (await ada.post(f"/v1/webhooks/{first['id']}/test")).json()

    for delivery_id in (ping["id"], NOBODY_S, "x"):
        assert_problem(await ada.post(f"/v1/webhooks/{second['id']}/deliveries/{delivery_id}/retry"), 404)


async def test_a_repeated_creation_returns_the_same_webhook(ada: Person) -> None:
    key = {"Idempotency-Key": "creation"}

    first, second = [(await ada.post("/v1/webhooks", json=build_body(), headers=key)).json() for _ in range(2)]
    assert first == second
    assert len((await ada.get("/v1/webhooks")).json()["items"]) == 1
    await ada.delete(f"/v1/webhooks/{first['id']}")
    assert_problem(await ada.post("/v1/webhooks", json=build_body(), headers=key), 410)


async def test_a_repeated_rotation_returns_the_same_secret(ada: Person) -> None:
    hook = await create(ada)
    path, key = f"/v1/webhooks/{hook['id']}/secret", {"Idempotency-Key": "rotation"}

    first, second = [await ada.post(path, headers=key) for _ in range(2)]

    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert first.json()["secret"] != hook["secret"]
    assert first.json()["version"] == 2


async def test_a_repeated_ping_is_sent_once(ada: Person) -> None:
    hook = await create(ada)
    path, key = f"/v1/webhooks/{hook['id']}/test", {"Idempotency-Key": "ping"}

    first, second = [(await ada.post(path, headers=key)).json() for _ in range(2)]

    assert first == second
    assert [each["id"] for each in (await ada.get(f"/v1/webhooks/{hook['id']}/deliveries")).json()["items"]] == [
        first["id"]
    ]


async def test_a_ping_of_a_webhook_that_has_been_deleted_since_is_not_repeated(ada: Person) -> None:
    hook = await create(ada)
    path, key = f"/v1/webhooks/{hook['id']}/test", {"Idempotency-Key": "ping"}

    assert (await ada.post(path, headers=key)).status_code == 202
    assert (await ada.delete(f"/v1/webhooks/{hook['id']}")).status_code == 204

    problem = assert_problem(await ada.post(path, headers=key), 410)
    assert problem["type"] == "urn:todo-service:problem:gone"
    assert_problem(await ada.post(path), 404)


async def test_a_read_key_changes_nothing(ada: Person, client: httpx.AsyncClient) -> None:
    hook = await create(ada)
    key = (await ada.post("/v1/api-keys", json={"name": "script", "scope": "read"})).json()
    header = {"Authorization": f"Bearer {key['secret']}"}

    assert (await client.get("/v1/webhooks", headers=header)).status_code == 200
    assert_problem(await client.post("/v1/webhooks", json=build_body(), headers=header), 403)
    assert_problem(await client.post(f"/v1/webhooks/{hook['id']}/secret", headers=header), 403)


async def test_nothing_remains_of_a_deleted_webhook_or_account(app: Litestar, ada: Person) -> None:
    kept, deleted = await create(ada), await create(ada)
    for hook in (kept, deleted):
        await ada.post(f"/v1/webhooks/{hook['id']}/test")
    owner = (await ada.get("/v1/users/me")).json()["id"]

    async def count() -> tuple[int, int]:
        hooks = [each async for each in app.state.store.scan(Webhook) if str(each.account) == owner]
        deliveries = [each async for each in app.state.store.scan(WebhookDelivery) if str(each.account) == owner]
        return len([each for each in hooks if each.url or each.secrets]), len(deliveries)

    assert await count() == (2, 2)
    await ada.delete(f"/v1/webhooks/{deleted['id']}")
    assert await count() == (1, 1)
    await ada.ask("DELETE", "/v1/users/me", json={"password": ada.password})
    assert await count() == (0, 0)


async def test_a_secret_is_stored_encrypted(app: Litestar, ada: Person) -> None:
    hook = await create(ada)

    stored = [each async for each in app.state.store.scan(Webhook) if str(each.id) == hook["id"]]

    assert hook["secret"].removeprefix("whsec_") not in repr(stored)
    assert hook["secret"] not in repr(stored)
    assert b"whsec_" not in stored[0].secrets[0].box
