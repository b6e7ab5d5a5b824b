"""Quotas: how many todos, distinct tags and lists an account may have.

A process counts what an account has, and then grants its writes room from memory (`quota_queue`). Nothing is refused
before a quota is reached. Within one process a quota is exact. With several processes, each may exceed a quota of 2000
documents or more by 0.05 %. Near a smaller one, and near that of tags, the processes take turns, so it is exact too.
One race can exceed the quota of tags: a process removes a tag and adds a new one in its place, while another process
adds the removed tag to a todo.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from bson import Timestamp
from odmantic import ObjectId

from todo_service.bounds.todos import MAX_LISTS, MAX_TAGS, MAX_TODOS
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
        lists: Lists, without the tombstones of deleted ones.
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
            return await store.count(TodoList, TodoList.owner == account, limit=limits.lists)

        self.todos = DocumentQuota(store, "todos", limits.todos, count_todos, count_todos_since, keeps_deleted=True)
        self.lists = DocumentQuota(store, "lists", limits.lists, count_lists)
        self.tags = TagQuota(store, limits.tags, counter)

    async def close(self) -> None:
        """Release all leases. Call it when no request is left."""
        for quota in (self.todos, self.lists, self.tags):
            await quota.close()
