"""An export's memory does not grow with the account."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx

from tests.serving import running_service

TODOS = 100_000
BODY = 20_000
GROWTH_MIB = 30
SECRET = "a secret of the tests, 32 bytes long"


def own_memory(process: int) -> float:
    """Return the private memory of a process in MiB, without the mapped file of LMDB."""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))


def test_an_export_of_a_hundred_thousand_todos_has_few_in_memory(
    tmp_path: Path, store_url: str, figure: Callable[[str], None]
) -> None:
    with (
        running_service(tmp_path, {"STORE_URL": store_url, "SECRET_KEY": SECRET, "LOG_LEVEL": "warning"}) as service,
        httpx.Client(base_url=service.url, timeout=300) as client,
    ):
        ada = {"username": "ada", "password": "correct horse battery"}
        client.post("/v1/users", json=ada | {"email": "ada@example.com"}).raise_for_status()
        token = client.post("/v1/auth/token", data=ada | {"grant_type": "password"}).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        for start in range(0, TODOS, BODY):
            todos = [{"title": f"todo {number}", "tags": ["home"]} for number in range(start, start + BODY)]
            response = client.post("/v1/todos/import", json=todos)
            assert response.json()["imported"] == BODY, response.text
        with client.stream("GET", "/v1/todos/export") as warming:
            assert next(warming.iter_bytes()).startswith(b'{"lists":[]')

        for file_format, mark in {"json": b'"title":"todo ', "csv": b",todo ", "ics": b"SUMMARY:todo "}.items():
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
