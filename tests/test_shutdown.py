"""Shutdown with a delay: readiness fails, then the listener closes, and requests in flight complete."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.people import UserCreateFactory
from tests.serving import START_SECONDS, Service, running_service

DELAY = 3
LONG_DELAY = "300"


def find_port(service: Service) -> int:
    return int(service.url.rsplit(":", 1)[1])


def is_listening(service: Service) -> bool:
    try:
        socket.create_connection(("127.0.0.1", find_port(service)), timeout=START_SECONDS).close()
    except (ConnectionRefusedError, ConnectionResetError):  # it closes while the connection is in its queue
        return False
    return True


def wait_until_closed(service: Service) -> None:
    deadline = time.monotonic() + START_SECONDS
    while is_listening(service):
        assert time.monotonic() < deadline


def wait_until_unready(service: Service) -> None:
    """Wait until readiness fails. With several workers, one of them may notice the signal later."""
    deadline = time.monotonic() + START_SECONDS
    while service.get("/health/ready").status_code != 503:
        assert time.monotonic() < deadline


@contextmanager
def registration_in_flight(service: Service) -> Iterator[socket.socket]:
    """Send half of a registration, yield its connection, and send the other half at the end."""
    user = UserCreateFactory.build()
    body = f'{{"username": "{user.username}", "email": "{user.email}", "password": "correct horse battery"}}'.encode()
    head = b"POST /v1/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", find_port(service)), timeout=START_SECONDS) as connection:
        connection.sendall(head % len(body) + body[:10])
        # the service has read the head once it responds to a later request
        service.get("/health/live")
        yield connection
        connection.sendall(body[10:])
        response = connection.makefile("rb").read()
    assert response.startswith(b"HTTP/1.1 201 ")
    assert b"connection: close" in response.lower()


def test_readiness_fails_during_the_delay_while_requests_are_served(tmp_path: Path) -> None:
    with running_service(tmp_path, {"SHUTDOWN_DELAY": str(DELAY)}) as service:
        started = time.monotonic()
        service.process.terminate()
        wait_until_unready(service)
        assert service.get("/health/live").status_code == 200
        assert service.get("/v1/todos").status_code == 401
        with registration_in_flight(service):
            wait_until_closed(service)
            seconds = time.monotonic() - started
        assert service.process.wait(timeout=START_SECONDS) == 0

    assert seconds >= DELAY


def test_without_a_delay_the_listener_closes_before_requests_in_flight_complete(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        with registration_in_flight(service):
            service.process.terminate()
            wait_until_closed(service)
        assert service.process.wait(timeout=START_SECONDS) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_delay(tmp_path: Path, workers: str, number: signal.Signals) -> None:
    with running_service(tmp_path, {"SHUTDOWN_DELAY": LONG_DELAY, "WORKERS": workers}) as service:
        service.process.terminate()
        wait_until_unready(service)
        assert is_listening(service)
        service.process.send_signal(number)
        assert service.process.wait(timeout=START_SECONDS) == 0


def stop_main_process(service: Service) -> None:
    service.process.terminate()


def stop_process_group(service: Service) -> None:
    """Signal the main process and its workers, as systemd does."""
    pid = service.process.pid
    for each in [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]:
        os.kill(each, signal.SIGTERM)


@pytest.mark.parametrize("stop", [stop_main_process, stop_process_group])
def test_every_worker_serves_during_the_delay(tmp_path: Path, stop: Callable[[Service], None]) -> None:
    with running_service(tmp_path, {"SHUTDOWN_DELAY": str(DELAY), "WORKERS": "2"}) as service:
        started = time.monotonic()
        stop(service)
        wait_until_unready(service)
        statuses = set()
        while time.monotonic() < started + DELAY - 1:
            statuses.add(service.get("/health/live").status_code)
        assert service.process.wait(timeout=START_SECONDS) == 0
        seconds = time.monotonic() - started

    assert statuses == {200}
    assert seconds >= DELAY
    with pytest.raises(httpx.ConnectError):
        service.get("/health/live")
