"""What is stored of todos."""

from __future__ import annotations

from datetime import datetime

from odmantic import Index, Model, ObjectId


class Todo(Model):
    """A todo. Two fields are made from others, for the indexes: `title_key` from the title, `priority_rank` from the
    priority; `todos.service` keeps them true.
    """

    owner: ObjectId
    title: str
    title_key: str
    description: str
    completed: bool
    completed_at: datetime | None
    priority: str
    priority_rank: int
    due_at: datetime | None
    tags: list[str]
    list_id: ObjectId | None
    position: float
    version: int
    created_at: datetime
    updated_at: datetime

    model_config = {
        "collection": "todos",
        # one index an order, each within the owner and ending with the id, so that every page starts with one seek
        "indexes": lambda: [
            Index(Todo.owner, Todo.created_at, Todo.id, name="owner_created_at"),
            Index(Todo.owner, Todo.updated_at, Todo.id, name="owner_updated_at"),
            Index(Todo.owner, Todo.due_at, Todo.id, name="owner_due_at"),
            Index(Todo.owner, Todo.priority_rank, Todo.id, name="owner_priority"),
            Index(Todo.owner, Todo.title_key, Todo.id, name="owner_title"),
            Index(Todo.owner, Todo.position, Todo.id, name="owner_position"),
            Index(Todo.owner, Todo.tags, Todo.created_at, Todo.id, name="owner_tags"),
            Index(Todo.owner, Todo.list_id, Todo.created_at, Todo.id, name="owner_list"),
        ],
    }
