"""The service as a process: durability, concurrency, shutdown and the command line."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.mongod import free_port
from tests.people import Person, UserCreateFactory
from tests.serving import (
    PLAIN_HTTP,
    SECRET_KEY,
    START_SECONDS,
    Service,
    caught_signals,
    environment,
    run_command,
    running_service,
)

KILLS = 5
CREATES = 1000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service"), forked=False) as running:
        yield running


def store_variables(store_url: str) -> dict[str, str]:
    return {"STORE_URL": store_url, "SECRET_KEY": SECRET_KEY}


def sign_in(service: Service) -> dict[str, str]:
    """Register and sign in an account, and return its Authorization header."""
    user = UserCreateFactory.build()
    body = {"username": user.username, "email": user.email, "password": user.password}
    assert service.post("/v1/users", json=body).status_code == 201
    form = {"grant_type": "password", "username": user.username, "password": user.password}
    token = service.post("/v1/auth/token", data=form).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.anyio
async def test_exactly_one_of_32_concurrent_writers_with_the_same_etag_wins_on_two_workers(
    tmp_path: Path, store_url: str
) -> None:
    with running_service(tmp_path, store_variables(store_url) | {"WORKERS": "2"}) as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            person = await Person.register(client)
            for _ in range(5):
                path = f"/v1/todos/{(await person.todo())['id']}"
                responses = await asyncio.gather(
                    *(person.patch(path, json={"title": f"{n}"}, headers={"If-Match": '"1"'}) for n in range(32))
                )
                winners = [response.json() for response in responses if response.status_code == 200]
                assert sorted(response.status_code for response in responses) == [200] + [412] * 31
                assert (await person.get(path)).json() == winners[0]
        assert service.stop() == 0


@pytest.mark.anyio
async def test_paging_through_two_thousand_todos_is_consistent_during_writes(tmp_path: Path, store_url: str) -> None:
    with running_service(tmp_path, store_variables(store_url)) as service:
        limits = httpx.Limits(max_connections=32)
        async with httpx.AsyncClient(base_url=service.url, timeout=60, limits=limits) as client:
            person = await Person.register(client)
            todos = [{"title": f"todo {number % 97}"} for number in range(2000)]
            response = await person.post("/v1/todos/import", json=todos)
            assert response.json()["imported"] == len(todos), response.text
            identities: list[str] = []
            cursor: dict[str, str] = {}
            while len(identities) < len(todos):
                page = (await person.get("/v1/todos", params={"limit": "100", "sort": "created_at"} | cursor)).json()
                identities += [todo["id"] for todo in page["items"]]
                cursor = {"cursor": page["next_cursor"]}
            staying = {identity for number, identity in enumerate(identities) if number % 10}
            fleeting = identities[::10]
            for sort in ("created_at", "-title"):
                found: list[str] = []
                cursor = {}
                while True:
                    response = await person.get("/v1/todos", params={"limit": "100", "sort": sort} | cursor)
                    assert response.status_code == 200, response.text
                    found += [todo["id"] for todo in response.json()["items"]]
                    if response.json()["next_cursor"] is None:
                        break
                    cursor = {"cursor": response.json()["next_cursor"]}
                    await person.delete(f"/v1/todos/{fleeting.pop()}")
                    await person.todo(title=f"new {len(fleeting) % 97}")
                assert len(found) == len(set(found))
                assert staying <= set(found)


def create_until_killed(service: Service, header: dict[str, str], deaths: int) -> set[str]:
    """Create todos over several connections, kill the service at a random time, and return the acknowledged ids."""
    chance = random.Random(deaths)  # noqa: S311  # not for cryptography
    acknowledged: set[str] = set()
    remaining = iter(range(CREATES))
    kill_after = chance.randrange(10, 120)

    def create() -> None:
        with httpx.Client(base_url=service.url, headers=header, timeout=START_SECONDS, verify=PLAIN_HTTP) as client:
            for number in remaining:
                try:
                    response = client.post("/v1/todos", json={"title": f"todo {number}"})
                except httpx.TransportError:
                    return
                assert response.status_code == 201, response.text
                acknowledged.add(response.json()["id"])
                if len(acknowledged) >= kill_after and service.process.poll() is None:
                    service.process.send_signal(signal.SIGKILL)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    service.process.wait(START_SECONDS)
    assert len(acknowledged) >= kill_after
    return acknowledged


def test_every_acknowledged_todo_survives_a_kill(tmp_path: Path, figure: Callable[[str], None]) -> None:
    header: dict[str, str] = {}
    acknowledged: set[str] = set()
    for deaths in range(KILLS):
        with running_service(tmp_path) as service:
            header = header or sign_in(service)
            acknowledged |= create_until_killed(service, header, deaths)
    with running_service(tmp_path) as service:
        found: set[str] = set()
        parameters: dict[str, Any] = {"limit": 200}
        while parameters.get("cursor", "first") is not None:
            page = service.get("/v1/todos", params=parameters, headers=header).json()
            found |= {todo["id"] for todo in page["items"]}
            parameters["cursor"] = page["next_cursor"]
    figure(f"{KILLS} kills, {len(acknowledged)} acknowledged, {len(acknowledged - found)} lost")
    assert acknowledged <= found


def test_data_and_sessions_survive_a_restart(tmp_path: Path, store_url: str) -> None:
    with running_service(tmp_path, store_variables(store_url)) as service:
        header = sign_in(service)
        created = service.post("/v1/todos", json={"title": "x"}, headers=header).json()
        assert service.stop() == 0
    with running_service(tmp_path, store_variables(store_url)) as service:
        items = service.get("/v1/todos", headers=header).json()["items"]

    assert items == [created]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_signal_exits_with_status_0(tmp_path: Path, workers: str, number: signal.Signals) -> None:
    with running_service(tmp_path, {"WORKERS": workers}) as service:
        service.process.send_signal(number)
        assert service.process.wait(timeout=START_SECONDS) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_pid_1_exits_with_status_0_when_stopped_during_startup(tmp_path: Path, workers: str) -> None:
    # the kernel does not deliver signals without a handler to PID 1, as if they were ignored
    command = ["sh", "-c", f"trap '' TERM; exec {sys.executable} -m todo_service serve --port {free_port()}"]
    process = subprocess.Popen(
        command, env=environment(tmp_path, WORKERS=workers), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        while signal.SIGTERM not in caught_signals(process.pid):
            assert process.poll() is None
        process.terminate()
        _, said = process.communicate(timeout=START_SECONDS)
    finally:
        process.kill()

    assert (process.returncode, said) == (0, "")


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    ],
)
def test_invalid_http_gets_a_problem(service: Service, sent: bytes) -> None:
    port = int(service.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as connection:
        connection.sendall(sent)
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert b"x-content-type-options: nosniff" in head
    assert json.loads(body)["request_id"].encode() in head


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Assert that a command failed with one line on standard error, and no traceback."""
    assert_last_line(done, *words)
    assert len(done.stderr.splitlines()) == 1, done.stderr


