"""The interface of a file format: a writer that produces chunks of bytes, and a reader that yields records.

A format knows neither the store nor the rules of todos. It reads its own files without loss. A record that cannot be
read is reported with its line, and reading continues.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple
from zoneinfo import ZoneInfo

import structlog

from todo_service.errors import Invalid, Malformed, ValidationIssue
from todo_service.exchange.formats.source import Source
from todo_service.executors import BudgetExceededError
from todo_service.lists.dto import TodoList, TodoListCreate
from todo_service.todos import dto

logger = structlog.get_logger(__name__)


class Draft(NamedTuple):
    """A todo as it was read, before the rules are applied.

    Attributes:
        line: The line on which the record starts, from 1.
        todo: The todo.
        list: Its list according to the file. `ListResolver.resolve` decides between it and the todo's `list_id`.
        lines: The line of each field, if known.
        pointer: JSON pointer to the record, or an empty string if the format is not JSON.
        uid: The record's own id, if it has one.
        warnings: What was lost or changed, one sentence each, without a full stop. Each starts with the name of the
            field.
        file_warnings: What is lost of every record of the file, like `warnings`. A report states each once.
        content: What the uid is derived from if the record has none, or an empty string for the todo itself.
        strict: Whether a field that breaks a rule makes the record invalid. Otherwise only the field is left out, with
            a warning.
        missing: The fields that the file cannot represent. An update leaves them as they are.
    """

    line: int
    todo: dto.TodoImport
    list: TodoListCreate | None = None
    lines: Mapping[str, int] = {}
    pointer: str = ""
    uid: str | None = None
    warnings: tuple[str, ...] = ()
    file_warnings: tuple[str, ...] = ()
    content: str = ""
    strict: bool = False
    missing: frozenset[str] = frozenset()


class FileList(NamedTuple):
    """A list of a file.

    Attributes:
        line: Its line, from 1.
        list: The list.
        pointer: JSON pointer to it, or an empty string if the format is not JSON.
    """

    line: int
    list: TodoListCreate
    pointer: str = ""


class FileLists(NamedTuple):
    """All lists of a file, including those without todos. It precedes the todos.

    Attributes:
        lists: The lists.
        strict: Whether a list whose name breaks a rule is rejected. Otherwise the name is cleaned and shortened, and a
            list without a name is left out.
    """

    lists: Sequence[FileList]
    strict: bool = False


class RejectedRecord(NamedTuple):
    """A record that cannot be imported.

    Attributes:
        line: The line of the first issue, from 1.
        issues: Why it was rejected.
    """

    line: int
    issues: Sequence[ValidationIssue]


class Writer(abc.ABC):
    """Writes a file. Call `write_opening`, then `write_todos` any number of times, then `write_closing`."""

    @abc.abstractmethod
    def write_opening(self) -> bytes:
        """Return the bytes before the first todo."""

    @abc.abstractmethod
    def write_todos(self, todos: Iterable[dto.Todo]) -> bytes:
        """Return the bytes of some todos."""

    @abc.abstractmethod
    def write_closing(self) -> bytes:
        """Return the bytes after the last todo."""


class ImportFormat(abc.ABC):
    """A file format that can be imported.

    Attributes:
        media_type: The media type, without parameters.
    """

    media_type: ClassVar[str]

    @abc.abstractmethod
    def recognizes(self, source: Source) -> bool:
        """Return whether a body of the media type is in this format. The source does not move.

        The answer depends on a bounded part of the body, or takes linear time and checks the budget.
        """

    @abc.abstractmethod
    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | RejectedRecord | FileLists]:
        """Yield the records lazily, with one in memory at a time.

        Args:
            source: The body. Its budget is checked often, so that the task can be cancelled.
            zone: The account's time zone, for times without one.

        Raises:
            Malformed, Invalid: The body as a whole is not in this format; raised before the first record.
            BudgetExceededError: The task has exceeded its budget.
        """


class Format(ImportFormat):
    """A file format that can be imported and exported.

    Attributes:
        content_type: The `Content-Type` of an export, without the charset, which responses add for text types.
    """

    content_type: ClassVar[str]

    def recognizes(self, source: Source) -> bool:
        """Return True: a body that no other format recognizes is in the format of its media type."""
        return True

    @abc.abstractmethod
    def create_writer(self, lists: Sequence[TodoList], zone: ZoneInfo) -> Writer:
        """Return a writer for an account's todos.

        Args:
            lists: All lists of the account.
            zone: The account's time zone.
        """


def find_line(issues: Sequence[ValidationIssue], lines: Mapping[str, int], first_line: int) -> int:
    """Return the line of the field that the first issue points to, or else the first line of the record."""
    segments = issues[0].pointer.split("/")
    return lines.get(segments[1] if len(segments) > 1 else "", first_line)


def read_record(line: int, read: Callable[[], Draft | RejectedRecord], pointer: str = "") -> Draft | RejectedRecord:
    """Read one record. Any exception of a parser rejects the record.

    Args:
        line: The line on which the record starts.
        read: Reads the record.
        pointer: JSON pointer to the record, or an empty string if the format is not JSON.
    """
    try:
        record = read()
        return record._replace(pointer=pointer) if isinstance(record, Draft) else record
    except BudgetExceededError:
        raise
    except Invalid as error:
        return RejectedRecord(line, error.prefix_pointers(pointer).issues)
    except Malformed as error:
        return RejectedRecord(line, [ValidationIssue(pointer, str(error))])
    except Exception as error:  # third-party parsers raise undocumented exceptions
        logger.debug("a record cannot be read", line=line, error=type(error).__name__)
        return RejectedRecord(line, [ValidationIssue(pointer, "Expected a readable record")])
