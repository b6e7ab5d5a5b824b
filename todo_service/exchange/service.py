"""Writing out everything that an account has, and reading todos in.

Writing goes page by page, so that memory does not grow with the account and no view of the store is held for long: a
todo that stays comes once, what comes or goes meanwhile may or may not be there.

Both run in threads of their own, part by part. A part is bounded in bytes as well as in todos, so that the writes of
other accounts come in between.

Reading makes a new todo of each record, with the rules of any new todo; what a record says of its creation and its
completion is kept. A record that breaks a rule is told with its line and stops no other. Its list is the account's list
of that id, else the one of that name, which is made where there is none.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from odmantic import ObjectId

from todo_service.bounds.exchange import (
    EXPORT_PART_SECONDS,
    EXPORT_QUEUE,
    EXPORT_THREADS,
    EXPORTS_OF_ACCOUNT,
    IMPORT_LISTS,
    IMPORT_PART_BYTES,
    IMPORT_PART_RECORDS,
    IMPORT_PART_SECONDS,
    IMPORT_RECORDS,
    IMPORT_THREADS,
    IMPORT_WAIT_SECONDS,
    IMPORTS,
    IMPORTS_OF_ACCOUNT,
    REPORTED_BYTES,
    REPORTED_ERRORS,
    REPORTED_LENGTH,
    REPORTED_RECORDS,
)
from todo_service.bounds.todos import LIST_NAME_LENGTH
from todo_service.errors import Invalid, QuotaExceeded, ValidationIssue
from todo_service.exchange.concurrency import ConcurrencyLimit
from todo_service.exchange.formats.archive import ArchiveFormat
from todo_service.exchange.formats.base import Draft, Format, Rejected, Writer, line_of
from todo_service.exchange.formats.calendar import CalendarFormat
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.table import TableFormat
from todo_service.executors import Budget, Executor
from todo_service.lists.dto import List, ListCreate
from todo_service.lists.service import ListPosition, Lists
from todo_service.store.base import DuplicateDocument
from todo_service.todos import dto
from todo_service.todos.service import Todos

FORMATS: Final[Mapping[str, Format]] = {"json": ArchiveFormat(), "csv": TableFormat(), "ics": CalendarFormat()}
_PAGE: Final = 200
_READ_AT_ONCE: Final = 1000
_FIRST_LIST: Final = 2**31
"""The number of the first list among the effects of an import; those before it are todos."""

IdentityOf = Callable[[int], ObjectId | None]
"""Returns the id of the effect with a number, where the call may be repeated: a repeat finds what is there already."""


class Report:
    """The outcome of an import. However much is wrong with a body, the report stays small.

    Attributes:
        imported: How many todos were made.
        rejected: The first records that were not imported, with the line of what is wrong: as many as
            `REPORTED_RECORDS` and `REPORTED_BYTES` allow.
        rejected_count: How many records were not imported.
    """

    def __init__(self) -> None:
        self.imported = 0
        self.rejected: list[Rejected] = []
        self.rejected_count = 0
        self._bytes = 0

    def reject(self, line: int, issues: Sequence[ValidationIssue]) -> None:
        """Note a record that cannot be read."""
        self.rejected_count += 1
        if len(self.rejected) >= REPORTED_RECORDS or self._bytes >= REPORTED_BYTES:
            return
        length = REPORTED_LENGTH
        kept = [ValidationIssue(each.pointer[:length], each.detail[:length]) for each in issues[:REPORTED_ERRORS]]
        self._bytes += sum(len(each.pointer) + len(each.detail) + 40 for each in kept)
        self.rejected.append(Rejected(line, kept))

    def reject_draft(self, draft: Draft, error: Invalid) -> None:
        """Note a record that breaks a rule."""
        line = line_of(error.issues, draft.lines, draft.line)
        self.reject(line, [ValidationIssue(draft.pointer + issue.pointer, issue.detail) for issue in error.issues])


class TransferCapacity:
    """The threads and the limits that all imports and exports of a process share."""

    def __init__(self) -> None:
        self.imports = ConcurrencyLimit(
            "imports",
            per_key=IMPORTS_OF_ACCOUNT,
            total=IMPORTS,
            wait_seconds=IMPORT_WAIT_SECONDS,
        )
        # an export has no more than a part of it in memory, and goes no faster than its client reads
        self.exports = ConcurrencyLimit("exports", per_key=EXPORTS_OF_ACCOUNT, total=EXPORT_QUEUE, wait_seconds=0)
        self.reading = Executor("imports", threads=IMPORT_THREADS, queue=IMPORTS, seconds=IMPORT_PART_SECONDS)
        self.writing = Executor("exports", threads=EXPORT_THREADS, queue=EXPORT_QUEUE, seconds=EXPORT_PART_SECONDS)

    def close(self) -> None:
        """End what is under way."""
        self.reading.close()
        self.writing.close()


class Transfer:
    """Exports and imports of one account.

    Args:
        todos: The account's todos.
        lists: The account's lists.
        time_zone: Returns the account's time zone, an IANA name.
        owner: The account.
        capacity: What all imports and exports share.
    """

    def __init__(
        self,
        todos: Todos,
        lists: Lists,
        time_zone: Callable[[], Awaitable[str]],
        owner: ObjectId,
        capacity: TransferCapacity,
    ) -> None:
        self._todos = todos
        self._lists = lists
        self._time_zone = time_zone
        self._owner = owner
        self._capacity = capacity

    async def export(self, form: Format) -> AsyncGenerator[bytes]:
        """Write every todo in the order of creation, part by part.

        Raises:
            TooManyRequests: the account has as many exports under way as it may have.
        """
        with self._capacity.exports.admit(self._owner):
            async with self._capacity.exports.acquire():
                writing = self._capacity.writing
                writer = form.writer(await self._all_lists(), ZoneInfo(await self._time_zone()))
                query, after, more = dto.TodoQuery(limit=_PAGE), None, True
                opening = await writing.run(lambda _: writer.opening())
                while more:
                    page, after = await self._todos.page(query, after)
                    part = await writing.run(partial(_write, writer, page))
                    yield opening + part
                    opening, more = b"", after is not None
                yield writer.closing()

    async def read_in(
        self,
        form: Format,
        read_body: Callable[[], Awaitable[bytes | memoryview]],
        identity_of: IdentityOf,
        check_caller: Callable[[], Awaitable[None]] | None = None,
    ) -> Report:
        """Make a todo of each record.

        Args:
            form: What the body is written in.
            read_body: Reads the body. It is not called where the account has too many imports under way.
            identity_of: Returns the ids of what the import makes.
            check_caller: Called before each part; what it raises ends the import between two parts.

        Raises:
            Malformed, Invalid: the body as a whole is not of this form; nothing was made.
            TooManyRequests: there are as many imports under way as there may be; nothing was made.
        """
        with self._capacity.imports.admit(self._owner):
            source = Source(await read_body())
            async with self._capacity.imports.acquire():
                return await self._read_in(form, source, identity_of, check_caller)

    async def _read_in(
        self,
        form: Format,
        source: Source,
        identity_of: IdentityOf,
        check_caller: Callable[[], Awaitable[None]] | None,
    ) -> Report:
        zone, reading = ZoneInfo(await self._time_zone()), self._capacity.reading
        lists = _KnownLists(self._lists, await self._all_lists(), identity_of)
        report = Report()
        records = enumerate(await reading.run(partial(_begin, form, source, zone)))
        while part := await reading.run(partial(_take, records, source)):
            if check_caller is not None:
                await check_caller()
            drafts, identities = [], []
            for number, record in part:
                if isinstance(record, Rejected):
                    report.reject(record.line, record.issues)
                    continue
                try:
                    drafts.append(record._replace(todo=await lists.resolve_list(record)))
                    identities.append(identity_of(number))
                except Invalid as error:
                    report.reject_draft(record, error)
            if not drafts:
                continue
            answers = await self._todos.add([draft.todo for draft in drafts], identities, reading)
            for draft, answer in zip(drafts, answers, strict=True):
                if answer is None:
                    report.imported += 1
                else:
                    report.reject_draft(draft, answer)
        report.rejected.sort(key=lambda rejected: rejected.line)
        return report

    async def _all_lists(self) -> list[List]:
        found: list[List] = []
        after: ListPosition | None = None
        while True:
            page, after = await self._lists.page(_PAGE, after)
            found += page
            if after is None:
                return found


class _KnownLists:
    """The account's lists, and those that an import makes.

    A list that an import makes has an id by the place of its name among the names of the body, so that a repeat of the
    import finds it, even while the first one still runs.
    """

    def __init__(self, lists: Lists, known: Sequence[List], identity_of: IdentityOf) -> None:
        self._lists = lists
        self._identity_of = identity_of
        self._ids = {each.id for each in known}
        self._by_name = {each.name: each.id for each in reversed(known)}
        self._places: dict[str, int] = {}

    async def resolve_list(self, draft: Draft) -> dto.TodoImport:
        """Return a todo in one of the account's lists.

        Raises:
            Invalid: it names a list that is not the account's, and no name for it.
        """
        todo, named = draft.todo, draft.list
        place = self._place(named) if named is not None else 0
        if todo.list_id in self._ids or (todo.list_id is None and named is None):
            return todo
        if named is None:
            raise Invalid([ValidationIssue("/list_id", "There is no such list")])
        name = named.name.strip()
        if name not in self._by_name:
            made = await self._create(named, place)
            self._ids.add(made.id)
            self._by_name[name] = made.id
        return msgspec.structs.replace(todo, list_id=self._by_name[name])

    def _place(self, named: ListCreate) -> int:
        """Return the place of a list's name among those of the body, in the order in which they come."""
        name = named.name.strip()
        if len(name) > LIST_NAME_LENGTH:
            raise Invalid([ValidationIssue("/list_id", f"Expected a name of {LIST_NAME_LENGTH} characters at most")])
        if name not in self._places:
            if len(self._places) >= IMPORT_LISTS:
                raise Invalid([ValidationIssue("/list_id", f"Expected {IMPORT_LISTS} different lists at most")])
            self._places[name] = len(self._places)
        return self._places[name]

    async def _create(self, named: ListCreate, place: int) -> List:
        identity = self._identity_of(_FIRST_LIST + place)
        try:
            return await self._lists.create(named, identity)
        except DuplicateDocument:
            # a repeat that runs at the same time has just made it
            return await self._lists.create(named, identity)
        except Invalid as error:
            raise Invalid([ValidationIssue("/list_id", issue.detail) for issue in error.issues]) from None
        except QuotaExceeded as error:
            raise Invalid([ValidationIssue("/list_id", str(error))]) from None


