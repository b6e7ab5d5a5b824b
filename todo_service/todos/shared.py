"""The state that the todos of all accounts share in one process."""

from __future__ import annotations

from todo_service.bounds.todos import DOCUMENT_WAITERS
from todo_service.locks import KeyedLocks
from todo_service.store.base import DocumentStore
from todo_service.sync.counting import TodoCounter
from todo_service.todos.new_positions import NewPositions
from todo_service.todos.quotas import DEFAULT_LIMITS, QuotaLimits, Quotas
from todo_service.todos.selectivity import FilterSelector


class SharedState:
    """The state of all accounts. There is one instance per process; close it before the store.

    Args:
        store: The store.
        limits: The quotas of an account.
        counter: Counts the todos of an account; by default a new one.

    Attributes:
        counter: Counts the todos of an account.
        quotas: The quotas of all accounts.
        positions: Chooses the positions of new todos.
        selector: Finds the most selective filter of a list.
        locks: Locks on todos and lists, by id, and on the orders of accounts. A writer holds the lock of its document.
    """

    def __init__(
        self,
        store: DocumentStore,
        limits: QuotaLimits = DEFAULT_LIMITS,
        counter: TodoCounter | None = None,
    ) -> None:
        self.counter = counter or TodoCounter(store)
        self.quotas = Quotas(store, self.counter, limits)
        self.positions = NewPositions(store)
        self.selector = FilterSelector(store)
        self.locks = KeyedLocks(DOCUMENT_WAITERS)

    async def close(self) -> None:
        """Stop the background tasks. Call it when no request is left."""
        await self.quotas.close()
        await self.counter.close()
