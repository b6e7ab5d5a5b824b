"""What the tests of faults share: their figures, printed at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.figures import Figures

_figures = Figures()


@pytest.fixture(scope="session")
def figures() -> Figures:
    """The figures of the whole run."""
    return _figures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a service's log and data."""
    path = tmp_path / "service"
    path.mkdir()
    return path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    terminalreporter.section("faults")
    for line in _figures.lines():
        terminalreporter.write_line(line)
