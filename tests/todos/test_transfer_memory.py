"""An export's memory does not grow with the account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
from odmantic import ObjectId

from tests.serving import SECRET_KEY, running_service
from tests.todos.accounts import load
from todo_service.services import MODELS
from todo_service.store.registry import create_store

TODOS = 10_000
DESCRIPTION = "something to do " * 125
"""2 000 characters, so that all todos have 20 MB."""
GROWTH_MIB = 12
MARKS = {"json": b'"title":"todo ', "csv": b",todo ", "ics": b"SUMMARY:todo "}
"""What occurs once in each todo, by format."""


def own_memory(process: int) -> float:
    """Return the private memory of a process in MiB, without the mapped file of LMDB."""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))


async def load_todos(store_url: str, owner: str) -> None:
    store = create_store(store_url)
    await store.open(*MODELS)
    try:
        await load(store, TODOS, ObjectId(owner), DESCRIPTION)
    finally:
        await store.close()


def test_an_export_of_ten_thousand_todos_has_few_in_memory(
    tmp_path: Path, store_url: str, figure: Callable[[str], None]
) -> None:
    """The memory of a format does not depend on the store, so all of them run on one store only."""
    formats = MARKS if store_url.startswith("lmdb") else {"json": MARKS["json"]}
    with (
        running_service(
            tmp_path, {"STORE_URL": store_url, "SECRET_KEY": SECRET_KEY, "LOG_LEVEL": "warning"}
        ) as service,
        httpx.Client(base_url=service.url, timeout=300) as client,
    ):
        ada = {"username": "ada", "password": "correct horse battery"}
        client.post("/v1/users", json=ada | {"email": "ada@example.com"}).raise_for_status()
        token = client.post("/v1/auth/token", data=ada | {"grant_type": "password"}).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        asyncio.run(load_todos(store_url, client.get("/v1/users/me").json()["id"]))
        with client.stream("GET", "/v1/todos/export") as warming:
            assert next(warming.iter_bytes()).startswith(b'{"lists":[]')

        for file_format, mark in formats.items():
            before = highest = own_memory(service.process.pid)
            found, rest = 0, b""
            with client.stream("GET", "/v1/todos/export", params={"format": file_format}) as response:
                assert response.status_code == 200
                for chunk in response.iter_bytes(2**20):
                    highest = max(highest, own_memory(service.process.pid))
                    text = rest + chunk
                    found += text.count(mark)
                    rest = text[-len(mark) + 1 :]

            assert found == TODOS
            figure(f"{found} todos as {file_format}: {highest - before:.1f} MiB more")
            assert highest - before < GROWTH_MIB
