"""JSON: every list, then every todo, each on a line of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from todo_service.bounds.exchange import IMPORT_LISTS_BYTES, IMPORT_RECORDS
from todo_service.decoding import decode_json
from todo_service.errors import Invalid, ValidationIssue
from todo_service.exchange.dto import ListImport
from todo_service.exchange.formats.base import Draft, Format, Rejected, Writer, read_record
from todo_service.exchange.formats.scanner import Scanner
from todo_service.exchange.formats.source import Source
from todo_service.lists.dto import List, ListCreate
from todo_service.todos import dto

_NAME_BYTES: Final = 1000
_SHOWN_BYTES: Final = 1000


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    items: msgspec.Raw
    lists: list[ListImport] = []


class _Layout(NamedTuple):
    """Where the todos stand.

    Attributes:
        start: The offset of their array.
        pointer: JSON pointer to it.
        lists: The lists that they may be in, by their ids.
    """

    start: int
    pointer: str
    lists: Mapping[str, ListImport]


class _ArchiveWriter(Writer):
    def __init__(self, lists: Sequence[List]) -> None:
        self._lists = lists
        self._separator = b""

    def opening(self) -> bytes:
        return b'{"lists":' + msgspec.json.encode(self._lists) + b',"items":[\n'

    def todos(self, todos: Iterable[dto.Todo]) -> bytes:
        text = b",\n".join(map(msgspec.json.encode, todos))
        if not text:
            return b""
        separator, self._separator = self._separator, b",\n"
        return separator + text

    def closing(self) -> bytes:
        return b"\n]}\n"


class ArchiveFormat(Format):
    """JSON as `dto.Archive` describes it; a plain array of todos is read too."""

    media_type = "application/json"
    content_type = "application/json"

    def writer(self, lists: Sequence[List], zone: ZoneInfo) -> Writer:
        """See `Format.writer`."""
        return _ArchiveWriter(lists)

    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | Rejected]:
        """See `Format.read`. The body is checked as a whole before the first record is read."""
        scanner = Scanner(source)
        layout = _check_body(source, scanner)
        scanner.expect_end()
        return _records(source, layout)


def _check_body(source: Source, scanner: Scanner) -> _Layout:
    first = scanner.peek()
    if first == ord("["):
        start = scanner.position
        _check_elements(source, scanner, "")
        return _Layout(start, "", {})
    if first == ord("{"):
        return _check_envelope(source, scanner)
    # it is of another type, or no JSON
    decode_json(source.part(scanner.position, scanner.position + _SHOWN_BYTES), _Envelope | list[msgspec.Raw])
    raise AssertionError("it is neither an object nor an array")


def _check_envelope(source: Source, scanner: Scanner) -> _Layout:
    """Pass the object, whose members may come in any order, checking its todos on the way."""
    members: dict[str, bytes] = {}
    start = None
    scanner.expect(b"{")
    scanner.depth += 1
    more = not scanner.take(b"}")
    while more:
        name = decode_json(source.part(*scanner.value("", _NAME_BYTES)), str)
        if name in members:
            raise Invalid([ValidationIssue(f"/{name}", "Expected this field once")])
        scanner.expect(b":")
        if name == "items" and scanner.peek() == ord("["):
            start = scanner.position
            _check_elements(source, scanner, "/items")
            members[name] = b"[]"
        else:
            members[name] = source.part(*scanner.value("", IMPORT_LISTS_BYTES))
        if name not in _Envelope.__struct_fields__:
            break
        more = scanner.take(b",")
        if not more:
            scanner.expect(b"}")
    text = b",".join(msgspec.json.encode(name) + b":" + value for name, value in members.items())
    envelope: _Envelope = decode_json(b"{" + text + b"}", _Envelope)
    if start is None:
        try:
            decode_json(bytes(envelope.items), list[msgspec.Raw], parts_later=True)
        except Invalid as error:
            raise Invalid([ValidationIssue("/items" + issue.pointer, issue.detail) for issue in error.issues]) from None
        raise AssertionError("it is no array")
    return _Layout(start, "/items", {each.id: each for each in envelope.lists})


def _check_elements(source: Source, scanner: Scanner, pointer: str) -> None:
    for index, (start, end) in enumerate(scanner.elements(pointer)):
        source.budget.check()
        if index == IMPORT_RECORDS:
            raise Invalid([ValidationIssue(pointer, f"Expected {IMPORT_RECORDS} todos at most")])
        decode_json(source.part(start, end), msgspec.Raw, parts_later=True)


def _records(source: Source, layout: _Layout) -> Iterator[Draft | Rejected]:
    source.advance(layout.start)
    scanner = Scanner(source)
    for index, (start, end) in enumerate(scanner.elements(layout.pointer)):
        source.advance(start)
        raw, pointer = source.part(start, end), f"{layout.pointer}/{index}"
        record = read_record(source.line, partial(_draft, source.line, raw, pointer, layout))
        if isinstance(record, Rejected):
            issues = [ValidationIssue(pointer + issue.pointer, issue.detail) for issue in record.issues]
            record = Rejected(record.line, issues)
        yield record
        source.advance(end)


def _draft(line: int, raw: bytes, pointer: str, layout: _Layout) -> Draft:
    todo: dto.TodoImport = decode_json(raw, dto.TodoImport)
    known = layout.lists.get(todo.list_id or "")
    named = ListCreate(known.name, known.color, known.position, known.archived) if known is not None else None
    return Draft(line, todo, named, pointer=pointer)
