"""The tools of other languages: npm packages from `package-lock.json`, Node.js and Java from wheels."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
MODULES = FOLDER / "node_modules"
BINARIES = Path(sys.executable).parent
GENERATE_SECONDS = 480


def run(*command: str | Path, cwd: Path, variables: Mapping[str, str] | None = None) -> str:
    """Run a command of the environment or of npm, and return its output.

    If the command is missing or fails, the test fails with the complete output.
    """
    path = f"{MODULES / '.bin'}{os.pathsep}{BINARIES}{os.pathsep}{os.environ['PATH']}"
    name = str(command[0])
    candidates = [Path(folder) / name for folder in path.split(os.pathsep)]
    found = next((candidate for candidate in candidates if candidate.exists()), None)
    if found is None:
        pytest.fail(f"no {name}: `pdm run test-sdk` installs what these tests need", pytrace=False)
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1", **(variables or {})}
    done = subprocess.run(
        [found, *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True, timeout=GENERATE_SECONDS
    )
    if done.returncode != 0:
        pytest.fail(f"{name} exited with {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False)
    return done.stdout + done.stderr
