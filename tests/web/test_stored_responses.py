"""Stored responses to requests with an `Idempotency-Key`: those of the largest requests too."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving import SECRET_KEY, Service, running_service
from todo_service.bounds.todos import BATCH_BYTES
from todo_service.idempotency.stored_responses import compress_response, decompress_response

PASSWORD = "correct horse battery"
KEY = {"Idempotency-Key": "a-key-of-the-tests"}
TODOS = 25


def generate_incompressible_text(length: int) -> str:
    """Return random characters of four bytes each."""
    return "".join(chr(random.randrange(0x20000, 0x2A000)) for _ in range(length))  # noqa: S311  # no secret


@pytest.fixture
def service(tmp_path: Path, store_url: str) -> Iterator[Service]:
    variables = {"STORE_URL": store_url, "SECRET_KEY": SECRET_KEY, "LOG_LEVEL": "error"}
    with running_service(tmp_path, variables) as service:
        yield service


@pytest.fixture
def ada(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        person = {"username": "ada", "password": PASSWORD}
        client.post("/v1/users", json=person | {"email": "ada@example.com"}).raise_for_status()
        response = client.post("/v1/auth/token", data=person | {"grant_type": "password"})
        client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
        yield client


def build_largest_todo() -> dict[str, Any]:
    steps = [{"title": generate_incompressible_text(200)} for _ in range(100)]
    return {
        "title": generate_incompressible_text(200),
        "description": generate_incompressible_text(10_000),
        "steps": steps,
    }


def test_a_repeat_of_the_largest_batch_gets_its_response(ada: httpx.Client) -> None:
    ids = [ada.post("/v1/todos", json=build_largest_todo()).json()["id"] for _ in range(TODOS)]
    operations = {"operations": [{"op": "update", "id": each, "todo": {"priority": "high"}} for each in ids]}

    first = ada.post("/v1/todos/batch", json=operations, headers=KEY)
    again = ada.post("/v1/todos/batch", json=operations, headers=KEY)

    assert len(first.content) > 0.9 * BATCH_BYTES
    assert again.status_code == first.status_code == 200
    assert again.content == first.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert ada.get(f"/v1/todos/{ids[0]}").json()["version"] == 2


def test_a_repeat_of_a_batch_of_rejected_operations_gets_its_response(ada: httpx.Client) -> None:
    rejected = {f"{number:03}{generate_incompressible_text(97)}": 1 for number in range(20)}
    operations = {"operations": [{"op": "create", "todo": {"title": ""} | rejected} for _ in range(100)]}

    first = ada.post("/v1/todos/batch", json=operations, headers=KEY)
    again = ada.post("/v1/todos/batch", json=operations, headers=KEY)

    assert {result["status"] for result in first.json()["results"]} == {422}
    assert again.content == first.content


def test_response_with_the_largest_todo_is_stored(ada: httpx.Client) -> None:
    todo = build_largest_todo()

    first = ada.post("/v1/todos", json=todo, headers=KEY)
    again = ada.post("/v1/todos", json=todo, headers=KEY)

    assert first.status_code == again.status_code == 201
    assert again.content == first.content


@pytest.mark.anyio
async def test_a_response_beyond_the_limit_is_not_stored() -> None:
    body = random.randbytes(200_000)  # noqa: S311  # no secret

    assert await compress_response(body, limit=100_000) is None
    compressed = await compress_response(body)
    assert compressed is not None
    assert decompress_response(compressed) == body
