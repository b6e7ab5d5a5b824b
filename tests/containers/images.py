"""Building images as users do, and inspecting them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.serving import REPOSITORY

PYTHON_BASE: Final = os.environ.get("PYTHON_BASE", "docker.io/library/python:3.13-slim-trixie")
CONTAINERFILE: Final = "containers/Containerfile"
STAND_INS: Final = Path(__file__).parent / "stand_ins"
_COMMANDS: Final = {"podman": ["podman", "build"], "buildah": ["buildah", "build", "--layers"]}
BUILDERS: Final = tuple(_COMMANDS)


class Image(NamedTuple):
    """A built image.

    Attributes:
        name: The name of the image.
        base: The name of its base image.
        seconds: The duration of the build.
    """

    name: str
    base: str
    seconds: float

    @property
    def layers(self) -> list[str]:
        """The digests of its layers, those of the base first."""
        layers: list[str] = inspect(self.name)["RootFS"]["Layers"]
        return layers

    @property
    def own_layers(self) -> list[str]:
        """The digests of the layers that it adds to its base."""
        return self.layers[len(inspect(self.base)["RootFS"]["Layers"]) :]

    @property
    def own_bytes(self) -> int:
        """The size that it adds to its base."""
        return int(inspect(self.name)["Size"]) - int(inspect(self.base)["Size"])


def podman(*arguments: str, check: bool = True) -> str:
    """Run a podman command and return its output."""
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)  # noqa: S607  # from PATH
    assert done.returncode == 0 or not check, f"podman {shlex.join(arguments)}\n{done.stderr}"
    return done.stdout


def build(
    builder: str, name: str, context: Path, *options: str, containerfile: str = CONTAINERFILE, base: str = PYTHON_BASE
) -> Image:
    """Build an image from a context.

    Args:
        builder: `podman` or `buildah`.
        name: The name of the image.
        context: The folder of the build context.
        options: Further options of the build.
        containerfile: The path of the Containerfile within the context.
        base: The base image.
    """
    command = [*_COMMANDS[builder], "--format", "docker", "--tag", name, "--file", str(context / containerfile)]
    command += [*shlex.split(os.environ.get("BUILD_OPTIONS", "")), *options, str(context)]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return Image(name, base, time.monotonic() - started)


def select_base(base: str) -> tuple[str, str]:
    """Return the build options that select a base image."""
    return ("--build-arg", f"PYTHON_BASE={base}")


def working_copy(folder: Path) -> Path:
    """Copy the versioned files of the repository, so that a test may change them."""
    unversioned = shutil.ignore_patterns(
        ".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", ".coverage*", "node_modules"
    )
    return Path(shutil.copytree(REPOSITORY, folder / "clone", ignore=unversioned))


def inspect(name: str) -> dict[str, Any]:
    """Return the result of `podman image inspect`."""
    found: dict[str, Any] = json.loads(podman("image", "inspect", name))[0]
    return found


def files(name: str) -> dict[str, tarfile.TarInfo]:
    """Return every file of an image by its path, without a leading slash."""
    container = podman("create", name, "unused").strip()
    exporting = subprocess.Popen(["podman", "export", container], stdout=subprocess.PIPE)  # noqa: S607  # from PATH
    try:
        with tarfile.open(fileobj=exporting.stdout, mode="r|") as archive:
            return {member.name.removeprefix("./").rstrip("/"): member for member in archive}
    finally:
        exporting.communicate()
        podman("rm", "--volumes", container)
