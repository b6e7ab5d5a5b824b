"""The images under test, each built once, and the table of measurements."""

from __future__ import annotations

import functools
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.containers.images import BUILDERS, PYTHON_BASE, STAND_INS, Image, build, podman, select_base, working_copy
from tests.mongod import binary

Figures = dict[str, dict[str, str]]
"""The measurements: for each figure, its value by image."""
_FIGURES: Final = pytest.StashKey[Figures]()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """The measurements, printed as a table at the end of the run."""
    return pytestconfig.stash.setdefault(_FIGURES, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(_FIGURES, {})
    if not figures:
        return
    images = list(dict.fromkeys(name for values in figures.values() for name in values))
    terminalreporter.section("figures")
    terminalreporter.write_line(f"{'':36}" + "".join(f"{name:>16}" for name in images))
    for figure, values in figures.items():
        terminalreporter.write_line(f"{figure:36}" + "".join(f"{values.get(name, '-'):>16}" for name in images))


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository. Tests must not change it."""
    return working_copy(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def service_image(clone: Path, figures: Figures) -> Iterator[Callable[[str], Image]]:
    """Returns the image of the service that a given builder has built from scratch. Both builds start at once."""
    mark = f"test={uuid.uuid4().hex}"

    def build_from_scratch(builder: str) -> Image:
        # a new base, so that no layer of an earlier build is reused
        base = f"localhost/todo-service-base-{builder}"
        options = ("--build-arg", f"PYTHON_BASE={PYTHON_BASE}", "--label", mark, "--label", f"builder={builder}")
        build(builder, base, STAND_INS, *options, containerfile="base.Containerfile")
        image = build(builder, f"localhost/todo-service-{builder}", clone, *select_base(base), base=base)
        figures.setdefault("seconds, first build", {})[builder] = f"{image.seconds:.1f}"
        return image

    with ThreadPoolExecutor() as threads:
        builds = {builder: threads.submit(build_from_scratch, builder) for builder in BUILDERS}
        yield lambda builder: builds[builder].result()
    podman("image", "prune", "--force", "--filter", f"label={mark}")


@pytest.fixture(scope="session")
def distroless_image(clone: Path, service_image: Callable[[str], Image]) -> Callable[[], Image]:
    """Builds the image on a stand-in for the distroless base, once."""

    @functools.cache
    def built() -> Image:
        base = build(
            "buildah",
            "localhost/distroless-stand-in",
            STAND_INS,
            *select_base(PYTHON_BASE),
            containerfile="distroless.Containerfile",
        ).name
        return build(
            "buildah",
            "localhost/todo-service-distroless",
            clone,
            *("--build-arg", f"TODO_IMAGE={service_image('buildah').name}", "--build-arg", f"DISTROLESS_BASE={base}"),
            containerfile="containers/distroless.Containerfile",
            base=base,
        )

    return built


@pytest.fixture(scope="session", params=["buildah", "podman", "distroless"])
def image(
    request: pytest.FixtureRequest,
    service_image: Callable[[str], Image],
    distroless_image: Callable[[], Image],
    figures: Figures,
) -> Image:
    """An image. A test with this fixture runs on every image."""
    name: str = request.param
    found = distroless_image() if name == "distroless" else service_image(name)
    figures.setdefault("MB above the base", {})[name] = f"{found.own_bytes / 1e6:.1f}"
    figures.setdefault("layers above the base", {})[name] = str(len(found.own_layers))
    return found


@pytest.fixture(scope="session")
def mongod_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image of a real mongod, a stand-in for the one in compose.yaml."""
    folder = tmp_path_factory.mktemp("mongod")
    shutil.copy(STAND_INS / "mongod.Containerfile", folder)
    shutil.copy(binary(), folder / "mongod")
    options = ("--build-arg", f"PYTHON_BASE={PYTHON_BASE}")
    return build("buildah", "localhost/mongod-stand-in", folder, *options, containerfile="mongod.Containerfile").name
