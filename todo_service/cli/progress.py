"""Progress of a copy, as bars on a terminal or as plain lines."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from todo_service.store.transfer.copying import CopyStep

_SECONDS_BETWEEN_LINES: Final = 10.0
_ACTIONS: Final = {
    "verify": "verifying",
    "read": "reading",
    "delete": "deleting",
    "compare": "comparing",
    "copy": "copying",
    "check": "checking",
}


@asynccontextmanager
async def tick_regularly(tick: Callable[[], None], seconds: float = 1.0) -> AsyncIterator[None]:
    """Call a function regularly while the block runs.

    Args:
        tick: The function.
        seconds: The time between two calls, in seconds.
    """

    async def call() -> None:
        while True:
            await asyncio.sleep(seconds)
            tick()

    task = asyncio.create_task(call())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class ProgressLines:
    """Reports progress in plain lines: the start of each part, every 10 % of it, and at least every 10 seconds.

    Threads may call its methods concurrently.

    Args:
        clock: Returns a time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._step: CopyStep | None = None
        self._done = self._shown = 0
        self._printed_at = clock()

    def show(self, step: CopyStep) -> None:
        """Add a step, and print a line if it completes another 10 %, or the last line is 10 seconds old."""
        with self._lock:
            if self._step is None or self._step[:2] != step[:2]:
                self._done = self._shown = 0
                self._print(step, f"{step.size} {step.unit}")
            self._step = step
            self._done += step.done
            tenth = 10 * self._done // max(step.size, 1)
            if self._shown < tenth < 10:
                self._shown = tenth
                self._print(step, f"{tenth}0 %")
            else:
                self._print_if_due()

    def tick(self) -> None:
        """Print a line if the last one is 10 seconds old. Call it regularly, because a step may take longer."""
        with self._lock:
            self._print_if_due()

    def _print_if_due(self) -> None:
        if self._clock() - self._printed_at < _SECONDS_BETWEEN_LINES:
            return
        if (step := self._step) is not None:
            self._print(step, f"{self._done} of {step.size} {step.unit}")
        else:
            self._printed_at = self._clock()
            click.echo("opening the source and the target", err=True)

    def _print(self, step: CopyStep, text: str) -> None:
        self._printed_at = self._clock()
        click.echo(f"{_ACTIONS[step.doing]} {step.what}: {text}", err=True)

    def end(self) -> None:
        """Do nothing: every line is complete."""


class ProgressBars:
    """Reports progress with a bar for each part."""

    def __init__(self) -> None:
        self._part = ("", "")
        self._bar: Any = None

    def show(self, step: CopyStep) -> None:
        """Add a step to the bar of its part."""
        if self._part != step[:2]:
            self.end()
            self._part = (step.doing, step.what)
            self._bar = click.progressbar(
                length=max(step.size, 1), label=f"{_ACTIONS[step.doing]} {step.what}", file=sys.stderr, show_pos=True
            )
            self._bar.__enter__()
        self._bar.update(step.done)

    def tick(self) -> None:
        """Do nothing: the bar remains visible."""

    def end(self) -> None:
        """Finish the current bar."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
