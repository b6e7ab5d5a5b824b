"""Reads files by the interface of the formats."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from todo_service.exchange.formats.base import Draft, FileLists, ImportFormat, RejectedRecord
from todo_service.exchange.formats.source import Source
from todo_service.timestamps import format_timestamp

BERLIN = ZoneInfo("Europe/Berlin")
_IGNORED = ("id", "version", "updated_at")


def read_file(file_format: ImportFormat, body: str | bytes) -> list[Draft | RejectedRecord]:
    """Return all records of a file, for an account in Berlin."""
    source = Source(body.encode() if isinstance(body, str) else body)
    return [record for record in file_format.read(source, BERLIN) if not isinstance(record, FileLists)]


def read_drafts(file_format: ImportFormat, body: str | bytes) -> list[Draft]:
    """Return all records of a file, none of which is rejected."""
    drafts = []
    for record in read_file(file_format, body):
        assert isinstance(record, Draft), record
        drafts.append(record)
    return drafts


def describe(draft: Draft) -> dict[str, Any]:
    """Return what a draft says beside the defaults."""
    builtins = msgspec.to_builtins(draft.todo, enc_hook=format_timestamp)
    defaults = msgspec.to_builtins(type(draft.todo)(title=""))
    fields = {name: value for name, value in builtins.items() if value != defaults.get(name) and name not in _IGNORED}
    return {"title": draft.todo.title} | fields | ({"list": draft.list.name} if draft.list is not None else {})
