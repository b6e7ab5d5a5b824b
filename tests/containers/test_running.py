"""The image as operators run it: read-only, without capabilities, through its published port."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.containers.conftest import Figures
from tests.containers.images import Image, podman
from tests.containers.running import Container, container, volume
from tests.serving import SECRET_KEY, START_SECONDS, caught_signals

ACCOUNT = {"username": "ada", "email": "ada@example.com", "password": "correct horse battery"}
IN_FLIGHT = 50


def sign_in(service: Container) -> dict[str, str]:
    """Sign in and return the Authorization header."""
    form = {"grant_type": "password", "username": ACCOUNT["username"], "password": ACCOUNT["password"]}
    response = service.post("/v1/auth/token", data=form)
    assert response.status_code == 200, response.text
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


def register(service: Container) -> dict[str, str]:
    """Register, sign in, and return the Authorization header."""
    response = service.post("/v1/users", json=ACCOUNT)
    assert response.status_code == 201, response.text
    return sign_in(service)


def titles(service: Container, header: dict[str, str]) -> list[str]:
    """Return the titles of all todos."""
    return [todo["title"] for todo in service.get("/v1/todos", headers=header).json()["items"]]


def test_todos_and_sessions_survive_a_stop_and_a_new_container(image: Image) -> None:
    with volume() as data:
        with container(image.name, "--volume", f"{data}:/data") as service:
            header = register(service)
            assert service.post("/v1/todos", json={"title": "Water"}, headers=header).status_code == 201
            assert service.stop() == 0
            podman("start", service.name)
            service.await_ready()
            assert titles(service, header) == ["Water"]
        with container(image.name, "--volume", f"{data}:/data") as service:
            assert titles(service, header) == ["Water"]
            assert titles(service, sign_in(service)) == ["Water"]


def test_the_service_works_without_a_volume(image: Image) -> None:
    with container(image.name) as service:
        header = register(service)
        assert service.post("/v1/todos", json={"title": "Water"}, headers=header).status_code == 201
        assert service.get("/docs").status_code == 200
        assert service.get("/schema/openapi.json").json()["openapi"].startswith("3.1")


def test_the_service_is_process_1_of_user_1000_without_privileges(image: Image) -> None:
    with container(image.name) as service:
        said = service.python(
            "import json, pathlib; print(json.dumps(["
            "pathlib.Path('/proc/1/cmdline').read_text(), pathlib.Path('/proc/1/status').read_text()]))"
        )
    command, status = json.loads(said)
    facts = dict(line.split(":\t", 1) for line in status.splitlines())

    assert command.split("\0")[1:3] == ["/venv/bin/todo-service", "serve"]
    assert facts["Uid"].split() == facts["Gid"].split() == ["1000"] * 4
    assert int(facts["CapPrm"], 16) == int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
    assert facts["NoNewPrivs"] == "1"


def test_only_the_data_folder_is_writable(image: Image) -> None:
    code = """
import pathlib
for folder in ("/", "/data", "/etc", "/home", "/opt", "/run", "/srv", "/tmp", "/usr", "/var/tmp", "/venv"):
    try:
        pathlib.Path(folder, "written").write_text("")
    except OSError:
        continue
    print(folder)
