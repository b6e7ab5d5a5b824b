"""Allowed hosts and CORS origins."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from litestar import Litestar

from tests.application import CHEAP_COST, running_app
from tests.people import Person, assert_problem
from todo_service.settings import load_settings
from todo_service.store.mongodb.store import RESOLVE_AFTER

pytestmark = pytest.mark.anyio
ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Litestar]:
    """The application of these tests, which only read, or have accounts of their own."""
    settings = load_settings(
        {
            "DATA_DIR": str(tmp_path_factory.mktemp("data")),
            "ALLOWED_HOSTS": "testserver, *.example.com, [::1]",
            "CORS_ORIGINS": (
                "HTTPS://App.Example.com:443, http://localhost:3000, Capacitor://localhost, tauri://localhost, "
                "chrome-extension://abcdefghijklmnopabcdefghijklmnop, http://[2001:DB8::1]:80"
            ),
        }
    )
    async with running_app(settings, CHEAP_COST, RESOLVE_AFTER) as application:
        yield application


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
async def test_only_allowed_hosts_are_served(client: httpx.AsyncClient, host: str, served: bool) -> None:
    for path in ("/", "/nowhere"):
        response = await client.get(path, headers={"Host": host})
        if served:
            assert response.status_code in (200, 404)
        else:
            assert_problem(response, 400)
    assert (await client.get("/health/live", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        ORIGIN,
        "http://localhost:3000",
        "capacitor://localhost",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "http://[2001:db8::1]",
    ],
)
async def test_an_allowed_origin_passes_the_preflight_and_reads(client: httpx.AsyncClient, origin: str) -> None:
    asking = {
        "Origin": origin,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": (
            "authorization, content-type, if-match, if-none-match, idempotency-key, x-request-id, last-event-id, "
            "traceparent, tracestate, baggage"
        ),
    }
    asked = await client.options("/v1/todos/65f1a2b3c4d5e6f708192a3b", headers=asking)
    response = await client.get("/v1/todos", headers={"Origin": origin})

    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == origin
    assert "PATCH" in asked.headers["access-control-allow-methods"]
    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == origin
    exposed = {name.strip().lower() for name in response.headers["access-control-expose-headers"].split(",")}
    assert exposed == {
        "etag",
        "link",
        "location",
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
        "x-request-id",
        "idempotency-replayed",
        "content-disposition",
    }


@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, True), ("https://evil.example.com", False)])
@pytest.mark.parametrize("path", ["/v1/todos", "/v1/todos/65f1a2b3c4d5e6f708192a3b", "/nowhere", "/"])
async def test_options_that_are_no_preflight_answer_as_without_an_origin(
    client: httpx.AsyncClient, path: str, origin: str, allowed: bool
) -> None:
    without = await client.options(path)
    response = await client.options(path, headers={"Origin": origin})

    assert response.status_code == without.status_code
    added = set(response.headers.multi_items()) - set(without.headers.multi_items())
    names = {name for name, _ in added} - {"x-request-id", "ratelimit"}
    assert names == {"access-control-expose-headers", *(["access-control-allow-origin"] if allowed else [])}
    assert without.headers.keys() <= response.headers.keys()


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", f"{ORIGIN}.evil.com", "http://app.example.com", f"{ORIGIN}:8443", "null"]
)
async def test_another_origin_is_rejected(client: httpx.AsyncClient, origin: str) -> None:
    asked = await client.options("/v1/todos", headers={"Origin": origin, "Access-Control-Request-Method": "GET"})
    response = await client.get("/v1/todos", headers={"Origin": origin})

    assert_problem(asked, 400)
    assert "access-control-allow-origin" not in asked.headers
    assert "access-control-allow-origin" not in response.headers


async def test_every_response_varies_by_origin_with_cors(client: httpx.AsyncClient) -> None:
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    responses = [
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

    for response in responses:
        assert response.headers.get_list("vary") == ["Origin"], response.request
    ada = await Person.register(client)
    exported = await ada.get("/v1/todos/export", headers={"Origin": ORIGIN})
    assert sorted(exported.headers.get_list("vary")) == ["Accept", "Origin"]
