"""Reading a gzip file line by line, with bounded memory and the position of each line."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, NoReturn

from todo_service.bounds.store import BACKUP_LINE_BYTES
from todo_service.store.errors import StoreUnusable

OnRead = Callable[[int], None]
"""Called with the number of bytes just read from the file."""
_CHUNK_BYTES: Final = 2**18


class LinePosition(NamedTuple):
    """The position of a line: the offset of its gzip member in the file, and the number of lines before it there."""

    offset: int
    lines: int


class LineReader:
    """Reads the lines of a gzip file.

    Args:
        path: The path of the file, for error messages.
        file: The file.
        position: The position of the first line to read. The default is the start of the file.
        on_read: Called after each read from the file.

    Attributes:
        number: The number of lines read.
    """

    def __init__(
        self, path: Path, file: BinaryIO, position: LinePosition | None = None, on_read: OnRead | None = None
    ) -> None:
        self.number = 0
        self._path = path
        self._file = file
        self._on_read = on_read
        self._hash = hashlib.sha256()
        self._inflater = zlib.decompressobj(wbits=31)
        self._pending = b""
        self._text = bytearray()
        self._start = self._searched = 0
        self._member = position.offset if position else 0
        self._member_lines = 0
        file.seek(self._member)
        self._offset = self._member
        for _ in range(position.lines if position else 0):
            self.read(BACKUP_LINE_BYTES)

    @property
    def position(self) -> LinePosition:
        """The position of the next line."""
        if self._start == len(self._text) and self._inflater.eof:
            return LinePosition(self._offset - len(self._inflater.unused_data), 0)
        return LinePosition(self._member, self._member_lines)

    def sha256(self) -> str:
        """Return the hash of the lines read so far."""
        return self._hash.hexdigest()

    def read(self, max_bytes: int) -> bytes:
        """Return the next line, including the line feed.

        Args:
            max_bytes: The maximum length of the line.

        Raises:
            StoreUnusable: The line is longer, or the file is damaged or ends here.
        """
        while (end := self._text.find(b"\n", self._searched)) < 0:
            del self._text[: self._start]
            self._start, self._searched = 0, len(self._text)
            if self._searched > max_bytes:
                self.fail("the line is too long", self.number + 1)
            text = self._decompress()
            if not text:
                self.fail("the file ends early", self.number + 1)
            self._text += text
        line = bytes(self._text[self._start : end + 1])
        self._start = self._searched = end + 1
        self.number += 1
        self._member_lines += 1
        self._hash.update(line)
        return line

    def expect_end(self) -> None:
        """Raise `StoreUnusable` unless this is the end of the file."""
        if self._start < len(self._text) or self._decompress():
            self.fail("there is data after the end of the backup", self.number + 1)

    def fail(self, reason: str, number: int | None = None) -> NoReturn:
        """Raise `StoreUnusable` with the position of the damage.

        Args:
            reason: The reason, for the message.
            number: The number of the line. The default is the last line read.
        """
        where = f"line {number or self.number}, in the gzip member at byte {self._member}"
        raise StoreUnusable(f"{self._path} is damaged at {where}: {reason}")

    def _decompress(self) -> bytes:
        """Return the next part of the text, or an empty string at the end of the file."""
        while True:
            if self._inflater.eof:
                self._pending = self._inflater.unused_data
                if not self._pending and not self._refill():
                    return b""
                self._member, self._member_lines = self._offset - len(self._pending), 0
                self._inflater = zlib.decompressobj(wbits=31)
            elif not self._pending and not self._refill():
                self.fail("the file is truncated", self.number + 1)
            try:
                text = self._inflater.decompress(self._pending, _CHUNK_BYTES)
            except zlib.error:
                self.fail("the data cannot be decompressed", self.number + 1)
            self._pending = self._inflater.unconsumed_tail
            if text:
                return text

    def _refill(self) -> bool:
        self._pending = self._file.read(_CHUNK_BYTES)
        self._offset += len(self._pending)
        if self._on_read is not None:
            self._on_read(len(self._pending))
        return bool(self._pending)
