"""The documents of due dates and reminders that have fired."""

from __future__ import annotations

from datetime import datetime

from odmantic import Index, Model, ObjectId
from pymongo import IndexModel

from todo_service.store.base import UNSTAMPED, Stamp


class Firing(Model):
    """A due date or a reminder that has fired. Its id is derived from what fired and when, so that it fires once.

    Attributes:
        todo: The todo.
        at: The moment of an absolute reminder. None for other reminders and for a due date.
        minutes_before: The minutes of a relative reminder before the due date. None for other reminders and for a due
            date.
        occurrence: The moment of the due date or reminder. `fired_at` may be later.
        fired_at: When it fired.
    """

    account: ObjectId
    todo: ObjectId
    at: datetime | None
    minutes_before: int | None
    occurrence: datetime
    fired_at: datetime
    changed: Stamp = UNSTAMPED
    expires_at: datetime

    model_config = {
        "collection": "firings",
        "indexes": lambda: [
            Index(Firing.account, Firing.changed, Firing.id, name="account_changed"),
            Index(Firing.changed, Firing.id, name="changed"),
            IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0),
        ],
    }
