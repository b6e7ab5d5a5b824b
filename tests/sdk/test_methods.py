"""The methods of generated clients are called what a person would call them, and that changes only on purpose."""

from __future__ import annotations

import difflib

from tests.sdk.methods import PAGE, page


def test_the_methods_are_those_of_the_page() -> None:
    kept, made = PAGE.read_text(encoding="utf-8").splitlines(), page().splitlines()

    difference = "\n".join(difflib.unified_diff(kept, made, "METHODS.md", "the clients", lineterm=""))

    assert not difference, f"{difference}\n\n`pdm run sdk-methods` writes the page anew"
    assert "``" not in "\n".join(kept), "an operation has no method"
