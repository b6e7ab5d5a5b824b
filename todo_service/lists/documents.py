"""The documents of lists."""

from __future__ import annotations

from datetime import datetime

from odmantic import Field, Index, Model, ObjectId
from pymongo import IndexModel

from todo_service.store.base import DEFAULT_FROM


class TodoList(Model):
    """A list of todos.

    `closing` is set while the list is being deleted: `move` if its todos move to the inbox, else `delete`.
    `applied_change_ids` are the ids of the last changes that may be repeated (see `idempotency.middleware`).
    `uid` and `uid_key` are what other programs know it by (see `todos.uids`).
    """

    owner: ObjectId
    name: str
    color: str | None
    position: float
    archived: bool
    # an earlier release had no uids
    uid: str = Field(default="", json_schema_extra={DEFAULT_FROM: "id"})
    uid_key: ObjectId | None = Field(default=None, json_schema_extra={DEFAULT_FROM: "id"})
    closing: str | None = None
    version: int
    created_at: datetime
    updated_at: datetime
    applied_change_ids: list[ObjectId] = []

    model_config = {
        "collection": "lists",
        "indexes": lambda: [
            Index(TodoList.owner, TodoList.position, TodoList.id, name="owner_position"),
            Index(TodoList.owner, TodoList.uid_key, name="owner_uid", unique=True),
        ],
    }


class DeletedList(Model):
    """A tombstone of a list, with the same id.

    It lives at least as long as the request that created the list may be repeated, so that a repeat does not create it
    again.
    `sweep_at` is the time of the next sweep for todos that were written to the list meanwhile (see `lists.sweep`).
    """

    owner: ObjectId
    expires_at: datetime
    sweep_at: datetime | None = None

    model_config = {
        "collection": "deleted_lists",
        "indexes": lambda: [
            Index(DeletedList.owner, DeletedList.id, name="owner"),
            Index(DeletedList.sweep_at, DeletedList.id, name="sweep_at"),
            IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0),
        ],
    }
