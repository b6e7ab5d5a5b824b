"""The documents of lists."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from odmantic import Field, Index, Model, ObjectId
from pymongo import IndexModel

from todo_service.store.base import DEFAULT_FROM, KEEPS_STAMP, Stamp
from todo_service.store.structs import partial_to_times

_BEFORE_ALL_STAMPS: Final = Stamp(0, 1)


class TodoList(Model):
    """A list of todos, or the tombstone of a deleted one.

    A tombstone has no content, and no `owner`. It keeps its `account`, and with it its position among the account's
    changes, until `purge_at`.

    Attributes:
        closing: Set once the list is being deleted: `move` if its todos move to the inbox, else `delete`. It never
            changes afterwards.
        applied_change_ids: The last changes that may be repeated (see `applied_changes`).
        uid, uid_key: The id by which other programs know it, and the key of its index entry (see `todos.uids`).
    """

    # an earlier release had neither tombstones nor stamps of lists
    account: ObjectId | None = Field(default=None, json_schema_extra={DEFAULT_FROM: "owner"})
    owner: ObjectId | None
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
    changed: Stamp = _BEFORE_ALL_STAMPS
    purge_at: datetime | None = None
    applied_change_ids: list[ObjectId] = Field(default_factory=list, json_schema_extra={KEEPS_STAMP: True})

    model_config = {
        "collection": "lists",
        "indexes": lambda: [
            Index(TodoList.owner, TodoList.position, TodoList.id, name="owner_position"),
            Index(TodoList.owner, TodoList.uid_key, name="owner_uid", unique=True),
            Index(TodoList.account, TodoList.changed, TodoList.id, name="account_changed"),
            Index(TodoList.changed, TodoList.id, name="changed"),
            # only tombstones have an entry
            IndexModel(
                [("purge_at", 1)],
                name="purge_at",
                expireAfterSeconds=0,
                partialFilterExpression=partial_to_times("purge_at"),
            ),
        ],
    }


class DeletedList(Model):
    """Records that a list has been deleted. It has the id of the list.

    Unlike the tombstone of the list, it is not in the change feed. It is stored for as long as the request that created
    the list may be repeated, so that a repeat does not create the list again. `sweep_at` is the time of the next sweep
    (see `lists.sweep`). The document also exists if the deletion was rejected after its sweeps were scheduled, because
    another request changed the list first.
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
