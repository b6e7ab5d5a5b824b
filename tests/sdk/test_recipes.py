"""docs/sdks.md: the recipes for generated clients run as printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.sdk.clients import STRICT
from tests.sdk.languages import QUICK_JAVA
from tests.sdk.tools import FOLDER, MODULES, run
from tests.serving import Service

_PAGE = (FOLDER.parent.parent / "docs" / "sdks.md").read_text()
GENERATE, PAGINATE, OTHER_LANGUAGES = (
    _PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    for title in ("Generate a client", "Paginate, and handle errors", "Other languages")
)
SIX_CALLS = FOLDER / "scenarios" / "six_calls"
LOCKED = (FOLDER.parent.parent / "pdm.lock").read_text()
PASSWORD = "correct horse battery"


class Snippet(NamedTuple):
    """A block of code in the section of a language.

    Attributes:
        section: The heading of the section.
        language: The language of the block, such as `sh`.
        code: The code.
    """

    section: str
    language: str
    code: str


def read_snippets() -> list[Snippet]:
    """Return the blocks of code below "Other languages"."""
    return [
        Snippet(part.partition("\n")[0], language, code)
        for part in OTHER_LANGUAGES.split("\n### ")[1:]
        for language, code in re.findall(r"```(\w+)\n(.*?)```", part, re.DOTALL)
    ]


SNIPPETS = read_snippets()
PROGRAMS = {
    "go": ["six_calls.go"],
    "java": ["SixCalls.java"],
    "ruby": ["six_calls.rb"],
    "php": ["six_calls.php"],
    "rust": ["rust/src/main.rs"],
    "ts": ["typescript_fetch.ts", "typescript_axios.ts", "orval.ts", "ng_openapi_gen.ts"],
}
"""The programs that test_languages.py runs, by the language of the snippets."""


class Recipe(NamedTuple):
    """How to generate and use a client.

    Attributes:
        install: The command that installs the dependencies.
        generate: The command that generates the client.
        language: `python` or `ts`.
        use: The lines that use the client.
    """

    install: str
    generate: str
    language: str
    use: str


def read_recipes() -> dict[str, Recipe]:
    """Return the recipes of the page by their titles."""
    found = {}
    for part in GENERATE.split("\n### ")[1:]:
        blocks = re.findall(r"```(\w+)\n(.*?)```", part, re.DOTALL)
        (shell, commands), (language, use) = blocks
        assert shell == "sh"
        install, _, generate = commands.partition("\n")
        found[part.partition("\n")[0]] = Recipe(install, generate, language, use)
    return found


RECIPES = read_recipes()


@pytest.fixture(scope="module")
def token(limited_service: Service) -> str:
    """The access token of a new account."""
    with httpx.Client(base_url=limited_service.url) as client:
        body = {"username": "reader", "email": "reader@example.com", "password": PASSWORD}
        client.post("/v1/users", json=body).raise_for_status()
        form = {"grant_type": "password", "username": "reader", "password": PASSWORD}
        response: str = client.post("/v1/auth/token", data=form).raise_for_status().json()["access_token"]
        return response


def test_the_page_has_four_recipes() -> None:
    assert len(RECIPES) == 4


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_works_as_printed(name: str, tmp_path: Path, limited_service: Service, token: str) -> None:
    recipe = RECIPES[name]
    (tmp_path / "node_modules").symlink_to(MODULES)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    script = tmp_path / f"use.{'py' if recipe.language == 'python' else 'ts'}"
    script.write_text(at(limited_service, recipe.use).replace("YOUR_TOKEN", token))

    run("bash", "-euo", "pipefail", "-c", at(limited_service, recipe.generate), cwd=tmp_path, variables=QUICK_JAVA)
    if recipe.language == "python":
        said = run("python", script, cwd=tmp_path, variables={"PYTHONPATH": str(tmp_path)})
    else:
        run(
            "tsc", *STRICT, "--noEmit", "--module", "esnext", "--moduleResolution", "bundler", script.name, cwd=tmp_path
        )
        said = run("tsx", script, cwd=tmp_path)

    assert "Water the plants" in said
    assert len([line for line in recipe.use.splitlines() if line]) == 5


def test_pagination_and_errors_work_as_printed(tmp_path: Path, limited_service: Service, token: str) -> None:
    titles = ["Buy seeds", "Rake the leaves", "Sow the seeds"]
    with httpx.Client(base_url=limited_service.url, headers={"Authorization": f"Bearer {token}"}) as client:
        for title in titles:
            client.post("/v1/todos", json={"title": title}).raise_for_status()
    (code,) = re.findall(r"```python\n(.*?)```", PAGINATE, re.DOTALL)
    code = at(limited_service, code).replace("YOUR_TOKEN", token)
    assert "limit=100" in code
    script = tmp_path / "use.py"
    # the program would exit with status 1, because its last call fails
    script.write_text(code.replace("limit=100", "limit=1").replace("SystemExit(1)", "SystemExit(0)"))

    generate = RECIPES["Python: openapi-python-client"].generate
    run("bash", "-euo", "pipefail", "-c", at(limited_service, generate), cwd=tmp_path)
    said = run("python", script, cwd=tmp_path, variables={"PYTHONPATH": str(tmp_path)}).splitlines()

    assert [line for line in said if line in titles] == titles
    assert [line.split()[0] for line in said[-2:]] == ["urn:todo-service:problem:invalid", "/recurrence"]


def at(service: Service, text: str) -> str:
    return text.replace("http://127.0.0.1:8000", service.url)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_install_only_locked_packages(name: str) -> None:
    command, action, *packages = RECIPES[name].install.split()
    locked = LOCKED if command == "pip" else (FOLDER / "package.json").read_text()

    assert (command, action) in (("pip", "install"), ("npm", "install"))
    for package in packages:
        plain = re.sub(r"(?<=.)@\d+$|\[.*$", "", package.strip('"'))
        assert (f'name = "{plain}"' if command == "pip" else f'"{plain}": ') in locked, package


def test_the_snippets_of_other_languages_are_known() -> None:
    """Each is a command, code of a program, or a configuration: the tests below run all of them."""
    assert {snippet.language for snippet in SNIPPETS} == {"sh", "yaml", *PROGRAMS}


COMMANDS = [
    command
    for snippet in SNIPPETS
    if snippet.language == "sh"
    for command in snippet.code.replace("\\\n", " ").splitlines()
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: re.sub(r" -i .*| --input .*", "", command))
def test_a_command_for_another_language_generates_a_client(
    command: str, tmp_path: Path, limited_service: Service
) -> None:
    (tmp_path / "node_modules").symlink_to(MODULES)

    run("bash", "-euo", "pipefail", "-c", at(limited_service, command), cwd=tmp_path, variables=QUICK_JAVA)

    (made,) = [path for path in tmp_path.iterdir() if path.name != "node_modules" and path.suffix != ".json"]
    assert made.is_file() or any(made.iterdir())


@pytest.mark.parametrize("snippet", [each for each in SNIPPETS if each.language in PROGRAMS], ids=lambda each: each[0])
def test_the_code_for_another_language_is_run(snippet: Snippet) -> None:
    """Every line is one of the programs that test_languages.py compiles and runs."""
    programs = PROGRAMS[snippet.language]
    run_lines = {line.strip() for name in programs for line in (SIX_CALLS / name).read_text().splitlines()}

    assert [line for line in snippet.code.splitlines() if line.strip() not in run_lines] == []


def test_the_configuration_of_openapi_python_client_is_the_one_that_is_used() -> None:
    (snippet,) = [each for each in SNIPPETS if each.language == "yaml"]

    used = (FOLDER / "openapi_python_client.yaml").read_text()
    assert [line for line in snippet.code.splitlines() if line not in used.splitlines()] == []
