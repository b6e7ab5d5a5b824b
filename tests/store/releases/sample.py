"""A sample database that is kept: every kind of document, written over HTTP."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import bson
import httpx
from odmantic import Model

from tests.people import Person
from tests.store.releases.files import Kept
from tests.waiting import wait_until
from tests.webhooks.receiver import running_receiver, status
from todo_service.accounts.passwords import Cost
from todo_service.app import create_app
from todo_service.services import MODELS, create_administration
from todo_service.settings import Settings, load_settings
from todo_service.store.base import Access, DocumentStore
from todo_service.store.bson_codec import EXACT, decode
from todo_service.store.query.planner import list_indexes
from todo_service.sync.counting import TodoCounter
from todo_service.timestamps import now
from todo_service.todos.documents import AccountLease
from todo_service.todos.shared import SharedState
from todo_service.webhooks.documents import WebhookWorker

PASSWORD: Final = "correct horse battery staple"
CHEAP: Final = Cost(memory=8, passes=1)
PATHS: Final = (
    "/v1/users/me",
    "/v1/lists",
    "/v1/tags",
    "/v1/api-keys",
    "/v1/todos?sort=created_at",
    "/v1/todos?sort=-priority",
    "/v1/todos?sort=due_at&completed=false",
    "/v1/todos?sort=title",
    "/v1/todos?sort=position&limit=3",
    "/v1/todos?sort=-updated_at",
    "/v1/todos?tag=garden",
    "/v1/todos?q=ficus",
    "/v1/todos?priority=high",
    "/v1/todos/changes",
    "/v1/todos/summary",
    "/v1/webhooks",
)
"""What is read as the account."""
UNSTABLE: Final = {"/v1/todos/changes": ("next", "deleted"), "/v1/todos?sort=position&limit=3": ("next_cursor",)}
"""What is not compared: tokens, which are encrypted anew, and deletions, which a first call lists only for seconds."""
REPEATABLE: Final = {"title": "Created once"}
IDEMPOTENCY_KEY: Final = {"Idempotency-Key": "kept-key"}
"""A request that may be repeated."""
TRANSIENT: Final = {"swept", "closing", "holder", "claimed_by", "claimed_at"}
"""Fields that have a value only for a moment, or after a crash."""
SHORT_LIVED: Final = (AccountLease, WebhookWorker)
"""Documents that exist only during a move or near a quota, or while a process serves webhooks."""
LOOPBACK: Final = "127.0.0.0/8"
_LATER: Final = timedelta(days=36525)
FULL: Final[dict[str, Any]] = {
    "title": "Water the plants",
    "description": "The ficus needs little.\nThe fern needs much. 🌱",
    "priority": "high",
    "due_at": "2126-01-31T09:00:00+01:00",
    "tags": ["garden", "Été"],
    "steps": [{"title": "Fill the can"}, {"title": "Pour", "completed": True}],
    "recurrence": "FREQ=WEEKLY;BYDAY=TH",
    "recurrence_except": ["2126-02-07T08:00:00Z"],
    "position": 2.5,
}


async def write_sample(url: str, store: DocumentStore) -> Kept:
    """Serve an empty store and fill it over HTTP, move every time of expiry by a century, and read everything.

    Args:
        url: The address of the store.
        store: The store, not yet open. It is closed at the end.
    """
    key = secrets.token_hex(32)
    async with serve(url, store, key, LOOPBACK) as client:
        client.event_hooks["response"].append(_require_success)
        ada = await Person.register(client, username="ada", email="ada@example.com", password="an earlier password")
        api_key = await _write_account(ada)
        await _write_others(client)
        await _administer(store, load_settings({"STORE_URL": url, "SECRET_KEY": key}))
        await _write_todos(ada)
        webhook_secret = await _write_webhooks_and_reminders(ada)
    documents = await _postpone_expiry(store)
    async with serve(url, store, key) as client:
        ada = ada.through(client)
        answers = {path: (await ada.get(path)).json() for path in PATHS}
    sync_token = answers["/v1/todos/changes"]["next"]
    for path, names in UNSTABLE.items():
        for name in names:
            del answers[path][name]
    return Kept(
        secret_key=key,
        username=ada.username,
        password=ada.password,
        refresh_token=ada.refresh_token,
        api_key=api_key,
        webhook_secret=webhook_secret,
        sync_token=sync_token,
        answers=answers,
        documents=documents,
    )


@asynccontextmanager
async def serve(
    url: str, store: DocumentStore, secret_key: str, networks: str = ""
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a store, and provide a client. Every change of a todo refreshes the snapshot of the counts.

    Args:
        url: The address of the store.
        store: The store, not yet open.
        secret_key: The secret key.
        networks: The networks that webhooks may be sent to.
    """
    variables = {"RATE_LIMIT_ENABLED": "false", "WEBHOOK_NETWORKS": networks}
    settings = load_settings({"STORE_URL": url, "SECRET_KEY": secret_key} | variables)
    shared = SharedState(store, counter=TodoCounter(store, min_changes=1))
    app = create_app(settings, store, password_cost=CHEAP, shared_state=shared)
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # httpx types scopes as plain dictionaries
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


