"""docs/sdks.md: the recipes for generated clients run as printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.sdk.clients import STRICT
from tests.sdk.tools import FOLDER, MODULES, run
from tests.serving import Service

PAGE = (FOLDER.parent.parent / "docs" / "sdks.md").read_text().partition("\n## Other languages\n")[0]
LOCKED = (FOLDER.parent.parent / "pdm.lock").read_text()
PASSWORD = "correct horse battery"


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
    for part in PAGE.split("\n### ")[1:]:
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

    run("bash", "-euo", "pipefail", "-c", at(limited_service, recipe.generate), cwd=tmp_path)
    if recipe.language == "python":
        said = run("python", script, cwd=tmp_path, variables={"PYTHONPATH": str(tmp_path)})
    else:
        run(
            "tsc", *STRICT, "--noEmit", "--module", "esnext", "--moduleResolution", "bundler", script.name, cwd=tmp_path
        )
        said = run("tsx", script, cwd=tmp_path)

    assert "Water the plants" in said
    assert len([line for line in recipe.use.splitlines() if line]) == 5


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
