"""The documents of todos."""

from __future__ import annotations

from datetime import datetime

from odmantic import EmbeddedModel, Index, Model, ObjectId
from pymongo import IndexModel

from todo_service.store.base import UNSTAMPED, Stamp


class Step(EmbeddedModel):
    """An item of a todo's checklist."""

    id: str
    title: str
    completed: bool


class Todo(Model):
    """A todo, or what is remembered of a deleted one.

    Some fields are made from others, for the indexes; `todos.service` keeps them true: `title_key` from the title,
    `priority_rank` from the priority, `words` from all texts.

    A deleted todo has lost its `owner`, so that no list or search ever meets it, and everything that was written into
    it; `account` stays, and with it the place among the account's changes until `purge_at`.

    `past` is what it was counted as before, `counted_since` the stamp from which on it is counted as it is now; None
    stands for `changed` (see `sync.counts`).

    `applied_change_ids` are the ids of the last changes that may be repeated (`idempotency.middleware`).

    `due_local` is the local time that was meant where a change to summer time moved the due date.
    """

    account: ObjectId
    owner: ObjectId | None
    title: str
    title_key: str
    description: str
    completed: bool
    completed_at: datetime | None
    priority: str
    priority_rank: int
    due_at: datetime | None
    due_local: str | None
    tags: list[str]
    list_id: ObjectId | None
    steps: list[Step]
    recurrence: str | None
    position: float
    words: list[str]
    past: list[str] = []
    counted_since: str | None = None
    version: int
    created_at: datetime
    updated_at: datetime
    changed: Stamp = UNSTAMPED
    purge_at: datetime | None = None
    applied_change_ids: list[ObjectId] = []

    model_config = {
        "collection": "todos",
        # one index an order, each within the owner and ending with the id, so that every page starts with one seek;
        # whether a todo is completed stands before the order, since what is open is what people look at, and a list
        # of both merges two ranges
        "indexes": lambda: [
            Index(Todo.owner, Todo.completed, Todo.created_at, Todo.id, name="owner_completed_created_at"),
            Index(Todo.owner, Todo.completed, Todo.updated_at, Todo.id, name="owner_completed_updated_at"),
            Index(Todo.owner, Todo.completed, Todo.due_at, Todo.id, name="owner_completed_due_at"),
            Index(Todo.owner, Todo.completed, Todo.title_key, Todo.id, name="owner_completed_title"),
            Index(Todo.owner, Todo.completed, Todo.position, Todo.id, name="owner_completed_position"),
            Index(Todo.owner, Todo.tags, Todo.completed, Todo.created_at, Todo.id, name="owner_tags"),
            Index(Todo.owner, Todo.list_id, Todo.completed, Todo.created_at, Todo.id, name="owner_list"),
            Index(Todo.owner, Todo.list_id, Todo.completed, Todo.position, Todo.id, name="owner_list_position"),
            Index(Todo.owner, Todo.completed, Todo.priority_rank, Todo.id, name="owner_completed_priority"),
            Index(Todo.owner, Todo.words, name="owner_words"),
            Index(Todo.account, Todo.changed, Todo.id, name="account_changed"),
            IndexModel([("purge_at", 1)], name="purge_at", expireAfterSeconds=0),
        ],
    }
