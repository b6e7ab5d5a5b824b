"""Trello: the JSON file of a board, as in "Print, export and share".

A board contains arrays of lists, cards and checklists, which refer to each other by id. Labels become tags, and
checklist items become steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from functools import partial
from heapq import nsmallest
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET

from todo_service.bounds.exchange import IMPORT_LISTS, IMPORT_RECORDS, IMPORT_SUBTASK_BYTES
from todo_service.bounds.todos import LIST_NAME_LENGTH, REMINDER_MINUTES, STEPS, TITLE_LENGTH
from todo_service.decoding import decode_json
from todo_service.errors import Invalid, Malformed, ValidationIssue
from todo_service.exchange.formats.base import Draft, FileList, FileLists, ImportFormat, RejectedRecord, read_record
from todo_service.exchange.formats.json_walk import Walker
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.subtasks import ENTRY_BYTES
from todo_service.exchange.formats.values import (
    build_schedule,
    choose_title,
    parse_date_or_time,
    to_timestamp,
    truncate,
)
from todo_service.lists.dto import TodoListCreate
from todo_service.todos.dto import StepImport, TodoImport
from todo_service.todos.import_records import list_missing
from todo_service.todos.reminder_types import ReminderCreate

_MISSING: Final = list_missing(
    ("title", "description", "tags", "steps", "start_at", "due_at", "completed", "completed_at", "reminders")
)
_RECOGNIZED_BYTES: Final = 8 * 2**20
"""The maximum offset of the cards in a board that is recognized. At most 1 000 actions precede them."""


class _Label(msgspec.Struct, frozen=True):
    name: str | None = ""
    color: str | None = None


class _CheckItem(msgspec.Struct, frozen=True):
    name: str = ""
    state: str = "incomplete"
    pos: float = 0.0
    due: str | None = None


class _Checklist(msgspec.Struct, frozen=True):
    """A checklist without its items, which are read one at a time."""

    name: str = ""
    card_id: str = msgspec.field(default="", name="idCard")
    pos: float = 0.0


class _List(msgspec.Struct, frozen=True):
    id: str = ""
    name: str = ""
    closed: bool = False

    @property
    def todo_list(self) -> TodoListCreate:
        """The list of its todos."""
        return TodoListCreate(self.name, archived=self.closed, uid=self.id or UNSET)


class _Card(msgspec.Struct, frozen=True):
    id: str = ""
    name: str = ""
    description: str = msgspec.field(default="", name="desc")
    closed: bool = False
    list_id: str = msgspec.field(default="", name="idList")
    labels: list[_Label] = []
    start: str | None = None
    due: str | None = None
    due_complete: bool | None = msgspec.field(default=False, name="dueComplete")
    due_reminder: float | None = msgspec.field(default=None, name="dueReminder")
    last_activity: str | None = msgspec.field(default=None, name="dateLastActivity")
    members: list[str] = msgspec.field(default_factory=list, name="idMembers")
    attachments: list[msgspec.Raw] = []
    pos: float | str | None = None
    is_template: bool | None = msgspec.field(default=False, name="isTemplate")


class _Board(NamedTuple):
    """What the cards refer to.

    Attributes:
        lists: The lists by id.
        checklists: The offsets of the checklists by the id of their card. Each is read once.
    """

    lists: dict[str, _List]
    checklists: dict[str, list[tuple[int, int]]]


class TrelloFormat(ImportFormat):
    """The JSON file of a Trello board."""

    media_type = "application/json"

    def recognizes(self, source: Source) -> bool:
        """See `ImportFormat.recognizes`."""
        walker = Walker(source, _RECOGNIZED_BYTES)
        if not walker.next_is(b"{"):
            return False
        try:
            for name in walker.enter_object():
                if name in ("cards", "todos", "items"):
                    return name == "cards" and walker.next_is(b"[")
                walker.skip()
        except (Invalid, Malformed):
            pass
        return False

    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | RejectedRecord | FileLists]:
        """See `ImportFormat.read`. The whole body is checked before the first record is read."""
        board = _read_board(source)
        return _read_records(source, board, zone)


def _read_board(source: Source) -> _Board:
    board, size, cards = _Board({}, {}), 0, 0
    walker = Walker(source)
    has_cards = False
    for name in walker.enter_object():
        if name not in ("lists", "checklists", "cards") or not walker.next_is(b"["):
            walker.skip()
            continue
        has_cards = has_cards or name == "cards"
        for _ in walker.enter_array():
            if name == "cards":
                walker.scan()
                cards += 1
                if cards > IMPORT_RECORDS:
                    raise Invalid([ValidationIssue("/cards", f"Expected at most {IMPORT_RECORDS} cards")])
            elif name == "lists":
                found: _List = walker.decode(_List)
                size += len(found.id)
                board.lists[found.id] = msgspec.structs.replace(found, name=truncate(found.name, LIST_NAME_LENGTH))
                if len(board.lists) > IMPORT_LISTS or size > IMPORT_SUBTASK_BYTES:
                    raise Invalid([ValidationIssue("/lists", f"Expected at most {IMPORT_LISTS} lists")])
            else:
                start, end = walker.scan()
                checklist: _Checklist = decode_json(source.copy(start, end), _Checklist)
                size += len(checklist.card_id) + ENTRY_BYTES
                if size > IMPORT_SUBTASK_BYTES:
                    raise Invalid([ValidationIssue("/checklists", "Expected fewer checklists")])
                board.checklists.setdefault(checklist.card_id, []).append((start, end))
    walker.scanner.expect_end()
    if not has_cards:
        raise Invalid([ValidationIssue("/cards", "Expected the cards of a Trello board")])
    return board


def _read_records(source: Source, board: _Board, zone: tzinfo) -> Iterator[Draft | RejectedRecord | FileLists]:
    yield FileLists([FileList(1, each.todo_list, f"/lists/{index}") for index, each in enumerate(board.lists.values())])
    walker = Walker(source)
    for name in walker.enter_object():
        if name != "cards" or not walker.next_is(b"["):
            walker.skip()
            continue
        for index in walker.enter_array():
            start, end = walker.scan()
            source.advance_counting_lf(start)
            read = partial(_read_card, source, start, end, board, zone)
            yield read_record(source.line, read, f"/cards/{index}")
            source.advance_counting_lf(end)


def _read_card(source: Source, start: int, end: int, board: _Board, zone: tzinfo) -> Draft:
    card: _Card = decode_json(source.copy(start, end), _Card)
    warnings: list[str] = []
    fields = _build_due_date(card, zone, warnings)
    if card.due_complete or card.closed:
        fields["completed"] = True
        completed_at = parse_date_or_time(card.last_activity or "", UTC)
        if isinstance(completed_at, datetime):
            fields["completed_at"] = to_timestamp(completed_at)
    if card.closed and not card.due_complete:
        warnings.append("Closed was changed: the archived card is completed")
    for name, found in (("Members", card.members), ("Attachments", card.attachments)):
        if found:
            warnings.append(f"{name} were left out")
    if isinstance(card.pos, float):
        fields["position"] = card.pos
    if card.is_template:
        warnings.append("Template was changed: the template became a todo")
    todo = TodoImport(
        title=choose_title(card.name, card.description, warnings),
        description=card.description,
        tags=list(dict.fromkeys(filter(None, ((each.name or each.color or "").strip() for each in card.labels)))),
        steps=_read_steps(source, board.checklists.pop(card.id, []), warnings),
        **fields,
    )
    found_list = board.lists.get(card.list_id)
    named = found_list.todo_list if found_list is not None else None
    return Draft(
        source.line, todo, named, uid=card.id or None, warnings=tuple(dict.fromkeys(warnings)), missing=_MISSING
    )


def _build_due_date(card: _Card, zone: tzinfo, warnings: list[str]) -> dict[str, Any]:
    due, start = (parse_date_or_time(text or "", UTC) for text in (card.due, card.start))
    for name, text, value in (("Due", card.due, due), ("Start", card.start, start)):
        if text and value is None:
            warnings.append(f"{name} was left out: expected a time")
    fields = build_schedule(start, due, zone, warnings)
    minutes = card.due_reminder
    if due is not None and minutes is not None and minutes >= 0:
        if minutes <= REMINDER_MINUTES:
            fields["reminders"] = [ReminderCreate(minutes_before=int(minutes))]
        else:
            warnings.append(f"Due Reminder was left out: expected at most {REMINDER_MINUTES} minutes")
    return fields


def _read_steps(source: Source, offsets: list[tuple[int, int]], warnings: list[str]) -> list[StepImport]:
    """Return the items of a card's checklists. With several checklists, each title starts with a checklist's name."""
    checklists = [(_read_checklist(source, start, end), start) for start, end in offsets[:STEPS]]
    checklists.sort(key=lambda each: each[0].pos)
    steps: list[StepImport] = []
    for checklist, start in checklists:
        prefix = f"{checklist.name}: " if len(checklists) > 1 and checklist.name else ""
        for item in _read_items(source, start):
            steps.append(StepImport(prefix + item.name, item.state == "complete"))
            if item.due:
                warnings.append("Due of a checklist item was left out")
    if len(steps) > STEPS or len(offsets) > STEPS:
        warnings.append(f"Checklist items beyond the first {STEPS} were left out")
    return steps[:STEPS]


def _read_checklist(source: Source, start: int, end: int) -> _Checklist:
    checklist: _Checklist = decode_json(source.copy(start, end), _Checklist)
    return msgspec.structs.replace(checklist, name=truncate(checklist.name, TITLE_LENGTH))


def _read_items(source: Source, start: int) -> list[_CheckItem]:
    """Return the first items of a checklist in their order, one more than a todo may have steps.

    Args:
        source: The body.
        start: The offset of the checklist.
    """
    walker = Walker(source.fork(start, source.line))
    for name in walker.enter_object():
        if name == "checkItems" and walker.next_is(b"["):
            items = (walker.decode(_CheckItem) for _ in walker.enter_array())
            short = (
                msgspec.structs.replace(item, name=truncate(item.name, TITLE_LENGTH))
                for item in items
                if item.name.strip()
            )
            return nsmallest(STEPS + 1, short, key=lambda item: item.pos)
        walker.skip()
    return []
