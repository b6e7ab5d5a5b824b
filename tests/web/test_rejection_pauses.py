"""A client that ignores `Retry-After` is read more slowly, and does not slow down others."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests.serving import Service, running_service
from todo_service.bounds.connections import REJECTION_PAUSE_SECONDS

REJECTIONS = 15
PAUSED_SECONDS = (0.2 + 0.4 + 0.6 + 0.8 + (REJECTIONS - 4)) * REJECTION_PAUSE_SECONDS
"""The pauses after `REJECTIONS` rejected requests."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # a window so long that it rarely ends during a test
    settings = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_API": "1/month", "TRUSTED_PROXIES": "127.0.0.2"}
    with running_service(tmp_path_factory.mktemp("service"), settings) as service:
        yield service


def connect(service: Service, address: str) -> http.client.HTTPConnection:
    url = urlsplit(service.url)
    assert url.hostname is not None
    return http.client.HTTPConnection(url.hostname, url.port, timeout=60, source_address=(address, 0))


def request(connection: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str) -> int:
    connection.request(method, path, headers=headers)
    with connection.getresponse() as response:
        response.read()
        return response.status


def spend_limit(connection: http.client.HTTPConnection, **headers: str) -> None:
    """Send a request that is allowed, and one that is rejected."""
    assert request(connection, "/v1/todos", **headers) == 401
    assert request(connection, "/v1/todos", **headers) == 429


def test_each_rejected_request_of_a_connection_delays_the_next_one(service: Service) -> None:
    with closing(connect(service, "127.0.0.3")) as connection:
        spend_limit(connection)
        begun = time.monotonic()
        assert {request(connection, "/v1/todos") for _ in range(REJECTIONS)} == {429}
        assert request(connection, "/health/live") == 200

        # the first rejection has been sent before
        assert time.monotonic() - begun >= PAUSED_SECONDS
        assert connection.sock is not None  # it is still the same connection


def test_pipelined_requests_are_answered_after_the_pauses(service: Service) -> None:
    with closing(connect(service, "127.0.0.4")) as connection:
        spend_limit(connection)
        begun = time.monotonic()
        connection.sock.sendall(b"GET /v1/todos HTTP/1.1\r\nHost: localhost\r\n\r\n" * REJECTIONS)
        connection.sock.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: connection.sock.recv(65536), b""))

        assert received.count(b"HTTP/1.1 429 ") == REJECTIONS
        assert received.count(b"HTTP/1.1 200 ") == 1
        assert time.monotonic() - begun >= PAUSED_SECONDS


def test_another_request_ends_the_row_of_rejections(service: Service) -> None:
    with closing(connect(service, "127.0.0.5")) as connection:
        spend_limit(connection)
        for _ in range(REJECTIONS):
            assert request(connection, "/v1/todos") == 429
        request(connection, "/health/live")
        begun = time.monotonic()
        for _ in range(REJECTIONS):
            assert request(connection, "/health/live") == 200

        assert time.monotonic() - begun < PAUSED_SECONDS


@pytest.mark.parametrize(("method", "address"), [("GET", "192.0.2.3"), ("HEAD", "192.0.2.4")])
def test_a_client_of_a_proxy_does_not_delay_the_proxy(service: Service, method: str, address: str) -> None:
    with closing(connect(service, "127.0.0.2")) as connection:
        client = {"X-Forwarded-For": address}
        spend_limit(connection, **client)
        begun = time.monotonic()
        assert {request(connection, "/v1/todos", method, **client) for _ in range(REJECTIONS)} == {429}

        assert time.monotonic() - begun < PAUSED_SECONDS


def test_the_clients_of_a_proxy_are_not_delayed_by_each_other(service: Service) -> None:
    with closing(connect(service, "127.0.0.2")) as connection:
        client = {"X-Forwarded-For": "192.0.2.1"}
        spend_limit(connection, **client)
        begun = time.monotonic()
        for _ in range(REJECTIONS):
            assert request(connection, "/v1/todos", **client) == 429
            assert request(connection, "/health/live", **{"X-Forwarded-For": "192.0.2.2"}) == 200

        assert time.monotonic() - begun < PAUSED_SECONDS
