"""The rules of todos."""

from __future__ import annotations

import contextlib
import zoneinfo
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET
from odmantic import ObjectId

from todo_service.bounds.todos import PAGE_BYTES
from todo_service.errors import Gone, Invalid, NotFound, ValidationIssue
from todo_service.executors import Budget, Executor
from todo_service.field_table import resolve_patch
from todo_service.lists.documents import TodoList
from todo_service.store.base import Condition, DocumentStore
from todo_service.store.optimistic import Attempts
from todo_service.sync import counts
from todo_service.sync.changes import BY_CHANGE, ChangeFeed, ChangePosition, SyncToken
from todo_service.timestamps import now
from todo_service.todos import dto
from todo_service.todos.creation import BulkCreation, build_document
from todo_service.todos.documents import OrderLease, Step, Todo
from todo_service.todos.fields import DEFAULTS, validate_fields
from todo_service.todos.listing import Listing
from todo_service.todos.mover import TodoMover
from todo_service.todos.occurrences import find_next_occurrence
from todo_service.todos.places import parse_place
from todo_service.todos.query import TodoPosition
from todo_service.todos.recurrence import require_occurrence
from todo_service.todos.reminders import check_reminders
from todo_service.todos.schedule import (
    DUE_END_SOURCES,
    check_schedule,
    clear_alternatives,
    derive_due_end,
    follows_account,
    get_due_moment,
)
from todo_service.todos.shared import SharedState
from todo_service.todos.summary import Summaries
from todo_service.todos.writes import Decision, TodoWriter, match_todo, merge, select_changes
from todo_service.todos.zone_changes import derive_again

ResultT = TypeVar("ResultT")
_LIST_BATCH: Final = 200
"""How many todos of a deleted list are read at a time."""
_DELETE_BATCH: Final = 500
"""How many todos of a deleted account are deleted at a time."""


class _Identity(msgspec.Struct, frozen=True):
    id: str


class _Changed(msgspec.Struct, frozen=True):
    changed: str


