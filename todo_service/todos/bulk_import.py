"""Imports of todos, in batches.

A record becomes a new todo, unless the account already has a todo with its uid. What happens then depends on the mode
of the import. An interrupted import can be repeated without creating anything twice; in the mode `copy`, only with the
same `Idempotency-Key`.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET
from odmantic import ObjectId

from todo_service.errors import Gone, Invalid, NotFound, QuotaExceeded, ValidationIssue
from todo_service.executors import Executor
from todo_service.store.base import DocumentStore
from todo_service.timestamps import now
from todo_service.todos import dto
from todo_service.todos.creation import BulkCreation, reserve_or_reject
from todo_service.todos.deleted_lists import has_list, move_to_inbox
from todo_service.todos.documents import Step, Todo
from todo_service.todos.dry_run import DryRun
from todo_service.todos.fields import SETTABLE
from todo_service.todos.import_records import (
    ImportRecord,
    build_documents,
    drop_fields,
    fill_missing,
    replace_future_times,
)
from todo_service.todos.schedule import SCHEDULE, needs_account_zone
from todo_service.todos.shared import SharedState
from todo_service.todos.uids import derive_uid_key
from todo_service.todos.writes import TodoWriter, select_changes

Existing = Literal["skip", "update", "copy"]
_DERIVED: Final = ("due_end", "title_key", "priority_rank")
_DRY_RUN_ID: Final = ""
"""The id of a todo that exists only in a dry run."""
_UPDATED: Final = frozenset({*SETTABLE, *_DERIVED} - {"uid", "steps"})


class ImportOutcome(enum.Enum):
    """What became of a record."""

    IMPORTED = "a new todo"
    UPDATED = "the todo with its uid was changed"
    UNCHANGED = "the todo with its uid was left unchanged"


class ImportMode(NamedTuple):
    """How an import writes.

    Attributes:
        existing: What happens if the account already has a todo with the uid of a record: `skip` leaves the todo
            unchanged, `update` replaces its fields except those that the file cannot represent, and `copy` creates a
            second todo with a new uid.
        dry_run: Whether to write nothing.
    """

    existing: Existing = "skip"
    dry_run: bool = False


class _Known(msgspec.Struct, frozen=True):
    id: str
    uid: str


class BulkImport:
    """One import of todos into an account.

    Args:
        store: The store.
        owner: The account.
        shared: The state that all accounts share.
        writer: Changes the todos of the account.
        use_time_zone: Returns the account's time zone (an IANA name) for a write that depends on it, and marks it as
            used.
        executor: Validates the todos in a thread, because each of the largest takes milliseconds.
        mode: How it writes.
        create_list: Takes the list id of a todo, creates that list if the import has only planned it, and returns the
            id to store. Raises `Invalid` if it cannot. Called just before the todo is written.
    """

    def __init__(
        self,
        store: DocumentStore,
        owner: ObjectId,
        shared: SharedState,
        writer: TodoWriter,
        use_time_zone: Callable[[], Awaitable[str]],
        executor: Executor,
        mode: ImportMode,
        create_list: Callable[[ObjectId], Awaitable[ObjectId]],
    ) -> None:
        self._store = store
        self._owner = owner
        self._shared = shared
        self._writer = writer
        self._use_time_zone = use_time_zone
        self._executor = executor
        self._mode = mode
        self._create_list = create_list
        self._dry_run = DryRun(store, owner, shared.quotas, self._ensure_list) if mode.dry_run else None
        self._creation = BulkCreation(store, owner, shared.quotas, self._ensure_list)

    async def write(
        self, records: Sequence[ImportRecord], todo_ids: Sequence[ObjectId | None]
    ) -> list[ImportOutcome | Invalid]:
        """Import records, in order. By default each new todo comes last in the manual order.

        Args:
            records: The records. Each todo has a uid, and the account owns the lists that they name, or `create_list`
                creates them.
            todo_ids: The ids of new todos, if the request may be repeated. A todo that exists is not created again.

        Returns:
            For each record what became of it, or why it was rejected.
        """
        outcomes: list[ImportOutcome | Invalid] = []
        for start, end in _split_by_uid([record.todo for record in records]):
            outcomes += await self._write_distinct(records[start:end], todo_ids[start:end])
        return outcomes

    async def _write_distinct(
        self, records: Sequence[ImportRecord], todo_ids: Sequence[ObjectId | None]
    ) -> list[ImportOutcome | Invalid]:
        """Import records of different uids."""
        known = await self._find_known([record.todo for record in records])
        moment = now()
        for record in records:
            replace_future_times(record, moment)
        if self._mode.existing == "copy":
            for record in records:
                if record.todo.uid in known:
                    record.todo = msgspec.structs.replace(record.todo, uid=UNSET)
        targets = [known.get(record.todo.uid) if record.todo.uid is not UNSET else None for record in records]
        refusal = (self._dry_run or self._creation).refusal
        # a record that lacks fields of the todo that it updates is built when that todo is read
        whole = [
            index
            for index, (record, target) in enumerate(zip(records, targets, strict=True))
            if (target is not None or refusal is None)
            and (self._mode.existing != "update" or not record.missing or target in (None, _DRY_RUN_ID))
        ]
        built = await self._build([records[index] for index in whole], [todo_ids[index] for index in whole], moment)
        results: dict[int, ImportOutcome | Invalid | Todo] = dict(zip(whole, built, strict=True))
        new: list[int] = []
        for index, target in enumerate(targets):
            if isinstance(document := results.get(index), Invalid):
                continue
            if target is None and refusal is not None:
                results[index] = refusal
            elif target is None:
                new.append(index)
            elif target == str(todo_ids[index]):
                results[index] = ImportOutcome.IMPORTED  # by an earlier attempt of the same request
            elif self._mode.existing == "skip" or (self._dry_run and self._dry_run.repeats(records[index])):
                results[index] = ImportOutcome.UNCHANGED
            elif target == _DRY_RUN_ID:
                assert isinstance(document, Todo)  # such a record is built
                results[index] = await self._dry_run_update(records[index], document)
            else:
                assert not isinstance(document, ImportOutcome)  # it is built, or not yet decided
                whole_document = None if records[index].missing else document
                results[index] = await self._update(target, records[index], whole_document, todo_ids[index], moment)
        await self._create(records, results, new, moment)
        return [
            ImportOutcome.IMPORTED if isinstance(result, Todo) else result
            for result in (results[index] for index in range(len(records)))
        ]

    async def _build(
        self, records: Sequence[ImportRecord], todo_ids: Sequence[ObjectId | None], moment: datetime
    ) -> list[Todo | Invalid]:
        """Return the documents of records, or why they are invalid."""
        # the time zone of a record that is not strict may be left out
        needed = any(
            needs_account_zone(each.todo.due_on, each.todo.recurrence, each.todo.time_zone if each.strict else None)
            for each in records
        )
        account_zone = await self._use_time_zone() if needed else None
        return await self._executor.run(
            lambda budget: list(build_documents(records, self._owner, todo_ids, moment, account_zone, budget))
        )

    async def _create(
        self,
        records: Sequence[ImportRecord],
        results: dict[int, ImportOutcome | Invalid | Todo],
        new: Sequence[int],
        moment: datetime,
    ) -> None:
        """Insert the new documents, and replace them in `results` by their outcomes."""
        documents = [document for index in new if isinstance(document := results[index], Todo)]
        if self._dry_run is not None:
            outcomes: Sequence[Todo | Invalid | None] = await self._dry_run.insert(documents)
        elif documents:
            positions = await self._shared.positions.choose(self._owner, moment, len(documents))
            for index, document, position in zip(new, documents, positions, strict=True):
                if records[index].todo.position is UNSET:
                    document.position = position
            outcomes = await self._creation.insert(documents)
            self._shared.positions.forget(self._owner)  # some may state a later position
            inserted = [outcome for outcome in outcomes if isinstance(outcome, Todo)]
            for document in inserted:
                self._shared.counter.maybe_refresh_snapshot(self._owner, document.id, moment)
            await self._move_out_of_deleted_lists([(str(document.id), document.list_id) for document in inserted])
        else:
            return
        for index, outcome in zip(new, outcomes, strict=True):
            results[index] = ImportOutcome.UNCHANGED if outcome is None else outcome
            if self._dry_run is not None and isinstance(outcome, Todo):
                self._dry_run.remember(records[index])

    async def _dry_run_update(self, record: ImportRecord, document: Todo) -> ImportOutcome | Invalid:
        """Return the outcome of a record that updates a todo which exists only in this dry run."""
        assert self._dry_run is not None
        result = await reserve_or_reject(document, self._dry_run.check_update)
        if isinstance(result, Invalid):
            return result
        self._dry_run.remember(record)
        return ImportOutcome.UPDATED

    async def _update(
        self,
        todo_id: str,
        record: ImportRecord,
        document: Todo | None,
        change_id: ObjectId | None,
        moment: datetime,
    ) -> ImportOutcome | Invalid:
        """Give a todo the fields of a record.

        A record without a list leaves the todo in its list, and one without a position or a time of creation leaves
        those of the todo.

        Args:
            todo_id: The id of the todo.
            record: The record.
            document: The document that the record would become, or None if that depends on the todo.
            change_id: See `TodoWriter.change`.
            moment: When the import changes it.
        """
        outcome = ImportOutcome.UPDATED  # if an earlier attempt of the same request has changed it
        list_id: ObjectId | None = None
        dropped = [*record.left_out]

        async def decide(todo: Todo, _: datetime) -> dict[str, Any]:
            nonlocal outcome, list_id
            filled, built = record, document
            if built is None:
                filled, built = await self._build_on(todo, record, dropped, moment)
            await self._ensure_list(built)
            list_id = built.list_id
            changes = _compute_changes(todo, filled, built)
            outcome = ImportOutcome.UPDATED if changes else ImportOutcome.UNCHANGED
            if self._dry_run is None:
                return changes
            await self._dry_run.add_tags(changes.get("tags", []))
            return {}

        try:
            await self._writer.change(todo_id, None, decide, change_id if self._dry_run is None else None)
        except Invalid as error:
            return error
        except NotFound:
            return Invalid([ValidationIssue("", "The todo with this uid was deleted in the meantime")])
        except (QuotaExceeded, Gone) as error:
            return Invalid([ValidationIssue("", str(error))])
        if list_id is not None and self._dry_run is None:
            await self._move_out_of_deleted_lists([(todo_id, list_id)])
        if outcome is ImportOutcome.UPDATED and self._dry_run is not None:
            self._dry_run.remember(record)
        return outcome

    async def _build_on(
        self, todo: Todo, record: ImportRecord, dropped: list[ValidationIssue], moment: datetime
    ) -> tuple[ImportRecord, Todo]:
        """Build the document of a record that takes the fields it lacks from a todo.

        Fields that break a rule are dropped from the record, so that they too are taken from the todo.

        Args:
            todo: The todo.
            record: The record.
            dropped: The issues of the fields that have been dropped so far. Those of further ones are appended.
            moment: When the import changes the todo.

        Returns:
            The record with all fields, and its document.

        Raises:
            Invalid: The record is invalid even so.
        """
        while True:
            filled = fill_missing(record, todo)
            (built,) = await self._build([filled], [todo.id], moment)
            if isinstance(built, Invalid):
                raise built
            wrong = filled.missing - record.missing
            if not wrong:
                record.left_out = [*dropped, *filled.left_out]
                return filled, built
            dropped += drop_fields(record, filled.left_out, wrong)

    async def _ensure_list(self, document: Todo) -> None:
        """Create the list of a document if the import has only planned it, and set the id to store."""
        if document.list_id is not None:
            document.list_id = await self._create_list(document.list_id)

    async def _find_known(self, todos: Sequence[dto.TodoImport]) -> dict[str, str]:
        """Return the ids of the todos that have the uids of some records, by uid."""
        keys = [derive_uid_key(todo.uid) for todo in todos if todo.uid is not UNSET]
        if not keys:
            return {}
        uid_key: Any = Todo.uid_key
        found = await self._store.find(
            Todo, Todo.owner == self._owner, uid_key.in_(keys), sort=None, limit=len(keys), into=_Known
        )
        known = {each.uid: each.id for each in found}
        if self._dry_run is not None:
            uids = [todo.uid for todo in todos if todo.uid is not UNSET]
            known = {uid: _DRY_RUN_ID for uid in uids if self._dry_run.has(uid)} | known
        return known

    async def _move_out_of_deleted_lists(self, placed: Sequence[tuple[str, ObjectId | None]]) -> None:
        """Move todos to the inbox if their list was deleted while they were being written.

        The deletion may have emptied the list before they were in it.
        """
        list_ids = {list_id for _, list_id in placed if list_id is not None}
        deleted = {list_id for list_id in list_ids if not await has_list(self._store, self._owner, list_id)}
        for todo_id, list_id in placed:
            if list_id in deleted:
                with contextlib.suppress(NotFound):  # the deletion of the list has deleted the todo
                    await self._writer.change(todo_id, None, move_to_inbox(list_id))


def _split_by_uid(todos: Sequence[dto.TodoImport]) -> Iterator[tuple[int, int]]:
    """Yield the bounds of parts in which no uid occurs twice, so that each part sees the effect of those before it."""
    seen: set[str] = set()
    start = 0
    for index, todo in enumerate(todos):
        if todo.uid is UNSET:
            continue
        if todo.uid in seen:
            yield start, index
            start, seen = index, set()
        seen.add(todo.uid)
    if start < len(todos):
        yield start, len(todos)


def _compute_changes(todo: Todo, record: ImportRecord, document: Todo) -> dict[str, Any]:
    """Return the changes that give a todo the fields of a record. See `BulkImport._update`."""
    given = record.todo
    kept = {name for name in ("position", "created_at") if getattr(given, name) is UNSET}
    if "last_completed_at" in record.replaced and todo.last_completed_at is not None:
        kept.add("last_completed_at")  # an earlier import of the file has replaced it
    if given.list_id is None:
        kept.add("list_id")
    if given.completed and todo.completed and given.completed_at is None:
        kept.add("completed_at")
    fields = {name: getattr(document, name) for name in _UPDATED - kept}
    fields["steps"] = _keep_step_ids(todo.steps, given, document.steps)
    changes = select_changes(todo, fields)
    if todo.undo is not None and (SCHEDULE | {"completed"}) & changes.keys():
        changes["undo"] = None
    return changes


def _keep_step_ids(steps: Sequence[Step], given: dto.TodoImport, new: Sequence[Step]) -> list[Step]:
    """Return the new steps. A step without an id in the record takes the id of an existing step with the same title."""
    taken = {step.id for step in given.steps if step.id is not UNSET}
    free = [step for step in steps if step.id not in taken]
    kept = []
    for step, record in zip(new, given.steps, strict=True):
        same = next((each for each in free if each.title == step.title), None) if record.id is UNSET else None
        if same is not None:
            free.remove(same)
            step = Step(id=same.id, title=step.title, completed=step.completed)
        kept.append(step)
    return kept
