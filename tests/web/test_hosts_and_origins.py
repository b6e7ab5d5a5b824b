"""Which hosts are served, and which origins' pages may call."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.people import assert_problem
from todo_service.settings import Settings, load_settings

pytestmark = pytest.mark.anyio
ORIGIN = "https://app.example.com"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        {
            "DATA_DIR": str(tmp_path),
            "ALLOWED_HOSTS": "testserver, *.example.com, [::1]",
            "CORS_ORIGINS": f"{ORIGIN}, http://localhost:3000",
        }
    )


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("testserver", True),
        ("TestServer:8000", True),
        ("a.example.com", True),
        ("a.b.example.com:443", True),
        ("[::1]", True),
        ("[::1]:8000", True),
        ("example.com", False),
        ("testserver.evil.com", False),
        ("evilexample.com", False),
        ("", False),
    ],
)
async def test_only_named_hosts_are_served(client: httpx.AsyncClient, host: str, served: bool) -> None:
    for path in ("/", "/nowhere"):
        answer = await client.get(path, headers={"Host": host})
        if served:
            assert answer.status_code in (200, 404)
        else:
            assert_problem(answer, 400)
    assert (await client.get("/health/live", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:3000"])
async def test_a_named_origin_may_ask_beforehand_and_read(client: httpx.AsyncClient, origin: str) -> None:
    asking = {
        "Origin": origin,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization, content-type, if-match, idempotency-key, x-request-id",
    }
    asked = await client.options("/v1/todos/65f1a2b3c4d5e6f708192a3b", headers=asking)
    answer = await client.get("/v1/todos", headers={"Origin": origin})

    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == origin
    assert "PATCH" in asked.headers["access-control-allow-methods"]
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == origin
    exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert {"etag", "link", "location", "retry-after", "ratelimit", "x-request-id", "idempotency-replayed"} <= exposed


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", f"{ORIGIN}.evil.com", "http://app.example.com", f"{ORIGIN}:8443", "null"]
)
async def test_another_origin_may_not(client: httpx.AsyncClient, origin: str) -> None:
    asked = await client.options("/v1/todos", headers={"Origin": origin, "Access-Control-Request-Method": "GET"})
    answer = await client.get("/v1/todos", headers={"Origin": origin})

    assert_problem(asked, 400)
    assert "access-control-allow-origin" not in asked.headers
    assert "access-control-allow-origin" not in answer.headers


async def test_every_answer_varies_by_origin_where_cors_is_on(client: httpx.AsyncClient) -> None:
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    answers = [
        await client.get("/"),
        await client.get("/", headers={"Origin": ORIGIN}),
        await client.get("/", headers={"Origin": "https://evil.example.com"}),
        await client.get("/nowhere"),
        await client.get("/v1/todos"),
        await client.head("/health/live"),
        await client.get("/", headers={"Host": "evil.example.com."}),
        await client.options("/v1/todos"),
        await client.options("/v1/todos", headers=preflight),
        await client.options("/v1/todos", headers=preflight | {"Origin": "https://evil.example.com"}),
    ]

    for answer in answers:
        assert answer.headers.get_list("vary") == ["Origin"], answer.request
