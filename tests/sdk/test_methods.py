"""The methods of generated clients have natural names, which change only on purpose."""

from __future__ import annotations

import difflib

from tests.sdk.methods import PAGE, page


def test_the_page_lists_the_current_method_names() -> None:
    kept, made = PAGE.read_text(encoding="utf-8").splitlines(), page().splitlines()

    difference = "\n".join(difflib.unified_diff(kept, made, "METHODS.md", "the clients", lineterm=""))

    assert not difference, f"{difference}\n\n`pdm run sdk-methods` writes the page anew"
    assert "``" not in "\n".join(kept), "an operation has no method"
