"""The documents of lists."""

from __future__ import annotations

from datetime import datetime

from odmantic import Index, Model, ObjectId
from pymongo import IndexModel


class TodoList(Model):
    """A list that todos may be in.

    `closing` says what is being done to its todos while it is deleted: `move` or `delete`.
    """

    owner: ObjectId
    name: str
    color: str | None
    position: float
    archived: bool
    closing: str | None = None
    version: int
    created_at: datetime
    updated_at: datetime

    model_config = {
        "collection": "lists",
        "indexes": lambda: [Index(TodoList.owner, TodoList.position, TodoList.id, name="owner_position")],
    }


class DeletedList(Model):
    """That a list was deleted, for as long as the request that created it may be repeated. Its id is the list's."""

    owner: ObjectId
    expires_at: datetime

    model_config = {
        "collection": "deleted_lists",
        "indexes": lambda: [
            Index(DeletedList.owner, DeletedList.id, name="owner"),
            IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0),
        ],
    }
