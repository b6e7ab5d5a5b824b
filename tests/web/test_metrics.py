"""Metrics: their values, access to them, and several workers."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.people import Person, assert_problem
from tests.serving import PLAIN_HTTP, SECRET_KEY, START_SECONDS, running_service
from todo_service.accounts.passwords import PRODUCTION_COST
from todo_service.app import create_app
from todo_service.settings import Settings, load_settings
from todo_service.store.registry import create_store

TOKEN = "a-token-of-the-tests"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse_samples(text: str) -> Samples:
    """Return every sample by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def get_sample(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((f"todo_service_{name}", frozenset(labels.items())), 0)


async def fetch_samples(client: httpx.AsyncClient) -> Samples:
    response = await client.get("/metrics")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert response.headers["cache-control"] == "no-store"
    return parse_samples(response.text)


@pytest.mark.anyio
async def test_requests_are_counted_by_the_template_of_their_route(ada: Person) -> None:
    todo = await ada.todo()
    for path in (f"/v1/todos/{todo['id']}", "/v1/todos/65f1a2b3c4d5e6f708192a3b", "/v1/todos/nonsense"):
        await ada.get(path)
    await ada.ask("HEAD", f"/v1/todos/{todo['id']}")
    await ada.client.request("GET", "/nowhere/secret-path?secret-query")
    await ada.client.request("BREW", "/nowhere")
    found = await fetch_samples(ada.client)

    route = "/v1/todos/{todo_id}"
    assert get_sample(found, "http_requests_total", method="GET", route=route, status="200") == 1
    assert get_sample(found, "http_requests_total", method="GET", route=route, status="404") == 2
    assert get_sample(found, "http_requests_total", method="HEAD", route=route, status="200") == 1
    assert get_sample(found, "http_requests_total", method="GET", route="-", status="404") == 1
    assert get_sample(found, "http_requests_total", method="other", route="-", status="404") == 1
    assert get_sample(found, "http_request_duration_seconds_count", method="GET", route=route) == 3
    assert get_sample(found, "http_request_duration_seconds_bucket", method="GET", route=route, le="+Inf") == 3
    assert get_sample(found, "http_request_duration_seconds_sum", method="GET", route=route) > 0
    assert get_sample(found, "store_duration_seconds_count", operation="get") >= 2
    assert not [key for key in found if "secret" in str(key) or todo["id"] in str(key)]


@pytest.mark.anyio
async def test_sessions_are_counted_by_event(ada: Person) -> None:
    await ada.sign_in()
    await ada.grant(grant_type="refresh_token", refresh_token=ada.refresh_token)
    await ada.grant(grant_type="refresh_token", refresh_token="nonsense")
    await ada.delete("/v1/sessions")
    await ada.client.post("/v1/auth/revoke", data={"token": ada.refresh_token})
    found = await fetch_samples(ada.client)

    assert [get_sample(found, "sessions_total", event=event) for event in ("created", "refreshed", "ended")] == [
        2,
        1,
        2,
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("password_cost", [PRODUCTION_COST], ids=["real"])
async def test_waiting_passwords_are_counted(ada: Person) -> None:
    signing_in = [
        asyncio.create_task(ada.grant(grant_type="password", username=ada.username, password=ada.password))
        for _ in range(12)
    ]
    seen = [get_sample(await fetch_samples(ada.client), "argon2_queue_length")]
    while not all(task.done() for task in signing_in):
        seen.append(get_sample(await fetch_samples(ada.client), "argon2_queue_length"))

    assert max(seen) > 0
    assert get_sample(await fetch_samples(ada.client), "argon2_queue_length") == 0


@pytest.mark.anyio
async def test_process_metrics_are_included(client: httpx.AsyncClient) -> None:
    found = await fetch_samples(client)

    assert found["process_resident_memory_bytes", frozenset()] > 2**20
    assert found["process_open_fds", frozenset()] > 0


@pytest.mark.anyio
async def test_two_applications_in_a_process_have_separate_metrics(tmp_path: Path, ada: Person) -> None:
    settings = load_settings({"DATA_DIR": str(tmp_path / "other")})
    app = create_app(settings, create_store(settings.store_address))
    async with app.lifespan():
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # httpx types scopes as plain dictionaries
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as other:
            assert get_sample(await fetch_samples(other), "sessions_total", event="created") == 0
    assert get_sample(await fetch_samples(ada.client), "sessions_total", event="created") == 1


class TestProduction:
    """In production, metrics require the token."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def settings(self, tmp_path: Path, token: str) -> Settings:
        variables = {"DATA_DIR": str(tmp_path), "ENVIRONMENT": "production", "RATE_LIMIT_API": "20/minute"}
        return load_settings(variables | {"METRICS_TOKEN": token})

    @pytest.mark.parametrize("token", [TOKEN])
    async def test_the_token_grants_access(self, client: httpx.AsyncClient, token: str) -> None:
        response = await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})

        assert response.status_code == 200
        assert token not in response.text

    @pytest.mark.parametrize("token", [TOKEN, ""], ids=["guarded", "closed"])
    @pytest.mark.parametrize(
        "sent", [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"]
    )
    async def test_other_credentials_do_not_grant_access(self, client: httpx.AsyncClient, sent: str | None) -> None:
        headers = [] if sent is None else [(b"Authorization", sent.encode("latin-1"))]
        response = await client.get("/metrics", headers=headers)

        assert_problem(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("token", [TOKEN])
    async def test_guesses_are_limited_and_counted(self, client: httpx.AsyncClient, token: str) -> None:
        responses = [await client.get("/metrics", headers={"Authorization": "Bearer wrong"}) for _ in range(21)]
        response = await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})

        assert [response.status_code for response in responses] == [401] * 20 + [429]
        assert get_sample(parse_samples(response.text), "rate_limited_total", policy="api") == 1


def test_workers_serve_the_sum_of_their_metrics(tmp_path: Path, store_url: str) -> None:
    variables = {"WORKERS": "3", "STORE_URL": store_url, "SECRET_KEY": SECRET_KEY}
    with running_service(tmp_path, variables) as service:
        while len(list_pids(parse_samples(service.get("/metrics").text))) < 3:
            pass  # the first worker answers before the others have started
        for _ in range(60):
            assert service.get("/").status_code == 200
        first = parse_samples(service.get("/metrics").text)
        workers = list_pids(first)
        assert len(workers) == 3
        assert get_sample(first, "http_requests_total", method="GET", route="/", status="200") == 60
        assert get_sample(first, "http_request_duration_seconds_count", method="GET", route="/") == 60

        os.kill(int(min(workers)), signal.SIGKILL)
        while (
            len(alive := list_pids(parse_samples(get_with_retries(f"{service.url}/metrics").text))) < 3
            or alive == workers
        ):
            assert service.process.poll() is None
        after = parse_samples(get_with_retries(f"{service.url}/metrics").text)

        assert alive - workers
        assert get_sample(after, "http_requests_total", method="GET", route="/", status="200") == 60
        assert service.stop() == 0
    assert not list(Path("/dev/shm").glob(f"todo-service-{service.process.pid}-*"))  # noqa: S108  # it is looked at only


def get_with_retries(url: str) -> httpx.Response:
    """Retry until there is a response: a connection may have gone to the killed worker."""
    while True:
        try:
            return httpx.get(url, timeout=START_SECONDS, verify=PLAIN_HTTP)
        except httpx.TransportError:
            continue


def list_pids(samples: Samples) -> set[str]:
    return {dict(labels)["pid"] for name, labels in samples if name == "process_resident_memory_bytes"}


@pytest.mark.anyio
@pytest.mark.parametrize("accept", ["text/plain;version=.", "application/openmetrics-text;version=abc"])
async def test_a_malformed_version_in_accept_gets_the_default_format(client: httpx.AsyncClient, accept: str) -> None:
    response = await client.get("/metrics", headers={"Accept": accept})

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
