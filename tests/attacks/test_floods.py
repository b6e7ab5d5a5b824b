"""Rejected requests are cheap: no store call, no log line, no parsing."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from litestar import Litestar

from tests.cost import Lowest, cost
from tests.people import Person, assert_problem
from tests.serving import START_SECONDS, Service, running_service
from tests.web.test_limits import connection_from
from todo_service.bounds.requests import READINESS_SECONDS
from todo_service.settings import Settings, load_settings
from todo_service.store.instrumentation import observe

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MEBIBYTE = 2**20
KIBIBYTES = 16 * 2**10
REFUSED_SECONDS = 0.05
LIMITED = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_API": "15/month", "MAX_BODY_BYTES": str(4 * MEBIBYTE)}


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    variables = {"RATE_LIMIT_API": "20/month"}
    return load_settings({"DATA_DIR": str(tmp_path), "STORE_URL": store_url} | variables)


@pytest.fixture
def calls(app: Litestar) -> Counter[str]:
    """The number of store calls by name."""
    counted: Counter[str] = Counter()
    observe(app.state.store, lambda operation, _, __: counted.update([operation]))
    return counted


def forge_api_key(number: int) -> str:
    return "todo_" + base64.urlsafe_b64encode(number.to_bytes(44, "big")).decode().rstrip("=")


@pytest.mark.anyio
async def test_unknown_api_keys_are_counted_before_a_store_call(app: Litestar, calls: Counter[str]) -> None:
    async with connection_from(app, "198.51.100.1") as attacker:
        statuses = [
            (await attacker.get("/v1/todos", headers={"Authorization": f"Bearer {forge_api_key(number)}"})).status_code
            for number in range(100)
        ]

    assert statuses == [401] * 20 + [429] * 80
    assert calls["get"] <= 20


@pytest.mark.anyio
async def test_malformed_tokens_cause_no_store_call(app: Litestar, calls: Counter[str]) -> None:
    async with connection_from(app, "198.51.100.1") as attacker:
        for token in ("todo_", "todo_x", "todo_" + "A" * 58, "x", "a.b.c"):
            assert (await attacker.get("/v1/todos", headers={"Authorization": f"Bearer {token}"})).status_code == 401

    assert calls["get"] == 0


@pytest.mark.anyio
async def test_valid_credentials_work_from_an_address_that_sends_invalid_ones(app: Litestar, ada: Person) -> None:
    key = (await ada.post("/v1/api-keys", json={"name": "script", "scope": "read"})).json()["secret"]
    async with connection_from(app, "198.51.100.1") as shared:
        for number in range(10):
            response = await shared.get("/v1/users/me", headers={"Authorization": f"Bearer {forge_api_key(number)}"})
            assert response.status_code == 401
        assert (await shared.get("/v1/users/me", headers={"Authorization": f"Bearer {key}"})).status_code == 200
        for number in range(11):
            response = await shared.get("/v1/users/me", headers={"Authorization": f"Bearer {forge_api_key(number)}"})
        assert_problem(response, 429)

        for token in (key, ada.access_token):
            assert (await shared.get("/v1/users/me", headers={"Authorization": f"Bearer {token}"})).status_code == 200


@pytest.mark.anyio
async def test_token_of_an_ended_session_is_looked_up_once(ada: Person, calls: Counter[str]) -> None:
    assert (await ada.client.post("/v1/auth/revoke", data={"token": ada.access_token})).status_code == 200
    before = calls["get"]

    for _ in range(10):
        assert (await ada.get("/v1/users/me")).status_code == 401

    assert calls["get"] - before <= 2


@pytest.mark.anyio
async def test_readiness_checks_share_one_ping(client: httpx.AsyncClient, calls: Counter[str]) -> None:
    begun = time.monotonic()
    responses = await asyncio.gather(*(client.get("/health/ready") for _ in range(200)))
    windows = (time.monotonic() - begun) / READINESS_SECONDS

    assert {response.status_code for response in responses} == {200}
    assert 1 <= calls["ping"] <= 1 + windows


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path, LIMITED) as running:
        yield running


SHAPES = {
    "one field": b"grant_type=" + b"x" * MEBIBYTE,
    "many fields": b"a=1&" * (MEBIBYTE // 4),
    "separators": b"&" * MEBIBYTE,
    "escapes": b"a=" + b"%41" * (MEBIBYTE // 3),
    "json": b'{"username": ["' + b'\\"' * (MEBIBYTE // 2),
}
REQUESTS = [
    ("POST", "/v1/auth/token", FORM),
    ("POST", "/v1/auth/revoke", FORM),
    ("POST", "/v1/users", {"Content-Type": "application/json"}),
    ("POST", "/v1/users", {"Content-Type": "application/json", "Idempotency-Key": "1"}),
    ("POST", "/nowhere", FORM),
]


@pytest.mark.parametrize(("method", "path", "headers"), REQUESTS)
def test_rejected_request_is_cheap_whatever_its_body(
    tmp_path: Path, method: str, path: str, headers: dict[str, str]
) -> None:
    highest = Lowest(REFUSED_SECONDS)
    for attempt in highest:
        # a fresh service, because it counts every attempt
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with running_service(folder, LIMITED) as service:
            highest.add(max(measure_rejections(service, method, path, headers)))

    assert highest.value <= REFUSED_SECONDS


def measure_rejections(service: Service, method: str, path: str, headers: dict[str, str]) -> list[float]:
    """Send every shape in two sizes, with a content length and chunked, and return the CPU time of each request."""
    statuses: list[int] = []
    costs: list[float] = []
    with httpx.Client(base_url=service.url, timeout=START_SECONDS) as client:

        def send(content: bytes | Iterator[bytes]) -> None:
            statuses.append(client.request(method, path, content=content, headers=headers).status_code)

        for body in SHAPES.values():
            for size in (KIBIBYTES, MEBIBYTE):
                ways = (body[:size], split_into_chunks(body[:size]))
                costs += [cost(service.process.pid, partial(send, content)) for content in ways]

    # each size twice: with a content length, and chunked
    assert set(statuses[2:4]) == ({404} if path == "/nowhere" else {413})
    assert set(statuses[:15]) <= {400, 404, 413, 422}
    assert statuses[15:] == [429] * 5
    return costs


def split_into_chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 65536):
        yield body[start : start + 65536]


@pytest.mark.parametrize("path", ["/v1/users", "/v1/auth/token", "/v1/auth/revoke"])
def test_bodies_for_accounts_are_limited(service: Service, path: str) -> None:
    headers = {"Content-Type": "application/json"} if path == "/v1/users" else FORM
    with httpx.Client(base_url=service.url, timeout=START_SECONDS) as client:
        at_limit = client.post(path, content=b"x" * KIBIBYTES, headers=headers)
        beyond = client.post(path, content=b"x" * (KIBIBYTES + 1), headers=headers)
        wrong_type_too = client.post(path, content=b"x" * (KIBIBYTES + 1), headers={"Content-Type": "text/plain"})

    assert at_limit.status_code in (400, 200)
    assert_problem(beyond, 413)
    assert_problem(wrong_type_too, 413)


def test_flood_leaves_few_log_lines(service: Service) -> None:
    with httpx.Client(base_url=service.url, timeout=START_SECONDS) as client:
        for _ in range(200):
            client.get("/health/live")
            client.get("/nowhere")
    service.stop()

    lines = [line for line in (service.folder / "service.log").read_text().splitlines() if "request " in line]
    # ten lines in ten seconds, and the flood may last longer
    assert 0 < len(lines) <= 60
