"""docs/limits.md matches the code."""

from __future__ import annotations

import re
from pathlib import Path

import todo_service
from tests.limits_page import PAGE, SECTIONS, render
from todo_service.variables import VARIABLES

PACKAGE = Path(todo_service.__file__).parent
DECLARATION = re.compile(
    r'^([A-Z0-9_]+): Final = section\.declare\(.*?enforced_in="([\w.]+)"', re.MULTILINE | re.DOTALL
)


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text()
    assert page == render(page), "run `pdm run limits-page`"


def test_every_limit_is_used_by_the_module_that_enforces_it() -> None:
    code = "\n".join(path.read_text() for path in sorted((PACKAGE / "bounds").glob("*.py")))
    declared = dict(DECLARATION.findall(code))
    assert len(declared) == sum(len(section.bounds) for section in SECTIONS)
    for name, module in declared.items():
        assert name in (PACKAGE / f"{module.replace('.', '/')}.py").read_text(), f"{module} does not use {name}"


def test_every_setting_in_the_table_exists() -> None:
    known = {variable.name for variable in VARIABLES}
    named = {bound.setting for section in SECTIONS for bound in section.bounds if bound.setting}
    assert named <= known
