"""Sweeps deleted lists for todos that were written to them too late.

A write that puts a todo into a list then checks that the list still exists, and moves the todo to the inbox if not. If
the process dies or the request breaks off between the two, the todo refers to a list that does not exist. So a deleted
list is swept twice: soon, for requests, and once more when an import that began before must have ended.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from odmantic import ObjectId

from todo_service.background import process_each
from todo_service.bounds.requests import IDEMPOTENCY_SECONDS
from todo_service.lists.documents import DeletedList
from todo_service.store.base import DocumentStore
from todo_service.store.paging import iterate_sorted
from todo_service.todos.service import Todos

FIRST_SWEEP: Final = timedelta(minutes=1)
LAST_SWEEP: Final = timedelta(hours=1)
"""How long after the deletion of a list it is swept."""
_UNSWEPT_LIFETIME: Final = timedelta(days=31)
_SWEPT_LIFETIME: Final = timedelta(seconds=IDEMPOTENCY_SECONDS) + timedelta(hours=1)
"""How long the document lives after the deletion if no process sweeps the list, and after the last sweep."""


def schedule_sweeps(list_id: ObjectId, owner: ObjectId, moment: datetime) -> DeletedList:
    """Return the document that schedules the sweeps of a list that is deleted at a moment."""
    return DeletedList(id=list_id, owner=owner, expires_at=moment + _UNSWEPT_LIFETIME, sweep_at=moment + FIRST_SWEEP)


async def sweep_deleted_lists(
    store: DocumentStore, create_todos: Callable[[ObjectId], Todos], moment: datetime
) -> None:
    """Move the todos of the deleted lists that are due for a sweep to the inbox.

    Args:
        store: The store.
        create_todos: Returns the todos of an account.
        moment: The current time.

    Raises:
        StoreUnavailable: Some lists may not have been swept.
    """

    async def sweep(deleted: DeletedList) -> None:
        await create_todos(deleted.owner).empty_list(deleted.id, delete=False)
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
