"""The requests and responses of export and import."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.fields import Id
from todo_service.lists.dto import List, ListCreate
from todo_service.todos.dto import OldText, OldVersion, Todo, TodoImport

Format = Literal["json", "csv", "ics"]


class ExportQuery(msgspec.Struct, frozen=True):
    """The form in which everything is written out."""

    format: Annotated[Format, Meta(description="JSON, comma-separated values or iCalendar.")] = "json"


class ImportQuery(msgspec.Struct, frozen=True):
    """The form of what is read in."""

    format: Annotated[
        Format | UnsetType, Meta(description="Told by the media type of the body unless it is given.")
    ] = UNSET


class Archive(msgspec.Struct):
    """Every list and every todo of an account."""

    lists: Annotated[list[List], Meta(description="In their manual order.")]
    items: Annotated[list[Todo], Meta(description="In the order of their creation.")]


class ListImport(ListCreate, forbid_unknown_fields=True, kw_only=True):
    """A list that imported todos may be in; it is made where the account has none of this id or name."""

    id: Id
    version: OldVersion = None
    created_at: OldText = None
    updated_at: OldText = None


class ArchiveImport(msgspec.Struct, forbid_unknown_fields=True):
    """What an export has written; an array of todos does as well."""

    items: Annotated[list[TodoImport], Meta(description="The todos; each becomes a new one.")]
    lists: Annotated[list[ListImport], Meta(description="The lists that they may be in.")] = []
