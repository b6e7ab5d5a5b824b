"""Imports of todos, in batches.

A record becomes a new todo, unless the account already has a todo with its uid. What happens then depends on the mode
of the import. An interrupted import can therefore be repeated without creating anything twice.
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

from todo_service.errors import Invalid, NotFound, QuotaExceeded, ValidationIssue
from todo_service.executors import Executor
from todo_service.store.base import DocumentStore
from todo_service.timestamps import now
from todo_service.todos import dto
from todo_service.todos.creation import BulkCreation, build_documents
from todo_service.todos.deleted_lists import has_list, move_to_inbox
from todo_service.todos.documents import Step, Todo
from todo_service.todos.fields import SETTABLE
from todo_service.todos.schedule import SCHEDULE, needs_account_zone
from todo_service.todos.shared import SharedState
from todo_service.todos.uids import derive_uid_key
from todo_service.todos.writes import TodoWriter, select_changes

Existing = Literal["skip", "update", "copy"]
_DERIVED: Final = ("due_end", "title_key", "priority_rank")
_REHEARSED: Final = ""
"""Stands for the id of a todo that only a rehearsal has inserted."""
_UPDATED: Final = frozenset({*SETTABLE, *_DERIVED} - {"uid", "steps"})


class Outcome(enum.Enum):
    """What became of a record."""

    IMPORTED = "a new todo"
    UPDATED = "the todo with its uid was changed"
    UNCHANGED = "the todo with its uid was left unchanged"


class Mode(NamedTuple):
    """How an import writes.

    Attributes:
        existing: What happens if the account already has a todo with the uid of a record: `skip` leaves the todo
            unchanged, `update` replaces its fields, and `copy` creates a second todo with a new uid.
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
        time_zone: Returns the account's time zone, an IANA name.
        executor: Validates the todos in a thread, because each of the largest takes milliseconds.
        mode: How it writes.
    """

    def __init__(
        self,
        store: DocumentStore,
        owner: ObjectId,
        shared: SharedState,
        writer: TodoWriter,
        time_zone: Callable[[], Awaitable[str]],
        executor: Executor,
        mode: Mode,
    ) -> None:
        self._store = store
        self._owner = owner
        self._shared = shared
        self._writer = writer
        self._time_zone = time_zone
        self._executor = executor
        self._mode = mode
        self._rehearsal = _Rehearsal(store, owner, shared.quotas.todos.limit) if mode.dry_run else None

    async def write(
        self, todos: Sequence[dto.TodoImport], identities: Sequence[ObjectId | None]
    ) -> list[Outcome | Invalid]:
        """Import todos, in order. By default each new one comes last in the manual order.

        Args:
            todos: The todos. Each has a uid, and the account owns the lists that they name.
            identities: The ids of new todos, if the request may be repeated. A todo that exists is not created again.

        Returns:
            For each todo what became of it, or why it was rejected.
        """
        outcomes: list[Outcome | Invalid] = []
        for start, end in _split_by_uid(todos):
            outcomes += await self._write_distinct(todos[start:end], identities[start:end])
        return outcomes

    async def _write_distinct(
        self, todos: Sequence[dto.TodoImport], identities: Sequence[ObjectId | None]
    ) -> list[Outcome | Invalid]:
        """Import todos of different uids."""
        known = await self._find_known(todos)
        moment = now()
        needed = any(needs_account_zone(todo.due_on, todo.recurrence, todo.time_zone) for todo in todos)
        account_zone = await self._time_zone() if needed else None
        if self._mode.existing == "copy":
            todos = [msgspec.structs.replace(todo, uid=UNSET) if todo.uid in known else todo for todo in todos]
        results: list[Outcome | Invalid | Todo] = list(
            await self._executor.run(
                lambda budget: list(build_documents(todos, self._owner, identities, moment, account_zone, budget))
            )
        )
        new: list[int] = []
        for index, (todo, document) in enumerate(zip(todos, list(results), strict=True)):
            if not isinstance(document, Todo):
                continue
            existing = known.get(todo.uid) if todo.uid is not UNSET else None
            if existing is None:
                new.append(index)
            elif existing == _REHEARSED:
                results[index] = Outcome.UNCHANGED if self._mode.existing == "skip" else Outcome.UPDATED
            elif existing == str(identities[index]):
                results[index] = Outcome.IMPORTED  # by an earlier attempt of the same request
            elif self._mode.existing == "skip":
                results[index] = Outcome.UNCHANGED
            else:
                results[index] = await self._update(existing, todo, document, identities[index])
        await self._create(todos, results, new, moment)
        return [Outcome.IMPORTED if isinstance(result, Todo) else result for result in results]

    async def _create(
        self,
        todos: Sequence[dto.TodoImport],
        results: list[Outcome | Invalid | Todo],
        new: Sequence[int],
        moment: datetime,
    ) -> None:
        """Insert the new ones of some documents, and replace those that could not be inserted by their outcomes."""
        documents = [document for index in new if isinstance(document := results[index], Todo)]
        if self._rehearsal is not None:
            outcomes: Sequence[Todo | Invalid | None] = await self._rehearsal.insert(documents)
        elif documents:
            positions = await self._shared.positions.choose(self._owner, moment, len(documents))
            for index, document, position in zip(new, documents, positions, strict=True):
                if todos[index].position is UNSET:
                    document.position = position
            outcomes = await BulkCreation(self._store, self._owner, self._shared.quotas).insert(documents)
            self._shared.positions.forget(self._owner)  # some may state a later position
            inserted = [outcome for outcome in outcomes if isinstance(outcome, Todo)]
            for document in inserted:
                self._shared.counter.maybe_refresh_snapshot(self._owner, document.id, moment)
            await self._leave_deleted_lists([(str(document.id), document.list_id) for document in inserted])
        else:
            return
        for index, outcome in zip(new, outcomes, strict=True):
            results[index] = Outcome.UNCHANGED if outcome is None else outcome

    async def _update(
        self, todo_id: str, given: dto.TodoImport, document: Todo, change_id: ObjectId | None
    ) -> Outcome | Invalid:
        """Give a todo the fields of a record.

        A record without a list leaves the todo in its list, and one without a position or a time of creation leaves
        those of the todo.

        Args:
            todo_id: The id of the todo.
            given: The record.
            document: The document that the record would become.
            change_id: See `TodoWriter.change`.
        """
        outcome = Outcome.UPDATED  # if an earlier attempt of the same request has changed it

        async def decide(todo: Todo, _: datetime) -> dict[str, Any]:
            nonlocal outcome
            changes = _compute_changes(todo, given, document)
            outcome = Outcome.UPDATED if changes else Outcome.UNCHANGED
            return {} if self._rehearsal is not None else changes

        try:
            await self._writer.change(todo_id, None, decide, change_id if self._rehearsal is None else None)
        except NotFound:
            return Invalid([ValidationIssue("", "The todo with this uid has been deleted meanwhile")])
        except QuotaExceeded as error:
            return Invalid([ValidationIssue("", str(error))])
        if document.list_id is not None and self._rehearsal is None:
            await self._leave_deleted_lists([(todo_id, document.list_id)])
        return outcome

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
        if self._rehearsal is not None:
            uids = [todo.uid for todo in todos if todo.uid is not UNSET]
            known = {uid: _REHEARSED for uid in uids if self._rehearsal.has(uid)} | known
        return known

    async def _leave_deleted_lists(self, placed: Sequence[tuple[str, ObjectId | None]]) -> None:
        """Move todos to the inbox whose list was deleted while they were written, after its deletion emptied it."""
        list_ids = {list_id for _, list_id in placed if list_id is not None}
        deleted = {list_id for list_id in list_ids if not await has_list(self._store, self._owner, list_id)}
        for todo_id, list_id in placed:
            if list_id in deleted:
                with contextlib.suppress(NotFound):  # the deletion of the list has deleted the todo
                    await self._writer.change(todo_id, None, move_to_inbox(list_id))


class _Rehearsal:
    """Stands in for the insertions of an import that writes nothing.

    Args:
        store: The store.
        owner: The account.
        limit: The quota of todos.
    """

    def __init__(self, store: DocumentStore, owner: ObjectId, limit: int) -> None:
        self._store = store
        self._owner = owner
        self._limit = limit
        self._left: int | None = None
        self._keys: set[bytes] = set()

    def has(self, uid: str) -> bool:
        """Return whether a todo with this uid would have been inserted."""
        return derive_uid_key(uid).binary in self._keys

    async def insert(self, documents: Sequence[Todo]) -> list[Todo | Invalid | None]:
        """Return what `BulkCreation.insert` would, except that it does not count tags."""
        if self._left is None:
            self._left = self._limit - await self._store.count(Todo, Todo.owner == self._owner, limit=self._limit)
        admitted, refused = documents[: self._left], documents[self._left :]
        self._left -= len(admitted)
        self._keys.update(document.uid_key.binary for document in admitted if document.uid_key is not None)
        error = Invalid([ValidationIssue("", str(QuotaExceeded("todos", self._limit)))])
        return [*admitted, *[error] * len(refused)]


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


def _compute_changes(todo: Todo, given: dto.TodoImport, document: Todo) -> dict[str, Any]:
    """Return the changes that give a todo the fields of a record. See `BulkImport._update`."""
    kept = {name for name in ("position", "created_at") if getattr(given, name) is UNSET}
    if given.created_at is not UNSET and given.created_at > document.created_at:
        kept.add("created_at")  # it is in the future, so the document has the current time
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
    """Return new steps in which those whose record has no id have the ids of the existing steps with their titles."""
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
