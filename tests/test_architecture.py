"""The rooms and the one direction of their imports (DESIGN: controllers → service → store.base)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "todo_service"
DRIVERS = {"motor", "pymongo", "lmdb"}


def imports_of(path: Path) -> set[str]:
    """Return the modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((PACKAGE / room).glob("**/*.py"))]


def starting_with(imported: set[str], *prefixes: str) -> set[str]:
    return {name for name in imported if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)}


@pytest.mark.parametrize("path", modules("store"), ids=str)
def test_a_store_knows_no_other_room_and_no_http(path: Path) -> None:
    above = ("todo_service.accounts", "todo_service.todos", "todo_service.web", "todo_service.app", "litestar")

    assert not starting_with(imports_of(path), *above)


@pytest.mark.parametrize("path", modules("accounts", "todos"), ids=str)
def test_only_controllers_know_http(path: Path) -> None:
    if path.name == "controllers.py":
        return

    assert not starting_with(imports_of(path), "litestar", "uvicorn", "todo_service.web", "todo_service.app")


@pytest.mark.parametrize("path", modules("accounts", "todos"), ids=str)
def test_rooms_know_the_store_only_by_its_interface(path: Path) -> None:
    imported = imports_of(path)

    assert starting_with(imported, "todo_service.store") <= {
        name for name in imported if name.startswith("todo_service.store.base")
    }
    # ODMantic's models take MongoDB's index declarations, which are data
    assert starting_with(imported, *DRIVERS) <= {"pymongo", "pymongo.IndexModel"}


@pytest.mark.parametrize("path", modules("accounts", "todos", "web"), ids=str)
def test_controllers_are_at_the_top(path: Path) -> None:
    assert not {name for name in imports_of(path) if name.endswith(".controllers")}


@pytest.mark.parametrize("path", modules(""), ids=str)
def test_the_mongodb_driver_stays_in_one_file(path: Path) -> None:
    if path.relative_to(PACKAGE).as_posix() == "store/mongodb/store.py":
        return

    assert not starting_with(imports_of(path), "motor", "odmantic.engine", "odmantic.AIOEngine")


def test_an_account_s_todos_cannot_be_asked_without_the_account() -> None:
    """Every call of the store starts from a condition on the owner (DESIGN: ownership is decided once)."""
    calls = [
        ast.unparse(node)
        for path in modules("todos")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "self._store"
        and node.func.attr not in ("insert", "settled")
    ]

    assert calls
    for call in calls:
        assert re.search(r"self\._this\(|\.(owner|account) == self\._owner|\*where|\*still_open", call), call
