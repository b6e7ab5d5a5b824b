"""A backup: a store's documents in one file, whole or refused.

The file is gzip over lines of JSON (NDJSON), so `zcat` shows it. Its lines are

* a header, which says what the file is: `{"format": "todo_service backup", "version": 1, "service": …, "moment": …}`;
* blocks: a line `{"block": 1, "collection": "todos", "documents": 1000, "sha256": …}`, then as many documents in
  MongoDB's canonical extended JSON, one a line, in the order of their ids; the hash is that of these lines;
* a trailer: `{"end": true, "blocks": …, "point_in_time": …, "collections": {"todos": {"documents": …, "hash": …}},
  "sha256": …}`, with the hash of everything before it, and of each collection what `contents` says.

The header, each block and the trailer are gzip members of their own, so that a collection is found without reading the
others; a file that was packed anew is read all the same. It appears under its name when it is whole and was read back;
so a document that extended JSON cannot express (one within which a key such as `$oid` means something else) is noticed.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, NamedTuple, NoReturn

import msgspec
from bson import ObjectId, json_util
from bson.codec_options import DatetimeConversion
from odmantic import Model

from todo_service import __version__
from todo_service.bounds.store import BACKUP_BLOCK_BYTES, BACKUP_LINE_BYTES, BACKUP_VALUES, LOADED_DOCUMENT_BYTES
from todo_service.store.base import Snapshot
from todo_service.store.codec import EXACT, decode, encode, read_id
from todo_service.store.errors import StoreError, StoreUnusable
from todo_service.store.transfer.digest import Contents
from todo_service.store.transfer.drafts import Draft

FORMAT: Final = "todo_service backup"
VERSION: Final = 1
_BLOCK_DOCUMENTS: Final = 1000
_CHUNK: Final = 2**18
_BACKSLASH: Final = ord("\\")
_LONGEST_TITLE: Final = 2**20
"""Bytes of a header, of the first line of a block or of a trailer."""
_CANONICAL: Final = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL, tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
_COMPACT: Final[dict[str, Any]] = {"ensure_ascii": False, "separators": (",", ":")}
Watch = Callable[[int], None]
"""Told how many more bytes of the file have been read."""


class Header(msgspec.Struct, frozen=True):
    """The first line."""

    format: str
    version: int
    service: str
    moment: datetime


class Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of a block."""

    block: int
    collection: str
    documents: Annotated[int, msgspec.Meta(ge=1, le=_BLOCK_DOCUMENTS)]
    sha256: str


class Collection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a collection holds."""

    documents: int
    hash: str


class Trailer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line."""

    end: bool
    blocks: int
    point_in_time: bool
    collections: dict[str, Collection]
    sha256: str


class BackupWriter:
    """Writes a backup beside its place, where it is put when it is whole.

    Args:
        path: Its place. What stands there stays until then.
        moment: When the documents are from.
        replace: Whether it takes the place of what is there by then.

    Raises:
        StoreUnusable: the file cannot be written, or another process writes it.
    """

    def __init__(self, path: Path, moment: datetime, *, replace: bool = False) -> None:
        self._path = path
        self._replace = replace
        self._hash = hashlib.sha256()
        self._blocks = 0
        self._contents: dict[str, Contents] = {}
        self._draft = Draft(path)
        self._file = self._draft.file
        self._write(_line(Header(FORMAT, VERSION, __version__, moment)))

    def add(self, collection: str, documents: Sequence[bytes]) -> None:
        """Write documents of a collection, which follow those before in the order of their ids.

        Raises:
            StoreUnavailable: the disk is full or cannot be written.
        """
        self._contents.setdefault(collection, Contents()).add(documents)
        lines: list[bytes] = []
        size = 0
        for raw in documents:
            line = json_util.dumps(decode(raw, EXACT), json_options=_CANONICAL, **_COMPACT).encode() + b"\n"
            lines.append(line)
            size += len(line)
            if len(lines) == _BLOCK_DOCUMENTS or size > BACKUP_BLOCK_BYTES:
                self._add_block(collection, lines)
                lines, size = [], 0
        if lines:
            self._add_block(collection, lines)

    def _add_block(self, collection: str, lines: list[bytes]) -> None:
        text = b"".join(lines)
        self._blocks += 1
        block = Block(self._blocks, collection, len(lines), hashlib.sha256(text).hexdigest())
        self._write(_line(block) + text)

    def finish(self, *, point_in_time: bool, watch: Callable[[int, int], None]) -> dict[str, Contents]:
        """End the file, sync it, read it back, and put it in its place.

        Args:
            point_in_time: Whether the documents are from one moment.
            watch: Told how many more bytes have been read back, and of how many.

        Returns:
            What it was given, by collection.

        Raises:
            StoreUnavailable: it could not be written.
            StoreUnusable: something stands in its place.
            StoreError: what was read back is not what was written.
        """
        collections = {name: Collection(held.documents, held.hash) for name, held in self._contents.items()}
        self._write(_line(Trailer(True, self._blocks, point_in_time, collections, self._hash.hexdigest())))
        size = self._draft.sync()
        found = Backup(self._draft.path).verify(lambda done: watch(done, size))
        if found != self._contents:
            raise StoreError(f"{self._path} was not written: what was read back is not what was written")
        self._draft.put_in_place(replace=self._replace)
        return self._contents

    def close(self) -> None:
        """Let go of the file; what is not finished is taken away."""
        self._draft.close()

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._draft.write(gzip.compress(data, 6, mtime=0))


