"""The footprint of a service: its start time, its memory, and the start time of its image."""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.benchmarks.contestants import START_SECONDS, Contestant, ContestantFailure, Running, responds, serving
from tests.benchmarks.results import Footprint
from tests.mongod import free_port

_POLL_SECONDS: Final = 0.002


def take_start(footprint: Footprint, contestant: Contestant, folder: Path, mongod_url: str) -> None:
    """Start a service on the data of its last start, and record the start time and the idle memory."""
    with serving([contestant], folder, mongod_url, 1, label="-start") as (running,):
        footprint.start_seconds.append(running.start_seconds)
        memory = running.memory()
        footprint.idle_anonymous.append(memory.anonymous)
        footprint.idle_resident.append(memory.resident)


def take_load(footprint: Footprint, running: Running) -> None:
    """Record the memory of a service after a load, if it is a new maximum."""
    memory = running.memory()
    footprint.loaded_anonymous = max(footprint.loaded_anonymous, memory.anonymous)
    footprint.loaded_resident = max(footprint.loaded_resident, memory.resident)


def has_image(podman: str, image: str) -> bool:
    """Return whether podman is installed and has an image."""
    try:
        done = subprocess.run([*shlex.split(podman), "image", "exists", image], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def image_start_seconds(podman: str, image: str, further: str) -> float:
    """Start a container on an empty volume, and return the seconds until its first 200.

    Args:
        podman: The podman command, with global options.
        image: The image.
        further: Options of `podman run`.
    """
    port, name = free_port(), f"todo-service-bench-{time.time_ns()}"
    options = ["--rm", "--detach", "--name", name, "--publish", f"127.0.0.1:{port}:8000", *shlex.split(further)]
    since = time.perf_counter()
    done = subprocess.run([*shlex.split(podman), "run", *options, image], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ContestantFailure(f"podman run {image} ended with {done.returncode}\n{done.stderr}")
    try:
        while not responds(port, "/health/ready"):
            if time.perf_counter() - since > START_SECONDS:
                raise ContestantFailure(f"the image {image} does not respond")
            time.sleep(_POLL_SECONDS)
        return time.perf_counter() - since
    finally:
        subprocess.run([*shlex.split(podman), "rm", "--force", name], capture_output=True, check=False)