class Todos:
    """The todos of one account. No method reads or writes those of another account.

    Args:
        store: The store.
        owner: The account.
        time_zone: Returns the account's time zone, an IANA name, for a write that depends on it.
        rules: Evaluates recurrence rules; None if the caller never sets a rule or completes a todo.
        shared: The state that all accounts share in this process; by default a new one.
        read_time_zone: Returns it for other uses; by default `time_zone`.

    Attributes:
        shared: The state that all accounts share in this process.
    """

    def __init__(
        self,
        store: DocumentStore,
        owner: ObjectId,
        time_zone: Callable[[], Awaitable[str]],
        rules: Executor | None = None,
        shared: SharedState | None = None,
        read_time_zone: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._store = store
        self._owner = owner
        self._time_zone = time_zone
        self._read_time_zone = read_time_zone or time_zone
        self._rules = rules
        self.shared = shared = shared or SharedState(store)
        self._quotas = shared.quotas
        self._writer = TodoWriter(store, owner, shared)
        self._mover = TodoMover(store, owner, shared, self._writer)

    async def create(self, todo: dto.TodoCreate, identity: ObjectId | None = None) -> dto.Todo:
        """Create a todo.

        Args:
            todo: The new todo.
            identity: Its id, if the request may be repeated. A repeat returns the existing todo.

        Raises:
            Invalid: a field breaks a rule.
            Gone: an earlier attempt of the same request created the todo, and it has been deleted since.
            QuotaExceeded: the account has reached its quota of todos or tags.
        """
        if identity is not None and (created := await self._find_created(identity)) is not None:
            return created
        account_zone = await self._time_zone() if follows_account(todo.due_on, todo.time_zone) else None
        moment, position = now(), todo.position
        if position is UNSET:
            # a new todo comes last in the manual order
            (position,) = await self.shared.positions.choose(self._owner, moment)
        document = build_document(todo, self._owner, identity or ObjectId(), moment, account_zone, position)
        await self._ensure_occurs(document.recurrence, get_due_moment(document.due_at, document.due_on))
        await self._require_list(document.list_id)
        async with self._quotas.todos.reserve_one(self._owner):
            with self._quotas.tags.reserve(self._owner) as tags:
                await tags.add(document.tags)
                await self._store.insert(document)
        if todo.position is not UNSET:
            self.shared.positions.forget(self._owner)
        self.shared.counter.maybe_refresh_snapshot(self._owner, document.id, document.updated_at)
        return await self._leave_deleted_list(dto.Todo.from_document(document))

    async def create_many(
        self, todos: Sequence[dto.TodoImport], identities: Sequence[ObjectId | None], executor: Executor
    ) -> list[Invalid | None]:
        """Create many todos, in order. By default each comes last in the manual order.

        Args:
            todos: The new todos; the account owns the lists that they name.
            identities: Their ids, if the request may be repeated. A todo that exists is not created again.
            executor: Validates the todos in a thread, because each of the largest takes milliseconds.

        Returns:
            For each todo why it was rejected, or None if it exists now.
        """
        moment = now()
        follows = any(follows_account(todo.due_on, todo.time_zone) for todo in todos)
        account_zone = await self._time_zone() if follows else None
        positions = await self.shared.positions.choose(self._owner, moment, len(todos))
        creation = BulkCreation(self._store, self._owner, self._quotas)
        results = await creation.create(todos, identities, moment, account_zone, positions, executor)
        self.shared.positions.forget(self._owner)  # some may state a later position
        documents = [result for result in results if isinstance(result, Todo)]
        for document in documents:
            self.shared.counter.maybe_refresh_snapshot(self._owner, document.id, moment)
        list_ids = {document.list_id for document in documents if document.list_id is not None}
        # a list may have been deleted meanwhile, after its deletion emptied it
        deleted = {list_id for list_id in list_ids if not await self._has_list(list_id)}
        for document in documents:
            if document.list_id in deleted:
                with contextlib.suppress(NotFound):  # the deletion of the list has deleted the todo
                    await self._writer.change(str(document.id), None, _move_to_inbox(document.list_id))
        return [result if isinstance(result, Invalid) else None for result in results]

    async def _ensure_occurs(self, recurrence: str | None, due_at: datetime | None) -> None:
        """Check in a thread that a rule occurs on or after a due date.

        Raises:
            Invalid: it does not.
        """
        if recurrence is not None and due_at is not None:
            await self._evaluate_rule(lambda budget: require_occurrence(recurrence, due_at, budget))

    async def _evaluate_rule(self, evaluate: Callable[[Budget], ResultT]) -> ResultT:
        """Evaluate a recurrence rule in a thread, because it takes milliseconds."""
        assert self._rules is not None  # a caller that sets rules or completes todos passes an executor
        return await self._rules.run(evaluate, self._owner)

    async def _find_created(self, identity: ObjectId) -> dto.Todo | None:
        """Return the todo that an earlier attempt of the same request created, or None.

        Raises:
            Gone: it has been deleted since.
        """
        async for _ in Attempts():
            found = await self._store.get(Todo, Todo.id == identity, Todo.account == self._owner)
            if found is None:
                return None
            if found.owner is None:
                raise Gone("this todo was created and has been deleted since")
            if (confirmed := await self._writer.confirm(found)) is not None:
                return confirmed
        raise AssertionError  # `Attempts` raises before it ends

    async def get(self, todo_id: str) -> dto.Todo:
        """Return a todo.

        Raises:
            NotFound: the account has no such todo.
        """
        found = await self._store.get(Todo, *self._match(todo_id), into=dto.Todo)
        if found is None:
            raise NotFound("there is no such todo")
        return found

    async def read_page(
        self, query: dto.TodoQuery, after: TodoPosition | None
    ) -> tuple[list[dto.Todo], TodoPosition | None]:
        """Return a page of a list or a search. See `Listing.read_page`."""
        return await Listing(self._store, self._owner).read_page(query, after)

    async def read_changes(
        self, since: SyncToken | None, limit: int
    ) -> tuple[list[dto.Todo], list[str], SyncToken, bool]:
        """Return a page of changes. See `ChangeFeed.page`; `sync.changes` explains why no change is missed."""
        return await ChangeFeed(self._store, self._owner).read_changes(since, limit, now())

    async def summarize(self, tz: str | None) -> dto.Summary:
        """Count the todos. See `Summaries.summarize`."""
        return await self._summaries().summarize(tz)

    async def count_tags(self) -> list[dto.TagCount]:
        """Return each tag in use with the number of its todos, by name. See `Summaries.count_tags`."""
        return await self._summaries().count_tags()

    def _summaries(self) -> Summaries:
        return Summaries(self._store, self._owner, self._read_time_zone, self.shared.counter)

    async def update(
        self, todo_id: str, patch: dto.TodoUpdate, versions: frozenset[int] | None, change_id: ObjectId | None = None
    ) -> dto.Todo:
        """Apply a merge patch to a todo. The version stays the same if nothing changes.

        Args:
            todo_id: The id of the todo.
            patch: The merge patch.
            versions: The versions that the caller accepts; None for any.
            change_id: The id of the change, if the request may be repeated. It is applied at most once.

        Raises:
            Invalid: a field breaks a rule.
            Stale: the todo has another version.
            NotFound: the account has no such todo.
        """
        fields = clear_alternatives(validate_fields(resolve_patch(patch, DEFAULTS)))
        await self._require_list(fields.get("list_id"))

        async def decide(todo: Todo, moment: datetime) -> dict[str, Any]:
            changes = select_changes(todo, fields)
            merged = merge(todo, changes)
            check_schedule(changes, merged)
            check_reminders(changes, merged)
            if {"recurrence", "due_at", "due_on"} & changes.keys():
                await self._ensure_occurs(merged["recurrence"], get_due_moment(merged["due_at"], merged["due_on"]))
            if DUE_END_SOURCES & changes.keys():
                changes["due_end"] = derive_due_end(merged, await self._find_zone(merged))
            if "completed" in changes:
                changes["completed_at"] = moment if changes["completed"] else None
            return changes

        return await self._leave_deleted_list(await self._writer.change(todo_id, versions, decide, change_id))

    async def complete(
        self, todo_id: str, versions: frozenset[int] | None, change_id: ObjectId | None = None
    ) -> dto.Todo:
        """Complete a todo. A recurring todo moves to its next due date instead, and its steps become open.

        Completing a completed todo changes nothing. Arguments and errors are those of `update`.
        """

        async def decide(todo: Todo, moment: datetime) -> dict[str, Any]:
            if todo.completed:
                return {}
            if todo.recurrence is not None:
                zone = zoneinfo.ZoneInfo(todo.time_zone or await self._time_zone())
                following = await self._evaluate_rule(lambda budget: find_next_occurrence(todo, zone, budget))
                if following is not None:
                    steps = [Step(id=step.id, title=step.title, completed=False) for step in todo.steps]
                    return following | {"steps": steps}
            return {"completed": True, "completed_at": moment}

        return await self._writer.change(todo_id, versions, decide, change_id)

    async def reopen(
        self, todo_id: str, versions: frozenset[int] | None, change_id: ObjectId | None = None
    ) -> dto.Todo:
        """Reopen a completed todo. An open todo does not change. Arguments and errors are those of `update`."""

        async def decide(todo: Todo, _: datetime) -> dict[str, Any]:
            return {"completed": False, "completed_at": None} if todo.completed else {}

        return await self._writer.change(todo_id, versions, decide, change_id)

    async def move(
        self, todo_id: str, move: dto.TodoMove, versions: frozenset[int] | None, change_id: ObjectId | None = None
    ) -> dto.Todo:
        """Move a todo in the manual order of its list, or to a place in another list.

        If there is no room, some todos around the place get new positions and versions, and keep their order. A todo
        that is already there does not change. Further arguments and errors are those of `update`, and `Busy`.
        """
        place, fields = parse_place(move), validate_fields({"list_id": move.list_id})
        await self._require_list(fields.get("list_id"))
        list_id = fields.get("list_id", UNSET)
        return await self._leave_deleted_list(await self._mover.move(todo_id, place, list_id, versions, change_id))

    async def delete(self, todo_id: str, versions: frozenset[int] | None, change_id: ObjectId | None = None) -> None:
        """Delete a todo, and store a tombstone without its content for the delta sync of the next 30 days.

        Args:
            todo_id: The id of the todo.
            versions: The versions that the caller accepts; None for any.
            change_id: The id of the change, if the request may be repeated. A repeat succeeds.

        Raises:
            Stale: the todo has another version.
            NotFound: the account has no such todo.
        """
        await self._writer.delete(todo_id, versions, change_id)

    async def delete_all(self) -> None:
        """Delete every todo and tombstone of the account. Repeat the call if it fails halfway."""
        while True:
            found = await self._store.find(
                Todo,
                Todo.account == self._owner,
                sort=BY_CHANGE,
                limit=_DELETE_BATCH,
                max_bytes=PAGE_BYTES,
                into=_Changed,
            )
            if not found:
                break
            upto = ChangePosition.parse(found[-1].changed).stamp
            await self._store.delete(Todo, Todo.account == self._owner, Todo.changed <= upto)
        await self._store.delete(OrderLease, OrderLease.id == self._owner)
        await counts.delete_snapshot(self._store, self._owner)

    async def empty_list(self, list_id: ObjectId, *, delete: bool) -> None:
        """Move every todo of a list to the inbox, or delete it. Repeat the call if it fails halfway.

        Args:
            list_id: The id of the list.
            delete: Whether to delete the todos.
        """
        while True:
            where = [Todo.owner == self._owner, Todo.list_id == list_id]
            found = await self._store.find(
                Todo, *where, sort=None, limit=_LIST_BATCH, max_bytes=PAGE_BYTES, into=_Identity
            )
            for todo in found:
                try:
                    if delete:
                        await self.delete(todo.id, None)
                    else:
                        await self._writer.change(todo.id, None, _move_to_inbox(list_id))
                except NotFound:
                    continue  # another request has deleted it meanwhile
            if len(found) < _LIST_BATCH and not found.truncated:
                return

    async def follow_time_zone(self) -> None:
        """Derive the todos that follow the time zone of the account again. Repeat the call if it fails halfway.

        Raises:
            NotFound: the account has been deleted.
        """
        await derive_again(self._store, self._owner, self._writer, self._read_time_zone)

    async def _find_zone(self, fields: Mapping[str, Any]) -> zoneinfo.ZoneInfo:
        """Return the time zone in which the day of a todo ends. Without a day, it may be any."""
        follows = follows_account(fields["due_on"], fields["time_zone"])
        return zoneinfo.ZoneInfo(await self._time_zone() if follows else fields["time_zone"] or "UTC")

    def _match(self, todo_id: str) -> list[Condition]:
        return match_todo(todo_id, self._owner)

    async def _has_list(self, list_id: ObjectId) -> bool:
        found = await self._store.get(TodoList, TodoList.id == list_id, TodoList.owner == self._owner)
        return found is not None and found.closing is None

    async def _require_list(self, list_id: ObjectId | None) -> None:
        if list_id is not None and not await self._has_list(list_id):
            raise Invalid([ValidationIssue("/list_id", "There is no such list")])

    async def _leave_deleted_list(self, todo: dto.Todo) -> dto.Todo:
        """Move a todo to the inbox if its list was deleted while the todo was written.

        The deletion of the list may have emptied it before this write.
        """
        if todo.list_id is None or await self._has_list(list_id := ObjectId(todo.list_id)):
            return todo
        return await self._writer.change(todo.id, None, _move_to_inbox(list_id))


def _move_to_inbox(list_id: ObjectId) -> Decision:
    """Return a decision that moves a todo of a list to the inbox, unless it has left the list."""

    async def decide(todo: Todo, _: datetime) -> dict[str, Any]:
        return {"list_id": None} if todo.list_id == list_id else {}

    return decide
