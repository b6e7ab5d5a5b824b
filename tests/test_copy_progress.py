"""The progress that `todo-service copy` prints."""

from __future__ import annotations

from functools import partial

import pytest

from tests.waiting import wait_until
from todo_service.cli.progress import ProgressLines, tick_regularly
from todo_service.store.transfer.copying import CopyStep


def test_a_slow_copy_prints_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    moments = iter(range(0, 1000, 4))
    progress = ProgressLines(clock=lambda: next(moments))
    for _ in range(9):
        progress.show(CopyStep("copy", "todos", 1, 1000))

    assert capsys.readouterr().err.splitlines() == [
        "copying todos: 1000 documents",
        "copying todos: 3 of 1000 documents",
        "copying todos: 6 of 1000 documents",
        "copying todos: 9 of 1000 documents",
    ]


@pytest.mark.anyio
async def test_a_copy_prints_a_line_every_ten_seconds_in_a_step_that_takes_longer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    moments = iter(range(0, 1_000_000, 4))
    progress = ProgressLines(clock=lambda: next(moments))
    printed: list[str] = []

    async def has_printed(line: str) -> bool:
        printed.extend(capsys.readouterr().err.splitlines())
        return line in printed

    async with tick_regularly(progress.tick, seconds=0.001):
        await wait_until(partial(has_printed, "opening the source and the target"))
        progress.show(CopyStep("delete", "todos", 0, 1000))
        await wait_until(partial(has_printed, "deleting todos: 0 of 1000 documents"))

    assert "deleting todos: 1000 documents" in printed