def _write(writer: Writer, page: Sequence[dto.Todo], budget: Budget) -> bytes:
    """Write some todos. The budget is checked before each of them."""

    def checked() -> Iterator[dto.Todo]:
        for todo in page:
            budget.check()
            yield todo

    return writer.todos(checked())


def _begin(form: Format, source: Source, zone: ZoneInfo, budget: Budget) -> Iterator[Draft | Rejected]:
    source.budget = budget
    return form.read(source, zone)


def _take(
    records: Iterator[tuple[int, Draft | Rejected]], source: Source, budget: Budget
) -> list[tuple[int, Draft | Rejected]]:
    """Return the next records, as many as are to be stored at once."""
    source.budget = budget
    part: list[tuple[int, Draft | Rejected]] = []
    begun, drafts = source.position, 0
    for number, record in records:
        budget.check()
        if number > IMPORT_RECORDS:
            break
        if number == IMPORT_RECORDS:
            record = Rejected(record.line, [ValidationIssue("", f"Expected {IMPORT_RECORDS} records at most")])
        part.append((number, record))
        drafts += isinstance(record, Draft)
        if drafts >= IMPORT_PART_RECORDS or len(part) >= _READ_AT_ONCE or source.position - begun >= IMPORT_PART_BYTES:
            break
    return part
