"""Limits on connections: their number, and how large and how long requests, responses and streams may be."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cost import resident_bytes
from tests.events.clients import EVENTS
from tests.serving import Service, running_service
from tests.test_serving import sign_in
from todo_service.bounds.todos import DESCRIPTION_LENGTH
from todo_service.web.oauth import is_oauth_endpoint

PATIENCE = 120
LARGE_TODO = {"title": "x", "description": "x" * DESCRIPTION_LENGTH}
BATCH = 50
BATCHES = 60
"""The batches of todos with the longest description: 30 MB together."""
STREAM_GROWTH_BYTES = 12 * 2**20
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("connections")) as running:
        yield running


def connected(service: Service) -> socket.socket:
    host, port = service.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def send_and_read(service: Service, *parts: bytes) -> bytes:
    """Send data, and return everything received until the service closes the connection."""
    with connected(service) as connection:
        for part in parts:
            with contextlib.suppress(ConnectionError):  # the service may close the connection before the last part
                connection.sendall(part)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(2**16):
            found += part
    return found


def send_slowly(service: Service, start: bytes, drop: bytes) -> bytes:
    """Send the start of a request, then a small part every second, until the service closes the connection."""
    with connected(service) as connection:
        connection.sendall(start)
        connection.settimeout(1)
        found = b""
        while True:
            try:
                part = connection.recv(2**16)
            except TimeoutError:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(drop)
            except ConnectionResetError:
                return found
            else:
                found += part
                if not part:
                    return found


def assert_bare_problem(response: bytes, status: int) -> None:
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), response
    problem = json.loads(body)
    oauth = is_oauth_endpoint(problem["instance"])
    assert ("error" in problem) is oauth
    for header in (
        b"content-type: application/json" if oauth else b"content-type: application/problem+json",
        b"x-content-type-options: nosniff",
        b"referrer-policy: no-referrer",
        b"content-security-policy: default-src 'none'; frame-ancestors 'none'",
        b"connection: close",
    ):
        assert header in head
    assert b"server:" not in head.lower()
    assert problem["status"] == status
    assert f"x-request-id: {problem['request_id']}".encode() in head


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"], 414),
        ([b"GET /v1/todos?q=" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"], 414),
        ([GET + b"X: y\r\n" * 101 + b"\r\n"], 431),
        ([GET + b"X: " + b"y" * 40_000 + b"\r\n\r\n"], 431),
        ([GET + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(40)) + b"\r\n"], 431),
        ([GET + b"X: ", *[b"y" * 10_000] * 200], 431),
        ([b"GET /", *[b"y" * 10_000] * 200], 414),
        ([GET, *[b"X: y\r\n"] * 2000], 431),
    ],
    ids=["path", "query", "many headers", "a long header", "long headers", "an endless header", "endless", "ever more"],
)
def test_a_head_that_is_too_large_is_rejected(service: Service, parts: list[bytes], status: int) -> None:
    assert_bare_problem(send_and_read(service, *parts), status)


@pytest.mark.parametrize("sent", [b"chosen", b"not visible"])
def test_the_problem_of_a_rejected_request_has_its_request_id(service: Service, sent: bytes) -> None:
    for headers in (b"Transfer-Encoding: gzip\r\n", b"Content-Length: x\r\n", b"X: " + b"y" * 40_000 + b"\r\n"):
        _, _, body = send_and_read(service, GET + b"X-Request-ID: " + sent + b"\r\n" + headers + b"\r\n").partition(
            b"\r\n\r\n"
        )
        assert (json.loads(body)["request_id"] == sent.decode()) is (sent == b"chosen")


def test_a_head_is_sent_together_with_its_body(service: Service) -> None:
    """In one packet, for every response on a connection. A response without a body is sent at once."""
    for target, status in ((b"GET /health/live", 200), (b"HEAD /health/live", 200), (b"GET /v1/todos", 401)):
        with connected(service) as connection:
            for _ in range(3):
                connection.sendall(target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
                head, _, body = connection.recv(2**16).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 %d " % status)
                length = next(
                    int(line[16:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")
                )
                assert len(body) == (0 if target.startswith(b"HEAD") else length)


def test_a_head_just_below_the_limit_is_served(service: Service) -> None:
    response = service.get("/", headers={f"X-{n}": "y" * 300 for n in range(90)})

    assert response.status_code == 200


def is_reset(connection: socket.socket, seconds: float) -> bool:
    """Send something, wait for some seconds, and return whether the service has aborted the connection.

    Without reading, only the reply to something sent reveals it.
    """
    try:
        connection.sendall(b"\r\n")
    except ConnectionError:
        return True
    poll = select.poll()
    poll.register(connection, 0)  # a reset is reported nevertheless
    return bool(poll.poll(seconds * 1000))


def leave_response_unread(service: Service) -> bytes:
    """Request large responses and read nothing, until the service aborts the connection."""
    with connected(service) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        while not is_reset(connection, 1):
            pass
        return b""


def read_response_slowly(service: Service) -> bytes:
    """Request a large response and read one byte at a time, until the service aborts the connection."""
    with connected(service) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not is_reset(connection, 0.1):
            with contextlib.suppress(ConnectionError):
                connection.recv(1)
        return b""


def stall_import(service: Service) -> bytes:
    """Send most of a large body, and then nothing."""
    head = b"POST /v1/todos/import HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nAuthorization: "
    token = sign_in(service)["Authorization"].encode()
    return send_and_read(service, head + token + b"\r\nContent-Length: %d\r\n\r\n" % 2**24, *[b"x" * 2**20] * 15)


def write_heavily(service: Service, header: dict[str, str]) -> None:
    operations = {"operations": [{"op": "create", "todo": LARGE_TODO}] * BATCH}
    for _ in range(BATCHES):
        response = service.post("/v1/todos/batch", json=operations, headers=header)
        assert {result["status"] for result in response.json()["results"]} == {201}


def count_streams(service: Service) -> float:
    found = re.search(r"^\w*event_streams(?:\{[^}]*\})? ([0-9.]+)$", service.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def leave_stream_unread(service: Service) -> int:
    """Read nothing of an event stream until the service aborts it. Return how many bytes of memory that took."""
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
    return grown


@pytest.mark.slow
def test_slow_requests_and_slowly_read_responses_and_streams_time_out(service: Service, tmp_path: Path) -> None:
    """All at once, because each of them takes up to a minute."""
    post = b"POST /v1/auth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    refused = GET + b"Content-Length: 1000000\r\n\r\n"
    ways: list[Callable[[], bytes]] = [
        lambda: send_slowly(service, GET + b"X: ", b"y"),
        lambda: send_slowly(service, GET, b"X: y\r\n"),
        lambda: send_slowly(service, b"", b"\r\n"),
        lambda: send_slowly(service, GET + b"\r\n", b"\r\n"),
        lambda: send_slowly(service, post + b"Content-Length: 1000\r\n\r\n", b"x"),
        lambda: send_slowly(service, post + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        lambda: send_slowly(service, refused, b"x"),
        lambda: send_and_read(service),
        lambda: send_and_read(service, GET + b"\r\n"),
        lambda: send_and_read(service, post + b"Content-Length: 1000\r\n\r\n"),
        lambda: stall_import(service),
        lambda: leave_response_unread(service),
        lambda: read_response_slowly(service),
    ]
    before = resident_bytes(service.process.pid)
    with running_service(tmp_path) as streaming, ThreadPoolExecutor(len(ways) + 1) as threads:
        grown = threads.submit(leave_stream_unread, streaming)
        responses = list(threads.map(lambda way: way(), ways))
        assert grown.result() < STREAM_GROWTH_BYTES

    head, headers, nothing, between, body, chunks, rest, idle, kept, silent, stalled, _, _ = responses
    for late in (head, headers, body, chunks, silent, stalled):
        assert_bare_problem(late, 408)
    for response in (between, kept, rest):
        assert response.startswith(b"HTTP/1.1 200 ")
        assert response.count(b"HTTP/1.1") == 1
    assert nothing == idle == b""
    assert resident_bytes(service.process.pid) < before + 20 * 2**20
    assert service.get("/health/ready").status_code == 200
    log = (service.folder / "service.log").read_text()
    assert "Traceback" not in log
    assert "unexpected error" not in log


@pytest.mark.slow
@pytest.mark.parametrize(("idle", "files"), [(10_000, None), (3_000, 1024)])
def test_idle_connections_leave_the_service_serving(
    tmp_path: Path, idle: int, files: int | None, figure: Callable[[str], None]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard > idle + 500, "this test needs more open files: raise the hard limit"
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with running_service(tmp_path, files=files) as service, contextlib.ExitStack() as opened:
            header = sign_in(service)
            for number in range(idle):
                connection = opened.enter_context(connected(service))
                if number % 2:
                    connection.sendall(GET + b"\r\n")
                if number % 500 == 0:
                    response = service.get("/v1/todos", headers=header)
                    assert response.status_code == 200
            for _ in range(100):
                response = service.post("/v1/todos", json={"title": "x"}, headers=header)
                assert response.status_code == 201
            figures = service.get("/metrics").text
            memory = next(line for line in figures.splitlines() if line.startswith("process_resident_memory_bytes"))
            figure(f"{idle} idle connections, {float(memory.split()[1]) / 2**20:.0f} MiB resident")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_connection_beyond_the_limit_gets_a_503_if_all_others_are_busy(tmp_path: Path) -> None:
    with running_service(tmp_path, files=256 + 64) as service, contextlib.ExitStack() as opened:
        for _ in range(64):
            busy = opened.enter_context(connected(service))
            busy.sendall(
                b"POST /v1/auth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
            )
        refused = b""
        while not refused:
            # the service may not have read the last requests yet
            with connected(service) as next_one:
                next_one.settimeout(1)
                with contextlib.suppress(TimeoutError):
                    refused = read_all(next_one)

    assert_bare_problem(refused, 503)
    assert b"retry-after: 1" in refused


@pytest.mark.parametrize(
    "beginning",
    [GET + b"X: ", b"POST /v1/todos HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"],
    ids=["an incomplete head", "an incomplete body after the response"],
)
def test_incomplete_requests_do_not_block_new_connections(tmp_path: Path, beginning: bytes) -> None:
    with running_service(tmp_path, files=256 + 64) as service, contextlib.ExitStack() as opened:
        for _ in range(100):
            incomplete = opened.enter_context(connected(service))
            incomplete.sendall(beginning)
        for _ in range(20):
            assert service.get("/health/live").status_code == 200
