"""What the todos of all accounts share in one process."""

from __future__ import annotations

from todo_service.bounds.todos import DOCUMENT_WAITERS
from todo_service.locks import KeyedLocks
from todo_service.store.base import DocumentStore
from todo_service.sync.counting import TodoCounter
from todo_service.todos.quotas import DEFAULT_LIMITS, QuotaLimits, Quotas


class SharedState:
    """One for each process, made with the store and closed before it.

    Args:
        store: The store.
        limits: How much an account may have.
        counter: Counts the todos of any account; created unless it is given.

    Attributes:
        counter: Counts the todos of any account.
        quotas: How much an account may have.
        locks: Locks of todos and lists by their ids, for those who change them.
    """

    def __init__(
        self,
        store: DocumentStore,
        limits: QuotaLimits = DEFAULT_LIMITS,
        counter: TodoCounter | None = None,
    ) -> None:
        self.counter = counter or TodoCounter(store)
        self.quotas = Quotas(store, self.counter, limits)
        self.locks = KeyedLocks(DOCUMENT_WAITERS)

    async def close(self) -> None:
        """End what goes on in the background."""
        await self.counter.close()
