"""Builds: their context, and the layers that a change rebuilds."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.containers.conftest import Figures
from tests.containers.images import Image, build, files, podman, select_base, working_copy
from tests.serving import REPOSITORY


def test_the_build_sees_only_what_it_needs(tmp_path: Path) -> None:
    clone = working_copy(tmp_path)
    for stray in (".env", ".git/config", ".venv/bin/python", "notes", "todo_service/__pycache__/app.cpython-313.pyc"):
        (clone / stray).parent.mkdir(parents=True, exist_ok=True)
        (clone / stray).write_text("not for the build")
    (clone / "listing.Containerfile").write_text("FROM scratch\nCOPY . /\n")
    image = build("podman", "localhost/build-context", clone, containerfile="listing.Containerfile")
    seen = {path for path, file in files(image.name).items() if file.isfile()}
    podman("rmi", image.name)

    package = REPOSITORY / "todo_service"
    code = {f"todo_service/{path.relative_to(package)}" for path in package.rglob("*") if path.is_file()}
    expected = {path for path in code if "__pycache__" not in path}
    assert seen == {"LICENSE", "README.md", "pdm.lock", "pyproject.toml"} | expected


@pytest.mark.parametrize("builder", ["buildah", "podman"])
def test_a_change_to_the_code_rebuilds_only_the_last_layer(
    builder: str, service_image: Callable[[str], Image], tmp_path: Path, figures: Figures
) -> None:
    first = service_image(builder)
    clone = working_copy(tmp_path)
    code = clone / "todo_service" / "errors.py"
    code.write_text(f"{code.read_text()}\n# changed for {builder}\n")
    image = build(builder, f"localhost/todo-service-{builder}-changed", clone, *select_base(first.base))
    figures.setdefault("seconds, after a change to the code", {})[builder] = f"{image.seconds:.1f}"

    assert image.layers[:-1] == first.layers[:-1]
    assert image.layers[-1] != first.layers[-1]
    podman("rmi", image.name)


@pytest.mark.parametrize("name", ["Containerfile", "distroless.Containerfile"])
def test_the_linter_finds_nothing(name: str) -> None:
    done = subprocess.run(
        ["hadolint", str(REPOSITORY / "containers" / name)],  # noqa: S607  # a test dependency
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_compose_yaml_matches_the_schema_of_the_specification() -> None:
    compose = REPOSITORY / "containers" / "compose.yaml"
    done = subprocess.run(
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(compose)],  # noqa: S607  # a test dependency
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
