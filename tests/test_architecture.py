"""The packages, and the direction of the imports between them (docs/architecture.md)."""

from __future__ import annotations

import ast
import re
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final, NamedTuple

import pytest

PACKAGE: Final = Path(__file__).parent.parent / "todo_service"
PAGE: Final = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text()
DRIVERS: Final = {"motor", "pymongo", "lmdb"}
CAPABILITIES: Final = ("sync", "todos", "lists", "reminders", "webhooks", "events", "exchange", "accounts")
HTTP_MODULES: Final = ("controllers.py", "middleware.py")
REGISTRY: Final = "todo_service.store.registry"


class Row(NamedTuple):
    """What the modules of a package may import, in addition to what every package may import.

    Attributes:
        packages: Other packages.
        documents: Other packages of which they may import the documents and DTOs.
        http: Other packages that controllers and middleware may import.
    """

    packages: set[str]
    documents: set[str]
    http: set[str]


def read_table() -> dict[str, Row]:
    """Return the rows of the page's table of imports by package."""
    _, _, section = PAGE.partition("\n## Imports\n")
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|(.*)\|(.*)\|$", section, re.MULTILINE)
    return {package: Row(*(set(re.findall(r"`(\w+)`", cell)) for cell in cells)) for package, *cells in rows}


def read_modules(start: str) -> set[str]:
    """Return the modules that an item of a list on the page names. The item starts with the given words."""
    item = re.search(rf"^- {re.escape(start)}.*(?:\n  .*)*", PAGE, re.MULTILINE)
    assert item is not None, start
    return {
        f"todo_service.{path.removesuffix('.py').strip('/').replace('/', '.')}"
        for path in re.findall(r"`([\w/]+(?:\.py|/))`", item[0])
    }


ALLOWED: Final = read_table()
INTERFACE: Final = read_modules("the interface of the store")
WIRING: Final = read_modules("Wiring")
SETTINGS: Final = read_modules("Settings") - {REGISTRY}

SHARED_NAMES: Final = {
    "a document, and the DTO that represents it in the API": {
        "ApiKey",
        "DeliveryAttempt",
        "Reminder",
        "Session",
        "Step",
        "Todo",
        "TodoList",
        "User",
        "Webhook",
    },
    "validates the fields of a todo, or of a list, by its table": {"validate_fields"},
    "copies a store, and the command that calls it": {"copy"},
    "an IP address, in two packages that cannot import each other": {"Address"},
}
"""The public names that two modules define, by what they mean in both."""
CHANGED_STRUCTS: Final = {"Counts", "DueCounts", "ExtensionProperty", "Problem"}
"""The Structs that are filled after they are created. None is shared."""


