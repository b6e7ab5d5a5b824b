"""The commands on the pages are valid: short ones are run, and the parts of long ones must exist.

`tests/test_readme.py` runs the commands of README.md, docs/tour.md, docs/moving.md and docs/operations.md.
"""

from __future__ import annotations

import ast
import getopt
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click
import pytest
import yaml

from tests.test_docs import PAGES, ROOT, SCRIPTS
from todo_service.cli import main

COMMANDS: Final = sorted(
    {
        shlex.join(shlex.split(command, comments=True))
        for page in PAGES
        for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        for command in re.findall(r"\bpdm (?!sync).*", block)
    }
    | {f"pdm run {name}" for page in PAGES for name in re.findall(r"`pdm run ([\w-]+)`", page.read_text())}
)
"""The commands of PDM on the pages that end with their line, except those that install dependencies."""
INSTALLERS: Final = ("pdm sync ", "npm ci ")
GENERATED: Final = {
    "pdm run doc-tables": ("README.md", "docs/operations.md", "docs/fields.md"),
    "pdm run limits-page": ("docs/limits.md",),
    "pdm run golden": ("tests/openapi/golden.json",),
}
"""The files that a command of CONTRIBUTING.md regenerates. `tests/sdk/test_methods.py` runs `pdm run sdk-methods`."""
PROGRAMS: Final = {"mypy", "pre-commit", "pytest", "python", "ruff", "todo-service"}


def expand(command: str) -> list[list[str]]:
    """Return the commands that a command of PDM runs, without those that install dependencies."""
    words = shlex.split(command)[1:]
    name, *arguments = words[1:] if words[0] == "run" else words
    script = SCRIPTS.get(name)
    if script is None:
        return [[name, *arguments]]
    lines = script.get("composite", [script.get("cmd")])
    return [
        shlex.split(line.replace("{args}", shlex.join(arguments))) for line in lines if not line.startswith(INSTALLERS)
    ]


def check_program(program: str, *words: str) -> None:
    """Check the words that follow the name of a program."""
    assert program in PROGRAMS, program
    match program:
        case "python":
            assert words[0] == "-m"
            assert is_executable(words[1]), words[1]
        case "pytest":
            check_selection(words)
        case "todo-service":
            check_options(words)


def is_executable(name: str) -> bool:
    """Return whether `python -m` runs a module or a package."""
    found = find_spec(name)
    if found is not None and found.submodule_search_locations is not None:
        found = find_spec(f"{name}.__main__")
        return found is not None
    return found is not None and '__name__ == "__main__"' in Path(str(found.origin)).read_text()


def check_selection(words: tuple[str, ...]) -> None:
    """Check that pytest finds tests. Collecting them would import all of them, which takes long."""
    options, paths = getopt.gnu_getopt(list(words), "k:n:o:qsx", ["numprocesses=", "dist="])
    keyword = dict(options).get("-k", "")
    for path in paths or ["tests"]:
        assert any(keyword in test for test in list_tests(ROOT / path)), f"{path} -k {keyword}"


def list_tests(path: Path) -> Iterator[str]:
    """Yield the ids of the tests in a file or a directory."""
    for file in path.glob("**/test_*.py") if path.is_dir() else [path]:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield f"{file.relative_to(ROOT)}::{node.name}"


def check_options(words: tuple[str, ...]) -> None:
    """Check that a command of the service exists, and has the options that it is given."""
    command: click.Command = main
    rest = list(words)
    while isinstance(command, click.Group) and rest and re.fullmatch(r"[a-z]+", rest[0]):
        command = command.commands[rest.pop(0)]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in rest if word.startswith("-")} <= known | {"--help"}, shlex.join(words)


@pytest.mark.parametrize("command", COMMANDS)
def test_programs_and_options_of_commands_exist(command: str) -> None:
    expanded = expand(command)

    assert expanded
    for program, *words in expanded:
        check_program(program, *words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_and_commands_in_the_text_exist(page: Path) -> None:
    code = re.findall(r"`([^`\n]+)`", page.read_text())

    for words in map(str.split, code):
        if words[:2] == ["python", "-m"]:
            assert is_executable(words[2]), words[2]
        elif "todo-service" in words and words[-1] != "todo-service":
            check_options(tuple(words[words.index("todo-service") + 1 :]))


def test_lint_succeeds_as_printed() -> None:
    """`mypy`, the last command of `pdm run check`, takes a minute."""
    *linting, types = expand("pdm run check")

    assert types == ["mypy"]
    for command in linting:
        subprocess.run([sys.executable, "-m", *command, "--no-cache"], cwd=ROOT, check=True, timeout=60)


def test_the_hooks_run_the_commands_of_the_check() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    commands = [hook["entry"].split()[2:] for hook in hooks]

    assert [shlex.join(words) for words in expand("pdm run check")] == ["ruff check", "ruff format --check", "mypy"]
    assert [" ".join(word for word in words if not word.startswith("-")) for words in commands] == [
        "ruff check",
        "ruff format",
        "mypy",
    ]


def test_pages_are_regenerated_as_printed(tmp_path: Path) -> None:
    """The commands run in a copy of the repository whose generated files are out of date."""
    table = (ROOT / "CONTRIBUTING.md").read_text().split("## Regenerate pages")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(pdm run [\w-]+)` \|", table, re.MULTILINE)) == {*GENERATED, "pdm run sdk-methods"}
    for name in ("tests", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "node_modules", "corpus", "releases", "vectors", "sdk")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    names = [name for generated in GENERATED.values() for name in generated]
    for name in names:
        path = tmp_path / name
        if path.suffix == ".json":
            path.unlink()
        else:
            tables = r"(<!-- ([\w -]+) -->\n).*?(?=<!-- /\2 -->)"
            path.write_text(re.sub(tables, r"\1\n", path.read_text(), flags=re.DOTALL))
            assert path.read_text() != (ROOT / name).read_text()
    variables = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}

    processes = [
        subprocess.Popen([sys.executable, *words], cwd=tmp_path, env=variables)
        for command in GENERATED
        for program, *words in expand(command)
        if program == "python"
    ]

    assert [process.wait(60) for process in processes] == [0] * len(GENERATED)
    for name in names:
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), name
