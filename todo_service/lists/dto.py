"""The requests and responses of the list endpoints."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.api_types import Id, NextCursor, Time, Version, constrain_text
from todo_service.bounds.todos import LIST_NAME_LENGTH
from todo_service.decoding import declare_read_only
from todo_service.lists.documents import TodoList as ListDocument
from todo_service.store.structs import build_struct
from todo_service.todos.field_types import Position, Uid
from todo_service.todos.moves import Move

ListName = Annotated[str, constrain_text(LIST_NAME_LENGTH, "The name, which several lists may share.", "Garden")]
Color = Annotated[
    str,
    Meta(
        description="An RGB color, such as #1e90ff.",
        examples=["#1e90ff"],
        max_length=7,
        pattern="^#[0-9A-Fa-f]{6}$",
    ),
]
Archived = Annotated[bool, Meta(description="Whether the list is archived.", examples=[False])]


class TodoListCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new list."""

    name: ListName
    color: Color | None = None
    position: Position | UnsetType = UNSET
    archived: Archived = False
    uid: Uid | UnsetType = UNSET


class TodoListUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A merge patch (RFC 7396) of a list."""

    name: ListName | UnsetType = UNSET
    color: Color | UnsetType | None = UNSET
    position: Position | UnsetType = UNSET
    archived: Archived | UnsetType = UNSET


class TodoListMove(Move, forbid_unknown_fields=True):
    """A new place in the manual order: exactly one of `before`, `after` and `to`."""


class TodoList(msgspec.Struct, frozen=True):
    """A list of todos."""

    id: Id
    name: ListName
    color: Color | None
    position: Position
    archived: Archived
    uid: Uid
    version: Version
    created_at: Time
    updated_at: Time

    @classmethod
    def from_document(cls, document: ListDocument) -> TodoList:
        """Return the API representation of a list."""
        return build_struct(document, cls)


class TodoListPage(msgspec.Struct, frozen=True):
    """A page of lists, in their manual order."""

    items: Annotated[list[TodoList], Meta(description="The lists of this page.")]
    next_cursor: NextCursor


class ListDelete(msgspec.Struct, frozen=True):
    """How to handle the todos of a deleted list."""

    todos: Annotated[
        Literal["move", "delete"],
        Meta(description="`move` moves the todos to the inbox, `delete` deletes them with the list."),
    ] = "move"


declare_read_only(TodoList, TodoListCreate, TodoListUpdate)
