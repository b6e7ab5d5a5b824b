"""An import takes linear time and bounded memory for any body, and does not block other requests."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import httpx
import pytest

from tests.cost import FROZEN_SECONDS, Lowest, assert_grows_linearly, cost, probing, resident_bytes
from tests.serving import START_SECONDS, Service, running_service

MIB = 2**20
LIMIT = 64 * MIB
SIZES = (MIB // 256, MIB // 32, MIB // 4, 2 * MIB)
IMPORT_SECONDS = 300
TYPES = {"json": "application/json", "csv": "text/csv", "ics": "text/calendar"}
PASSWORD = "correct horse battery"
QUIET = {"LOG_LEVEL": "error"}


def sign_in(service: Service, name: str = "ada") -> httpx.Client:
    """Register an account, and return its client."""
    client = httpx.Client(base_url=service.url, timeout=IMPORT_SECONDS)
    person = {"username": name, "password": PASSWORD}
    client.post("/v1/users", json=person | {"email": f"{name}@example.com"}).raise_for_status()
    response = client.post("/v1/auth/token", data=person | {"grant_type": "password"})
    client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
    return client


def send(client: httpx.Client, file_format: str, body: bytes, key: str | None = None) -> httpx.Response:
    headers = {"Content-Type": TYPES[file_format]} | ({"Idempotency-Key": key} if key else {})
    return client.post("/v1/todos/import", content=body, headers=headers)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service"), QUIET | {"ACCESS_TOKEN_SECONDS": "86400"}) as service:
        yield service


@pytest.fixture(scope="module")
def ada(service: Service) -> Iterator[httpx.Client]:
    client = sign_in(service)
    yield client
    client.close()


def repeated(beginning: bytes, part: bytes, end: bytes = b"") -> Callable[[int], bytes]:
    def body(size: int) -> bytes:
        return (beginning + part * ((size - len(beginning) - len(end)) // len(part)) + end).ljust(size)[:LIMIT]

    return body


CALENDAR = b"BEGIN:VCALENDAR\n"
TICKTICK = b"List Name,Title,Content,Status,taskId,parentId\n"
HOSTILE: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "numbers": ("json", repeated(b"[0", b",0", b"]")),
    "white space": ("json", repeated(b"[", b" \n", b"]")),
    "one long string": ("json", repeated(b'["', b"x", b'"]')),
    "a string of escapes that is never closed": ("json", repeated(b'[{"title": "', b'\\"')),
    "brackets": ("json", repeated(b"[", b'{"steps": [[[],[]],[[],[]]]},', b"0]")),
    "empty lists": ("json", repeated(b'{"items": [], "lists": [', b"[],", b"[]]}")),
    "empty rows": ("csv", repeated(b"title\n", b"\n")),
    "empty rows with carriage returns": ("csv", repeated(b"title\r", b"\r")),
    "columns": ("csv", repeated(b"title", b",a")),
    "cells": ("csv", repeated(b"title\n", b",")),
    "one quote": ("csv", repeated(b'title\n"', b"x,x,x,x\n")),
    "a quote in each row that is never closed": ("csv", repeated(b"title\n", b'x","\n')),
    "rows of separators": ("csv", repeated(b"title,tags\n", b",\n")),
    "subtasks of TickTick": ("csv", repeated(TICKTICK + b"l,x,,0,1,\n", b"l,x,,0,2,1\n")),
    "checklists of Trello": (
        "json",
        repeated(b'{"cards":[{"id":"a","name":"x"}],"checklists":[', b'{"idCard":"a","checkItems":[]},', b"{}]}"),
    ),
    "blank lines": ("ics", repeated(CALENDAR, b"\n")),
    "folded lines": ("ics", repeated(CALENDAR + b"BEGIN:VTODO\nSUMMARY:x", b"\n x")),
    "one long line": ("ics", repeated(CALENDAR + b"BEGIN:VTODO\nSUMMARY:", b"x")),
    "components inside of each other": ("ics", repeated(CALENDAR, b"BEGIN:A\n")),
    "properties": ("ics", repeated(CALENDAR + b"BEGIN:VTODO\n", b"DUE:20270101T000000Z\n")),
    "categories": ("ics", repeated(CALENDAR + b"BEGIN:VTODO\nCATEGORIES:a", b",b")),
    "parameters": ("ics", repeated(CALENDAR + b"BEGIN:VTODO\nSUMMARY", b';A="b;c"')),
    "time zones": ("ics", repeated(CALENDAR, b"BEGIN:VTIMEZONE\nTZID:a\nEND:VTIMEZONE\n")),
    "soft line breaks": (
        "ics",
        repeated(CALENDAR + b"BEGIN:VTODO\nSUMMARY;ENCODING=QUOTED-PRINTABLE:", b"=3D=\n", b"\nEND:VTODO\n"),
    ),
    "occurrences of one series": (
        "ics",
        repeated(
            CALENDAR + b"BEGIN:VTODO\nUID:a\nDUE:20270101\nRRULE:FREQ=DAILY\nEND:VTODO\n",
            b"BEGIN:VTODO\nUID:a\nRECURRENCE-ID:20270101\nCOMPLETED:20270101T000000Z\nEND:VTODO\n",
        ),
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_repetitive_body_takes_linear_time_and_blocks_nobody(
    service: Service, ada: httpx.Client, kind: str, figure: Callable[[str], None]
) -> None:
    file_format, body = HOSTILE[kind]
    pid = service.process.pid

    def measure(size: int) -> float:
        text = body(size)
        return cost(pid, lambda: send_checked(ada, file_format, text))

    frozen = Lowest(FROZEN_SECONDS)
    for _ in frozen:
        with probing(service.url, pid) as probe:
            costs = assert_grows_linearly(measure, SIZES)
        frozen.add(probe.frozen)

    largest = max(costs)
    figure(f"{kind}: {costs[largest]:.2f} s for {largest} bytes, frozen {frozen.value * 1000:.0f} ms")
    assert frozen.value <= FROZEN_SECONDS


def send_checked(client: httpx.Client, file_format: str, body: bytes) -> None:
    response = send(client, file_format, body)
    assert response.status_code in (200, 400, 422), response.text[:1000]
    assert len(response.content) < 2 * MIB


class Peak:
    """Measures the peak memory of a process while the block runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.bytes = max(self.bytes, resident_bytes(self._pid))

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


