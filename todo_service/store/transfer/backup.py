"""Reading a backup. The whole file is verified before its documents are copied."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from bson import ObjectId, json_util
from odmantic import Model

from todo_service.bounds.store import BACKUP_BLOCK_BYTES, BACKUP_LINE_BYTES, BACKUP_VALUES, LOADED_DOCUMENT_BYTES
from todo_service.store.base import Snapshot
from todo_service.store.bson_codec import encode, read_id
from todo_service.store.errors import StoreUnusable
from todo_service.store.transfer.backup_format import (
    EXTENDED_JSON,
    FORMAT,
    VERSION,
    Block,
    CollectionSummary,
    Header,
    Trailer,
)
from todo_service.store.transfer.digest import Digest
from todo_service.store.transfer.line_reader import LinePosition, LineReader, OnRead

_MAX_HEADING_BYTES: Final = 2**20
"""The maximum length of a header, a trailer or the first line of a block."""
_BACKSLASH: Final = ord("\\")


class Backup(Snapshot):
    """A backup file.

    Args:
        path: The path of the file.
        models: The models whose documents the file may contain. None allows any.

    Attributes:
        sha256: The hash of all lines before the trailer, which identifies the backup. Empty until `verify` returns.
    """

    def __init__(self, path: Path, models: Sequence[type[Model]] | None = None) -> None:
        self._path = path
        self._known = None if models is None else {model.__collection__ for model in models}
        self._digests: dict[str, Digest] = {}
        self._positions: dict[str, LinePosition] = {}
        self.sha256 = ""

    def verify(self, on_read: OnRead | None = None) -> dict[str, Digest]:
        """Read the whole file, and return the digest of each collection.

        Args:
            on_read: Called after each read from the file.

        Raises:
            StoreUnusable: The file is not a backup, is damaged, or has a version that this service does not support.
                The message names the line.
        """
        try:
            with self._path.open("rb") as file:
                lines = LineReader(self._path, file, on_read=on_read)
                self._read_header(lines)
                self._read_blocks(lines)
        except OSError as error:
            raise StoreUnusable(f"{self._path} cannot be read: {error.strerror}") from None
        return self._digests

    async def size(self, model: type[Model]) -> int:
        """See `Snapshot.size`. The number is exact."""
        digest = self._digests.get(model.__collection__)
        return digest.documents if digest else 0

    async def documents(self, model: type[Model], after: ObjectId | None = None) -> AsyncGenerator[list[bytes], None]:
        """See `Snapshot.documents`. Yields one block at a time. The file must have been verified."""
        position = self._positions.get(model.__collection__)
        if position is None:
            return
        with self._path.open("rb") as file:
            lines = LineReader(self._path, file, position)
            while batch := await asyncio.to_thread(self._read_batch, lines, model.__collection__):
                if after is not None:
                    batch = [raw for raw in batch if read_id(raw) > after.binary]
                if batch:
                    yield batch

    def _read_batch(self, lines: LineReader, collection: str) -> list[bytes]:
        block = self._read_heading(lines)
        if isinstance(block, Trailer) or block.collection != collection:
            return []
        return self._read_documents(lines, block)

    def _read_header(self, lines: LineReader) -> None:
        try:
            header = msgspec.json.decode(lines.read(_MAX_HEADING_BYTES), type=Header)
        except OSError:
            raise
        except Exception:  # any error of a parser means that the file is not a backup
            raise StoreUnusable(f"{self._path} is not a backup, or its first line is damaged") from None
        if header.format != FORMAT:
            raise StoreUnusable(f"{self._path} is not a backup of this service")
        if header.version != VERSION:
            raise StoreUnusable(f"{self._path} has version {header.version}; this service reads version {VERSION}")
        self.taken_at = header.moment

    def _read_blocks(self, lines: LineReader) -> None:
        collection, last_id = "", b""
        blocks = 0
        while True:
            sha256 = lines.sha256()
            position = lines.position
            block = self._read_heading(lines)
            if isinstance(block, Trailer):
                break
            blocks += 1
            if block.block != blocks:
                lines.fail(f"block {blocks} is missing")
            if self._known is not None and block.collection not in self._known:
                lines.fail(f"the collection {block.collection[:80]!r} is unknown to this version")
            if block.collection != collection:
                if block.collection in self._positions:
                    lines.fail("a collection appears twice")
                self._positions[block.collection] = position
                collection, last_id = block.collection, b""
            documents = self._read_documents(lines, block)
            for raw in documents:
                if read_id(raw) <= last_id:
                    lines.fail("the documents are out of order")
                last_id = read_id(raw)
            self._digests.setdefault(block.collection, Digest()).add(documents)
        if block.sha256 != sha256 or block.blocks != blocks:
            lines.fail("the hash of the file does not match")
        self._check_trailer(lines, block)
        self.point_in_time = block.point_in_time
        self.sha256 = sha256

    def _check_trailer(self, lines: LineReader, trailer: Trailer) -> None:
        found = {name: CollectionSummary(digest.documents, digest.hash) for name, digest in self._digests.items()}
        if found != {name: summary for name, summary in trailer.collections.items() if summary.documents}:
            lines.fail("the documents do not match the trailer")
        lines.expect_end()

    def _read_heading(self, lines: LineReader) -> Block | Trailer:
        line = lines.read(_MAX_HEADING_BYTES)
        try:
            if line.startswith(b'{"end"'):
                return msgspec.json.decode(line, type=Trailer)
            return msgspec.json.decode(line, type=Block)
        except Exception:  # any error of a parser
            lines.fail("the line does not start a block")

    def _read_documents(self, lines: LineReader, block: Block) -> list[bytes]:
        """Read the documents of a block. Verifies the hash before parsing a line."""
        first = lines.number + 1
        found: list[bytes] = []
        sha256 = hashlib.sha256()
        size = 0
        for _ in range(block.documents):
            if size > BACKUP_BLOCK_BYTES:
                lines.fail("the block is too long")
            found.append(lines.read(BACKUP_LINE_BYTES))
            sha256.update(found[-1])
            size += len(found[-1])
        if sha256.hexdigest() != block.sha256:
            lines.fail("the hash of the block does not match", first)
        return [self._parse_document(lines, line, number) for number, line in enumerate(found, first)]

    def _parse_document(self, lines: LineReader, line: bytes, number: int) -> bytes:
        if count_values(line, BACKUP_VALUES) > BACKUP_VALUES:
            lines.fail("the line contains too many values", number)
        try:
            raw = encode(json_util.loads(line.decode(), json_options=EXTENDED_JSON))
            read_id(raw)
        except Exception:  # any error of a parser
            lines.fail("the line is not a document", number)
        if len(raw) > LOADED_DOCUMENT_BYTES:
            lines.fail("the document is too large", number)
        return raw


def count_values(line: bytes, limit: int) -> int:
    """Estimate the number of values in a line of JSON: its `,`, `[` and `{`.

    If that exceeds the limit, count again without those in strings, which is slower, and stop soon after the limit.
    """
    signs = (b",", b"[", b"{")
    count = sum(map(line.count, signs))
    if count <= limit:
        return count
    count = start = 0
    in_string = False
    while count <= limit:
        end = line.find(b'"', start)
        if not in_string:
            stop = len(line) if end < 0 else end
            count += sum(line.count(sign, start, stop) for sign in signs)
        if end < 0:
            break
        if not in_string or not _is_escaped(line, end):
            in_string = not in_string
        start = end + 1
    return count


def _is_escaped(line: bytes, position: int) -> bool:
    """Return whether an odd number of backslashes precedes a quotation mark."""
    before = position
    while before and line[before - 1] == _BACKSLASH:
        before -= 1
    return (position - before) % 2 == 1
