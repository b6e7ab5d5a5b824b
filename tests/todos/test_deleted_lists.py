"""No todo refers to a list that does not exist, whatever writes to the list while it is deleted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.people import Person
from tests.serving import running_service

pytestmark = pytest.mark.anyio
ROUNDS: Final = 24
RECORDS: Final = 150
_MOMENTS: Final = 6


async def test_a_list_that_is_deleted_during_an_import_leaves_no_todo_behind(store_url: str, tmp_path: Path) -> None:
    overlapping = 0
    with running_service(tmp_path, {"STORE_URL": store_url}) as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            ada = await Person.register(client)
            for number in range(ROUNDS):
                list_id = (await ada.post("/v1/lists", json={"name": "x"})).json()["id"]
                records = [{"title": "x", "list_id": list_id}] * RECORDS
                importing = asyncio.create_task(ada.post("/v1/todos/import", json=records))
                for _ in range(number % _MOMENTS):  # delete the list a little later each time
                    await ada.get("/v1/users/me")
                todos = ("move", "delete")[number // _MOMENTS % 2]
                deleted = await ada.delete(f"/v1/lists/{list_id}", params={"todos": todos})
                pending = not importing.done()
                imported = await importing

                assert (imported.status_code, deleted.status_code) == (200, 204)
                assert await list_unknown_lists(ada) == set()
                overlapping += pending and imported.json()["imported"] > 0

    assert overlapping > ROUNDS / 4


async def list_unknown_lists(person: Person) -> set[Any]:
    """Return the ids of lists that todos refer to, but that do not exist."""
    summary = (await person.get("/v1/todos/summary")).json()
    lists = (await person.get("/v1/lists", params={"limit": 200})).json()["items"]
    return {each["list_id"] for each in summary["by_list"]} - {each["id"] for each in lists} - {None}
