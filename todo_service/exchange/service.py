"""Export and import of an account's todos and lists.

An export reads the todos page by page, so that its memory does not grow with the account and no snapshot of the store
stays open. A todo that exists throughout the export is included once. A todo that is created or deleted meanwhile may
or may not be included.

Dedicated threads encode exports and parse imports, in batches. An import batch is bounded in bytes as well as in
records, so that writes of other accounts are interleaved.

An import creates a todo for each record, by the rules of any new todo, with the record's times of creation and
completion. If the account has a todo with the uid of the record, the request decides what happens
(`todos.bulk_import`). A record that breaks a rule is reported with its line, and the import continues. The report also
lists the losses of all records that were not skipped. A todo goes into the list that the record names. A new list is
created together with the first todo that is written into it (`list_resolver`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from odmantic import ObjectId

from todo_service.bounds.exchange import (
    EXPORT_PART_SECONDS,
    EXPORT_QUEUE,
    EXPORT_THREADS,
    EXPORTS_OF_ACCOUNT,
    IMPORT_PART_BYTES,
    IMPORT_PART_RECORDS,
    IMPORT_PART_SECONDS,
    IMPORT_RECORDS,
    IMPORT_THREADS,
    IMPORT_WAIT_SECONDS,
    IMPORTS,
    IMPORTS_OF_ACCOUNT,
)
from todo_service.errors import Invalid, ValidationIssue
from todo_service.exchange.formats.base import Draft, FileLists, Format, ImportFormat, RejectedRecord, Writer
from todo_service.exchange.formats.source import Source
from todo_service.exchange.list_resolver import IdFactory, ListResolver
from todo_service.exchange.record_uids import RecordUids
from todo_service.exchange.report import Report
from todo_service.exchange.text_rules import add_warnings, fit_lists, fit_texts
from todo_service.exchange.transfer_limit import TransferLimit
from todo_service.executors import Budget, Executor
from todo_service.lists.dto import TodoList
from todo_service.lists.service import Lists
from todo_service.store.paging import iterate_pages
from todo_service.todos import dto
from todo_service.todos.bulk_import import ImportMode
from todo_service.todos.import_records import ImportRecord
from todo_service.todos.query import TodoPosition
from todo_service.todos.service import Todos

_PAGE_SIZE: Final = 200
_SKIP: Final = ImportMode()
_Numbered = tuple[int, Draft | RejectedRecord | FileLists]
"""A record and its number in the file, from 0."""
_BATCH_RECORDS: Final = 1000
"""The maximum number of records in a batch, including rejected ones."""


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
                lists = await self._read_all_lists()
                known = {each.id for each in lists}
                writer = file_format.create_writer(lists, ZoneInfo(await self._time_zone()))
                opening = await executor.run(lambda _: writer.write_opening())
                async for page in iterate_pages(read_page):
                    yield opening + await executor.run(partial(_write_page, writer, page, known))
                    opening = b""
                yield writer.write_closing()

    async def import_file(
        self,
        file_format: ImportFormat,
        read_body: Callable[[], Awaitable[bytes | memoryview]],
        make_id: IdFactory,
        check_caller: Callable[[], Awaitable[None]] | None = None,
        mode: ImportMode = _SKIP,
    ) -> Report:
        """Import each record of a file.

        Args:
            file_format: The format of the body.
            read_body: Reads the body. It is not called if the account has too many imports in progress.
            make_id: Returns the ids of the documents that the import creates.
            check_caller: Called before each batch. If it raises, the import ends there.
            mode: What to do with existing todos, and whether to write at all.

        Raises:
            Malformed, Invalid: The body as a whole is not in this format. Nothing was imported.
            TooManyRequests: Too many imports are in progress. Nothing was imported.
        """
        with self._capacity.imports.admit(self._owner):
            source = Source(await read_body())
            async with self._capacity.imports.acquire():
                return await self._import_source(file_format, source, make_id, check_caller, mode)

    async def _import_source(
        self,
        file_format: ImportFormat,
        source: Source,
        make_id: IdFactory,
        check_caller: Callable[[], Awaitable[None]] | None,
        mode: ImportMode,
    ) -> Report:
        zone, executor = ZoneInfo(await self._time_zone()), self._capacity.import_executor
        lists = ListResolver(self._lists, await self._read_all_lists(), make_id, dry_run=mode.dry_run)
        todos = self._todos.start_import(executor, mode, lists.create)
        report = Report(warn_unchanged=mode.existing == "update")
        records = await executor.run(partial(_start_reading, file_format, source, zone))
        while batch := await executor.run(partial(_read_batch, records, source)):
            if check_caller is not None:
                await check_caller()
            drafts, ids = [], []
            for number, record in batch:
                if isinstance(record, FileLists):
                    for rejected in lists.add(record):
                        report.reject(rejected.line, rejected.issues)
                elif isinstance(record, RejectedRecord):
                    report.reject(record.line, record.issues)
                else:
                    try:
                        drafts.append(record._replace(todo=lists.resolve(record)))
                        ids.append(make_id(number))
                    except Invalid as error:
                        report.reject_draft(record, error)
            imported = [ImportRecord(draft.todo, draft.strict, draft.missing) for draft in drafts]
            for draft, each, outcome in zip(drafts, imported, await todos.write(imported, ids), strict=True):
                report.add(add_warnings(draft, each.left_out, each.replaced), outcome)
        for rejected in await lists.create_empty():
            report.reject(rejected.line, rejected.issues)
        report.lists_created = lists.created
        report.sort()
        return report

    async def _read_all_lists(self) -> list[TodoList]:
        read = partial(self._lists.read_page, _PAGE_SIZE)
        return [each async for page in iterate_pages(read) for each in page]


def _write_page(writer: Writer, page: Sequence[dto.Todo], lists: set[str], budget: Budget) -> bytes:
    """Write todos, checking the budget before each.

    A todo that was moved to a list that the export has not written is exported in the inbox, because an import would
    reject a reference to an unknown list.
    """

    def prepare() -> Iterator[dto.Todo]:
        for todo in page:
            budget.check()
            if todo.list_id is not None and todo.list_id not in lists:
                yield msgspec.structs.replace(todo, list_id=None)
            else:
                yield todo

    return writer.write_todos(prepare())


def _start_reading(file_format: ImportFormat, source: Source, zone: ZoneInfo, budget: Budget) -> Iterator[_Numbered]:
    source.budget = budget
    return _prepare_records(file_format.read(source, zone))


def _prepare_records(records: Iterator[Draft | RejectedRecord | FileLists]) -> Iterator[_Numbered]:
    """Yield numbered records, with a uid and with text that the service can keep."""
    uids, numbers = RecordUids(), count()
    for record in records:
        if isinstance(record, FileLists):
            yield 0, fit_lists(record)  # only records have numbers, and it is not one
        else:
            yield next(numbers), fit_texts(uids.identify(record)) if isinstance(record, Draft) else record


def _read_batch(records: Iterator[_Numbered], source: Source, budget: Budget) -> list[_Numbered]:
    """Return the next batch of records, or an empty list at the end."""
    source.budget = budget
    batch: list[_Numbered] = []
    start, drafts = source.position, 0
    for number, record in records:
        budget.check()
        if number > IMPORT_RECORDS:
            break
        if number == IMPORT_RECORDS:
            assert not isinstance(record, FileLists)  # it has no number of its own
            detail = f"Expected at most {IMPORT_RECORDS} records: this one and all after it were not imported"
            record = RejectedRecord(record.line, [ValidationIssue("", detail)])
        batch.append((number, record))
        drafts += isinstance(record, Draft)
        if (
            drafts >= IMPORT_PART_RECORDS
            or len(batch) >= _BATCH_RECORDS
            or source.position - start >= IMPORT_PART_BYTES
        ):
            break
    return batch
