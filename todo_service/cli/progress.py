"""Progress of a copy, as bars on a terminal or as plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from todo_service.store.transfer.copying import Step

_SECONDS_BETWEEN_LINES: Final = 10.0
_ACTIONS: Final = {"verify": "verifying", "copy": "copying", "check": "checking"}


class ProgressLines:
    """Reports progress in plain lines: the start of each part, every 10 % of it, and at least every 10 seconds.

    Args:
        clock: Returns a time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._part = ("", "")
        self._done = self._shown = 0
        self._printed_at = clock()

    def show(self, step: Step) -> None:
        """Add a step, and print a line if it completes another 10 %, or the last line is 10 seconds old."""
        if self._part != step[:2]:
            self._part, self._done, self._shown = (step.doing, step.what), 0, 0
            self._print(step, f"{step.size} {step.unit}")
        self._done += step.done
        tenth = 10 * self._done // max(step.size, 1)
        if self._shown < tenth < 10:
            self._shown = tenth
            self._print(step, f"{tenth}0 %")
        elif self._clock() - self._printed_at >= _SECONDS_BETWEEN_LINES:
            self._print(step, f"{self._done} of {step.size} {step.unit}")

    def _print(self, step: Step, text: str) -> None:
        self._printed_at = self._clock()
        click.echo(f"{_ACTIONS[step.doing]} {step.what}: {text}", err=True)

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
