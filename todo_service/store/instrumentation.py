"""Instrumentation of document stores: an observer receives the duration and the outcome of every call."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from todo_service.store.base import DocumentStore
from todo_service.store.errors import StoreUnavailable

CALLS: Final = ("ping", "insert", "get", "find", "update", "delete", "count", "resolved_stamp")
"""The methods that are observed. `scan` is not: its duration depends on the number of documents."""


class Observer(Protocol):
    """Observes the calls of a store."""

    def __call__(self, operation: str, seconds: float, available: bool) -> None:
        """Record a call that has ended.

        Args:
            operation: One of `CALLS`.
            seconds: The duration.
            available: False if the call raised `StoreUnavailable`.
        """


def observe(store: DocumentStore, observer: Observer) -> None:
    """Report all further calls of a store to an observer. The observer must be fast and must not raise."""
    for operation in CALLS:
        setattr(store, operation, _wrap(getattr(store, operation), operation, observer))


def _wrap(call: Callable[..., Awaitable[Any]], operation: str, observer: Observer) -> Callable[..., Awaitable[Any]]:
    async def observe_call(*arguments: Any, **named: Any) -> Any:
        available = True
        started = time.perf_counter()
        try:
            return await call(*arguments, **named)
        except StoreUnavailable:
            available = False
            raise
        finally:
            observer(operation, time.perf_counter() - started, available)

    return observe_call
