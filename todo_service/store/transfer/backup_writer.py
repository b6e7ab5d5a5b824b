"""Writing a backup. The file appears under its name once it is complete and has been read back."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from bson import json_util

from todo_service import __version__
from todo_service.bounds.store import BACKUP_BLOCK_BYTES
from todo_service.store.bson_codec import EXACT, decode
from todo_service.store.errors import StoreError
from todo_service.store.transfer.atomic_file import AtomicFile
from todo_service.store.transfer.backup import Backup
from todo_service.store.transfer.backup_format import (
    BLOCK_DOCUMENTS,
    EXTENDED_JSON,
    FORMAT,
    VERSION,
    Block,
    CollectionSummary,
    Header,
    Trailer,
)
from todo_service.store.transfer.digest import Digest

_COMPACT: Final[dict[str, Any]] = {"ensure_ascii": False, "separators": (",", ":")}


class BackupWriter:
    """Writes a backup to a temporary file, and renames it once it is complete.

    Args:
        path: The path of the backup. An existing file remains unchanged until then.
        taken_at: When the snapshot was taken.
        replace: Whether to replace an existing file.

    Raises:
        StoreUnusable: The file cannot be written, or another process is writing it.
    """

    def __init__(self, path: Path, taken_at: datetime, *, replace: bool = False) -> None:
        self._path = path
        self._replace = replace
        self._hash = hashlib.sha256()
        self._blocks = 0
        self._digests: dict[str, Digest] = {}
        self._file = AtomicFile(path)
        self._write(_encode_line(Header(FORMAT, VERSION, __version__, taken_at)))

    def add(self, collection: str, documents: Sequence[bytes]) -> None:
        """Write documents of a collection. Their ids must be greater than those already written.

        Raises:
            StoreUnavailable: The disk is full or not writable.
        """
        self._digests.setdefault(collection, Digest()).add(documents)
        lines: list[bytes] = []
        size = 0
        for raw in documents:
            line = json_util.dumps(decode(raw, EXACT), json_options=EXTENDED_JSON, **_COMPACT).encode() + b"\n"
            lines.append(line)
            size += len(line)
            if len(lines) == BLOCK_DOCUMENTS or size > BACKUP_BLOCK_BYTES:
                self._add_block(collection, lines)
                lines, size = [], 0
        if lines:
            self._add_block(collection, lines)

    def _add_block(self, collection: str, lines: list[bytes]) -> None:
        text = b"".join(lines)
        self._blocks += 1
        block = Block(self._blocks, collection, len(lines), hashlib.sha256(text).hexdigest())
        self._write(_encode_line(block) + text)

    def finish(self, *, point_in_time: bool, on_read: Callable[[int, int], None]) -> dict[str, Digest]:
        """Complete the file, sync it to disk, read it back, and rename it.

        Reading it back also detects documents that extended JSON cannot represent, such as one with a key `$oid`.

        Args:
            point_in_time: Whether all documents are as of one point in time.
            on_read: Called with the number of bytes just read back, and the size of the file.

        Returns:
            The digest of each collection.

        Raises:
            StoreUnavailable: The file could not be written.
            StoreUnusable: The path already exists.
            StoreError: The file does not contain the documents that were added.
        """
        collections = {name: CollectionSummary(digest.documents, digest.hash) for name, digest in self._digests.items()}
        self._write(_encode_line(Trailer(True, self._blocks, point_in_time, collections, self._hash.hexdigest())))
        size = self._file.sync()
        found = Backup(self._file.temporary_path).verify(lambda read: on_read(read, size))
        if found != self._digests:
            raise StoreError(f"{self._path} was not written: the file does not contain the documents written to it")
        self._file.publish(replace=self._replace)
        return self._digests

    def close(self) -> None:
        """Close the file, and remove it unless it was finished."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(gzip.compress(data, 6, mtime=0))


def _encode_line(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value) + b"\n"
