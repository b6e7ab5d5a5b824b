"""The requests and responses of export and import."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.api_types import Id
from todo_service.lists.dto import TodoList, TodoListCreate
from todo_service.todos.dto import OldText, OldVersion, Todo, TodoImport

FormatName = Literal["json", "csv", "ics"]
ImportFormatName = Literal["json", "csv", "ics", "todoist", "ticktick", "microsoft", "google", "trello"]


class ExportQuery(msgspec.Struct, frozen=True):
    """The query of an export."""

    format: Annotated[
        FormatName | UnsetType,
        Meta(description="JSON, CSV or iCalendar. By default, `Accept` determines the format; without it, JSON."),
    ] = UNSET


class ImportQuery(msgspec.Struct, frozen=True):
    """The query of an import."""

    format: Annotated[
        ImportFormatName | UnsetType,
        Meta(
            description=(
                "JSON, CSV, iCalendar, or the file of another program: the CSV template of Todoist, the CSV backup of "
                "TickTick, the CSV file of tasks of Microsoft Outlook, Tasks.json of Google Takeout, or the JSON file "
                "of a Trello board. By default, the media type of the body determines the format, and files of these "
                "programs are recognized. With a format, the body may have any media type."
            )
        ),
    ] = UNSET
    existing: Annotated[
        Literal["skip", "update", "copy"],
        Meta(
            description=(
                "What happens if the account already has a todo with the uid of a record. `skip` leaves the todo "
                "unchanged. `update` replaces its fields, except those that the file cannot represent, such as fields "
                "without a column in a CSV file; if the record names no list, the todo stays in its list. "
                "`copy` creates a second todo with a new uid."
            ),
        ),
    ] = "skip"
    dry_run: Annotated[bool, Meta(description="Whether to return the report and write nothing.")] = False


class Archive(msgspec.Struct, frozen=True):
    """All lists and todos of an account."""

    lists: Annotated[list[TodoList], Meta(description="In manual order.")]
    todos: Annotated[list[Todo], Meta(description="In order of creation.")]


class TodoListImport(TodoListCreate, forbid_unknown_fields=True, kw_only=True):
    """A list of imported todos.

    If the account has a list with the same uid, that list is used; otherwise its only list with the same name;
    otherwise a new list is created. Without a `uid`, the `id` is used as the uid.
    """

    id: Id
    version: OldVersion = None
    created_at: OldText = None
    updated_at: OldText = None


class ArchiveImport(msgspec.Struct, forbid_unknown_fields=True):
    """The content of an export. A plain array of todos is accepted, too, and `items` in place of `todos`."""

    todos: Annotated[list[TodoImport], Meta(description="The todos.")]
    lists: Annotated[
        list[TodoListImport],
        Meta(description="The lists, including those without todos. The todos refer to them by id."),
    ] = []
