"""Rate limits."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.people import Person, assert_problem
from todo_service.settings import Settings, load_settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    return load_settings(
        {
            "DATA_DIR": str(tmp_path),
            "STORE_URL": store_url,
            "RATE_LIMIT_API": "20/minute",
            "RATE_LIMIT_AUTH": "4/minute",
        }
    )


async def test_a_limited_route_says_where_one_stands(ada: Person) -> None:
    first = await ada.get("/v1/todos")
    second = await ada.get("/v1/todos")

    assert first.headers["ratelimit-policy"] == '"api";q=20;w=60'
    assert first.headers["ratelimit"].startswith('"api";r=19;t=')
    assert second.headers["ratelimit"].startswith('"api";r=18;t=')


async def test_an_account_over_its_limit_waits_and_others_do_not(ada: Person, bob: Person) -> None:
    answers = [await ada.get("/v1/todos") for _ in range(21)]

    assert [answer.status_code for answer in answers] == [200] * 20 + [429]
    assert_problem(answers[-1], 429)
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert answers[-1].headers["ratelimit"].startswith('"api";r=0;t=')
    assert (await bob.get("/v1/todos")).status_code == 200
    assert (await ada.get("/health/live")).status_code == 200


async def test_bad_tokens_are_counted_by_address(client: httpx.AsyncClient) -> None:
    answers = [await client.get("/v1/todos", headers={"Authorization": "Bearer x"}) for _ in range(21)]

    assert [answer.status_code for answer in answers] == [401] * 20 + [429]


async def test_guessing_passwords_is_limited_and_staying_signed_in_is_not(ada: Person) -> None:
    guesses = [await ada.grant(grant_type="password", username=ada.username, password="wrong") for _ in range(4)]

    assert [answer.status_code for answer in guesses] == [400, 400, 400, 429]
    right = await ada.grant(grant_type="password", username=ada.username, password=ada.password)
    assert_problem(right, 429)
    renewed = await ada.grant(grant_type="refresh_token", refresh_token=ada.refresh_token)
    assert renewed.status_code == 200
