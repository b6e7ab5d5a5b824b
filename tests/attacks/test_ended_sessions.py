"""The token of an ended session is useless, and cannot harm its account."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from litestar import Litestar

from tests.people import Person
from tests.web.test_limits import connection_from
from todo_service.settings import Settings, load_settings

pytestmark = pytest.mark.anyio
LIMIT = 20


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    variables = {"RATE_LIMIT_API": f"{LIMIT}/month"}
    return load_settings({"DATA_DIR": str(tmp_path), "STORE_URL": store_url} | variables)


async def test_token_of_an_ended_session_does_not_use_up_the_rate_limit_of_its_account(
    app: Litestar, ada: Person
) -> None:
    form = {"grant_type": "password", "username": ada.username, "password": ada.password}
    async with connection_from(app, "198.51.100.1") as owner, connection_from(app, "198.51.100.2") as thief:
        stolen = (await owner.post("/v1/auth/token", data=form)).json()["access_token"]
        await owner.post("/v1/auth/revoke", data={"token": stolen})
        header = {"Authorization": f"Bearer {stolen}"}

        responses = await asyncio.gather(*(thief.get("/v1/todos", headers=header) for _ in range(3 * LIMIT)))
        response = await ada.get("/v1/todos")

    assert {each.status_code for each in responses} == {401, 429}
    assert response.status_code == 200
    assert f"r={LIMIT - 1};" in response.headers["RateLimit"]
