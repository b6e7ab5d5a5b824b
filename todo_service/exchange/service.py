"""Export and import of an account's todos and lists.

An export reads the todos page by page, so that its memory does not grow with the account and no snapshot of the store
stays open. A todo that exists throughout the export is included once. A todo that is created or deleted meanwhile may
or may not be included.

Dedicated threads encode exports and parse imports, in batches. An import batch is bounded in bytes as well as in
records, so that writes of other accounts are interleaved.

An import creates a new todo for each record, by the rules of all new todos, with the record's times of creation and
completion. A record that breaks a rule is reported with its line, and the import continues. A todo goes into
the account's list with the id that the record names, or else into the list with that name, which is created if needed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
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
from todo_service.exchange.formats.base import Draft, Format, ImportFormat, RejectedRecord, Writer, find_line
from todo_service.exchange.formats.source import Source
from todo_service.exchange.transfer_limit import TransferLimit
from todo_service.executors import Budget, Executor
from todo_service.lists.dto import List, ListCreate
from todo_service.lists.service import Lists
from todo_service.store.errors import DuplicateDocument
from todo_service.store.paging import iterate_pages
from todo_service.text import compose, trim
from todo_service.todos import dto
from todo_service.todos.query import TodoPosition
from todo_service.todos.service import Todos

_PAGE_SIZE: Final = 200
_BATCH_RECORDS: Final = 1000
"""The maximum number of records in a batch, including rejected ones."""
_FIRST_LIST: Final = 2**31
"""The number of the first list that an import creates; lower numbers are todos."""

IdFactory = Callable[[int], ObjectId | None]
"""Returns the id of the n-th document that an import creates, so that a retry finds it, or None without retries."""


class Report:
    """The outcome of an import. Its size is bounded.

    Attributes:
        imported: The number of todos that were created.
        rejected: The first rejected records, as many as `REPORTED_RECORDS` and `REPORTED_BYTES` allow.
        rejected_count: The number of all rejected records.
    """

    def __init__(self) -> None:
        self.imported = 0
        self.rejected: list[RejectedRecord] = []
        self.rejected_count = 0
        self._bytes = 0

    def reject(self, line: int, issues: Sequence[ValidationIssue]) -> None:
        """Add a record that cannot be read."""
        self.rejected_count += 1
        if len(self.rejected) >= REPORTED_RECORDS or self._bytes >= REPORTED_BYTES:
            return
        length = REPORTED_LENGTH
        reported = [ValidationIssue(each.pointer[:length], each.detail[:length]) for each in issues[:REPORTED_ERRORS]]
        self._bytes += sum(len(each.pointer) + len(each.detail) + 40 for each in reported)
        self.rejected.append(RejectedRecord(line, reported))

    def reject_draft(self, draft: Draft, error: Invalid) -> None:
        """Add a record that breaks a rule."""
        line = find_line(error.issues, draft.lines, draft.line)
        self.reject(line, [ValidationIssue(draft.pointer + issue.pointer, issue.detail) for issue in error.issues])


class TransferCapacity:
    """The threads and the concurrency limits of all imports and exports in a process."""

    def __init__(self) -> None:
        self.imports = TransferLimit(
            "imports",
            per_key=IMPORTS_OF_ACCOUNT,
            total=IMPORTS,
            wait_seconds=IMPORT_WAIT_SECONDS,
        )
        # an export holds one page in memory, and is as slow as its client
        self.exports = TransferLimit("exports", per_key=EXPORTS_OF_ACCOUNT, total=EXPORT_QUEUE, wait_seconds=0)
        self.import_executor = Executor("imports", threads=IMPORT_THREADS, queue=IMPORTS, seconds=IMPORT_PART_SECONDS)
        self.export_executor = Executor(
            "exports", threads=EXPORT_THREADS, queue=EXPORT_QUEUE, seconds=EXPORT_PART_SECONDS
        )

    def close(self) -> None:
        """Stop the threads."""
        self.import_executor.close()
        self.export_executor.close()


class Transfer:
    """Exports and imports of one account.

    Args:
        todos: The account's todos.
        lists: The account's lists.
        time_zone: Returns the account's time zone, an IANA name.
        owner: The account.
        capacity: The capacity that all imports and exports share.
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

    async def export(
        self, file_format: Format, check_caller: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncGenerator[bytes]:
        """Yield a file with every todo in the order of creation, in chunks.

        Args:
            file_format: The format of the file.
            check_caller: Called before each page is read; an exception ends the export.

        Raises:
            TooManyRequests: The account has too many exports in progress.
        """

        async def read_page(after: TodoPosition | None) -> tuple[list[dto.Todo], TodoPosition | None]:
            if check_caller is not None:
                await check_caller()
            return await self._todos.read_page(dto.TodoQuery(limit=_PAGE_SIZE), after)

        with self._capacity.exports.admit(self._owner):
            async with self._capacity.exports.acquire():
                executor = self._capacity.export_executor
                writer = file_format.create_writer(await self._read_all_lists(), ZoneInfo(await self._time_zone()))
                opening = await executor.run(lambda _: writer.write_opening())
                async for page in iterate_pages(read_page):
                    yield opening + await executor.run(partial(_write_page, writer, page))
                    opening = b""
                yield writer.write_closing()

    async def import_file(
        self,
        file_format: ImportFormat,
        read_body: Callable[[], Awaitable[bytes | memoryview]],
        make_id: IdFactory,
        check_caller: Callable[[], Awaitable[None]] | None = None,
    ) -> Report:
        """Create a todo for each record of a file.

        Args:
            file_format: The format of the body.
            read_body: Reads the body. It is not called if the account has too many imports in progress.
            make_id: Returns the ids of the documents that the import creates.
            check_caller: Called before each batch. If it raises, the import ends there.

        Raises:
            Malformed, Invalid: The body as a whole is not in this format. Nothing was imported.
            TooManyRequests: Too many imports are in progress. Nothing was imported.
        """
        with self._capacity.imports.admit(self._owner):
            source = Source(await read_body())
            async with self._capacity.imports.acquire():
                return await self._import_source(file_format, source, make_id, check_caller)

    async def _import_source(
        self,
        file_format: ImportFormat,
        source: Source,
        make_id: IdFactory,
        check_caller: Callable[[], Awaitable[None]] | None,
    ) -> Report:
        zone, executor = ZoneInfo(await self._time_zone()), self._capacity.import_executor
        lists = _ListResolver(self._lists, await self._read_all_lists(), make_id)
        report = Report()
        records = enumerate(await executor.run(partial(_start_reading, file_format, source, zone)))
        while batch := await executor.run(partial(_read_batch, records, source)):
            if check_caller is not None:
                await check_caller()
            drafts, ids = [], []
            for number, record in batch:
                if isinstance(record, RejectedRecord):
                    report.reject(record.line, record.issues)
                    continue
                try:
                    drafts.append(record._replace(todo=await lists.resolve(record)))
                    ids.append(make_id(number))
                except Invalid as error:
                    report.reject_draft(record, error)
            if not drafts:
                continue
            errors = await self._todos.create_many([draft.todo for draft in drafts], ids, executor)
            for draft, refusal in zip(drafts, errors, strict=True):
                if refusal is None:
                    report.imported += 1
                else:
                    report.reject_draft(draft, refusal)
        report.rejected.sort(key=lambda rejected: rejected.line)
        return report

    async def _read_all_lists(self) -> list[List]:
        read = partial(self._lists.read_page, _PAGE_SIZE)
        return [each async for page in iterate_pages(read) for each in page]


class _ListResolver:
    """Finds the lists that records name, and creates those that do not exist.

    An import numbers the lists in the order in which their names first occur in the body, and derives the id of a new
    list from its number. A retry of the import therefore finds the list, even while the first attempt is still running.
    """

    def __init__(self, lists: Lists, known: Sequence[List], make_id: IdFactory) -> None:
        self._lists = lists
        self._make_id = make_id
        self._ids = {each.id for each in known}
        self._by_name = {compose(each.name): each.id for each in reversed(known)}
        self._numbers: dict[str, int] = {}

    async def resolve(self, draft: Draft) -> dto.TodoImport:
        """Return the todo with the id of one of the account's lists.

        Raises:
            Invalid: The todo names a list that does not exist, or whose name breaks a rule.
        """
        todo, named = draft.todo, draft.list
        number = self._get_number(named) if named is not None else 0
        if todo.list_id in self._ids or (todo.list_id is None and named is None):
            return todo
        if named is None:
            raise Invalid([ValidationIssue("/list_id", "There is no such list")])
        name = compose(trim(named.name))
        if name not in self._by_name:
            created = await self._create(named, number)
            self._ids.add(created.id)
            self._by_name[name] = created.id
        return msgspec.structs.replace(todo, list_id=self._by_name[name])

    def _get_number(self, named: ListCreate) -> int:
        """Return the number of a list: the number of names that occurred before its own."""
        name = compose(trim(named.name))
        if len(name) > LIST_NAME_LENGTH:
            raise Invalid([ValidationIssue("/list_id", f"Expected a name of at most {LIST_NAME_LENGTH} characters")])
        if name not in self._numbers:
            if len(self._numbers) >= IMPORT_LISTS:
                raise Invalid([ValidationIssue("/list_id", f"Expected at most {IMPORT_LISTS} different lists")])
            self._numbers[name] = len(self._numbers)
        return self._numbers[name]

    async def _create(self, named: ListCreate, number: int) -> List:
        list_id = self._make_id(_FIRST_LIST + number)
        try:
            return await self._lists.create(named, list_id)
        except DuplicateDocument:
            # a concurrent retry has just created it
            return await self._lists.create(named, list_id)
        except Invalid as error:
            raise Invalid([ValidationIssue("/list_id", issue.detail) for issue in error.issues]) from None
        except QuotaExceeded as error:
            raise Invalid([ValidationIssue("/list_id", str(error))]) from None


def _write_page(writer: Writer, page: Sequence[dto.Todo], budget: Budget) -> bytes:
    """Write todos, checking the budget before each."""

    def check_budget() -> Iterator[dto.Todo]:
        for todo in page:
            budget.check()
            yield todo

    return writer.write_todos(check_budget())


def _start_reading(
    file_format: ImportFormat, source: Source, zone: ZoneInfo, budget: Budget
) -> Iterator[Draft | RejectedRecord]:
    source.budget = budget
    return file_format.read(source, zone)


def _read_batch(
    records: Iterator[tuple[int, Draft | RejectedRecord]], source: Source, budget: Budget
) -> list[tuple[int, Draft | RejectedRecord]]:
    """Return the next batch of records, or an empty list at the end."""
    source.budget = budget
    batch: list[tuple[int, Draft | RejectedRecord]] = []
    start, drafts = source.position, 0
    for number, record in records:
        budget.check()
        if number > IMPORT_RECORDS:
            break
        if number == IMPORT_RECORDS:
            record = RejectedRecord(record.line, [ValidationIssue("", f"Expected at most {IMPORT_RECORDS} records")])
        batch.append((number, record))
        drafts += isinstance(record, Draft)
        if (
            drafts >= IMPORT_PART_RECORDS
            or len(batch) >= _BATCH_RECORDS
            or source.position - start >= IMPORT_PART_BYTES
        ):
            break
    return batch
