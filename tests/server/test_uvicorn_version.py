"""uvicorn is pinned to the minor version whose private protocol `LimitedHttpProtocol` subclasses."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

import uvicorn

REVIEWED: Final = "0.54"
"""The minor version of uvicorn that `LimitedHttpProtocol` has been reviewed against."""
PROJECT: Final = Path(__file__).parent.parent.parent / "pyproject.toml"


def test_the_installed_uvicorn_is_the_reviewed_one() -> None:
    minor = ".".join(uvicorn.__version__.split(".")[:2])

    assert minor == REVIEWED, (
        f"uvicorn {uvicorn.__version__} is installed, but todo_service/server/protocol.py overrides private methods of "
        f"uvicorn {REVIEWED}. Compare uvicorn/protocols/http/httptools_impl.py and flow_control.py of both versions, "
        "adapt LimitedHttpProtocol, run tests/web, then change REVIEWED and the requirement in pyproject.toml."
    )


def test_pyproject_pins_the_reviewed_minor_version() -> None:
    dependencies = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]

    assert f"uvicorn~={REVIEWED}.0" in dependencies
