"""JSON: every list, then every todo, each on a line of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from zoneinfo import ZoneInfo

import msgspec

from todo_service.decoding import decode_json
from todo_service.errors import Fault, Invalid, Malformed
from todo_service.todos import dto
from todo_service.todos.formats.base import BYTE_ORDER_MARK, Draft, Format, Rejected, Writer


class _Read(msgspec.Struct, forbid_unknown_fields=True):
    items: msgspec.Raw
    lists: list[dto.ListImport] = []


class _ArchiveWriter(Writer):
    def __init__(self, lists: Sequence[dto.List]) -> None:
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

    def writer(self, lists: Sequence[dto.List], zone: ZoneInfo) -> Writer:
        """See `Format.writer`."""
        return _ArchiveWriter(lists)

    def read(self, body: bytes, zone: ZoneInfo) -> Iterator[Draft | Rejected]:
        """See `Format.read`."""
        body = body.removeprefix(BYTE_ORDER_MARK)
        read: _Read | list[msgspec.Raw] = decode_json(body, _Read | list[msgspec.Raw], parts_later=True)
        if isinstance(read, list):
            return _records(body, read, body.index(b"["), "", {})
        try:
            items = decode_json(bytes(read.items), list[msgspec.Raw], parts_later=True)
        except Invalid as error:
            raise Invalid([Fault("/items" + fault.pointer, fault.detail) for fault in error.faults]) from None
        return _records(body, items, body.index(bytes(read.items)), "/items", {each.id: each for each in read.lists})


def _records(
    body: bytes, items: list[msgspec.Raw], position: int, base: str, lists: dict[str, dto.ListImport]
) -> Iterator[Draft | Rejected]:
    line = body.count(b"\n", 0, position) + 1
    for index, item in enumerate(items):
        raw = bytes(item)
        # nothing but white space and a comma stands between two items
        start = body.index(raw, position)
        line += body.count(b"\n", position, start)
        pointer = f"{base}/{index}"
        try:
            todo: dto.TodoImport = decode_json(raw, dto.TodoImport)
        except Malformed as error:
            yield Rejected(line, [Fault(pointer, str(error))])
        except Invalid as error:
            yield Rejected(line, [Fault(pointer + fault.pointer, fault.detail) for fault in error.faults])
        else:
            yield Draft(line, todo, _list_of(lists.get(todo.list_id or "")), pointer=pointer)
        line += raw.count(b"\n")
        position = start + len(raw)


def _list_of(known: dto.ListImport | None) -> dto.ListCreate | None:
    if known is None:
        return None
    return dto.ListCreate(known.name, known.color, known.position, known.archived)
