"""The page METHODS.md: the names of the methods of generated clients.

`pdm run sdk-methods` regenerates it.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.openapi.document import iterate_operations
from tests.openapi.golden import GOLDEN
from tests.sdk.clients import hey_api, openapi_generator, openapi_python_client

PAGE = Path(__file__).with_name("METHODS.md")
_HEADING = """\
# Method names of generated clients

These are the names in the clients that openapi-python-client, openapi-generator (python) and @hey-api/openapi-ts
generate from `tests/openapi/golden.json`. `pdm run sdk-methods` regenerates this page. openapi-fetch has no named
methods; its calls look like `client.GET("/v1/todos")`.

| operation | openapi-python-client | openapi-generator | @hey-api/openapi-ts |
|---|---|---|---|
"""


def page() -> str:
    """Generate the clients, and return the page of their method names."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for generate in (openapi_python_client, openapi_generator, hey_api):
            (folder / generate.__name__).mkdir()
            generate(GOLDEN, folder / generate.__name__)
        modules = _modules(folder / "openapi_python_client" / "todo_client" / "api")
        methods = _methods(folder / "openapi_generator" / "todo_client" / "api")
        functions = _functions(folder / "hey_api" / "client" / "sdk.gen.ts")
    rows = []
    for operation in iterate_operations(json.loads(GOLDEN.read_text(encoding="utf-8"))):
        snake = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", operation.id)
        found = (modules.get(snake, ""), methods.get(snake, ""), functions.get(operation.id, ""))
        rows.append(f"| {operation.method} {operation.path} | {' | '.join(f'`{name}`' for name in found)} |\n")
    return _HEADING + "".join(rows)


def _modules(folder: Path) -> dict[str, str]:
    return {path.stem: f"{path.parent.name}.{path.stem}.sync" for path in folder.glob("*/*.py") if path.stem[0] != "_"}


def _methods(folder: Path) -> dict[str, str]:
    found = {}
    for path in folder.glob("*_api.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef):
                        found[method.name] = f"{node.name}.{method.name}"
    return found


def _functions(path: Path) -> dict[str, str]:
    return {name: name for name in re.findall(r"^export const (\w+) = <", path.read_text(), re.MULTILINE)}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
