"""An import ends with the session that started it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.people import Person, assert_problem

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]

RECORDS = 3000
MORE_RECORDS = 20_000
"""Enough for the import to take longer than the deletion of the account."""


def body(records: int = RECORDS) -> dict[str, Any]:
    return {"items": [{"title": f"todo {number}"} for number in range(records)]}


@asynccontextmanager
async def running_import(
    person: Person, headers: dict[str, str], records: int = RECORDS
) -> AsyncIterator[asyncio.Task[httpx.Response]]:
    """Start an import, and yield its task once the first batch is stored."""
    response = asyncio.create_task(person.post("/v1/todos/import", json=body(records), headers=headers))
    while not await person.titles():
        assert not response.done()
        await asyncio.sleep(0)  # the embedded store returns without suspending; give the import a turn
    yield response
    await response


async def count(person: Person) -> int:
    return int((await person.get("/v1/todos/summary")).json()["open"])


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "large"}], ids=["without a key", "with a key"])
async def test_an_import_ends_when_its_session_ends(ada: Person, headers: dict[str, str]) -> None:
    async with running_import(ada, headers) as response:
        await ada.delete("/v1/sessions")

    assert_problem(await response, 401)
    await ada.sign_in()
    assert 0 < await count(ada) < RECORDS


async def test_a_retry_finishes_an_import_whose_session_ended(ada: Person) -> None:
    key = {"Idempotency-Key": "large"}
    async with running_import(ada, key):
        await ada.delete("/v1/sessions")
    await ada.sign_in()

    again = await ada.post("/v1/todos/import", json=body(), headers=key)

    assert again.json()["imported"] == RECORDS
    assert await count(ada) == RECORDS


async def test_an_import_ends_when_its_account_is_deleted(ada: Person) -> None:
    async with running_import(ada, {}, MORE_RECORDS) as response:
        deleted = await ada.ask("DELETE", "/v1/users/me", json={"password": ada.password})

    assert deleted.status_code == 204
    assert_problem(await response, 401)
