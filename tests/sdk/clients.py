"""The clients generated from the golden document, each with the tool that users run."""

from __future__ import annotations

import re
from pathlib import Path

from tests.sdk.tools import FOLDER, MODULES, run

SCENARIOS = FOLDER / "scenarios"
STRICT = ("--strict", "--noUncheckedIndexedAccess", "--target", "es2022")


def openapi_python_client(document: Path, folder: Path) -> None:
    options = ("--meta", "none", "--output-path", "todo_client", "--config", FOLDER / "openapi_python_client.yaml")
    said = run("openapi-python-client", "generate", "--path", document, *options, cwd=folder)
    assert not re.findall(r"^(?:WARNING|Unsupported|ERROR).*", said, re.MULTILINE), said


def openapi_generator(document: Path, folder: Path) -> None:
    options = ("--package-name", "todo_client")
    run("openapi-generator-cli", "generate", "-i", document, "-g", "python", "-o", ".", *options, cwd=folder)


def openapi_fetch(document: Path, folder: Path) -> None:
    run("openapi-typescript", document, "-o", "schema.d.ts", cwd=folder)


def hey_api(document: Path, folder: Path) -> None:
    run("openapi-ts", "-i", document, "-o", "client", cwd=folder)


def compile_strictly(script: Path, folder: Path) -> None:
    """Compile a script and the client that it imports with `tsc --strict` into `built`."""
    (folder / "package.json").write_text('{"type": "commonjs"}')
    (folder / "node_modules").symlink_to(MODULES)
    (folder / script.name).write_text(script.read_text())
    types = ("--module", "node16", "--moduleResolution", "node16", "--types", "node", "--outDir", "built")
    run("tsc", *STRICT, *types, script.name, cwd=folder)