class _Place(NamedTuple):
    """Where a collection begins: the first byte of a gzip member, and how many lines of it come before."""

    offset: int
    lines: int


class Backup(Snapshot):
    """A backup that is read.

    Args:
        path: The file.
        models: The models whose documents it may hold; None for any.
    """

    def __init__(self, path: Path, models: Sequence[type[Model]] | None = None) -> None:
        self._path = path
        self._known = None if models is None else {model.__collection__ for model in models}
        self._contents: dict[str, Contents] = {}
        self._places: dict[str, _Place] = {}
        self.identity = ""

    def verify(self, watch: Watch | None = None) -> dict[str, Contents]:
        """Read the whole file, every document of it, and return what it holds, by collection.

        Raises:
            StoreUnusable: it is no backup, or a damaged one, or one that this version does not know; the message says
                where.
        """
        try:
            with self._path.open("rb") as file:
                lines = _Lines(self._path, file, watch=watch)
                self._read_header(lines)
                self._read_blocks(lines)
        except OSError as error:
            raise StoreUnusable(f"{self._path} cannot be read: {error.strerror}") from None
        return self._contents

    async def size(self, model: type[Model]) -> int:
        """See `Snapshot.size`; exact."""
        held = self._contents.get(model.__collection__)
        return held.documents if held else 0

    async def documents(self, model: type[Model], after: ObjectId | None = None) -> AsyncGenerator[list[bytes], None]:
        """See `Snapshot.documents`; a block at a time. The file was verified."""
        place = self._places.get(model.__collection__)
        if place is None:
            return
        with self._path.open("rb") as file:
            lines = _Lines(self._path, file, place)
            while batch := await asyncio.to_thread(self._next_batch, lines, model.__collection__):
                if after is not None:
                    batch = [raw for raw in batch if read_id(raw) > after.binary]
                if batch:
                    yield batch

    def _next_batch(self, lines: _Lines, collection: str) -> list[bytes]:
        block = self._next_block(lines)
        if isinstance(block, Trailer) or block.collection != collection:
            return []
        return self._read_documents(lines, block)

    def _read_header(self, lines: _Lines) -> None:
        try:
            header = msgspec.json.decode(lines.read(_LONGEST_TITLE), type=Header)
        except OSError:
            raise
        except Exception:  # whatever a parser makes of another's file, it is no backup
            raise StoreUnusable(f"{self._path} is no backup, or its first line is damaged") from None
        if header.format != FORMAT:
            raise StoreUnusable(f"{self._path} is no backup of this service")
        if header.version != VERSION:
            raise StoreUnusable(f"{self._path} has the version {header.version}; this service reads version {VERSION}")
        self.taken_at = header.moment

    def _read_blocks(self, lines: _Lines) -> None:
        last = ("", b"")
        blocks = 0
        seen = set()
        while True:
            whole = lines.sha256()
            place = lines.place
            block = self._next_block(lines)
            if isinstance(block, Trailer):
                break
            blocks += 1
            if block.block != blocks:
                lines.fail(f"block {blocks} is missing")
            if self._known is not None and block.collection not in self._known:
                lines.fail(f"this version knows no collection {block.collection[:80]!r}")
            if block.collection != last[0]:
                if block.collection in seen:
                    lines.fail("a collection stands in two places")
                seen.add(block.collection)
                self._places[block.collection] = place
                last = (block.collection, b"")
            documents = self._read_documents(lines, block)
            for raw in documents:
                if read_id(raw) <= last[1]:
                    lines.fail("documents are not in order")
                last = (last[0], read_id(raw))
            self._contents.setdefault(block.collection, Contents()).add(documents)
        if block.sha256 != whole or block.blocks != blocks:
            lines.fail("the hash of the whole file is another")
        found = {name: Collection(held.documents, held.hash) for name, held in self._contents.items()}
        if found != {name: held for name, held in block.collections.items() if held.documents}:
            lines.fail("the documents are others than the trailer says")
        lines.expect_end()
        self.point_in_time = block.point_in_time
        self.identity = whole

    def _next_block(self, lines: _Lines) -> Block | Trailer:
        line = lines.read(_LONGEST_TITLE)
        try:
            if line.startswith(b'{"end"'):
                return msgspec.json.decode(line, type=Trailer)
            return msgspec.json.decode(line, type=Block)
        except Exception:  # as above
            lines.fail("a block should begin here")

    def _read_documents(self, lines: _Lines, block: Block) -> list[bytes]:
        """Read a block's lines; none is looked into before their hash is right."""
        first = lines.number + 1
        found: list[bytes] = []
        digest = hashlib.sha256()
        size = 0
        for _ in range(block.documents):
            if size > BACKUP_BLOCK_BYTES:
                lines.fail("a block is longer than any")
            found.append(lines.read(BACKUP_LINE_BYTES))
            digest.update(found[-1])
            size += len(found[-1])
        if digest.hexdigest() != block.sha256:
            lines.fail("the hash of the block is another", first)
        return [self._read_document(lines, line, number) for number, line in enumerate(found, first)]

    def _read_document(self, lines: _Lines, line: bytes, number: int) -> bytes:
        if count_values(line, BACKUP_VALUES) > BACKUP_VALUES:
            lines.fail("the line holds more values than a document", number)
        try:
            raw = encode(json_util.loads(line.decode(), json_options=_CANONICAL))
            read_id(raw)
        except Exception:  # as above
            lines.fail("the line holds no document", number)
        if len(raw) > LOADED_DOCUMENT_BYTES:
            lines.fail("the document is too large", number)
        return raw


