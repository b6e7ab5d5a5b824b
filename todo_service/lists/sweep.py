"""Sweeps of deleted lists: late todos are moved to the inbox, and interrupted deletions are completed.

After writing a todo to a list, a request checks whether the list still exists. If it does not, the request moves the
todo to the inbox. If the request is interrupted before this check, the todo refers to a list that does not exist. A
deleted list is therefore swept twice: soon after its deletion, and again once every import that was in progress must
have ended.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from odmantic import ObjectId

from todo_service.background import process_each
from todo_service.bounds.requests import IDEMPOTENCY_SECONDS
from todo_service.lists.deletion import finish_deletion
from todo_service.lists.documents import DeletedList, TodoList
from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.store.paging import iterate_sorted
from todo_service.todos.service import Todos

FIRST_SWEEP: Final = timedelta(minutes=1)
LAST_SWEEP: Final = timedelta(hours=1)
"""The times of the two sweeps of a list, from its deletion."""
_UNSWEPT_LIFETIME: Final = timedelta(days=31)
_SWEPT_LIFETIME: Final = timedelta(seconds=IDEMPOTENCY_SECONDS) + timedelta(hours=1)
"""How long a `DeletedList` is stored: from the deletion if no process sweeps the list, else from the last sweep."""


async def schedule_sweeps(store: DocumentStore, list_id: ObjectId, owner: ObjectId, moment: datetime) -> None:
    """Schedule the sweeps of a list. An earlier schedule is replaced.

    Args:
        store: The store.
        list_id: The id of the list.
        owner: Its account.
        moment: When its deletion begins or ends.
    """
    times = {"expires_at": moment + _UNSWEPT_LIFETIME, "sweep_at": moment + FIRST_SWEEP}
    try:
        await store.insert(DeletedList(id=list_id, owner=owner, **times))
    except DuplicateDocument:
        await store.update(DeletedList, DeletedList.id == list_id, changes=times)


async def sweep_deleted_lists(
    store: DocumentStore, create_todos: Callable[[ObjectId], Todos], moment: datetime
) -> None:
    """Sweep the deleted lists that are due: move their todos to the inbox, and complete interrupted deletions.

    Args:
        store: The store.
        create_todos: Returns the todos of an account.
        moment: The current time.

    Raises:
        StoreUnavailable: Some lists may not have been swept.
    """

    async def sweep(deleted: DeletedList) -> None:
        todos = create_todos(deleted.owner)
        found = await store.get(TodoList, TodoList.id == deleted.id, TodoList.owner == deleted.owner)
        if found is None:
            await todos.empty_list(deleted.id, delete=False)
        elif found.closing is not None:
            await finish_deletion(store, todos, found)
        # otherwise, another request changed the list first, and the deletion was rejected
        changes = _schedule_next_sweep(deleted, moment)
        await store.update(DeletedList, DeletedList.id == deleted.id, changes=changes)

    due = DeletedList.sweep_at <= moment  # type: ignore[operator]  # an expression
    pages = iterate_sorted(store, DeletedList, due, by="sweep_at")
    await process_each(pages, sweep, "failed to sweep a deleted list", "list")


def _schedule_next_sweep(deleted: DeletedList, moment: datetime) -> dict[str, datetime | None]:
    """Return the changes to the document after a sweep."""
    last = deleted.expires_at - _UNSWEPT_LIFETIME + LAST_SWEEP
    if deleted.sweep_at is not None and deleted.sweep_at < last:
        return {"sweep_at": last}
    return {"sweep_at": None, "expires_at": moment + _SWEPT_LIFETIME}
