"""Service information, health checks and the docs page."""

from __future__ import annotations

import re

import httpx
import pytest
from litestar import Litestar

from todo_service import __version__

pytestmark = pytest.mark.anyio


async def test_the_root_describes_the_service(client: httpx.AsyncClient) -> None:
    response = await client.get("/")

    body = response.json()
    assert body == {
        "name": "todo_service",
        "version": __version__,
        "docs": "/docs",
        "schema": "/schema/openapi.json",
    }
    assert (await client.get(body["docs"])).status_code == 200
    assert (await client.get(body["schema"])).status_code == 200


async def test_the_service_is_live_and_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).json() == {"status": "ok"}
    assert (await client.get("/health/ready")).json() == {"status": "ok"}


async def test_readiness_fails_during_shutdown_and_liveness_does_not(app: Litestar, client: httpx.AsyncClient) -> None:
    app.state.in_flight.draining = True

    ready = await client.get("/health/ready")

    assert ready.status_code == 503
    assert int(ready.headers["retry-after"]) > 0
    assert ready.headers["connection"] == "close"
    assert (await client.get("/health/live")).status_code == 200


async def test_readiness_fails_without_the_store(app: Litestar, client: httpx.AsyncClient) -> None:
    await app.state.store.close()

    ready = await client.get("/health/ready")
    response = await client.get("/v1/todos", headers={"Authorization": "Bearer nonsense"})

    assert ready.status_code == 503
    assert ready.json()["detail"] == "the document store does not respond"
    assert response.status_code == 401
    assert (await client.get("/health/live")).status_code == 200


async def test_the_docs_page_loads_only_files_of_the_service(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")

    policy = page.headers["content-security-policy"]
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for link in re.findall(r'(?:src|href)="([^"]*)"', page.text):
        assert link.startswith("/docs/")
        assert (await client.get(link)).status_code == 200
    assert (await client.get("/docs/nothing.js")).status_code == 404
