"""Common validators find nothing in the document: no error, no warning, no hint."""

from __future__ import annotations

from pathlib import Path

from tests.sdk.tools import FOLDER, run


def test_openapi_spec_validator_finds_nothing(document: Path) -> None:
    assert run("openapi-spec-validator", document, cwd=FOLDER).strip() == f"{document}: OK"


def test_redocly_finds_nothing(document: Path) -> None:
    said = run("redocly", "lint", "--config", "redocly.yaml", document, cwd=FOLDER)

    assert "Your API description is valid" in said
    assert "warning" not in said


def test_spectral_finds_nothing(document: Path) -> None:
    said = run("spectral", "lint", "--ruleset", "spectral.yaml", "--fail-severity", "hint", document, cwd=FOLDER)

    assert said.strip() == "No results with a severity of 'hint' or higher found!"
