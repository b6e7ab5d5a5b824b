"""Writing out everything that an account has, and reading todos in.

Writing goes page by page, so that memory does not grow with the account and no view of the store is held for long: a
todo that stays comes once, what comes or goes meanwhile may or may not be there.

Reading makes a new todo of each record, with the rules of any new todo; what a record says of its creation and its
completion is kept. A record that breaks a rule is told with its line and stops no other. Its list is the account's list
of that id, else the one of that name, which is made where there is none.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from odmantic import ObjectId

from todo_service.errors import Fault, Invalid, QuotaExceeded
from todo_service.todos import dto
from todo_service.todos.formats.archive import ArchiveFormat
from todo_service.todos.formats.base import Draft, Format, Rejected, line_of
from todo_service.todos.formats.calendar import CalendarFormat
from todo_service.todos.formats.table import TableFormat
from todo_service.todos.lists import ListPosition, Lists
from todo_service.todos.service import Todos

FORMATS: Final[Mapping[str, Format]] = {"json": ArchiveFormat(), "csv": TableFormat(), "ics": CalendarFormat()}
REPORTED: Final = 10_000
"""How many rejected records are told one by one."""
_PAGE: Final = 200
_PART: Final = 100


class Report:
    """What became of an import.

    Attributes:
        imported: How many todos were made.
        rejected: The first `REPORTED` records that were not imported, with the line of what is wrong.
        rejected_count: How many records were not imported.
    """

    def __init__(self) -> None:
        self.imported = 0
        self.rejected: list[Rejected] = []
        self.rejected_count = 0

    def reject(self, line: int, faults: Sequence[Fault]) -> None:
        """Note a record that cannot be read."""
        self.rejected_count += 1
        if len(self.rejected) < REPORTED:
            self.rejected.append(Rejected(line, faults))

    def reject_draft(self, draft: Draft, error: Invalid) -> None:
        """Note a record that breaks a rule."""
        line = line_of(error.faults, draft.lines, draft.line)
        self.reject(line, [Fault(draft.pointer + fault.pointer, fault.detail) for fault in error.faults])


class Transfer:
    """Exports and imports of one account.

    Args:
        todos: The account's todos.
        lists: The account's lists.
        time_zone: Returns the account's time zone, an IANA name.
    """

    def __init__(self, todos: Todos, lists: Lists, time_zone: Callable[[], Awaitable[str]]) -> None:
        self._todos = todos
        self._lists = lists
        self._time_zone = time_zone

    async def export(self, form: Format) -> AsyncIterator[bytes]:
        """Write every todo in the order of creation, part by part."""
        writer = form.writer(await self._all_lists(), ZoneInfo(await self._time_zone()))
        query, after, more = dto.TodoQuery(limit=_PAGE), None, True
        opening = writer.opening()
        while more:
            page, after = await self._todos.page(query, after)
            # the writing of a page takes milliseconds, in which others are served
            yield opening + await asyncio.to_thread(writer.todos, page)
            opening, more = b"", after is not None
        yield writer.closing()

    async def read_in(self, form: Format, body: bytes, identity_of: Callable[[int], ObjectId | None]) -> Report:
        """Make a todo of each record.

        Args:
            form: What the body is written in.
            body: The whole text.
            identity_of: Returns the id of the todo of the record with this number, where the call may be repeated:
                then the todo that is there already is not made again.

        Raises:
            Malformed, Invalid: the body as a whole is not of this form; nothing was made.
        """
        records = enumerate(await asyncio.to_thread(form.read, body, ZoneInfo(await self._time_zone())))
        lists = _KnownLists(self._lists, await self._all_lists())
        report = Report()
        while part := await asyncio.to_thread(_take, records):
            drafts, identities = [], []
            for number, record in part:
                if isinstance(record, Rejected):
                    report.reject(record.line, record.faults)
                    continue
                try:
                    drafts.append(record._replace(todo=await lists.settle(record)))
                    identities.append(identity_of(number))
                except Invalid as error:
                    report.reject_draft(record, error)
            answers = await self._todos.add([draft.todo for draft in drafts], identities)
            for draft, answer in zip(drafts, answers, strict=True):
                if answer is None:
                    report.imported += 1
                else:
                    report.reject_draft(draft, answer)
        report.rejected.sort(key=lambda rejected: rejected.line)
        return report

    async def _all_lists(self) -> list[dto.List]:
        found: list[dto.List] = []
        after: ListPosition | None = None
        while True:
            page, after = await self._lists.page(_PAGE, after)
            found += page
            if after is None:
                return found


class _KnownLists:
    """The account's lists, and those that an import makes."""

    def __init__(self, lists: Lists, known: Sequence[dto.List]) -> None:
        self._lists = lists
        self._ids = {each.id for each in known}
        self._by_name = {each.name: each.id for each in reversed(known)}

    async def settle(self, draft: Draft) -> dto.TodoImport:
        """Return a todo in one of the account's lists.

        Raises:
            Invalid: it names a list that is not the account's, and no name for it.
        """
        todo, named = draft.todo, draft.list
        if todo.list_id in self._ids or (todo.list_id is None and named is None):
            return todo
        if named is None:
            raise Invalid([Fault("/list_id", "There is no such list")])
        name = named.name.strip()
        if name not in self._by_name:
            try:
                made = await self._lists.create(named)
            except Invalid as error:
                raise Invalid([Fault("/list_id", fault.detail) for fault in error.faults]) from None
            except QuotaExceeded as error:
                raise Invalid([Fault("/list_id", str(error))]) from None
            self._ids.add(made.id)
            self._by_name[name] = made.id
        return msgspec.structs.replace(todo, list_id=self._by_name[name])


def _take(records: Iterator[tuple[int, Draft | Rejected]]) -> list[tuple[int, Draft | Rejected]]:
    return list(itertools.islice(records, _PART))
