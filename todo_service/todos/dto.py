"""What the API says and hears of todos.

Bounds that apply after trimming stand in the schema only (`extra_json_schema`); `todos.service` holds them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.fields import DEFAULT_LIMIT, Cursor, Id, Limit, NextCursor, Time, Version
from todo_service.timestamps import Timestamp, text_of
from todo_service.todos.documents import Todo as TodoDocument

Priority = Literal["none", "low", "medium", "high", "urgent"]
Sort = Literal[
    "created_at",
    "-created_at",
    "updated_at",
    "-updated_at",
    "due_at",
    "-due_at",
    "priority",
    "-priority",
    "title",
    "-title",
    "position",
    "-position",
]

Title = Annotated[
    str,
    Meta(
        description="1 to 200 characters after trimming.",
        examples=["Water the plants"],
        extra_json_schema={"minLength": 1, "maxLength": 200, "pattern": "\\S"},
    ),
]
Description = Annotated[str, Meta(max_length=10_000)]
Tag = Annotated[
    str,
    Meta(
        description="1 to 50 characters after trimming.",
        extra_json_schema={"minLength": 1, "maxLength": 50, "pattern": "\\S"},
    ),
]
Tags = Annotated[
    list[Tag], Meta(description="A double is dropped, the order kept.", extra_json_schema={"maxItems": 20})
]
Position = Annotated[
    float,
    Meta(description="Manual order: a todo moves between two others by a number between theirs."),
]
ListId = Annotated[str, Meta(description="24 hex digits.", extra_json_schema={"pattern": "^[0-9a-f]{24}$"})]


class TodoCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new todo."""

    title: Title
    description: Description = ""
    completed: bool = False
    priority: Priority = "none"
    due_at: Timestamp | None = None
    tags: Tags = []
    list_id: ListId | None = None
    position: Position | UnsetType = UNSET


class TodoUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A merge patch (RFC 7396) of a todo: null sets an optional field back to what a new todo has."""

    title: Title | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    completed: bool | UnsetType = UNSET
    priority: Priority | UnsetType | None = UNSET
    due_at: Timestamp | UnsetType | None = UNSET
    tags: Tags | UnsetType | None = UNSET
    list_id: ListId | UnsetType | None = UNSET
    position: Position | UnsetType = UNSET


class Todo(msgspec.Struct):
    """A todo."""

    id: Id
    title: Title
    description: Description
    completed: bool
    completed_at: Time | None
    priority: Priority
    due_at: Time | None
    tags: Tags
    list_id: ListId | None
    position: Position
    version: Version
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, document: TodoDocument) -> Todo:
        """Return what the API shows of a stored todo."""
        return cls(
            id=str(document.id),
            title=document.title,
            description=document.description,
            completed=document.completed,
            completed_at=text_of(document.completed_at) if document.completed_at else None,
            priority=document.priority,  # type: ignore[arg-type]  # only `service` writes it, from a Priority
            due_at=text_of(document.due_at) if document.due_at else None,
            tags=document.tags,
            list_id=str(document.list_id) if document.list_id else None,
            position=document.position,
            version=document.version,
            created_at=text_of(document.created_at),
            updated_at=text_of(document.updated_at),
        )


class TodoPage(msgspec.Struct):
    """A page of todos."""

    items: list[Todo]
    next_cursor: NextCursor


class TodoQuery(msgspec.Struct, frozen=True):
    """The filters, the order and the page of a list of todos."""

    completed: Annotated[bool | UnsetType, Meta(description="Only those that are, or are not, completed.")] = UNSET
    priority: Annotated[list[Priority], Meta(description="Only those of one of these priorities.")] = []
    tag: Annotated[list[str], Meta(description="Only those that have all these tags.")] = []
    list_id: Annotated[str | UnsetType, Meta(description="Only those of this list; `inbox` for those of none.")] = UNSET
    due_after: Annotated[Timestamp | UnsetType, Meta(description="Only those due after this moment.")] = UNSET
    due_before: Annotated[Timestamp | UnsetType, Meta(description="Only those due before this moment.")] = UNSET
    overdue: Annotated[
        bool | UnsetType, Meta(description="Only those that are, or are not, open with a due date in the past.")
    ] = UNSET
    created_after: Annotated[Timestamp | UnsetType, Meta(description="Only those created after this moment.")] = UNSET
    created_before: Annotated[Timestamp | UnsetType, Meta(description="Only those created before this moment.")] = UNSET
    updated_after: Annotated[Timestamp | UnsetType, Meta(description="Only those updated after this moment.")] = UNSET
    sort: Annotated[
        Sort, Meta(description="The order, `-` for descending; todos without a due date come last either way.")
    ] = "created_at"
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | UnsetType = UNSET
