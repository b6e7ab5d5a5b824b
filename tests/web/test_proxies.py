"""The client's address behind proxies, as shown by its session, over real sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cost import assert_grows_linearly
from tests.people import UserCreateFactory
from tests.serving import Service, running_service
from todo_service.web.proxies import Proxies

TRUSTED = "127.0.0.1, 10.0.0.0/8, 2001:db8:1::/48"


@pytest.fixture(scope="module")
def behind_proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("proxies"), {"TRUSTED_PROXIES": TRUSTED}) as service:
        yield service


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("open")) as service:
        yield service


def fetch_session_address(service: Service, headers: list[tuple[str, str]], source: str = "127.0.0.1") -> str:
    """Sign in with these headers, and return the address of the session."""
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(base_url=service.url, transport=transport) as client:
        user = UserCreateFactory.build()
        body = {"username": user.username, "email": user.email, "password": user.password}
        assert client.post("/v1/users", json=body).status_code == 201
        form = {"grant_type": "password", "username": user.username, "password": user.password}
        token = client.post("/v1/auth/token", data=form, headers=headers).json()["access_token"]
        sessions = client.get("/v1/sessions", headers={"Authorization": f"Bearer {token}"}).json()
        address: str = sessions["items"][0]["address"]
        return address


X = "X-Forwarded-For"
F = "Forwarded"


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ([], "127.0.0.1"),
        ([(X, "198.51.100.7")], "198.51.100.7"),
        ([(X, "203.0.113.1, 198.51.100.7, 10.1.2.3")], "198.51.100.7"),
        ([(X, "203.0.113.1"), (X, "198.51.100.7"), (X, "10.1.2.3")], "198.51.100.7"),
        ([(X, "10.9.9.9, 10.1.2.3")], "10.9.9.9"),
        ([(X, "198.51.100.7:4711")], "198.51.100.7"),
        ([(X, "2001:db8:2::7")], "2001:db8:2::7"),
        ([(X, "[2001:db8:2::7]:4711, 2001:db8:1::9")], "2001:db8:2::7"),
        ([(X, "::ffff:198.51.100.7")], "198.51.100.7"),
        ([(X, "198.51.100.7, unknown")], "127.0.0.1"),
        ([(X, "198.51.100.7, 999.1.1.1, 10.1.2.3")], "10.1.2.3"),
        ([(X, "")], "127.0.0.1"),
        ([(X, ", ,")], "127.0.0.1"),
        ([(X, "198.51.100.7, " * 900 + "10.1.2.3")], "198.51.100.7"),
        ([(F, "for=198.51.100.7")], "198.51.100.7"),
        ([(F, 'For="198.51.100.7:4711";proto=https;by=10.1.2.3')], "198.51.100.7"),
        ([(F, 'for=203.0.113.1, for="[2001:db8:2::7]:4711", for=10.1.2.3')], "2001:db8:2::7"),
        ([(F, "for=203.0.113.1"), (F, "for=198.51.100.7")], "198.51.100.7"),
        ([(F, 'by="a, b;for=203.0.113.1;c";for=198.51.100.7')], "198.51.100.7"),
        ([(F, 'for="198.51.\\100.7"')], "198.51.100.7"),
        ([(F, "for=198.51.100.7, for=_hidden")], "127.0.0.1"),
        ([(F, "for=198.51.100.7, for=unknown")], "127.0.0.1"),
        ([(F, "for=198.51.100.7;for=203.0.113.1")], "127.0.0.1"),
        ([(F, 'for="198.51.100.7')], "127.0.0.1"),
        ([(F, "proto=https")], "127.0.0.1"),
        ([(F, 'for="203.0.113.1, for=198.51.100.7')], "198.51.100.7"),
        ([(F, "for=198.51.100.7"), (X, "198.51.100.7")], "198.51.100.7"),
        ([(F, 'for="' + "\\\\" * 9000 + '", for=198.51.100.7, for=10.1.2.3')], "198.51.100.7"),
        ([(X, "x" * 9000 + ", 198.51.100.7, 10.1.2.3")], "198.51.100.7"),
        ([(F, "for=203.0.113.1"), (X, "198.51.100.7")], "127.0.0.1"),
        ([("X-Real-IP", "203.0.113.1"), ("Client-IP", "203.0.113.1")], "127.0.0.1"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_behind_trusted_proxies_the_last_other_address_is_the_client(
    behind_proxies: Service, headers: list[tuple[str, str]], address: str
) -> None:
    assert fetch_session_address(behind_proxies, headers) == address


@pytest.mark.parametrize("header", [(X, "203.0.113.1"), (F, "for=203.0.113.1")])
def test_headers_of_untrusted_peers_are_ignored(
    open_to_all: Service, behind_proxies: Service, header: tuple[str, str]
) -> None:
    assert fetch_session_address(open_to_all, [header]) == "127.0.0.1"
    assert fetch_session_address(behind_proxies, [header], source="127.0.0.2") == "127.0.0.2"


def test_a_request_with_a_forged_address_is_served(behind_proxies: Service) -> None:
    host, port = behind_proxies.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), source_address=("127.0.0.2", 0)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nForwarded: for=1.2.3.4\r\nConnection: close\r\n\r\n")
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("header", [b"forwarded", b"x-forwarded-for"])
@pytest.mark.parametrize(
    "piece",
    [
        b'"',
        b'for="',
        b'a="\\",',
        b"a",
        b"a=a;",
        b" ",
        b" ;",
        b" ,",
        b",",
        b"for=10.1.1.1,",
        b"1.",
        b":",
        b'a="b\\"c";',
        b"\\",
    ],
)
def test_a_forwarding_header_costs_linear_time(header: bytes, piece: bytes) -> None:
    proxies = Proxies(["127.0.0.1", "10.0.0.0/8"])

    def measure(size: int) -> float:
        begun = time.thread_time()
        for start in (b"", b'for="'):
            scope: Any = {"client": ("127.0.0.1", 1), "headers": [(header, start + piece * (size // len(piece)))]}
            for _ in range(5):
                proxies.resolve_client(scope)
        return time.thread_time() - begun

    costs = assert_grows_linearly(measure, (300, 3_000, 30_000))
    assert costs[30_000] < 10 * 0.025
