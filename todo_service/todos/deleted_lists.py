"""Todos that are written to a list while it is being deleted: they move to the inbox."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from odmantic import ObjectId

from todo_service.lists.documents import TodoList
from todo_service.store.base import DocumentStore
from todo_service.todos.documents import Todo
from todo_service.todos.writes import Decision


async def has_list(store: DocumentStore, owner: ObjectId, list_id: ObjectId) -> bool:
    """Return whether an account has a list that is not being deleted."""
    found = await store.get(TodoList, TodoList.id == list_id, TodoList.owner == owner)
    return found is not None and found.closing is None


def move_to_inbox(list_id: ObjectId) -> Decision:
    """Return a decision that moves a todo of a list to the inbox, unless it has left the list."""

    async def decide(todo: Todo, _: datetime) -> dict[str, Any]:
        return {"list_id": None} if todo.list_id == list_id else {}

    return decide
