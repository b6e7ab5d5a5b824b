"""compose.yaml brought up by podman-compose, on an image of the service and a real mongod.

podman-compose needs no further arguments here. Before podman 4.6 it does not wait for `service_healthy`, and says so:
the health checks are therefore asked here one by one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.containers.images import Image, podman
from tests.containers.running import Container
from tests.containers.test_running import SECRET_KEY, register, sign_in, titles
from tests.mongod import free_port
from tests.serving import REPOSITORY, START_SECONDS

COMPOSE = REPOSITORY / "containers" / "compose.yaml"


class Project:
    """A project of podman-compose: the services of compose.yaml under a name of their own."""

    def __init__(self, **variables: str) -> None:
        self.name = f"test{uuid.uuid4().hex[:12]}"
        self._environment = {**os.environ, **variables}

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of podman-compose."""
        program = Path(sys.executable).parent / "podman-compose"
        command = [str(program), "--project-name", self.name, "--file", str(COMPOSE), *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)

    def container(self, service: str, port: int = 0) -> Container:
        """Return the container of a service, whose port is published."""
        return Container(f"{self.name}_{service}_1", f"http://127.0.0.1:{port}")


@contextmanager
def project(*arguments: str, **variables: str) -> Iterator[Project]:
    """Bring services up, until the block ends."""
    made = Project(**variables)
    up = made.compose(*arguments)
    try:
        assert up.returncode == 0, up.stderr
        yield made
    finally:
        down = made.compose("--profile", "embedded", "down", "--volumes")
        assert down.returncode == 0, down.stderr


def facts(container: Container) -> dict[str, Any]:
    """Return how podman runs a container."""
    found: dict[str, Any] = json.loads(podman("container", "inspect", container.name))[0]["HostConfig"]
    return found


def test_the_service_on_mongodb_comes_up_and_keeps_its_data(
    service_image: Callable[[str], Image], mongod_image: str
) -> None:
    port = free_port()
    variables = {"TODO_IMAGE": service_image("buildah").name, "MONGODB_IMAGE": mongod_image, "SECRET_KEY": SECRET_KEY}
    first = ("up", "--detach", "--no-build", "mongodb", "replica-set")
    with project(*first, TODO_PORT=str(port), **variables) as made:
        # what `service_completed_successfully` says; older ones of podman start everything at once, and their names of
        # containers may be gone for the moment in which one of them ends
        assert made.container("replica-set").exit_status() == 0
        up = made.compose("up", "--detach", "--no-build", "--no-deps", "todo")
        assert up.returncode == 0, up.stderr
        service = made.container("todo", port)
        service.await_ready()
        header = register(service)
        assert httpx.post(f"{service.url}/v1/todos", json={"title": "Water"}, headers=header).status_code == 201
        assert service.healthy()
        assert made.container("mongodb").healthy()
        for name in ("todo", "mongodb"):
            assert facts(made.container(name))["ReadonlyRootfs"]
            assert facts(made.container(name))["CapDrop"]

        for name in ("todo", "mongodb"):
            assert made.container(name).stop() == 0
        for name in ("mongodb", "todo"):
            podman("start", made.container(name).name)
        service.await_ready()
        assert titles(service, sign_in(service)) == ["Water"]


def test_the_embedded_store_comes_up_alone(service_image: Callable[[str], Image]) -> None:
    port = free_port()
    variables = {"TODO_IMAGE": service_image("buildah").name, "TODO_PORT": str(port), "SECRET_KEY": ""}
    with project("--profile", "embedded", "up", "--detach", "--no-build", "embedded", **variables) as made:
        service = made.container("embedded", port)
        service.await_ready()
        register(service)
        assert service.healthy()
        running = podman("ps", "--format", "{{.Names}}", "--filter", f"name={made.name}").split()
        assert running == [service.name]


def test_without_a_secret_key_mongodb_s_service_says_what_is_missing(
    service_image: Callable[[str], Image], mongod_image: str
) -> None:
    variables = {"TODO_IMAGE": service_image("buildah").name, "MONGODB_IMAGE": mongod_image, "SECRET_KEY": ""}
    with project("up", "--detach", "--no-build", TODO_PORT=str(free_port()), **variables) as made:
        service = made.container("todo")
        deadline = time.monotonic() + START_SECONDS
        while "todo-service: SECRET_KEY: required in production on MongoDB" not in service.logs():
            assert time.monotonic() < deadline, service.logs()
