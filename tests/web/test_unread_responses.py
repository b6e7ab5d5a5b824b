"""Unread responses share a memory budget. A client that exhausts it harms only itself."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from tests.serving import Service, running_service
from tests.test_serving import sign_in
from todo_service.bounds.connections import UNSENT_BYTES

WIDE = "\U00020000"
TODOS = 70
PATIENCE = 120


def ask_and_read_little(service: Service, header: dict[str, str], address: str) -> socket.socket:
    """Request all todos from a given local address, and return once the response has begun."""
    host, port = service.url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE)
    connection.bind((address, 0))
    connection.connect((host, int(port)))
    head = f"GET /v1/todos?limit=200 HTTP/1.1\r\nHost: x\r\nAuthorization: {header['Authorization']}\r\n\r\n"
    connection.sendall(head.encode())
    connection.recv(1)
    return connection


def test_clients_that_do_not_read_do_not_affect_the_responses_of_others(tmp_path: Path) -> None:
    with running_service(tmp_path) as service, contextlib.ExitStack() as opened:
        header = sign_in(service)
        todo = {"title": "x", "description": WIDE * 10_000, "steps": [{"title": WIDE * 200}] * 100}
        for _ in range(TODOS):
            service.post("/v1/todos", json=todo, headers=header).raise_for_status()
        length = len(service.get("/v1/todos?limit=200", headers=header).content)
        reader = opened.enter_context(ask_and_read_little(service, header, "127.0.0.1"))
        for _ in range(2 * UNSENT_BYTES // length):
            opened.enter_context(ask_and_read_little(service, header, "127.0.0.2"))

        received = 0
        while received < length and (part := reader.recv(2**20)):
            received += len(part)

    assert received >= length
