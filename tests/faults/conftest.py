"""Fixtures of the fault tests, and a summary of their figures over all worker processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.figures import Figures

_PROPERTY = "faults"


@pytest.fixture
def figures() -> Figures:
    """The figures of a test."""
    return Figures()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a service's log and data."""
    path = tmp_path / "service"
    path.mkdir()
    return path


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Add a test's figures to its report, which pytest-xdist sends to the main process."""
    figures: Any = getattr(item, "funcargs", {}).get("figures")
    if call.when == "call" and figures is not None:
        item.user_properties.append((_PROPERTY, figures.plain()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures of the run."""
    total = Figures()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in report.user_properties:
                if name == _PROPERTY:
                    total.add(Figures.from_plain(value))
    terminalreporter.section("faults")
    for line in total.lines():
        terminalreporter.write_line(line)