async def _write_account(ada: Person) -> str:
    """Write an account with sessions and API keys, and return one of the keys."""
    change = {"current_password": ada.password, "new_password": PASSWORD}
    await ada.post("/v1/users/me/password", json=change, headers={"Idempotency-Key": "kept-password"})
    ada.password = PASSWORD
    await ada.sign_in()
    refreshed = (await ada.grant(grant_type="refresh_token", refresh_token=ada.refresh_token)).json()
    ada.access_token, ada.refresh_token = refreshed["access_token"], refreshed["refresh_token"]
    await ada.patch("/v1/users/me", json={"display_name": "Ada Lovelace", "time_zone": "Europe/Berlin"})
    found = (await ada.post("/v1/api-keys", json={"name": "script", "scope": "write"})).json()
    await ada.post("/v1/api-keys", json={"name": "backup", "scope": "read", "expires_at": "2126-01-01T00:00:00Z"})
    gone = (await ada.post("/v1/api-keys", json={"name": "gone", "scope": "read"})).json()
    await ada.delete(f"/v1/api-keys/{gone['id']}")
    secret: str = found["secret"]
    return secret


async def _write_todos(ada: Person) -> None:
    """Write lists, and todos with every field and with few, changed, completed and deleted."""
    home = (await ada.post("/v1/lists", json={"name": "Home", "color": "#2e7d32", "position": 1.5})).json()
    await ada.post("/v1/lists", json={"name": "Old", "archived": True})
    gone = (await ada.post("/v1/lists", json={"name": "Gone"})).json()
    await ada.delete(f"/v1/lists/{gone['id']}", params={"todos": "move"})
    await ada.post(f"/v1/lists/{home['id']}/move", json={"to": "last"}, headers={"Idempotency-Key": "kept-move"})

    await ada.todo(**FULL, list_id=home["id"])
    await ada.todo(title="Nothing but a title")
    done = await ada.todo(title="Feed the cat", tags=["garden"], recurrence="FREQ=DAILY", due_at="2126-03-01T08:00:00Z")
    await ada.post(f"/v1/todos/{done['id']}/complete")
    await ada.todo(title="On a day", due_on="2126-03-01", start_on="2126-02-01", time_zone="Asia/Tokyo")
    # summer time skips 02:30 on the next day
    skipped = "2126-03-30T01:30:00Z"
    early = await ada.todo(title="Early", due_at=skipped, start_at=skipped, recurrence="FREQ=DAILY", priority="low")
    await ada.post(f"/v1/todos/{early['id']}/complete")
    changed = await ada.todo(title="Read", tags=["books"], list_id=home["id"])
    await ada.get("/v1/todos/summary")
    await ada.patch(f"/v1/todos/{changed['id']}", json={"completed": True, "tags": ["books", "garden"]})
    gone = await ada.todo(title="Gone", tags=["gone"])
    await ada.delete(f"/v1/todos/{gone['id']}")
    operations: list[dict[str, Any]] = [
        {"op": "create", "todo": {"title": "In a batch", "position": -1}},
        {"op": "update", "id": changed["id"], "todo": {"description": "Twice."}},
    ]
    await ada.post("/v1/todos/batch", json={"operations": operations}, headers={"Idempotency-Key": "kept-batch"})
    await ada.post("/v1/todos", json=REPEATABLE, headers=IDEMPOTENCY_KEY)


