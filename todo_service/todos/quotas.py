"""Quotas: how many todos, distinct tags and lists an account may have.

A process counts the documents in the store, and then grants the account an allowance: a few writes that need no further
count, so that a create costs no extra store call. The allowance is a small fraction of the room left, and expires soon
when little room is left. What a process writes at a time is a fraction of the room left too, so near the quota every
write waits for the one before it and counts again.

Within one process a quota is exact: the process never exceeds it, and refuses nothing before it is reached. With
several processes, each further one may exceed the quota by one document or 0.3 % of the quota, whichever is greater.
The quota of tags counts the tags of one todo as one document.
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

        # looks the method up on each call, because instrumentation may replace it later
        async def resolve_stamp() -> Timestamp:
            return await store.resolved_stamp()

        self.todos = DocumentQuota("todos", limits.todos, count_todos, count_todos_since, resolve_stamp)
        self.lists = DocumentQuota("lists", limits.lists, count_lists, None, resolve_stamp)
        self.tags = TagQuota(limits.tags, counter)
