"""Running a scan within its limits: on the event loop for a limited time, or to its end in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from math import inf
from typing import NamedTuple

import lmdb

from todo_service.executors import Budget
from todo_service.store.embedded.environment import Environment
from todo_service.store.scans import InlineBudget

ScanSteps = Callable[[lmdb.Transaction], Iterator[bytes | None]]
"""Starts a scan, which yields results, and None for each entry that does not match."""


class ScanLimit(NamedTuple):
    """Where a scan ends. None is no limit.

    Attributes:
        number: The maximum number of results.
        size: The total size, in bytes, at which the scan ends. The result that reaches it is included.
    """

    number: int | None
    size: int | None


def collect_inline(budget: InlineBudget, steps: Iterator[bytes | None], limit: ScanLimit) -> list[bytes] | None:
    """Return the results of a scan, or None if the budget runs out first."""
    found: list[bytes] = []
    number, size = limit
    if number is not None and number < 1:
        return found
    left = inf if size is None else size
    for step in steps:
        if step is not None:
            found.append(step)
            left -= len(step)
            if left <= 0 or len(found) == number:
                return found
        if time.perf_counter() >= budget.deadline and not budget.extend():
            return None
    return found


def collect_in_thread(environment: Environment, start: ScanSteps, limit: ScanLimit, budget: Budget) -> list[bytes]:
    """Return the results of a scan. If the map has to be resized, wait for that and start again.

    Raises:
        BudgetExceededError: The scan has exceeded its budget.
        StoreUnavailable: The environment cannot be read.
    """
    while True:
        found: list[bytes] = []
        left = inf if limit.size is None else limit.size
        with environment.read_transaction() as transaction:
            for step in start(transaction):
                budget.check()
                if environment.resizing:
                    break
                if step is not None:
                    found.append(step)
                    left -= len(step)
                    if left <= 0 or len(found) == limit.number:
                        return found
            else:
                return found
