"""Requests that are refused cost next to nothing: no read or write of the store, no log line, no parsing."""

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

from tests.cost import cost
from tests.people import Person, assert_problem
from tests.serving import Service, running_service
from tests.web.test_limits import connection_from
from todo_service.bounds.requests import READINESS_SECONDS
from todo_service.settings import Settings, load_settings
from todo_service.store.instrumentation import observe

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MEBIBYTE = 2**20
KIBIBYTES = 16 * 2**10
REFUSED_SECONDS = 0.05


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    variables = {"RATE_LIMIT_API": "20/month"}
    return load_settings({"DATA_DIR": str(tmp_path), "STORE_URL": store_url} | variables)


@pytest.fixture
def calls(app: Litestar) -> Counter[str]:
    """The calls of the store, by their names."""
    counted: Counter[str] = Counter()
    observe(app.state.store, lambda operation, _, __: counted.update([operation]))
    return counted


def bogus_key(number: int) -> str:
    return "todo_" + base64.urlsafe_b64encode(number.to_bytes(44, "big")).decode().rstrip("=")


@pytest.mark.anyio
async def test_api_keys_that_are_made_up_are_counted_before_the_store_is_asked(
    app: Litestar, calls: Counter[str]
) -> None:
    async with connection_from(app, "198.51.100.1") as attacker:
        statuses = [
            (await attacker.get("/v1/todos", headers={"Authorization": f"Bearer {bogus_key(number)}"})).status_code
            for number in range(100)
        ]

    assert statuses == [401] * 20 + [429] * 80
    assert calls["get"] <= 20


@pytest.mark.anyio
async def test_tokens_that_are_malformed_are_never_looked_up(app: Litestar, calls: Counter[str]) -> None:
    async with connection_from(app, "198.51.100.1") as attacker:
        for token in ("todo_", "todo_x", "todo_" + "A" * 58, "x", "a.b.c"):
            assert (await attacker.get("/v1/todos", headers={"Authorization": f"Bearer {token}"})).status_code == 401

    assert calls["get"] == 0


@pytest.mark.anyio
async def test_good_credentials_are_good_from_an_address_that_bad_ones_come_from(app: Litestar, ada: Person) -> None:
    key = (await ada.post("/v1/api-keys", json={"name": "script", "scope": "read"})).json()["secret"]
    async with connection_from(app, "198.51.100.1") as shared:
        for number in range(10):
            answer = await shared.get("/v1/users/me", headers={"Authorization": f"Bearer {bogus_key(number)}"})
            assert answer.status_code == 401
        assert (await shared.get("/v1/users/me", headers={"Authorization": f"Bearer {key}"})).status_code == 200
        for number in range(11):
            answer = await shared.get("/v1/users/me", headers={"Authorization": f"Bearer {bogus_key(number)}"})
        assert_problem(answer, 429)

        for token in (key, ada.access_token):
            assert (await shared.get("/v1/users/me", headers={"Authorization": f"Bearer {token}"})).status_code == 200


@pytest.mark.anyio
async def test_the_token_of_an_ended_session_is_looked_up_once(ada: Person, calls: Counter[str]) -> None:
    assert (await ada.client.post("/v1/auth/revoke", data={"token": ada.access_token})).status_code == 200
    before = calls["get"]

    for _ in range(10):
        assert (await ada.get("/v1/users/me")).status_code == 401

    assert calls["get"] - before <= 2


@pytest.mark.anyio
async def test_all_who_ask_for_readiness_share_one_ping(client: httpx.AsyncClient, calls: Counter[str]) -> None:
    begun = time.monotonic()
    answers = await asyncio.gather(*(client.get("/health/ready") for _ in range(200)))
    windows = (time.monotonic() - begun) / READINESS_SECONDS

    assert {answer.status_code for answer in answers} == {200}
    assert 1 <= calls["ping"] <= 1 + windows


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    variables = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_API": "15/month", "MAX_BODY_BYTES": str(4 * MEBIBYTE)}
    with running_service(tmp_path, variables) as running:
        yield running


SHAPES = {
    "one field": b"grant_type=" + b"x" * MEBIBYTE,
    "many fields": b"a=1&" * (MEBIBYTE // 4),
    "separators": b"&" * MEBIBYTE,
    "escapes": b"a=" + b"%41" * (MEBIBYTE // 3),
    "json": b'{"username": ["' + b'\\"' * (MEBIBYTE // 2),
}
PLACES = [
    ("POST", "/v1/auth/token", FORM),
    ("POST", "/v1/auth/revoke", FORM),
    ("POST", "/v1/users", {"Content-Type": "application/json"}),
    ("POST", "/v1/users", {"Content-Type": "application/json", "Idempotency-Key": "1"}),
    ("POST", "/nowhere", FORM),
]


@pytest.mark.parametrize(("method", "path", "headers"), PLACES)
def test_a_refused_request_costs_little_whatever_it_carries(
    service: Service, method: str, path: str, headers: dict[str, str]
) -> None:
    statuses: list[int] = []
    with httpx.Client(base_url=service.url) as client:

        def send(content: bytes | Iterator[bytes]) -> None:
            statuses.append(client.request(method, path, content=content, headers=headers).status_code)

        for shape, body in SHAPES.items():
            for size in (KIBIBYTES, MEBIBYTE):
                for content in (body[:size], in_chunks(body[:size])):
                    spent = cost(service.process.pid, partial(send, content))
                    assert spent < REFUSED_SECONDS, (shape, size, statuses[-1])

    # each size twice: with its length, and in chunks
    assert set(statuses[2:4]) == ({404} if path == "/nowhere" else {413})
    assert set(statuses[:15]) <= {400, 404, 413, 422}
    assert statuses[15:] == [429] * 5


def in_chunks(body: bytes) -> Iterator[bytes]:
    for place in range(0, len(body), 65536):
        yield body[place : place + 65536]


@pytest.mark.parametrize("path", ["/v1/users", "/v1/auth/token", "/v1/auth/revoke"])
def test_a_body_about_an_account_is_small(service: Service, path: str) -> None:
    headers = {"Content-Type": "application/json"} if path == "/v1/users" else FORM
    with httpx.Client(base_url=service.url) as client:
        at_limit = client.post(path, content=b"x" * KIBIBYTES, headers=headers)
        beyond = client.post(path, content=b"x" * (KIBIBYTES + 1), headers=headers)
        wrong_type_too = client.post(path, content=b"x" * (KIBIBYTES + 1), headers={"Content-Type": "text/plain"})

    assert at_limit.status_code in (400, 200)
    assert_problem(beyond, 413)
    assert_problem(wrong_type_too, 413)


def test_a_flood_leaves_few_lines_in_the_log(service: Service) -> None:
    with httpx.Client(base_url=service.url) as client:
        for _ in range(200):
            client.get("/health/live")
            client.get("/nowhere")
    service.stop()

    lines = [line for line in (service.folder / "service.log").read_text().splitlines() if "request " in line]
    # ten in each ten seconds, and the flood may last some of those
    assert 0 < len(lines) <= 60
