"""The documentation is true: its links, paths and commands exist, and its tables match the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.doc_tables import TABLES, Table, replace_table

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "containers" / "README.md", *(ROOT / "docs").glob("**/*.md")]
)
SCRIPTS: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pdm"]["scripts"]
PDM_COMMANDS: Final = {"sync", "run", "lock", "install"}
"""The commands of PDM itself that the pages use."""
TOOLS: Final = {"todo-service", "pytest", "ruff", "mypy", "pre-commit"}
"""The programs that the pages start with `pdm run`."""


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def list_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub derives them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in list_anchors(target), link


def test_paths_exist(page: Path) -> None:
    for path in re.findall(r"(?<![\w/.])(?:todo_service|tests|docs|containers)/[\w./-]*\w", page.read_text()):
        assert path == "containers/.env" or (ROOT / path).exists(), path  # readers create that file


def test_pdm_commands_exist(page: Path) -> None:
    for command in re.findall(r"\bpdm (?!run )([a-z][\w-]*)", page.read_text()):
        assert command in SCRIPTS or command in PDM_COMMANDS, f"pdm {command}"
    for command in re.findall(r"\bpdm run ([a-z][\w-]*)", page.read_text()):
        assert command in SCRIPTS or command in TOOLS, f"pdm run {command}"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_generated_tables_match_the_code(table: Table) -> None:
    text = table.page.read_text()

    assert text == replace_table(text, table), "run `pdm run doc-tables`"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250


def test_every_decision_record_is_in_the_index() -> None:
    folder = ROOT / "docs" / "adr"
    records = {path.name for path in folder.glob("[0-9]*.md")}

    assert set(re.findall(r"\]\(([0-9][^)]+)\)", (folder / "README.md").read_text())) == records
