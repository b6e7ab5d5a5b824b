"""compose.yaml with podman-compose, an image of the service and a real mongod.

Before podman 4.6, podman-compose ignores `service_healthy`, with a warning. The tests therefore run the health checks
themselves.
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

from tests.containers.images import Image, podman
from tests.containers.running import Container
from tests.containers.test_running import register, sign_in, titles
from tests.mongod import free_port
from tests.serving import REPOSITORY, SECRET_KEY, START_SECONDS

COMPOSE = REPOSITORY / "containers" / "compose.yaml"


class Project:
    """A podman-compose project: the services of compose.yaml under a unique name."""

    def __init__(self, **variables: str) -> None:
        self.name = f"test{uuid.uuid4().hex[:12]}"
        self._environment = {**os.environ, **variables}

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a podman-compose command."""
        program = Path(sys.executable).parent / "podman-compose"
        command = [str(program), "--project-name", self.name, "--file", str(COMPOSE), *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)

    def container(self, service: str, port: int = 0) -> Container:
        """Return the container of a service with a published port."""
        return Container(f"{self.name}_{service}_1", f"http://127.0.0.1:{port}")


@contextmanager
def project(*arguments: str, **variables: str) -> Iterator[Project]:
    """Run services until the block ends."""
    made = Project(**variables)
    up = made.compose(*arguments)
    try:
        assert up.returncode == 0, up.stderr
        yield made
    finally:
        down = made.compose("--profile", "embedded", "down", "--volumes")
        assert down.returncode == 0, down.stderr


def facts(container: Container) -> dict[str, Any]:
    """Return the configuration of a container."""
    found: dict[str, Any] = json.loads(podman("container", "inspect", container.name))[0]["HostConfig"]
    return found


def test_the_service_on_mongodb_starts_and_keeps_its_data(
    service_image: Callable[[str], Image], mongod_image: str
) -> None:
    port = free_port()
    variables = {"TODO_IMAGE": service_image("buildah").name, "MONGODB_IMAGE": mongod_image, "SECRET_KEY": SECRET_KEY}
    first = ("up", "--detach", "--no-build", "mongodb", "replica-set")
    with project(*first, TODO_PORT=str(port), **variables) as made:
        # the condition `service_completed_successfully`; older versions of podman start everything at once, and the
        # name of a container may be unavailable for a moment while another one ends
        assert made.container("replica-set").exit_status() == 0
        up = made.compose("up", "--detach", "--no-build", "--no-deps", "todo")
        assert up.returncode == 0, up.stderr
        service = made.container("todo", port)
        service.await_ready()
        header = register(service)
        assert service.post("/v1/todos", json={"title": "Water"}, headers=header).status_code == 201
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


def test_the_embedded_store_starts_without_mongodb(service_image: Callable[[str], Image]) -> None:
    port = free_port()
    variables = {"TODO_IMAGE": service_image("buildah").name, "TODO_PORT": str(port), "SECRET_KEY": ""}
    with project("--profile", "embedded", "up", "--detach", "--no-build", "embedded", **variables) as made:
        service = made.container("embedded", port)
        service.await_ready()
        register(service)
        assert service.healthy()
        running = podman("ps", "--format", "{{.Names}}", "--filter", f"name={made.name}").split()
        assert running == [service.name]


def test_a_missing_secret_key_is_reported(service_image: Callable[[str], Image], mongod_image: str) -> None:
    variables = {"TODO_IMAGE": service_image("buildah").name, "MONGODB_IMAGE": mongod_image, "SECRET_KEY": ""}
    with project("up", "--detach", "--no-build", TODO_PORT=str(free_port()), **variables) as made:
        service = made.container("todo")
        deadline = time.monotonic() + START_SECONDS
        while "todo-service: SECRET_KEY: required in production on MongoDB" not in service.logs():
            assert time.monotonic() < deadline, service.logs()
