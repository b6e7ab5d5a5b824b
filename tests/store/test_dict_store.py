"""A third store: registered by its scheme, it serves the whole service, and the package needs no other change."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.people import Person
from todo_service.accounts.passwords import Cost
from todo_service.app import create_app
from todo_service.services import MODELS
from todo_service.settings import load_settings
from todo_service.store.registry import create_store, list_address_forms
from todo_service.store.transfer.copying import copy

pytestmark = pytest.mark.anyio


async def test_the_service_runs_on_it(dict_url: str, tmp_path: Path) -> None:
    settings = load_settings({"DATA_DIR": str(tmp_path), "STORE_URL": dict_url})
    app = create_app(settings, create_store(settings.store_address), password_cost=Cost(memory=8, passes=1))
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # httpx types scopes as plain dictionaries
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        ada = await Person.register(client)
        home = (await ada.post("/v1/lists", json={"name": "Home"})).json()
        first = await ada.todo(title="Water the plants", tags=["garden"], list_id=home["id"])
        await ada.todo(title="Read", due_at="2027-01-31T09:00:00Z", priority="high")
        start = (await ada.get("/v1/todos/changes")).json()
        changed = await ada.patch(f"/v1/todos/{first['id']}", json={"completed": True})
        changes = (await ada.get("/v1/todos/changes", params={"since": start["next"]})).json()
        summary = (await ada.get("/v1/todos/summary")).json()

        assert changed.status_code == 200
        assert await ada.titles(sort="title") == ["Read", "Water the plants"]
        assert await ada.titles(tag="garden", completed="true") == ["Water the plants"]
        assert await ada.titles(q="read") == ["Read"]
        assert [change["id"] for change in changes["changed"]] == [first["id"]]
        assert (summary["open"], summary["completed"]) == (1, 1)
        assert (await client.get("/health/ready")).status_code == 200


async def test_it_is_copied_like_the_others(dict_url: str, tmp_path: Path) -> None:
    store = create_store(dict_url)
    await store.open(*MODELS)
    await store.close()

    copied = await copy(dict_url, f"lmdb://{tmp_path / 'copy'}", MODELS)
    back = await copy(f"lmdb://{tmp_path / 'copy'}", dict_url, MODELS)

    assert copied.hash == back.hash


def test_its_addresses_are_listed() -> None:
    assert list_address_forms() == ["lmdb:///path", "mongodb://…", "mongodb+srv://…", "dict://…"]
