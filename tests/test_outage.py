"""The behavior of the service while its store is unavailable."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from tests.cost import Lowest
from tests.mongod import Mongod, free_port, running_mongod
from tests.people import UserCreateFactory, assert_problem
from tests.serving import SECRET_KEY, START_SECONDS, run_command, running_service
from tests.waiting import wait_until
from todo_service.app import create_app
from todo_service.settings import load_settings
from todo_service.store.registry import create_store

OUTAGE_SECONDS = 5
"""The maximum time of a response without a store."""


@pytest.mark.parametrize("limited", ["false", "true"], ids=["unlimited", "limited"])
def test_every_response_is_a_503_with_retry_after_while_mongodb_is_down(tmp_path: Path, limited: str) -> None:
    (tmp_path / "mongod").mkdir()
    user = UserCreateFactory.build()
    with running_mongod(tmp_path / "mongod") as (url, mongod):
        variables = {
            "STORE_URL": f"{url}/todo",
            "SECRET_KEY": SECRET_KEY,
            "RATE_LIMIT_ENABLED": limited,
        }
        with (
            running_service(tmp_path, variables) as service,
            httpx.Client(base_url=service.url, timeout=START_SECONDS) as client,
            ThreadPoolExecutor() as threads,
        ):
            body = {"username": user.username, "email": user.email, "password": user.password}
            assert client.post("/v1/users", json=body).status_code == 201
            form = {"grant_type": "password", "username": user.username, "password": user.password}
            header = {"Authorization": f"Bearer {client.post('/v1/auth/token', data=form).json()['access_token']}"}
            todo = client.post("/v1/todos", json={"title": "x"}, headers=header)
            mongod.kill()
            mongod.wait()

            elapsed = Lowest(OUTAGE_SECONDS)
            for _ in elapsed:
                started = time.monotonic()
                requests = [
                    threads.submit(client.get, "/v1/todos", headers=header),
                    threads.submit(client.patch, todo.headers["location"], json={"title": "y"}, headers=header),
                    threads.submit(client.post, "/v1/auth/token", data=form),
                    threads.submit(client.get, "/health/ready"),
                ]
                responses = [request.result() for request in requests]
                elapsed.add(time.monotonic() - started)
                for response in responses:
                    assert_problem(response, 503)
                    assert int(response.headers["retry-after"]) > 0
                    assert "127.0.0.1" not in response.text
            assert elapsed.value <= OUTAGE_SECONDS
            assert client.get("/health/live").status_code == 200
            assert service.stop() == 0


@pytest.mark.anyio
async def test_the_application_waits_for_a_store_that_starts_later(tmp_path: Path) -> None:
    (tmp_path / "mongod").mkdir()
    mongod = Mongod(tmp_path / "mongod")
    settings = load_settings(
        {
            "DATA_DIR": str(tmp_path),
            "STORE_URL": f"{mongod.url}/todo",
            "SECRET_KEY": SECRET_KEY,
        }
    )
    app = create_app(settings, create_store(settings.store_address))

    async def start() -> None:
        async with app.lifespan():
            await app.state.store.ping()

    with capture_logs() as lines:
        starting = asyncio.create_task(start())

        async def is_retrying() -> bool:
            assert not starting.done()
            return any(line["event"] == "the store is unavailable, retrying" for line in lines)

        await wait_until(is_retrying)
    await asyncio.to_thread(mongod.start)
    try:
        await starting
    finally:
        await asyncio.to_thread(mongod.stop)


def test_serve_waits_for_a_store_that_starts_later(tmp_path: Path) -> None:
    (tmp_path / "mongod").mkdir()
    mongod = Mongod(tmp_path / "mongod")
    variables = {"STORE_URL": f"{mongod.url}/todo", "SECRET_KEY": SECRET_KEY}

    def start_when_service_waits() -> None:
        log = tmp_path / "service.log"
        while not (log.exists() and "the store is unavailable, retrying" in log.read_text()):
            waiting.wait(0.05)
        mongod.start()

    waiting = threading.Event()
    starting = threading.Thread(target=start_when_service_waits)
    starting.start()
    try:
        with running_service(tmp_path, variables) as service:
            assert service.get("/health/ready").status_code == 200
            assert service.stop() == 0
    finally:
        starting.join()
        mongod.stop()


def test_check_tries_a_store_once(tmp_path: Path) -> None:
    variables = {
        "STORE_URL": f"mongodb://127.0.0.1:{free_port()}/todo",
        "SECRET_KEY": SECRET_KEY,
    }

    checked = run_command(tmp_path, "check", **variables)

    assert checked.returncode == 1
    assert "todo-service: store (STORE_URL): " in checked.stderr
    assert "retrying" not in checked.stderr
