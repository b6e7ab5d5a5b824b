"""Memory for all connections: unfinished requests, unread responses, and work for clients that have disconnected."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cost import Lowest, processor_seconds, resident_bytes
from tests.serving import Service, running_service
from tests.test_serving import sign_in
from tests.web.test_connections import assert_bare_problem, connected, read_all

MIB = 2**20
IDLE_SECONDS = 0.5
"""The CPU time of twenty small requests to a service without other work is much shorter."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("backpressure"), {"LOG_FORMAT": "json"}) as running:
        yield running


def begin_import(service: Service, header: dict[str, str], body: bytes, length: int, kind: str) -> socket.socket:
    connection = connected(service)
    head = (
        f"POST /v1/todos/import HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
        f"Authorization: {header['Authorization']}\r\nContent-Length: {length}\r\n\r\n"
    )
    with contextlib.suppress(ConnectionError):  # the service may reject the request before it has read everything
        connection.sendall(head.encode() + body)
    return connection


def log_lines(service: Service, route: str) -> list[dict[str, Any]]:
    lines = (service.folder / "service.log").read_text().splitlines()
    return [
        line for line in map(json.loads, filter(lambda line: line.startswith("{"), lines)) if line.get("route") == route
    ]


def test_many_unfinished_bodies_do_not_fill_the_memory(service: Service) -> None:
    header, *others = (sign_in(service) for _ in range(7))  # several accounts, because each may run few imports
    before = resident_bytes(service.process.pid)
    body = b"x" * (63 * MIB)

    with contextlib.ExitStack() as opened:
        held = [opened.enter_context(begin_import(service, other, body, 64 * MIB, "text/csv")) for other in others]
        refused = [read_all(connection) for connection in held[2:]]
        small = service.post("/v1/todos", json={"title": "x"}, headers=header)
        large = service.post(
            "/v1/todos/batch",
            content=json.dumps({"operations": [{"op": "create", "todo": {"title": "x" * 9000}}] * 100}),
            headers=header | {"Content-Type": "application/json"},
        )
        while_held = resident_bytes(service.process.pid)

    for response in refused:
        assert_bare_problem(response, 503)
        assert b"retry-after: 10" in response
    assert small.status_code == 201
    assert large.status_code == 200
    assert while_held < before + 200 * MIB
    assert service.post("/v1/todos", json={"title": "x"}, headers=header).status_code == 201
    assert resident_bytes(service.process.pid) < before + 20 * MIB


def test_many_unread_responses_do_not_fill_the_memory(service: Service) -> None:
    header = sign_in(service)
    operations = [{"op": "create", "todo": {"title": "x", "description": "y" * 9_000}}] * 100
    for _ in range(2):
        response = service.post("/v1/todos/batch", json={"operations": operations}, headers=header)
        assert response.status_code == 200
    page = f"GET /v1/todos?limit=200 HTTP/1.1\r\nHost: x\r\nAuthorization: {header['Authorization']}\r\n\r\n".encode()
    before = resident_bytes(service.process.pid)

    with contextlib.ExitStack() as opened:
        for _ in range(45):
            connection = opened.enter_context(connected(service))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(page * 20)
            response = service.get("/v1/todos", params={"limit": 200}, headers=header)
            assert response.status_code == 200
        while_held = resident_bytes(service.process.pid)

    assert while_held < before + 100 * MIB
    assert service.get("/health/live").status_code == 200
    assert resident_bytes(service.process.pid) < before + 30 * MIB


def test_an_import_ends_when_its_client_disconnects(tmp_path: Path) -> None:
    records = "summary\n" + "a todo\n" * 50_000
    with running_service(tmp_path, {"LOG_FORMAT": "json"}) as service:
        header = sign_in(service)
        with begin_import(service, header, ("title\n" + records).encode(), len(records) + 6, "text/csv"):
            # the import has begun once it has created a todo
            while not service.get("/v1/todos", params={"limit": 1}, headers=header).json()["items"]:
                pass
        lines: list[dict[str, Any]] = []
        while not lines:
            assert service.get("/health/live").status_code == 200
            lines = log_lines(service, "/v1/todos/import")
        summary = service.get("/v1/todos/summary", headers=header).json()
        seconds = Lowest(IDLE_SECONDS)
        for _ in seconds:
            used = processor_seconds(service.process.pid)
            for _ in range(20):
                service.get("/health/live")
            seconds.add(processor_seconds(service.process.pid) - used)
        assert seconds.value <= IDLE_SECONDS
        log = (service.folder / "service.log").read_text()

    assert [line["status"] for line in lines] == [None]
    assert 0 < summary["open"] < 50_000
    assert "Traceback" not in log
    assert "never retrieved" not in log
    assert "error" not in log
