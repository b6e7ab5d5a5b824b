"""Request framing: bytes outside of heads and bodies are bounded and ignored, and never mistaken for headers."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.cost import Lowest, assert_grows_linearly, cost, resident_bytes
from tests.people import UserCreateFactory
from tests.serving import Service, running_service
from tests.test_serving import sign_in
from tests.web.test_connections import assert_bare_problem, connected, read_all, send_and_read

MIB = 2**20
REJECTION_SECONDS = 0.05
POST = b"POST /v1/auth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("framing"), {"TRUSTED_PROXIES": "127.0.0.1"}) as running:
        yield running


def test_a_trailer_does_not_become_a_header_of_this_or_the_next_request(service: Service) -> None:
    token = sign_in(service)["Authorization"].encode()
    head = b"GET /v1/users/me HTTP/1.1\r\nHost: x\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: " + token + b"\r\n\r\n"

    responses = send_and_read(service, chunked + chunked + head + b"Connection: close\r\n\r\n")

    assert responses.count(b"HTTP/1.1 401 ") == responses.count(b"HTTP/1.1 ") == 3


def test_a_trailer_does_not_set_the_client_address(service: Service) -> None:
    user = UserCreateFactory.build()
    account = {"username": user.username, "email": user.email, "password": user.password}
    assert service.post("/v1/users", json=account).status_code == 201
    form = urlencode({"grant_type": "password", "username": user.username, "password": user.password}).encode()
    body = b"%x\r\n%s\r\n0\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n" % (len(form), form)

    response = send_and_read(service, POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + body)

    token = json.loads(response.partition(b"\r\n\r\n")[2])["access_token"]
    sessions = service.get("/v1/sessions", headers={"Authorization": f"Bearer {token}"}).json()
    assert [session["address"] for session in sessions["items"]] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (CHUNKED + b"0\r\n", b"X-Trailer: " + b"y" * 1000 + b"\r\n"),
        (CHUNKED + b"0\r\n", b"a:\r\n" * 250),
        (CHUNKED + b"0\r\nX-Trailer: ", b"y" * 1000),
        (CHUNKED + b"5;", b"extension=" + b"y" * 1000 + b";"),
        (CHUNKED, b"1\r\nx\r\n" * 200),
        (CHUNKED, b"1;extension=" + b"y" * 1000 + b"\r\nx\r\n"),
        (CHUNKED, b"0" * 1000),
        (b"", b"\r\n" * 500),
    ],
    ids=[
        "trailers",
        "short trailers",
        "a trailer",
        "an extension",
        "tiny chunks",
        "extensions",
        "a size",
        "empty lines",
    ],
)
def test_bytes_outside_of_heads_and_bodies_are_bounded(service: Service, start: bytes, more: bytes) -> None:
    pid = service.process.pid
    before = resident_bytes(pid)
    seconds = Lowest(REJECTION_SECONDS)

    for _ in seconds:
        seconds.add(cost(pid, lambda: assert_bare_problem(send_and_read(service, start, *[more] * 4000), 400)))

    assert seconds.value <= REJECTION_SECONDS
    assert resident_bytes(pid) < before + 8 * MIB


def test_a_body_of_blank_lines_costs_linear_time(service: Service) -> None:
    head = CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    def send(number: int) -> None:
        chunks = (b"1000\r\n" + b"\r\n" * 0x800 + b"\r\n") * number
        assert send_and_read(service, head, chunks, b"0\r\n\r\n").startswith(b"HTTP/1.1 4")

    pid = service.process.pid
    assert_grows_linearly(lambda number: cost(pid, lambda: send(number)), (4, 40, 240))


def test_trailers_and_extensions_of_a_usual_size_are_ignored(service: Service) -> None:
    token = sign_in(service)["Authorization"].encode()
    text = json.dumps({"title": "x" * 200, "description": "y" * 5000}).encode()
    chunks = [text[at : at + 64] for at in range(0, len(text), 64)]
    response = send_and_read(
        service,
        b"\r\nPOST /v1/todos HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: " + token,
        b"\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        *[b"%x;name=value\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks[:5]],
        *[b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks[5:]],
        b"0\r\nX-Checksum: " + b"c" * 1000 + b"\r\n\r\n",
    )

    assert response.startswith(b"HTTP/1.1 201 ")


def test_data_after_the_last_request_of_a_connection_is_not_read(service: Service) -> None:
    before = resident_bytes(service.process.pid)

    response = send_and_read(service, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", *[b"y" * MIB] * 20)

    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.count(b"HTTP/1.1 ") == 1
    assert resident_bytes(service.process.pid) < before + 8 * MIB


def test_an_unread_endless_body_is_cut_off(service: Service) -> None:
    before = resident_bytes(service.process.pid)
    chunk = b"100000\r\n" + b"y" * MIB + b"\r\n"

    response = send_and_read(
        service, b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", *[chunk] * 100
    )

    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.count(b"HTTP/1.1 ") == 1
    assert resident_bytes(service.process.pid) < before + 8 * MIB


def test_pipelined_requests_are_served_in_order_however_they_are_split(service: Service) -> None:
    targets = [b"/health/live", b"/v1/todos", b"/nowhere"] * 20
    sent = b"".join(
        b"POST %s HTTP/1.1\r\nHost: x\r\nX-Request-ID: n%d\r\nContent-Length: 5\r\n\r\n\r\n\r\n!" % (target, number)
        for number, target in enumerate(targets)
    )
    for size in (1, 7, 1000, len(sent)):
        with connected(service) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            writer = threading.Thread(
                target=lambda size=size, to=connection: [
                    to.sendall(sent[at : at + size]) for at in range(0, len(sent), size)
                ]
            )
            writer.start()
            found = b""
            while found.count(b"HTTP/1.1 ") < len(targets) or not found.endswith(b"}"):
                part = connection.recv(2**16)
                assert part, found
                found += part
            writer.join()
        ids = [line.split()[1] for line in found.split(b"\r\n") if line.startswith(b"x-request-id: ")]
        assert ids == [b"n%d" % number for number in range(len(targets))]


def test_many_pipelined_requests_take_no_memory(service: Service) -> None:
    before = resident_bytes(service.process.pid)
    flood = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 14_000

    def send(connection: socket.socket) -> None:
        connection.settimeout(2)
        with contextlib.suppress(TimeoutError, ConnectionError):
            connection.sendall(flood)

    with contextlib.ExitStack() as opened:
        threads = [threading.Thread(target=send, args=(opened.enter_context(connected(service)),)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert resident_bytes(service.process.pid) < before + 40 * MIB
    assert service.get("/health/live").status_code == 200
    assert resident_bytes(service.process.pid) < before + 20 * MIB


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhOST: b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: \xe4\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: identity\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: x-chunked\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n", 400),
        (POST + b"Transfer-Encoding:\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked,\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (POST.replace(b"/1.1", b"/1.0") + b"Transfer-Encoding: chunked\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (POST + b"Content-Length: 3, 4\r\n\r\n", 400),
        (POST + b"Content-Length: -3\r\n\r\n", 400),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    ],
    ids=str,
)
def test_a_request_with_an_ambiguous_end_or_host_is_rejected(service: Service, head: bytes, status: int) -> None:
    smuggled = b"GET /v1/todos HTTP/1.1\r\nHost: x\r\n\r\n"

    response = send_and_read(service, head + b"0\r\n\r\n" + smuggled)

    assert_bare_problem(response, status)
    assert b"\r\ncache-control: no-store\r\n" in response
    assert (b'"error":' in response) is head.startswith(b"POST /v1/auth/token ")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health/live HTTP/1.0\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: [2001:db8::1]:8000\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: my_service.local.:8000\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_unusual_but_unambiguous_requests_are_served(service: Service, head: bytes) -> None:
    last = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    expected = 1 if b"HTTP/1.0" in head else 2

    assert send_and_read(service, head + last).count(b"HTTP/1.1 200 ") == expected


@pytest.mark.parametrize(
    "target", [b"http://x", b"http://", b"http://[::1", b"http://x:99999/", b"?a=b", b"x"], ids=str
)
def test_an_invalid_target_gets_a_problem(service: Service, target: bytes) -> None:
    assert_bare_problem(send_and_read(service, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n"), 400)


@pytest.mark.parametrize("framing", [b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n"], ids=str)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_an_offer_of_http_2_is_ignored(service: Service, framing: bytes, piece: int) -> None:
    """Java's client and `curl --http2` offer it with every request, also with a body."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    form = b"token=abcd" if framing.startswith(b"Content") else b"a\r\ntoken=abcd\r\n0\r\n\r\n"
    kind = b"Content-Type: application/x-www-form-urlencoded\r\n"
    request = b"POST /v1/auth/revoke HTTP/1.1\r\nHost: x\r\n" + offer + kind + framing + b"\r\n" + form
    last = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    sent = request + last
    response = send_and_read(service, *(sent[start : start + piece] for start in range(0, len(sent), piece)))

    assert response.count(b"HTTP/1.1 200 ") == 2


def test_a_connect_request_gets_a_problem(service: Service) -> None:
    assert_bare_problem(send_and_read(service, b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n"), 400)


def test_rejected_connections_do_not_fill_the_log(service: Service) -> None:
    log = service.folder / "service.log"
    lines = len(log.read_text().splitlines())

    for _ in range(200):
        with connected(service) as connection:
            connection.sendall(b"no HTTP at all\r\n\r\n")
            assert_bare_problem(read_all(connection), 400)

    assert len(log.read_text().splitlines()) - lines < 5


def test_a_rejected_request_to_a_token_endpoint_does_not_repeat_the_prefix(tmp_path: Path) -> None:
    with running_service(tmp_path, {"ROOT_PATH": "/todo"}) as service:
        response = send_and_read(service, b"POST /todo/v1/auth/token HTTP/1.1\r\n\r\n")

    assert b'"instance":"/v1/auth/token"' in response