"""
    with container(image.name) as service:
        assert service.python(code) == "/data\n"


def test_any_user_id_works(image: Image, tmp_path: Path) -> None:
    with volume() as data, container(image.name, "--user", "4321:4321", "--volume", f"{data}:/data") as service:
        register(service)
        assert service.healthy()
    # as on OpenShift: any user in group 0, which owns the volume
    tmp_path.chmod(0o770)
    os.chown(tmp_path, 0, 0)
    with container(image.name, "--user", "1000650000:0", "--volume", f"{tmp_path}:/data") as service:
        register(service)
        assert service.healthy()
        assert service.stop() == 0


def test_several_workers_need_no_further_options(image: Image) -> None:
    with container(image.name, "--env", "WORKERS=2") as service:
        register(service)
        assert service.stop() == 0


def test_the_service_and_the_health_check_respect_port(image: Image) -> None:
    with container(image.name, "--env", "PORT=10000", port=10000) as service:
        assert service.healthy()


def test_an_unwritable_data_folder_is_reported_in_one_line(image: Image, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with container(image.name, "--volume", f"{tmp_path}:/data", ready=False) as service:
        assert service.exit_status() == 1
        said = [line for line in service.logs().splitlines() if line.startswith("todo-service: ")]

    assert len(said) == 1
    assert "/data" in said[0]


def test_the_health_check_reports_readiness_on_mongodb(image: Image, mongod_image: str) -> None:
    with container(mongod_image, *("--tmpfs", "/tmp"), ready=False) as mongod:  # noqa: S108  # in the container
        options = (f"--network=container:{mongod.name}", "--env=STORE_URL=mongodb://127.0.0.1/todo")
        with container(image.name, *options, f"--env=SECRET_KEY={SECRET_KEY}", ready=False) as service:
            service.url = mongod.url
            service.await_ready()
            header = register(service)
            assert service.post("/v1/todos", json={"title": "Water"}, headers=header).status_code == 201
            assert service.healthy()

            podman("kill", "--signal", "STOP", mongod.name)
            unready = service.healthy()
            podman("kill", "--signal", "CONT", mongod.name)

            assert not unready
            service.await_ready()
            assert service.healthy()
            assert titles(service, header) == ["Water"]
            assert service.stop() == 0


def test_a_stop_during_startup_exits_with_status_0(image: Image) -> None:
    with container(image.name, ready=False) as service:
        process = service.state["Pid"]
        while signal.SIGTERM not in caught_signals(process):
            assert service.state["Running"], service.logs()
        assert service.stop() == 0


@pytest.mark.parametrize(("delay", "grace_seconds"), [(0, 5), (5, 10)])
def test_an_idle_service_stops_after_its_delay(
    image: Image, figures: Figures, request: pytest.FixtureRequest, delay: int, grace_seconds: int
) -> None:
    # 5 s are the default of the image, and 10 s the default grace period of podman and docker
    options = () if delay == 5 else ("--env", f"SHUTDOWN_DELAY={delay}")
    with container(image.name, *options) as service:
        started = time.monotonic()
        assert service.stop(grace_seconds) == 0
        seconds = time.monotonic() - started
    assert seconds >= delay
    figure = f"seconds, idle stop, SHUTDOWN_DELAY={delay}"
    figures.setdefault(figure, {})[request.node.callspec.params["image"]] = f"{seconds:.2f}"


def test_50_requests_in_flight_complete_after_a_stop(image: Image) -> None:
    with container(image.name, "--env", "RATE_LIMIT_ENABLED=false") as service:
        header = register(service)
        body = b'{"title": "Water the plants"}'
        head = (
            f"POST /v1/todos HTTP/1.1\r\nHost: localhost\r\nAuthorization: {header['Authorization']}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        address = ("127.0.0.1", int(service.url.rsplit(":", 1)[1]))
        connections = [socket.create_connection(address, timeout=START_SECONDS) for _ in range(IN_FLIGHT)]
        for connection in connections:
            connection.sendall(head.encode() + body[:10])
        # the service has read the heads once it responds to a later request
        service.get("/health/live")

        statuses: list[int] = []
        # after these 10 seconds it would be killed, with another exit status
        stopping = threading.Thread(target=lambda: statuses.append(service.stop(grace_seconds=10)))
        stopping.start()
        while service.get("/health/ready").status_code == 200:
            pass
        responses = []
        for connection in connections:
            with connection:
                connection.sendall(body[10:])
                responses.append(connection.makefile("rb").readline())
        stopping.join()

    assert responses == [b"HTTP/1.1 201 Created\r\n"] * IN_FLIGHT
    assert statuses == [0]