class _Lines:
    """Reads the lines of a gzip file, and knows where each of them is.

    Args:
        path: The file's path, for messages.
        file: The file.
        place: Where to begin.
        watch: Who wants to know how far it is.
    """

    def __init__(self, path: Path, file: BinaryIO, place: _Place | None = None, watch: Watch | None = None) -> None:
        self.number = 0
        self._path = path
        self._file = file
        self._watch = watch
        self._hash = hashlib.sha256()
        self._inflater = zlib.decompressobj(wbits=31)
        self._pending = b""
        self._text = bytearray()
        self._start = self._searched = 0
        self._member = place.offset if place else 0
        self._member_lines = 0
        file.seek(self._member)
        self._position = self._member
        for _ in range(place.lines if place else 0):
            self.read(BACKUP_LINE_BYTES)

    @property
    def place(self) -> _Place:
        """Where the next line is."""
        if self._start == len(self._text) and self._inflater.eof:
            return _Place(self._position - len(self._inflater.unused_data), 0)
        return _Place(self._member, self._member_lines)

    def sha256(self) -> str:
        """Return the hash of the lines that were read."""
        return self._hash.hexdigest()

    def read(self, longest: int) -> bytes:
        """Return the next line, with its end.

        Args:
            longest: How long it may be, in bytes.

        Raises:
            StoreUnusable: the file is damaged or ends here.
        """
        while (end := self._text.find(b"\n", self._searched)) < 0:
            del self._text[: self._start]
            self._start, self._searched = 0, len(self._text)
            if self._searched > longest:
                self.fail("a line is longer than any", self.number + 1)
            more = self._more()
            if not more:
                self.fail("the file ends too early", self.number + 1)
            self._text += more
        line = bytes(self._text[self._start : end + 1])
        self._start = self._searched = end + 1
        self.number += 1
        self._member_lines += 1
        self._hash.update(line)
        return line

    def expect_end(self) -> None:
        """Raise if anything follows."""
        if self._start < len(self._text) or self._more():
            self.fail("something follows the end", self.number + 1)

    def fail(self, reason: str, number: int | None = None) -> NoReturn:
        """Say that the file is damaged, and where."""
        where = f"line {number or self.number}, in what is packed from byte {self._member} on"
        raise StoreUnusable(f"{self._path} is damaged at {where}: {reason}")

    def _more(self) -> bytes:
        """Return more text; none at the end of the file."""
        while True:
            if self._inflater.eof:
                self._pending = self._inflater.unused_data
                if not self._pending and not self._refill():
                    return b""
                self._member, self._member_lines = self._position - len(self._pending), 0
                self._inflater = zlib.decompressobj(wbits=31)
            elif not self._pending and not self._refill():
                self.fail("the file was cut short", self.number + 1)
            try:
                text = self._inflater.decompress(self._pending, _CHUNK)
            except zlib.error:
                self.fail("it cannot be unpacked", self.number + 1)
            self._pending = self._inflater.unconsumed_tail
            if text:
                return text

    def _refill(self) -> bool:
        self._pending = self._file.read(_CHUNK)
        self._position += len(self._pending)
        if self._watch is not None:
            self._watch(len(self._pending))
        return bool(self._pending)


def count_values(line: bytes, enough: int) -> int:
    """Return about how many values a line of JSON holds: cheaply where there are few, else without those signs that
    stand in texts. More than `enough` are not told apart.
    """
    signs = (b",", b"[", b"{")
    count = sum(map(line.count, signs))
    if count <= enough:
        return count
    count = start = 0
    inside = False
    while count <= enough:
        end = line.find(b'"', start)
        if not inside:
            stop = len(line) if end < 0 else end
            count += sum(line.count(sign, start, stop) for sign in signs)
        if end < 0:
            break
        if not inside or not _is_escaped(line, end):
            inside = not inside
        start = end + 1
    return count


def _is_escaped(line: bytes, place: int) -> bool:
    """Tell whether an odd number of backslashes stands before a quote."""
    before = place
    while before and line[before - 1] == _BACKSLASH:
        before -= 1
    return (place - before) % 2 == 1


def _line(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value) + b"\n"
