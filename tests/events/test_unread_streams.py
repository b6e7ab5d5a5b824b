"""A client that does not read its event stream: its memory is bounded, and it is disconnected."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Final

import pytest

from tests.cost import resident_bytes
from tests.events.clients import EVENTS
from tests.serving import Service, running_service
from tests.test_serving import sign_in
from tests.web.test_connections import connected, is_reset
from todo_service.bounds.todos import DESCRIPTION_LENGTH

_LARGE: Final = {"title": "x", "description": "x" * DESCRIPTION_LENGTH}
_BATCH: Final = 50
_BATCHES: Final = 60
"""The batches of todos with the longest description: 30 MB together."""
_GROWTH_BYTES: Final = 12 * 2**20


def write_heavily(service: Service, header: dict[str, str]) -> None:
    operations = {"operations": [{"op": "create", "todo": _LARGE}] * _BATCH}
    for _ in range(_BATCHES):
        response = service.post("/v1/todos/batch", json=operations, headers=header)
        assert {result["status"] for result in response.json()["results"]} == {201}


def count_streams(service: Service) -> float:
    found = re.search(r"^\w*event_streams(?:\{[^}]*\})? ([0-9.]+)$", service.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.mark.slow
def test_a_client_that_does_not_read_is_disconnected_and_its_memory_is_bounded(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        header = sign_in(service)
        write_heavily(service, header)  # what the writes cost without a stream
        before = resident_bytes(service.process.pid)
        with connected(service) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            request = f"GET {EVENTS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {header['Authorization']}\r\n\r\n"
            connection.sendall(request.encode())
            assert connection.recv(12) == b"HTTP/1.1 200"
            write_heavily(service, header)
            grown = resident_bytes(service.process.pid) - before
            while not is_reset(connection, 1):
                pass
        assert count_streams(service) == 0

    assert grown < _GROWTH_BYTES
