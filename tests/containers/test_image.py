"""The files of an image."""

from __future__ import annotations

import json
import re
import stat
import tarfile
import tomllib
from functools import cache

import pytest

from tests.containers.images import Image, files, inspect, podman
from tests.serving import REPOSITORY
from todo_service import __version__

LARGEST_BYTES = 120_000_000
BUILDING = {
    *("apk", "apt", "apt-get", "aptitude", "dpkg", "rpm", "dnf", "yum", "npm", "pdm", "pip", "pip3", "uv", "poetry"),
    *("as", "cc", "c++", "clang", "cpp", "g++", "gcc", "ld", "make", "strip", "tcc", "git"),
}
list_files = cache(files)


def run(image: Image, code: str) -> str:
    """Run Python in a new container and return its output."""
    return podman("run", "--rm", "--entrypoint", "python", image.name, "-c", code)


@pytest.fixture
def entries(image: Image) -> dict[str, tarfile.TarInfo]:
    """The entries of the image's file system, by path."""
    return list_files(image.name)


def test_the_image_is_small(image: Image) -> None:
    assert image.own_bytes <= LARGEST_BYTES
    assert len(image.own_layers) <= 6


def test_the_image_has_no_package_manager_and_no_compiler(entries: dict[str, tarfile.TarInfo], image: Image) -> None:
    programs = {path.rsplit("/", 1)[-1] for path in entries if re.search(r"\bs?bin/[^/]+$", path)}

    assert {re.sub(r"[-.\d]+$", "", name) for name in programs} & BUILDING == set()
    assert (
        run(image, "import importlib.util as u; print([n for n in ('pip', 'ensurepip', 'pdm') if u.find_spec(n)])")
        == "[]\n"
    )


def test_no_file_is_setuid(entries: dict[str, tarfile.TarInfo]) -> None:
    assert not [path for path, file in entries.items() if file.isfile() and file.mode & (stat.S_ISUID | stat.S_ISGID)]


def test_only_data_and_temporary_folders_can_be_written(entries: dict[str, tarfile.TarInfo]) -> None:
    writable = {
        path
        for path, file in entries.items()
        if not file.issym() and (file.mode & stat.S_IWOTH or ((file.uid, file.gid) != (0, 0) and file.mode & 0o222))
    }

    assert "data" in writable
    assert entries["data"].uid == entries["data"].gid == 1000
    assert {path.split("/")[0] for path in writable} <= {"data", "dev", "etc", "run", "tmp", "var"}


def test_the_image_has_no_build_files(entries: dict[str, tarfile.TarInfo]) -> None:
    names = {path.rsplit("/", 1)[-1] for path in entries}

    assert not names & {"pyproject.toml", "pdm.lock", "Containerfile", ".pdm-python", ".git", "pip.conf", ".netrc"}
    assert not [name for name in names if name.endswith("_history")]
    assert not [path for path in entries if path.startswith(("build/", "pdm/", "wheel/", "before", "layers/"))]
    assert not [path for path in entries if re.match(r"(root|home)/.*cache", path)]
    assert not [path for path in entries if path.startswith("venv/") and "/tests/" in path]
    packages = "venv/lib/python3.13/site-packages/"
    assert [path for path in entries if path.startswith(f"{packages}todo_service/")]
    assert not [path for path in entries if path.startswith(packages) and path.endswith((".pth", ".pyc"))]


def test_the_image_has_only_locked_dependencies(image: Image) -> None:
    code = (
        "from importlib.metadata import distributions as d; print(*(f'{i.name}=={i.version}' for i in d()), sep='\\n')"
    )
    installed = dict(line.lower().replace("_", "-").split("==") for line in run(image, code).split())
    lock = tomllib.loads((REPOSITORY / "pdm.lock").read_text())
    locked = {
        package["name"].lower(): package["version"] for package in lock["package"] if "default" in package["groups"]
    }

    assert installed.pop("todo-service") == __version__
    assert installed.items() <= locked.items()
    assert {"litestar", "lmdb", "motor", "uvloop"} <= installed.keys()


def test_startup_compiles_no_bytecode(image: Image) -> None:
    code = """
import pathlib, sys
import todo_service.app, todo_service.cli, todo_service.server.run, todo_service.store.embedded.writer_process
cached = [module.__spec__.cached for module in list(sys.modules.values()) if getattr(module, "__spec__", None)]
print([path for path in cached if path and not pathlib.Path(path).exists()])
"""
    assert run(image, code) == "[]\n"


def test_the_image_declares_user_port_volume_and_health_check(image: Image) -> None:
    declared = inspect(image.name)["Config"]
    health = inspect(image.name)["Healthcheck"]
    environment = dict(line.split("=", 1) for line in declared["Env"])

    assert declared["User"] == "1000:1000"
    assert (declared["Entrypoint"], declared["Cmd"]) == (["todo-service"], ["serve"])
    assert health["Test"] == ["CMD", "todo-service", "health"]
    assert declared["ExposedPorts"].keys() == {"8000/tcp"}
    assert declared["Volumes"].keys() == {"/data"}
    assert declared["StopSignal"] in ("SIGTERM", "15")
    assert declared["WorkingDir"]
    assert environment.items() >= {"DATA_DIR": "/data", "ENVIRONMENT": "production", "HOST": "0.0.0.0"}.items()  # noqa: S104  # in a container
    assert environment.items() >= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}.items()
    assert environment["SHUTDOWN_DELAY"] == "5"
    assert "PORT" not in environment
    assert declared["Labels"]["org.opencontainers.image.version"] == __version__
    assert {"title", "description", "licenses"} <= {name.rsplit(".", 1)[-1] for name in declared["Labels"]}


def test_the_history_contains_no_secret_and_no_registry_address(image: Image) -> None:
    history = json.loads(podman("history", "--no-trunc", "--format", "json", image.name))
    said = " ".join(step["CreatedBy"] for step in history) + json.dumps(inspect(image.name)["Config"]["Env"])

    assert not re.search(r"https?:|index[-_]url|find[-_]links|password|secret|token", said, re.IGNORECASE)
