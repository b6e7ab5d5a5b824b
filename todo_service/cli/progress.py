"""Progress of a copy, as bars on a terminal or as plain lines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from todo_service.store.transfer.copying import Step

_ACTIONS: Final = {"verify": "verifying", "copy": "copying", "check": "checking"}


class ProgressLines:
    """Reports progress in plain lines: the start of each part, and every 10 % of it."""

    def __init__(self) -> None:
        self._part = ("", "")
        self._done = self._shown = 0

    def show(self, step: Step) -> None:
        """Add a step, and print a line if the step completes another 10 %."""
        if self._part != step[:2]:
            self._part, self._done, self._shown = (step.doing, step.what), 0, 0
            click.echo(f"{_ACTIONS[step.doing]} {step.what}: {step.size} {step.unit}", err=True)
        self._done += step.done
        tenth = 10 * self._done // max(step.size, 1)
        if self._shown < tenth < 10:
            self._shown = tenth
            click.echo(f"{_ACTIONS[step.doing]} {step.what}: {tenth}0 %", err=True)

    def end(self) -> None:
        """Do nothing: every line is complete."""


class ProgressBars:
    """Reports progress with a bar for each part."""

    def __init__(self) -> None:
        self._part = ("", "")
        self._bar: Any = None

    def show(self, step: Step) -> None:
        """Add a step to the bar of its part."""
        if self._part != step[:2]:
            self.end()
            self._part = (step.doing, step.what)
            self._bar = click.progressbar(
                length=max(step.size, 1), label=f"{_ACTIONS[step.doing]} {step.what}", file=sys.stderr, show_pos=True
            )
            self._bar.__enter__()
        self._bar.update(step.done)

    def end(self) -> None:
        """Finish the current bar."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
