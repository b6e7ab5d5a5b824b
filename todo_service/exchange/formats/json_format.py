"""JSON: all lists, then all todos, one todo on each line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, UnsetType

from todo_service.bounds.exchange import IMPORT_LISTS_BYTES, IMPORT_RECORDS
from todo_service.decoding import decode_json
from todo_service.errors import Invalid, ValidationIssue
from todo_service.exchange.dto import TodoListImport
from todo_service.exchange.formats.base import Draft, FileList, FileLists, Format, RejectedRecord, Writer, read_record
from todo_service.exchange.formats.scanner import Scanner
from todo_service.exchange.formats.source import Source
from todo_service.lists.dto import TodoList, TodoListCreate
from todo_service.todos import dto

_NAME_BYTES: Final = 1000
_EXCERPT_BYTES: Final = 1000


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    todos: msgspec.Raw | UnsetType = UNSET
    items: msgspec.Raw | UnsetType = UNSET
    lists: list[TodoListImport] = []
    next_cursor: str | None = None


_ARRAYS: Final = ("todos", "items")
"""The names that the array of todos may have."""


class _Layout(NamedTuple):
    """Where the todos are in the body.

    Attributes:
        start: The offset of the array of todos.
        pointer: JSON pointer to the array.
        lists: The lists in the body.
    """

    start: int
    pointer: str
    lists: Sequence[TodoListImport]


class _JsonWriter(Writer):
    def __init__(self, lists: Sequence[TodoList]) -> None:
        self._lists = lists
        self._separator = b""

    def write_opening(self) -> bytes:
        return b'{"lists":' + msgspec.json.encode(self._lists) + b',"todos":[\n'

    def write_todos(self, todos: Iterable[dto.Todo]) -> bytes:
        text = b",\n".join(map(msgspec.json.encode, todos))
        if not text:
            return b""
        separator, self._separator = self._separator, b",\n"
        return separator + text

    def write_closing(self) -> bytes:
        return b"\n]}\n"


class JsonFormat(Format):
    """JSON as in `dto.Archive`. It also reads a page of `GET /v1/todos`, and a plain array of todos."""

    media_type = "application/json"
    content_type = "application/json"

    def create_writer(self, lists: Sequence[TodoList], zone: ZoneInfo) -> Writer:
        """See `Format.create_writer`."""
        return _JsonWriter(lists)

    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | RejectedRecord | FileLists]:
        """See `Format.read`. The whole body is checked before the first record is read."""
        scanner = Scanner(source)
        layout = _check_body(source, scanner)
        scanner.expect_end()
        return _read_records(source, layout)


def _check_body(source: Source, scanner: Scanner) -> _Layout:
    first = scanner.peek()
    if first == ord("["):
        start = scanner.position
        _check_elements(source, scanner, "")
        return _Layout(start, "", [])
    if first == ord("{"):
        return _check_envelope(source, scanner)
    # raise the error for another type, or for malformed JSON
    decode_json(source.copy(scanner.position, scanner.position + _EXCERPT_BYTES), _Envelope | list[msgspec.Raw])
    raise AssertionError("decode_json accepts only an object or an array")


def _check_envelope(source: Source, scanner: Scanner) -> _Layout:
    """Check the object and its todos. Its members may be in any order."""
    members: dict[str, bytes] = {}
    start, array = None, ""
    scanner.expect(b"{")
    scanner.depth += 1
    more = not scanner.accept(b"}")
    while more:
        name = decode_json(source.copy(*scanner.scan_value("", _NAME_BYTES)), str)
        if name in members:
            raise Invalid([ValidationIssue(f"/{name}", "Expected this field once")])
        scanner.expect(b":")
        if name in _ARRAYS and array:
            raise Invalid([ValidationIssue(f"/{name}", f"Expected either {array} or {name}")])
        if name in _ARRAYS:
            array = name
        if name in _ARRAYS and scanner.peek() == ord("["):
            start = scanner.position
            _check_elements(source, scanner, f"/{name}")
            members[name] = b"[]"
        else:
            members[name] = source.copy(*scanner.scan_value("", IMPORT_LISTS_BYTES))
        if name not in _Envelope.__struct_fields__:
            break
        more = scanner.accept(b",")
        if not more:
            scanner.expect(b"}")
    text = b",".join(msgspec.json.encode(name) + b":" + value for name, value in members.items())
    envelope: _Envelope = decode_json(b"{" + text + b"}", _Envelope)
    if not array:
        raise Invalid([ValidationIssue("/todos", "this field is required")])
    if start is None:
        try:
            decode_json(members[array], list[msgspec.Raw], parts_later=True)
        except Invalid as error:
            raise error.prefix_pointers(f"/{array}") from None
        raise AssertionError("decode_json accepts only an array")
    return _Layout(start, f"/{array}", envelope.lists)


def _check_elements(source: Source, scanner: Scanner, pointer: str) -> None:
    for index, (start, end) in enumerate(scanner.scan_elements(pointer)):
        source.budget.check()
        if index == IMPORT_RECORDS:
            raise Invalid([ValidationIssue(pointer, f"Expected at most {IMPORT_RECORDS} todos")])
        decode_json(source.copy(start, end), msgspec.Raw, parts_later=True)


def _read_records(source: Source, layout: _Layout) -> Iterator[Draft | RejectedRecord | FileLists]:
    lists = {each.id: _to_list(each) for each in layout.lists}
    if lists:
        found = [FileList(1, each, f"/lists/{index}") for index, each in enumerate(lists.values())]
        yield FileLists(found, strict=True)
    source.advance_counting_lf(layout.start)
    scanner = Scanner(source)
    for index, (start, end) in enumerate(scanner.scan_elements(layout.pointer)):
        source.advance_counting_lf(start)
        decode = partial(_decode_draft, source.line, source.copy(start, end), lists)
        yield read_record(source.line, decode, f"{layout.pointer}/{index}")
        source.advance_counting_lf(end)


def _decode_draft(line: int, raw: bytes, lists: Mapping[str, TodoListCreate]) -> Draft:
    todo: dto.TodoImport = decode_json(raw, dto.TodoImport)
    return Draft(line, todo, lists.get(todo.list_id or ""), strict=True)


def _to_list(given: TodoListImport) -> TodoListCreate:
    """Return a list of the body. Without a uid, its id is the uid."""
    uid = given.id if given.uid is UNSET else given.uid
    return TodoListCreate(given.name, given.color, given.position, given.archived, uid)
