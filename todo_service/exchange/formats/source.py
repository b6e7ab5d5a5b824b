"""The body of an import, read forward in bounded steps."""

from __future__ import annotations

import re
from typing import Final

from todo_service.executors import Budget

CHUNK_BYTES: Final = 256 * 1024
"""The maximum number of bytes that a C function processes in one call, while it holds the GIL."""
_WINDOW_BYTES: Final = 64 * 1024
"""The size of the windows in which several lines are found at once."""
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_CONTENT_LINES: Final = re.compile(rb"[^\n]*\n(?:[ \t][^\n]*\n)*")
_CONTENT_LINE_END: Final = re.compile(rb"\n(?![ \t])")
_BLANK: Final = re.compile(rb"[\r\n]*")


class Source:
    """A cursor over the body of an import. It does not copy the body.

    Args:
        data: The body. A byte order mark at its start is skipped.

    Attributes:
        data: The body.
        position: The offset up to which the body has been read.
        line: The number of the line at that offset, from 1.
        budget: The budget of the task that is reading. Each step checks it.
        window_bytes: How far `find_content_lines` looks ahead.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = memoryview(data)
        self.position = len(_BYTE_ORDER_MARK) if self.copy(0, 3) == _BYTE_ORDER_MARK else 0
        self.line = 1
        self.budget = Budget(float("inf"))
        self.window_bytes = _WINDOW_BYTES

    def fork(self, position: int, line: int) -> Source:
        """Return another cursor over the same body, with the same budget, to read a record or the rest.

        Args:
            position: Its offset.
            line: The number of the line at that offset.
        """
        forked = Source(self.data)
        forked.position, forked.line, forked.budget = position, line, self.budget
        return forked

    def copy(self, start: int, end: int) -> bytes:
        """Return a copy of a part of the body."""
        return bytes(self.data[start:end])

    def advance_counting_lf(self, end: int) -> None:
        """Move forward to an offset, counting line feeds."""
        self.line += self._count_line_feeds(self.position, end)
        self.position = end

    def advance_counting_line_breaks(self, end: int) -> None:
        """Move forward to an offset that is not within a line break, counting line breaks: CR LF, LF or CR."""
        last = b""
        for start in range(self.position, end, CHUNK_BYTES):
            self.budget.check()
            part = self.copy(start, min(start + CHUNK_BYTES, end))
            breaks = part.count(b"\n") + part.count(b"\r") - part.count(b"\r\n")
            self.line += breaks - (last == b"\r" and part.startswith(b"\n"))
            last = part[-1:]
        self.position = end

    def skip_blank_lines(self) -> bool:
        """Move forward to the next line that is not empty. Return False at the end of the body."""
        while True:
            self.budget.check()
            match = _BLANK.match(self.data, self.position, self.position + CHUNK_BYTES)
            assert match is not None  # the pattern matches the empty string
            end = match.end()
            if end > self.position and self.copy(end - 1, end + 1) == b"\r\n":
                end += 1
            is_blank = end > self.position
            self.advance_counting_line_breaks(end)
            if end == len(self.data) or not is_blank:
                return end < len(self.data)

    def find_line_end(self) -> int:
        """Return the offset after the current line and its line break: CR LF, LF or CR."""
        return self._find_end(_LINE_END)

    def find_content_line_end(self) -> int:
        """Return the offset after the current content line of iCalendar, folds included."""
        return self._find_end(_CONTENT_LINE_END)

    def find_content_lines(self) -> list[bytes]:
        """Return the next content lines of iCalendar that end within a window, with their folds and line breaks.

        The list is empty if the next line does not end within the window.
        """
        end = min(self.position + self.window_bytes, len(self.data))
        window = self.copy(self.position, end)
        # up to the last line feed, so that the pattern never fails and takes linear time
        cut = window.rfind(b"\n") + 1
        lines: list[bytes] = _CONTENT_LINES.findall(window[:cut])
        # a fold may continue the last line
        return lines if cut == len(window) and end == len(self.data) else lines[:-1]

    def advance_by(self, size: int, line_feeds: int) -> None:
        """Move forward by a number of bytes that contain this number of line feeds."""
        self.position += size
        self.line += line_feeds

    def _find_end(self, pattern: re.Pattern[bytes]) -> int:
        start, size = self.position, len(self.data)
        while start < size:
            self.budget.check()
            window = min(start + CHUNK_BYTES, size)
            match = pattern.search(self.data, start, window)
            # at the end of the window, the line break may continue in the next one
            if match is not None and (match.end() < window or window == size):
                return match.end()
            start = window - 1 if window < size else size
        return size

    def _count_line_feeds(self, start: int, end: int) -> int:
        return sum(
            self.copy(part, min(part + CHUNK_BYTES, end)).count(b"\n") for part in range(start, end, CHUNK_BYTES)
        )
