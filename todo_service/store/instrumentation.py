"""How long a store takes: every call of a store is told to an observer, whichever store it is."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from todo_service.store.base import DocumentStore
from todo_service.store.errors import StoreUnavailable

CALLS: Final = ("ping", "insert", "get", "find", "update", "delete", "count", "resolved_stamp")
"""The calls that are observed: those that ask the store once. `scan` is as long as there are documents."""


class Observer(Protocol):
    """Hears of each call when it has ended."""

    def __call__(self, operation: str, seconds: float, available: bool) -> None:
        """Take note.

        Args:
            operation: One of `CALLS`.
            seconds: How long it took.
            available: False if it ended because the store did not answer.
        """


def observe(store: DocumentStore, observer: Observer) -> None:
    """Tell every later call of this store to an observer. It must neither raise nor take its time."""
    for operation in CALLS:
        setattr(store, operation, _observed(getattr(store, operation), operation, observer))


def _observed(call: Callable[..., Awaitable[Any]], operation: str, observer: Observer) -> Callable[..., Awaitable[Any]]:
    async def observed(*arguments: Any, **named: Any) -> Any:
        available = True
        started = time.perf_counter()
        try:
            return await call(*arguments, **named)
        except StoreUnavailable:
            available = False
            raise
        finally:
            observer(operation, time.perf_counter() - started, available)

    return observed