# tests/exchange/test_hostile_files.py and tests/attacks/test_hostile_bodies.py send the largest bodies of other kinds
@pytest.mark.parametrize(
    "kind",
    [
        *("numbers", "white space", "one long string", "one quote", "columns"),
        *("blank lines", "folded lines", "one long line"),
    ],
)
def test_a_body_of_the_largest_size_is_in_memory_once_and_takes_linear_time(
    service: Service, ada: httpx.Client, kind: str, figure: Callable[[str], None]
) -> None:
    file_format, body = HOSTILE[kind]
    pid = service.process.pid
    texts = {size: body(size) for size in (LIMIT // 256, LIMIT // 16, LIMIT)}

    def measure(size: int) -> float:
        return cost(pid, lambda: send_checked(ada, file_format, texts[size]))

    frozen = Lowest(FROZEN_SECONDS)
    for _ in frozen:
        before = resident_bytes(pid)
        with probing(service.url, pid) as probe, Peak(pid) as peak:
            assert_grows_linearly(measure, list(texts))
        frozen.add(probe.frozen)
        growth = (peak.bytes - before) / MIB
        assert growth <= 64 + 20

    figure(f"{kind}: {growth:.0f} MiB more for 64 MiB, frozen {frozen.value * 1000:.0f} ms")
    assert frozen.value <= FROZEN_SECONDS


def test_an_account_may_have_two_imports_in_progress_and_others_continue(service: Service, ada: httpx.Client) -> None:
    slow = [SlowImport(ada) for _ in range(2)]
    with closing(sign_in(service, "bob")) as bob:
        refused = ada.post("/v1/todos/import", json=[{"title": "x"}])
        of_bob = bob.post("/v1/todos/import", json=[{"title": "x"}])
    responses = [each.finish() for each in slow]
    after = ada.post("/v1/todos/import", json=[{"title": "x"}])

    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["type"] == "urn:todo-service:problem:rate-limited"
    assert [of_bob.status_code, *responses, after.status_code] == [200, 200, 200, 200]


class SlowImport:
    """An import that has been admitted, but whose body has not been sent yet."""

    def __init__(self, client: httpx.Client, body: bytes = b"[]", media_type: str = "application/json") -> None:
        self._body = body
        address = client.base_url
        self._connection = http.client.HTTPConnection(address.host, address.port, timeout=START_SECONDS)
        self._connection.putrequest("POST", "/v1/todos/import")
        headers = {"Authorization": client.headers["Authorization"], "Content-Type": media_type}
        for name, value in (headers | {"Content-Length": str(len(body)), "Expect": "100-continue"}).items():
            self._connection.putheader(name, value)
        self._connection.endheaders()
        # the service sends 100 when it starts to read the body
        assert self._connection.sock.recv(1000).startswith(b"HTTP/1.1 100 ")

    def send(self) -> None:
        """Send the body."""
        self._connection.send(self._body)

    def finish(self) -> int:
        """Send the body, and return the status of the response."""
        self.send()
        response = self._connection.getresponse()
        response.read()
        self.close()
        return response.status

    def close(self) -> None:
        """Close the connection, which ends the import."""
        self._connection.close()


def test_an_account_may_have_two_exports_in_progress_and_an_aborted_one_frees_its_slot(
    service: Service, ada: httpx.Client
) -> None:
    todos = [{"title": "x", "description": "x" * 9000}] * 2000
    ada.post("/v1/todos/import", json=todos).raise_for_status()

    with ada.stream("GET", "/v1/todos/export") as first, ada.stream("GET", "/v1/todos/export") as second:
        assert (first.status_code, second.status_code) == (200, 200)
        assert ada.get("/v1/todos/export").status_code == 429
        with closing(sign_in(service, "carol")) as carol:
            assert carol.get("/v1/todos/export").status_code == 200
    deadline = time.monotonic() + START_SECONDS
    while (status := ada.get("/v1/todos/export", params={"format": "csv"}).status_code) == 429:
        assert time.monotonic() < deadline
    assert status == 200


RULES = ("FREQ=MONTHLY;BYDAY=-53SA", "FREQ=MONTHLY;INTERVAL=2;BYDAY=53SA", "FREQ=DAILY;INTERVAL=7;BYDAY=MO")


def test_rules_without_occurrences_take_milliseconds(
    service: Service, ada: httpx.Client, figure: Callable[[str], None]
) -> None:
    due = {"title": "x", "due_at": "2027-01-31T09:00:00Z"}

    def measure(number: int) -> float:
        body = json.dumps([due | {"recurrence": RULES[index % 3]} for index in range(number)]).encode()
        return cost(service.process.pid, lambda: send_checked(ada, "json", body))

    costs = assert_grows_linearly(measure, (15, 60, 240))

    figure(f"{costs[240] / 0.24:.1f} ms a rule")
    assert costs[240] < 240 * 0.05
