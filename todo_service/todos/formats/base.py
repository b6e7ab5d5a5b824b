"""What every form can do: write todos as bytes, part by part, and read them record by record.

A form knows no store and no rule of todos. Whatever it writes it reads back equal. A record that cannot be read is
told with its line, and stops no other.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple
from zoneinfo import ZoneInfo

from todo_service.errors import Fault, Invalid
from todo_service.todos import dto

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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
    list: dto.ListCreate | None = None
    lines: Mapping[str, int] = {}
    pointer: str = ""


class Rejected(NamedTuple):
    """A record that cannot be read.

    Attributes:
        line: Where it is wrong, from 1.
        faults: What is wrong.
    """

    line: int
    faults: Sequence[Fault]


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
    def writer(self, lists: Sequence[dto.List], zone: ZoneInfo) -> Writer:
        """Return what writes an account's todos.

        Args:
            lists: All lists of the account.
            zone: The account's time zone.
        """

    @abc.abstractmethod
    def read(self, body: bytes, zone: ZoneInfo) -> Iterator[Draft | Rejected]:
        """Read records one after the other.

        Args:
            body: The whole text.
            zone: The account's time zone, for times that say none.

        Raises:
            Malformed, Invalid: before the first record, the text as a whole is not of this form.
        """


def line_of(faults: Sequence[Fault], lines: Mapping[str, int], begins: int) -> int:
    """Return the line of the field that the first fault names, or else that in which the record begins."""
    place = faults[0].pointer.split("/")
    return lines.get(place[1] if len(place) > 1 else "", begins)


def text_of(body: bytes) -> str:
    """Return a body as text, without a byte order mark.

    Raises:
        Invalid: it is not UTF-8; the message tells the line.
    """
    body = body.removeprefix(BYTE_ORDER_MARK)
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise Invalid([Fault("", f"Expected UTF-8: line {line} has other bytes")]) from None