def list_imports(path: Path) -> set[str]:
    """Return the modules that a file imports, including imports inside functions.

    A package is among them only if the file imports the package itself or a name that the package defines.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if is_module(name) else str(node.module) for name in names}
    return found


def is_module(name: str) -> bool:
    path = PACKAGE.parent / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def list_modules(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((PACKAGE / package).glob("**/*.py"))]


def starting_with(imported: set[str], *prefixes: str) -> set[str]:
    return {name for name in imported if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)}


def find_package(name: str) -> str | None:
    """Return the package of `todo_service` that contains a module, or None for other modules."""
    match = re.match(r"todo_service\.(\w+)", name)
    return match[1] if match and (PACKAGE / match[1]).is_dir() else None


def classify_imports(path: Path) -> Row:
    """Return the packages that a file imports, by the columns of the table. All of `bounds` and the store's interface
    are omitted, because every package may import them."""
    package = path.relative_to(PACKAGE).parts[0]
    packages, documents, http = set(), set(), set()
    for name in list_imports(path) - INTERFACE:
        other = find_package(name)
        if other is None or other in (package, "bounds") or other in ALLOWED[package].packages:
            continue
        if name.split(".")[2:] in (["documents"], ["dto"]):
            documents.add(other)
        elif path.name in HTTP_MODULES:
            http.add(other)
        else:
            packages.add(other)
    return Row(packages, documents, http)


def test_every_package_is_in_the_table_and_in_the_picture() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    picture = re.findall(r"^  (\w+)/ ", PAGE, re.MULTILINE)

    assert packages == set(ALLOWED) | {"cli"}
    assert sorted(picture) == sorted(packages)


def test_the_page_names_every_capability() -> None:
    named = re.search(r"The capabilities \(([^)]*)\)", PAGE)

    assert named is not None
    assert sorted(named[1].split(", ")) == sorted(CAPABILITIES)


def test_pairs_of_packages_that_import_each_other_are_explained() -> None:
    pairs = {
        frozenset((package, other))
        for package, row in ALLOWED.items()
        for other in set().union(*row)
        if package in set().union(*ALLOWED[other])
    }

    assert set(map(frozenset, re.findall(r"^- `(\w+)` and `(\w+)`: ", PAGE, re.MULTILINE))) == pairs


def test_no_modules_import_each_other() -> None:
    paths = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in list_modules("")}

    TopologicalSorter({name: list_imports(path) for name, path in paths.items()}).prepare()  # raises on a cycle


def test_every_module_of_the_rules_exists() -> None:
    assert all(map(is_module, INTERFACE | WIRING | SETTINGS | {REGISTRY}))


@pytest.mark.parametrize("path", list_modules(*ALLOWED), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_import_only_what_the_table_allows(path: Path) -> None:
    allowed = ALLOWED[path.relative_to(PACKAGE).parts[0]]
    imports = classify_imports(path)

    assert not imports.packages
    assert imports.documents <= allowed.documents
    assert imports.http <= allowed.http
    # only the wiring imports the wiring
    assert not starting_with(list_imports(path), *WIRING)


@pytest.mark.parametrize("package", ALLOWED)
def test_the_table_allows_nothing_that_no_module_needs(package: str) -> None:
    paths = list_modules(package)
    imports = [classify_imports(path) for path in paths]
    packages = {find_package(name) for path in paths for name in list_imports(path) - INTERFACE}

    assert ALLOWED[package].packages <= packages
    assert set().union(*(each.documents for each in imports)) == ALLOWED[package].documents
    assert set().union(*(each.http for each in imports)) == ALLOWED[package].http


@pytest.mark.parametrize("path", list_modules("bounds"), ids=lambda path: path.name)
def test_bounds_import_nothing_else(path: Path) -> None:
    assert {find_package(name) for name in starting_with(list_imports(path), "todo_service")} <= {"bounds"}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_modules_at_the_top_import_no_package(path: Path) -> None:
    name = f"todo_service.{path.stem}"
    if name in WIRING:
        return

    allowed = INTERFACE | ({REGISTRY} if name in SETTINGS else set())
    imports = list_imports(path)
    assert {each for each in imports if find_package(each) not in (None, "bounds")} <= allowed
    assert not starting_with(imports, *WIRING)


@pytest.mark.parametrize("path", list_modules("store"), ids=str)
def test_stores_do_not_import_http(path: Path) -> None:
    assert not starting_with(list_imports(path), "litestar", "uvicorn")


@pytest.mark.parametrize("path", list_modules(*CAPABILITIES), ids=str)
def test_only_controllers_and_middleware_import_http(path: Path) -> None:
    if path.name in HTTP_MODULES:
        return

    assert not starting_with(list_imports(path), "litestar", "uvicorn", "todo_service.web")


@pytest.mark.parametrize("path", list_modules(*CAPABILITIES), ids=str)
def test_capabilities_import_only_the_interface_of_the_store(path: Path) -> None:
    imported = list_imports(path)

    assert starting_with(imported, "todo_service.store") <= INTERFACE
    # ODMantic's models take MongoDB's index declarations, which are data
    assert starting_with(imported, *DRIVERS) <= {"pymongo"}


@pytest.mark.parametrize("path", list_modules(*ALLOWED), ids=str)
def test_no_package_imports_controllers(path: Path) -> None:
    assert not {name for name in list_imports(path) if name.endswith(".controllers")}


@pytest.mark.parametrize("path", list_modules(""), ids=str)
def test_only_the_mongodb_store_imports_its_driver(path: Path) -> None:
    if path.is_relative_to(PACKAGE / "store" / "mongodb"):
        return

    assert not starting_with(list_imports(path), "motor", "odmantic.engine", "pymongo.asynchronous")
    assert not {"AIOEngine", "AsyncMongoClient"} & {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_structs_are_frozen() -> None:
    """Requests share results of the store, so no Struct can be changed but bodies of requests and the exceptions."""
    structs = [
        (node.name, {keyword.arg for keyword in node.keywords})
        for path in list_modules("")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and "msgspec.Struct" in map(ast.unparse, node.bases)
    ]

    assert structs
    assert {name for name, options in structs if not options & {"frozen", "forbid_unknown_fields"}} <= CHANGED_STRUCTS


@pytest.mark.parametrize("path", list_modules(""), ids=str)
def test_route_options_are_set_by_their_constants(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "opt":
            assert isinstance(node.value, ast.Dict)
            assert all(isinstance(key, ast.Name) for key in node.value.keys)


def test_only_the_registry_knows_the_schemes_of_stores() -> None:
    for path in list_modules(""):
        if path != PACKAGE / "store" / "registry.py":
            code = ast.parse(path.read_text())
            texts = {node.value for node in ast.walk(code) if isinstance(node, ast.Constant)}
            assert not texts & {"lmdb", "lmdb://", "mongodb", "mongodb://", "mongodb+srv"}, path


def test_an_account_s_todos_cannot_be_read_without_the_account() -> None:
    """Every query has a condition on the owner, in its arguments or in `where`, which the same function builds."""
    owner = re.compile(r"self\._match\(|\.(owner|account) == (self\._)?(owner|account)\b")
    queries = [
        (ast.unparse(node), ast.unparse(function))
        for path in list_modules("todos", "lists", "sync")
        if path not in (PACKAGE / "lists" / "sweep.py", PACKAGE / "sync" / "change_poller.py")  # jobs for all accounts
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and is_query(node)
    ]

    assert any(".find(" in call for call, _ in queries)
    assert any("read_page" in call for call, _ in queries)
    for call, function in queries:
        where = re.search(r"\bwhere = .*", function) if "*where" in call else None
        # the id of a snapshot of counts is that of its account, and the id of a lease is derived from it
        by_account = re.search(r"\((CountSnapshot|AccountLease), ", call)
        assert owner.search(call) or (where and owner.search(where[0])) or by_account, call


def is_query(call: ast.Call) -> bool:
    """Return whether a call reads, changes or deletes documents of a store, itself or by `read_page`."""
    stores = {"self._store", "store"}
    if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in stores:
        return call.func.attr not in ("insert", "resolved_stamp")
    names = {ast.unparse(part) for part in (call.func, *call.args)}
    return "read_page" in names and bool(names & stores)


def list_public_names(path: Path) -> set[str]:
    """Return the public names of the classes, functions and type aliases at the top level of a module."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign) and not ast.unparse(node.value).startswith("TypeVar("):
            # other variables are written in lower case or in capitals
            found |= {name for name in map(ast.unparse, node.targets) if re.fullmatch(r"[A-Z]+[a-z]\w*", name)}
    return {name for name in found if not name.startswith("_")}


def test_a_public_name_has_one_meaning() -> None:
    definitions = Counter(name for path in list_modules("") for name in list_public_names(path))

    assert {name: 2 for names in SHARED_NAMES.values() for name in names} == {
        name: times for name, times in definitions.items() if times > 1
    }


@pytest.mark.parametrize("path", list_modules(""), ids=str)
def test_modules_and_functions_are_short(path: Path) -> None:
    """A file has at most 400 lines, and a function at most 50 without its docstring."""
    assert len(path.read_text().splitlines()) <= 400
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert count_lines(node) <= 50, node.name


def count_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines of a function without its docstring."""
    assert function.end_lineno is not None
    first = function.body[0]
    described = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and first.end_lineno is not None
    start = first.end_lineno if described else function.lineno - 1
    return function.end_lineno - (start or 0)
