"""Quotas: how many todos, distinct tags and lists an account may have.

A process counts the documents in the store, and then grants the account an allowance: a few writes that need no further
count, so that a create costs no extra store call. What a process writes without a lease is a small fraction of the room
left. Near the quota, and to write more than that fraction, a write takes the lease on the quota of its account
(`account_lease`), counts again, and holds the lease until its documents are stored. So these writes run one at a time,
in whatever process they begin, and fill the quota exactly.

Writes without the lease are the only ones that a count may miss:

- Todos: a process may have an allowance of 0.05 % of the quota when others come near it. So each further process may
  exceed the quota by that, and a quota below 2 000 not at all.
- Lists: there is no allowance.
- Tags: the first write that takes the lease waits until the caches of other processes have expired (`tag_quota`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from bson import Timestamp
from odmantic import ObjectId

from todo_service.bounds.todos import DELETED_LISTS, MAX_LISTS, MAX_TAGS, MAX_TODOS
from todo_service.errors import QuotaExceeded
from todo_service.lists.documents import TodoList
from todo_service.store.base import DocumentStore
from todo_service.sync.counting import TodoCounter
from todo_service.todos.document_quota import DocumentQuota
from todo_service.todos.documents import Todo
from todo_service.todos.tag_quota import TagQuota


class QuotaLimits(NamedTuple):
    """The quotas of an account.

    Attributes:
        todos: Todos, including the tombstones of deleted ones.
        tags: Distinct tags of the todos.
        lists: Lists.
    """

    todos: int = MAX_TODOS
    tags: int = MAX_TAGS
    lists: int = MAX_LISTS


DEFAULT_LIMITS: Final = QuotaLimits()


class Quotas:
    """The quotas of all accounts. There is one instance per process.

    Args:
        store: The store.
        counter: Counts the tags of an account.
        limits: The quotas of an account.

    Attributes:
        todos: The quota on todos.
        lists: The quota on lists.
        tags: The quota on distinct tags.
    """

    def __init__(self, store: DocumentStore, counter: TodoCounter, limits: QuotaLimits) -> None:
        async def count_todos(account: ObjectId) -> int:
            return await store.count(Todo, Todo.account == account, limit=limits.todos)

        async def count_todos_since(account: ObjectId, stamp: Timestamp, limit: int) -> int:
            return await store.count(Todo, Todo.account == account, Todo.changed > stamp, limit=limit)

        async def count_lists(account: ObjectId) -> int:
            stored = limits.lists + DELETED_LISTS
            if await store.count(TodoList, TodoList.account == account, limit=stored) == stored:
                raise QuotaExceeded("lists, including those deleted in the last 31 days", stored)
            return await store.count(TodoList, TodoList.owner == account, limit=limits.lists)

        self.todos = DocumentQuota(store, "todos", limits.todos, count_todos, count_todos_since)
        self.lists = DocumentQuota(store, "lists", limits.lists, count_lists, None)
        self.tags = TagQuota(store, limits.tags, counter)
