"""A feed of the due dates and reminders of an account that have fired, for event streams and webhooks."""

from __future__ import annotations

import msgspec
from odmantic import ObjectId

from todo_service.reminders.documents import Firing
from todo_service.store.base import DocumentStore
from todo_service.sync.changes import Feed
from todo_service.todos.documents import Todo as TodoDocument
from todo_service.todos.dto import Todo
from todo_service.todos.reminder_types import Reminder


class FiredEntry(msgspec.Struct, frozen=True):
    """A due date or a reminder that has fired (see `Firing`)."""

    id: str
    account: str
    todo: str
    at: str | None
    minutes_before: int | None
    occurrence: str
    fired_at: str
    changed: str

    @property
    def owner(self) -> str:
        """The account. A tombstone would have none, but firings have no tombstones."""
        return self.account

    @property
    def is_due_date(self) -> bool:
        """Whether the due date has fired, rather than a reminder."""
        return self.at is None and self.minutes_before is None


class FiredData(msgspec.Struct, frozen=True):
    """The data of an event about a due date or a reminder that has fired.

    Attributes:
        todo: The todo, in its current state.
        reminder: The reminder; None for the due date.
        occurrence: The moment of the due date or reminder.
    """

    todo: Todo
    reminder: Reminder | None
    occurrence: str


class FiringFeed(Feed[FiredEntry]):
    """Reads what has fired in one account.

    Args:
        store: The store.
        owner: The account.
    """

    models = (Firing,)

    def __init__(self, store: DocumentStore, owner: ObjectId) -> None:
        super().__init__(store, owner, (FiredEntry,))

    async def describe(self, entry: FiredEntry) -> FiredData | None:
        """Return the data of the event for an entry, or None if its todo has been deleted since."""
        where = (TodoDocument.id == ObjectId(entry.todo), TodoDocument.owner == self._owner)
        todo = await self._store.get(TodoDocument, *where, into=Todo)
        if todo is None:
            return None
        reminder = None if entry.is_due_date else Reminder(entry.at, entry.minutes_before)
        return FiredData(todo, reminder, entry.occurrence)
