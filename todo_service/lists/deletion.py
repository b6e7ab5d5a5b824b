"""The final steps of deleting a list. If a request is interrupted, a sweep completes them (see `lists.sweep`)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from odmantic import ObjectId

from todo_service.lists.documents import TodoList
from todo_service.lists.fields import ERASED
from todo_service.store.base import DocumentStore
from todo_service.timestamps import now
from todo_service.todos.service import Todos
from todo_service.todos.uids import build_uid_fields
from todo_service.todos.writes import TOMBSTONE_LIFETIME


async def finish_deletion(store: DocumentStore, todos: Todos, closed: TodoList) -> None:
    """Empty a closed list, then replace it by a tombstone. Repeat the call if it fails halfway.

    Args:
        store: The store.
        todos: The todos of its account.
        closed: The list. Its `closing` states what happens to its todos.
    """
    await todos.empty_list(closed.id, delete=closed.closing == "delete")
    owner = closed.owner
    where = (TodoList.id == closed.id, TodoList.owner == owner)
    await store.update(TodoList, *where, changes=_build_tombstone(closed.id, now()))


def _build_tombstone(list_id: ObjectId, moment: datetime) -> dict[str, Any]:
    """Return the changes that replace a list by its tombstone."""
    return (
        ERASED
        | build_uid_fields(None, list_id)
        | {
            "owner": None,
            "position": 0.0,
            "updated_at": moment,
            "purge_at": moment + TOMBSTONE_LIFETIME,
            "applied_change_ids": [],
        }
    )
