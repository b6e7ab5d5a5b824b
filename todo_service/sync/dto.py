"""The requests and responses of delta sync."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.api_types import DEFAULT_LIMIT, Id, Limit
from todo_service.lists.dto import TodoList
from todo_service.sync.changes import Change, FeedPage, TodoChange
from todo_service.todos.dto import Todo, encode_todos


class Changes(msgspec.Struct, frozen=True):
    """A page of changes."""

    changed: Annotated[list[Todo], Meta(description="The changed todos, in their current state.")]
    deleted: Annotated[list[Id], Meta(description="The ids of the deleted todos.")]
    lists_changed: Annotated[list[TodoList], Meta(description="The changed lists, in their current state.")]
    lists_deleted: Annotated[list[Id], Meta(description="The ids of the deleted lists.")]
    next: Annotated[
        str, Meta(description="The sync token. Send it as `since` in the next call.", examples=["3q2-7wAAAAE"])
    ]
    has_more: Annotated[bool, Meta(description="Whether more changes are already available.", examples=[False])]


class ChangesQuery(msgspec.Struct, frozen=True):
    """The sync token and page of a list of changes."""

    since: Annotated[
        Annotated[str, Meta(max_length=4096, extra_json_schema={"format": "cursor"})] | UnsetType,
        Meta(description="`next` of the previous response; omit it to get every todo and list."),
    ] = UNSET
    limit: Limit = DEFAULT_LIMIT


def build_response(page: FeedPage[Change], following: str) -> Changes:
    """Return the response for a page of the change feed. Its todos are encoded already.

    Args:
        page: The page.
        following: The sealed token of the next page.
    """
    todos: list[Todo] = []
    lists: list[TodoList] = []
    deleted_todos: list[str] = []
    deleted_lists: list[str] = []
    for change in page.changes:
        if isinstance(change, TodoChange):
            if change.owner is None:
                deleted_todos.append(change.id)
            else:
                todos.append(change.api_view)
        elif change.owner is None:
            deleted_lists.append(change.id)
        else:
            lists.append(change.api_view)
    return Changes(encode_todos(todos), deleted_todos, lists, deleted_lists, following, page.has_more)
