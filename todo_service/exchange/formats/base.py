"""What every form can do: write todos as bytes, part by part, and read them record by record.

A form knows no store and no rule of todos. Whatever it writes it reads back equal. A record that cannot be read is
told with its line, and stops no other.
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
from todo_service.lists.dto import List, ListCreate
from todo_service.todos import dto

logger = structlog.get_logger(__name__)


class Draft(NamedTuple):
    """A todo as it was read, before any rule was applied to it.

    Attributes:
        line: Where its record begins, from 1.
        todo: The todo.
        list: What the form says of its list, which is looked for by name where the id is not one of the account's.
        lines: Where each of its fields stands, where that is known.
        pointer: JSON pointer to the record, where there is one.
    """

    line: int
    todo: dto.TodoImport
    list: ListCreate | None = None
    lines: Mapping[str, int] = {}
    pointer: str = ""


class Rejected(NamedTuple):
    """A record that cannot be read.

    Attributes:
        line: Where it is wrong, from 1.
        issues: What is wrong.
    """

    line: int
    issues: Sequence[ValidationIssue]


class Writer(abc.ABC):
    """Writes todos in one form, in order: the opening, then todos as often as there are more, then the closing."""

    @abc.abstractmethod
    def opening(self) -> bytes:
        """Return what stands before all todos."""

    @abc.abstractmethod
    def todos(self, todos: Iterable[dto.Todo]) -> bytes:
        """Return some todos."""

    @abc.abstractmethod
    def closing(self) -> bytes:
        """Return what stands after all todos."""


class Format(abc.ABC):
    """A form.

    Attributes:
        media_type: Its media type, without parameters.
        content_type: The media type of what is written, with its parameters.
    """

    media_type: ClassVar[str]
    content_type: ClassVar[str]

    @abc.abstractmethod
    def writer(self, lists: Sequence[List], zone: ZoneInfo) -> Writer:
        """Return what writes an account's todos.

        Args:
            lists: All lists of the account.
            zone: The account's time zone.
        """

    @abc.abstractmethod
    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | Rejected]:
        """Read records one after the other, holding one at a time.

        Args:
            source: The body. Its budget is checked all the time, so that its task can be ended.
            zone: The account's time zone, for times that say none.

        Raises:
            Malformed, Invalid: before the first record, the text as a whole is not of this form.
            BudgetExceededError: the task that reads has used up its time.
        """


def line_of(issues: Sequence[ValidationIssue], lines: Mapping[str, int], begins: int) -> int:
    """Return the line of the field that the first issue names, or else that in which the record begins."""
    place = issues[0].pointer.split("/")
    return lines.get(place[1] if len(place) > 1 else "", begins)


def read_record(line: int, read: Callable[[], Draft | Rejected]) -> Draft | Rejected:
    """Read one record. Whatever a parser raises for it rejects this record and no other.

    Args:
        line: Where it begins.
        read: Reads it.
    """
    try:
        return read()
    except BudgetExceededError:
        raise
    except Invalid as error:
        return Rejected(line, error.issues)
    except Malformed as error:
        return Rejected(line, [ValidationIssue("", str(error))])
    except Exception as error:  # parsers of other people's files raise what they do not declare
        logger.debug("a record cannot be read", line=line, error=type(error).__name__)
        return Rejected(line, [ValidationIssue("", "Expected a record that can be read")])
