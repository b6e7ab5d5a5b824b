"""Running containers of the service, hardened as far as possible."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx

from tests.containers.images import podman
from tests.mongod import free_port
from tests.serving import PLAIN_HTTP, START_SECONDS

HARDENED: Final = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--pids-limit=64",
)


class Container:
    """A container of the service.

    Attributes:
        name: The name of the container.
        url: The base URL of its published port.
    """

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url

    @property
    def state(self) -> dict[str, Any]:
        """The state of the container, from `podman container inspect`."""
        found: dict[str, Any] = json.loads(podman("container", "inspect", self.name))[0]["State"]
        return found

    def await_ready(self) -> None:
        """Wait until the service is ready."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.get("/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.state["Running"], self.logs()
            assert time.monotonic() < deadline, self.logs()

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Send a GET request with the given options of httpx."""
        return httpx.get(self.url + path, verify=PLAIN_HTTP, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Send a POST request with the given options of httpx."""
        return httpx.post(self.url + path, verify=PLAIN_HTTP, **options)

    def python(self, code: str) -> str:
        """Run Python in the container, as the user of the service, and return its output."""
        return podman("exec", self.name, "python", "-c", code)

    def healthy(self) -> bool:
        """Return the result of the image's health check."""
        command = ["podman", "healthcheck", "run", self.name]
        status = subprocess.run(command, capture_output=True, check=False).returncode
        assert status in (0, 1)
        return status == 0

    def stop(self, grace_seconds: int = 10) -> int:
        """Stop the container, kill it after a grace period, and return its exit status."""
        podman("stop", "--time", str(grace_seconds), self.name)
        return self.exit_status()

    def exit_status(self) -> int:
        """Wait until the container has ended, and return its exit status."""
        return int(podman("wait", self.name))

    def logs(self) -> str:
        """Return everything that the container has printed."""
        done = subprocess.run(["podman", "logs", self.name], capture_output=True, text=True, check=True)  # noqa: S607  # from PATH
        return done.stdout + done.stderr


@contextmanager
def container(image: str, *options: str, port: int = 8000, ready: bool = True) -> Iterator[Container]:
    """Run a hardened container, with its port published on loopback, until the block ends.

    Args:
        image: The name of the image.
        options: Further options of `podman run`.
        port: The port of the service in the container.
        ready: Whether to wait until the service is ready.
    """
    name = f"test-{uuid.uuid4().hex}"
    published = free_port()
    network = any(option.startswith("--network") for option in options)
    ports = () if network else ("--publish", f"127.0.0.1:{published}:{port}")
    podman("run", "--detach", "--name", name, *HARDENED, *ports, *options, image)
    running = Container(name, f"http://127.0.0.1:{published}")
    try:
        if ready:
            running.await_ready()
        yield running
    finally:
        podman("rm", "--force", "--time", "0", "--volumes", name)


@contextmanager
def volume() -> Iterator[str]:
    """Create a named volume that exists until the block ends."""
    name = f"test-{uuid.uuid4().hex}"
    podman("volume", "create", name)
    try:
        yield name
    finally:
        podman("volume", "rm", name)