def assert_last_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Assert that a command failed, with the reason in its last line and no traceback."""
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("todo-service: ")
    for word in words:
        assert word in last


def test_a_connection_stays_open_after_a_head_request(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        address, port = service.url.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(address, int(port), timeout=START_SECONDS)
        connection.request("HEAD", "/")
        head = connection.getresponse()
        nothing = head.read()
        opened = connection.sock
        connection.request("GET", "/")
        body = connection.getresponse().read()
        kept = connection.sock is opened
        connection.close()

    assert (head.status, nothing) == (200, b"")
    assert int(head.headers["content-length"]) == len(body) > 0
    assert kept
    assert "error" not in (tmp_path / "service.log").read_text().lower()


def test_a_port_in_use_is_reported_in_one_line(service: Service, tmp_path: Path) -> None:
    port = service.url.rsplit(":", 1)[1]
    assert_one_line(run_command(tmp_path, "serve", "--port", port), port, "another program")


def test_an_unusable_store_is_reported_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a file")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "data.mdb").write_text("holiday photos" * 1000)
    urls = (f"lmdb://{file}", f"lmdb://{foreign}", "mongodb://user:secret@127.0.0.1:1/todo")

    def check(command: str, url: str) -> None:
        done = run_command(tmp_path, command, STORE_URL=url)
        assert_last_line(done, "store")
        assert "secret" not in done.stderr
        waited = command == "serve" and url.startswith("mongodb")
        assert ("mongodb://127.0.0.1:1/todo within 15 seconds" in done.stderr) is waited
        assert done.stderr.count("the store is unavailable, retrying") >= (2 if waited else 0)
        assert waited or len(done.stderr.splitlines()) == 1, done.stderr

    commands = list(itertools.product(("serve", "check"), urls))
    with ThreadPoolExecutor(len(commands)) as threads:  # most of the time, the commands wait
        list(threads.map(check, *zip(*commands, strict=True)))


def test_an_unwritable_folder_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, where a folder is needed")

    assert_one_line(run_command(tmp_path, "serve", DATA_DIR=str(tmp_path / "file" / "data")), "SECRET_KEY")


@pytest.mark.parametrize(
    ("variables", "setting"),
    [
        ({"DATA_DIR": "/etc"}, "DATA_DIR"),
        ({"STORE_URL": "lmdb:///etc/store", "SECRET_KEY": SECRET_KEY}, "store (STORE_URL)"),
    ],
)
def test_a_data_folder_of_another_user_is_reported_with_the_user(variables: dict[str, str], setting: str) -> None:
    user = 65534 if os.geteuid() == 0 else os.geteuid()
    # it may not read the interpreter's own files
    code = (
        "import os, todo_service.services, todo_service.store.embedded.store; from todo_service.cli import main;"
        f"os.setuid({user}); main(['check'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(Path("/"), **variables),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )

    assert_one_line(done, f"{setting}: ", "/etc belongs to user root (0)", f"({user})", "run it as the owner")


def test_an_invalid_setting_is_reported_in_one_line(tmp_path: Path) -> None:
    for command in ("serve", "check"):
        done = run_command(tmp_path, command, PORT="99999")
        assert_one_line(done, "PORT", "99999", "1 to 65535")
    assert_one_line(run_command(tmp_path, "serve", "--workers", "none"), "WORKERS", "1 to 64")


def test_check_reports_success(tmp_path: Path, store_url: str) -> None:
    done = run_command(tmp_path, "check", **store_variables(store_url))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "settings: ok"
    assert done.stdout.splitlines()[1].startswith("store: ok")


def test_health_reports_readiness(service: Service, tmp_path: Path) -> None:
    ready = run_command(tmp_path, "health", PORT=service.url.rsplit(":", 1)[1])
    gone = run_command(tmp_path, "health", PORT=str(free_port()))

    assert (ready.returncode, ready.stdout) == (0, "ready\n")
    assert_one_line(gone)


def test_health_reads_the_dotenv_file_as_serve_does(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / ".env").write_text(f"HOST=[::1]\nPORT={port}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "todo_service", "serve"],
        env=environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    service = Service(f"http://[::1]:{port}", process, tmp_path)
    try:
        service.await_ready()
        ready = run_command(tmp_path, "health")
        overridden = run_command(tmp_path, "health", PORT=str(free_port()))
    finally:
        service.stop()
    (tmp_path / ".env").write_bytes(b"\xff")
    unreadable = run_command(tmp_path, "health")

    assert (ready.returncode, ready.stdout) == (0, "ready\n")
    assert_one_line(overridden)
    assert_one_line(unreadable, ".env", "cannot be read")


def test_an_ipv6_host_may_have_brackets(tmp_path: Path) -> None:
    with running_service(tmp_path, {"HOST": "[::1]"}) as service:
        responses = [service.get("/health/live").status_code, service.get("/docs").status_code]
        healthy = [
            run_command(tmp_path, "health", HOST=host, PORT=service.url.rsplit(":", 1)[1]) for host in ("[::1]", "::1")
        ]

    assert responses == [200, 200]
    assert [done.returncode for done in healthy] == [0, 0]
    assert f"on http://[::1]:{service.url.rsplit(':', 1)[1]} " in (tmp_path / "service.log").read_text()


USERS_COMMANDS = ("list", "create", "password", "disable", "enable", "delete", "invite", "sessions")
COMMANDS = ((), *((name,) for name in ("serve", "check", "health", "openapi", "copy", "users")))


@pytest.mark.parametrize("command", [*COMMANDS, *(("users", name) for name in USERS_COMMANDS)], ids=str)
def test_every_command_has_help(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = run_command(tmp_path, *command, "--help")

    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")
    assert len(done.stdout.splitlines()) > 4


def test_openapi_prints_json_and_yaml(tmp_path: Path) -> None:
    printed = run_command(tmp_path, "openapi")
    written = run_command(tmp_path, "openapi", "--format", "yaml", "--output", "schema.yaml")

    assert printed.returncode == written.returncode == 0
    assert '"operationId": "createTodo"' in printed.stdout
    assert "operationId: createTodo" in (tmp_path / "schema.yaml").read_text()
    assert not [name for name in os.listdir(tmp_path) if name != "schema.yaml"]  # noqa: PTH208  # no store was created