async def _write_webhooks_and_reminders(ada: Person) -> str:
    """Write reminders that have fired and that will fire, webhooks in every state, and a used event ticket.

    Returns:
        The signing secret of the webhook that is enabled.
    """
    ticket = (await ada.post("/v1/events/ticket")).json()["ticket"]
    await ada.client.head("/v1/events", params={"ticket": ticket})
    await ada.todo(
        title="Call the vet", due_at="2126-04-01T09:00:00Z", reminders=[{"minutes_before": 30}, {"minutes_before": 0}]
    )
    async with running_receiver() as receiver, running_receiver() as failing:
        hook = await _create_webhook(ada, receiver.url)
        soon = now() + timedelta(seconds=1)
        reminders = [{"at": soon.isoformat()}, {"minutes_before": 1}]
        fired = await ada.todo(title="Fired", due_at=(soon + timedelta(minutes=1)).isoformat(), reminders=reminders)
        await receiver.await_types("todo.changed", "todo.reminder", "ping")
        await ada.patch(f"/v1/todos/{fired['id']}", json={"due_at": None, "reminders": []})

        failing.answer = status(500)
        paused = await _create_webhook(ada, failing.url)
        await wait_until(lambda: _has_attempt(ada, paused))
        await ada.patch(f"/v1/webhooks/{paused['id']}", json={"enabled": False})
        failing.answer = status(410)
        gone = await _create_webhook(ada, failing.url)
        await wait_until(lambda: _is_disabled(ada, gone))
        await wait_until(lambda: _has_delivered_all(ada, hook))
        first = (await _list_deliveries(ada, hook))[-1]["id"]
        retry = f"/v1/webhooks/{hook['id']}/deliveries/{first}/retry"
        await ada.post(retry, headers={"Idempotency-Key": "kept-delivery"})
        await wait_until(lambda: _has_delivered_all(ada, hook))
    deleted = await _create_webhook(ada, receiver.url)
    await ada.delete(f"/v1/webhooks/{deleted['id']}")
    secret: str = hook["secret"]
    return secret


async def _create_webhook(ada: Person, url: str) -> dict[str, Any]:
    """Create a webhook, send a ping, and return the webhook."""
    body = {"url": url, "events": ["todo.changed", "todo.reminder"], "description": "kept"}
    created: dict[str, Any] = (await ada.post("/v1/webhooks", json=body)).json()
    await ada.post(f"/v1/webhooks/{created['id']}/test")
    return created


async def _list_deliveries(ada: Person, hook: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ada.get(f"/v1/webhooks/{hook['id']}/deliveries")).json()["items"]
    return found


async def _has_attempt(ada: Person, hook: dict[str, Any]) -> bool:
    return any(each["attempts"] for each in await _list_deliveries(ada, hook))


async def _has_delivered_all(ada: Person, hook: dict[str, Any]) -> bool:
    return all(each["state"] == "delivered" for each in await _list_deliveries(ada, hook))


async def _is_disabled(ada: Person, hook: dict[str, Any]) -> bool:
    found: dict[str, Any] = (await ada.get(f"/v1/webhooks/{hook['id']}")).json()
    return found["disabled_reason"] is not None


async def _write_others(client: httpx.AsyncClient) -> None:
    """Write an account with little in it, one that is deleted, and a registration that may be repeated."""
    bob = await Person.register(client, username="bob", email="bob@example.com", password=PASSWORD)
    await bob.todo(title="Bob's")
    carol = await Person.register(client, username="carol", email="carol@example.com", password=PASSWORD)
    await carol.todo(title="Carol's")
    await carol.ask("DELETE", "/v1/users/me", json={"password": PASSWORD})
    dave = {"username": "dave", "email": "dave@example.com", "password": PASSWORD}
    await client.post("/v1/users", json=dave, headers={"Idempotency-Key": "kept-registration"})


async def _administer(store: DocumentStore, settings: Settings) -> None:
    """Write an invitation, and disable an account."""
    with create_administration(settings, store) as administration:
        await administration.invite(timedelta(days=7))
        await administration.disable(await administration.find("dave"))


async def _postpone_expiry(store: DocumentStore) -> dict[str, int]:
    """Move every time of expiry by a century, and return the number of documents by collection."""
    documents: dict[str, int] = {}
    missing: dict[str, set[str]] = {}
    for model in MODELS:
        await store.open(*MODELS, access=Access.READ)
        async with store.snapshot() as snapshot:
            raws = [raw async for batch in snapshot.documents(model) for raw in batch]
        await store.close()
        await store.open(*MODELS, access=Access.RESTORE)
        await store.load(model, [_postpone(model, raw) for raw in raws])
        await store.close()
        if model in SHORT_LIVED:
            continue
        documents[model.__collection__] = len(raws)
        found = {key for raw in raws for key, value in decode(raw).items() if value}
        if lacking := {field.key_name for field in model.__odm_fields__.values()} - found - TRANSIENT:
            missing[model.__name__] = lacking
    assert not missing, f"fields without a value: {missing}; write documents that have one"
    return documents


def _postpone(model: type[Model], raw: bytes) -> bytes:
    document = decode(raw, EXACT)
    for index in list_indexes(model):
        if index.expires_after is not None and document.get(index.keys[0]) is not None:
            document[index.keys[0]] += _LATER
    return bson.encode(document)


async def _require_success(response: httpx.Response) -> None:
    await response.aread()
    assert response.is_success, f"{response.request.url}: {response.status_code} {response.text}"
