"""The documents of todos."""

from __future__ import annotations

from datetime import datetime

from odmantic import EmbeddedModel, Field, Index, Model, ObjectId
from pymongo import IndexModel

from todo_service.store.base import DEFAULT_FROM, KEEPS_STAMP, UNSTAMPED, Stamp
from todo_service.store.structs import partial_to_times


class Step(EmbeddedModel):
    """A step of a todo's checklist."""

    id: str
    title: str
    completed: bool


class Reminder(EmbeddedModel):
    """A reminder of a todo: at a moment, or some minutes before its due date. One of the two fields has a value."""

    at: datetime | None = None
    minutes_before: int | None = None


class Todo(Model):
    """A todo, or the tombstone of a deleted one.

    The indexes use fields that the service derives from others: `title_key` from the title, `priority_rank` from the
    priority, `due_end` from the due date, and `words` from all texts.

    A tombstone has no content, and no `owner`, so that no list or search finds it. It keeps its `account`, and with it
    its position among the account's changes, until `purge_at`.

    Attributes:
        past: The states in which the todo was counted before, encoded (see `sync.counts`).
        counted_since: The stamp since which the todo is counted in its current state; None if that is `changed`.
        applied_change_ids: The last changes that may be repeated (see `applied_changes`).
        due_at: When it is due, if at a moment.
        due_on: The day on which it is due (`YYYY-MM-DD`), if on a day. At most one of `due_at` and `due_on` is set.
        due_end: `due_at`, or the last millisecond of `due_on` in the todo's time zone (see `todos.schedule`).
        due_local: The intended local time of `due_at` in ISO 8601, if the start of daylight saving time skips it.
        start_at, start_on, start_local: When it starts, likewise.
        time_zone: An IANA name; None if the todo follows the time zone of its account.
        completions: The last completions of a recurring todo, the newest last, encoded (see `todos.completion`).
        uid, uid_key: The id by which other programs know it, and its key in the index (see `todos.uids`). A tombstone
            has the default uid, so that another todo may take its own.
        undo: The state before the last completion, encoded; None if there is nothing to undo.
        completion_recorded_at: When the last completion was recorded, which may be later than `completed_at`; None if
            it was undone, or came with an import.
        completed_version: The version that began with that completion.
        next_fire: When its due date or a reminder fires next; None if nothing does (see `todos.firing_times`).
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
    due_on: str | None = None
    # an earlier release supported only moments
    due_end: datetime | None = Field(default=None, json_schema_extra={DEFAULT_FROM: "due_at"})
    due_local: str | None
    start_at: datetime | None = None
    start_on: str | None = None
    start_local: str | None = None
    time_zone: str | None = None
    tags: list[str]
    list_id: ObjectId | None
    steps: list[Step]
    recurrence: str | None
    recurrence_from: str = "due"
    recurrence_except: list[str] = Field(default_factory=list)
    last_completed_at: datetime | None = None
    completions: list[str] = Field(default_factory=list)
    undo: str | None = None
    completion_recorded_at: datetime | None = None
    completed_version: int = 0
    reminders: list[Reminder] = Field(default_factory=list)
    # an earlier release had no reminders; clients do not see this field, so its changes keep the stamp
    next_fire: datetime | None = Field(default=None, json_schema_extra={DEFAULT_FROM: "due_at", KEEPS_STAMP: True})
    position: float
    # an earlier release had no uids
    uid: str = Field(default="", json_schema_extra={DEFAULT_FROM: "id"})
    uid_key: ObjectId | None = Field(default=None, json_schema_extra={DEFAULT_FROM: "id"})
    words: list[str]
    past: list[str] = Field(default_factory=list)
    counted_since: str | None = None
    version: int
    created_at: datetime
    updated_at: datetime
    changed: Stamp = UNSTAMPED
    purge_at: datetime | None = None
    # a change without effect is recorded too; it must keep the stamp, because it adds nothing to the history
    applied_change_ids: list[ObjectId] = Field(default_factory=list, json_schema_extra={KEEPS_STAMP: True})

    model_config = {
        "collection": "todos",
        # one index per sort order, from the owner to the id, so that every page starts with one seek; `completed`
        # precedes the sorted field, because most lists show open todos only, and a list of both merges two ranges
        "indexes": lambda: [
            Index(Todo.owner, Todo.completed, Todo.created_at, Todo.id, name="owner_completed_created_at"),
            Index(Todo.owner, Todo.completed, Todo.updated_at, Todo.id, name="owner_completed_updated_at"),
            Index(Todo.owner, Todo.completed, Todo.due_end, Todo.id, name="owner_completed_due_end"),
            Index(Todo.owner, Todo.completed, Todo.title_key, Todo.id, name="owner_completed_title"),
            Index(Todo.owner, Todo.completed, Todo.position, Todo.id, name="owner_completed_position"),
            Index(Todo.owner, Todo.tags, Todo.completed, Todo.created_at, Todo.id, name="owner_tags"),
            Index(Todo.owner, Todo.list_id, Todo.completed, Todo.created_at, Todo.id, name="owner_list"),
            Index(Todo.owner, Todo.list_id, Todo.completed, Todo.position, Todo.id, name="owner_list_position"),
            Index(Todo.owner, Todo.completed, Todo.priority_rank, Todo.id, name="owner_completed_priority"),
            Index(Todo.owner, Todo.words, name="owner_words"),
            Index(Todo.owner, Todo.uid_key, name="owner_uid", unique=True),
            Index(Todo.account, Todo.changed, Todo.id, name="account_changed"),
            Index(Todo.changed, Todo.id, name="changed"),
            # most todos never fire, and have no entry
            IndexModel(
                [("next_fire", 1), ("_id", 1)],
                name="next_fire",
                partialFilterExpression=partial_to_times("next_fire"),
            ),
            # likewise; it serves an account with many due todos (see `reminders.due_todos`)
            IndexModel(
                [("owner", 1), ("next_fire", 1), ("_id", 1)],
                name="owner_next_fire",
                partialFilterExpression=partial_to_times("next_fire"),
            ),
            # only tombstones have an entry
            IndexModel(
                [("purge_at", 1)],
                name="purge_at",
                expireAfterSeconds=0,
                partialFilterExpression=partial_to_times("purge_at"),
            ),
        ],
    }


class AccountLease(Model):
    """A lease on an account (`todos.account_lease`). Its id is derived from the account and the purpose.

    Attributes:
        holder: The block that holds the lease; None if the lease is free, but its document still exists.
        last_holder: The block that holds the lease or held it last.
        expires_at: When the document expires; each renewal changes it.
    """

    holder: ObjectId | None
    last_holder: ObjectId | None = None
    expires_at: datetime

    model_config = {
        "collection": "account_leases",
        "indexes": lambda: [IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0)],
    }
