"""The rules of todos."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET
from odmantic import ObjectId

from todo_service.applied_changes import AppliedChanges
from todo_service.bounds.todos import PAGE_BYTES
from todo_service.errors import Gone, Invalid, NotFound, ValidationIssue
from todo_service.executors import Executor
from todo_service.field_table import resolve_patch
from todo_service.store.base import Condition, DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.store.optimistic import Attempts
from todo_service.store.structs import derive_struct
from todo_service.sync import counts
from todo_service.sync.changes import BY_CHANGE, Change, ChangeFeed, ChangePosition, FeedPage, SyncToken
from todo_service.timestamps import now
from todo_service.todos import completion, dto
from todo_service.todos.account_lease import delete_leases
from todo_service.todos.bulk_import import BulkImport, ImportMode
from todo_service.todos.change_planner import ChangePlanner
from todo_service.todos.creation import build_document
from todo_service.todos.deleted_lists import has_list, move_to_inbox
from todo_service.todos.document_quota import BatchReservation
from todo_service.todos.documents import Todo
from todo_service.todos.fields import DEFAULTS, validate_fields
from todo_service.todos.listing import Listing
from todo_service.todos.mover import TodoMover
from todo_service.todos.places import parse_place
from todo_service.todos.query import TodoPosition
from todo_service.todos.schedule import (
    clear_alternatives,
    needs_account_zone,
)
from todo_service.todos.shared import SharedState
from todo_service.todos.summary import Summaries
from todo_service.todos.uids import translate_duplicate
from todo_service.todos.writes import TodoWriter, apply_changes, match_todo
from todo_service.todos.zone_changes import DueEndPosition, refresh_due_ends

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
        use_time_zone: Returns the account's time zone (an IANA name) for a write that depends on it, and marks it as
            used.
        rules: Evaluates recurrence rules; None if the caller never sets a rule or completes a todo.
        shared: The state that all accounts share in this process; by default a new one.
        get_time_zone: Returns the account's time zone without marking it as used; by default `use_time_zone`.
        applied_changes: Finds and records the changes of the request, if it may be repeated.

    Attributes:
        shared: The state that all accounts share in this process.
        applied_changes: Finds and records the changes of the request.
    """

    def __init__(
        self,
        store: DocumentStore,
        owner: ObjectId,
        use_time_zone: Callable[[], Awaitable[str]],
        rules: Executor | None = None,
        shared: SharedState | None = None,
        get_time_zone: Callable[[], Awaitable[str]] | None = None,
        applied_changes: AppliedChanges | None = None,
    ) -> None:
        self._store = store
        self._owner = owner
        self._use_time_zone = use_time_zone
        self._get_time_zone = get_time_zone or use_time_zone
        self._planner = ChangePlanner(owner, use_time_zone, rules)
        self.shared = shared = shared or SharedState(store)
        self._quotas = shared.quotas
        self.applied_changes = applied_changes or AppliedChanges()
        self._writer = TodoWriter(store, owner, shared, use_time_zone, self.applied_changes)
        self._mover = TodoMover(store, owner, shared, self._writer)

    def reserve_for_batch(self, number: int) -> BatchReservation:
        """Return an async context manager in which a batch creates about `number` todos. See `create`."""
        return self._quotas.todos.reserve_for_batch(self._owner, number)

    async def create(
        self, todo: dto.TodoCreate, todo_id: ObjectId | None = None, batch: BatchReservation | None = None
    ) -> dto.Todo:
        """Create a todo.

        Args:
            todo: The new todo.
            todo_id: Its id, if the request may be repeated. A repeat returns the existing todo.
            batch: The room of the batch that creates it, if it is part of one.

        Raises:
            Invalid: A field breaks a rule.
            Duplicate: Another todo has the uid.
            Gone: An earlier attempt of the same request created the todo, and it has been deleted since.
            QuotaExceeded: The account has reached its quota of todos or tags.
        """
        if todo_id is not None and (created := await self._find_created(todo_id)) is not None:
            return created
        needed = needs_account_zone(todo.due_on, todo.recurrence, todo.time_zone)
        account_zone = await self._use_time_zone() if needed else None
        moment, position = now(), todo.position
        if position is UNSET:
            # a new todo comes last in the manual order
            (position,) = await self.shared.positions.choose(self._owner, moment)
        document = build_document(todo, self._owner, todo_id or ObjectId(), moment, account_zone, position)
        if document.recurrence is not None:
            document.recurrence = await self._planner.canonicalize_rule(document, account_zone)
        await self._require_list(document.list_id)
        room = self._quotas.todos.reserve_one(self._owner) if batch is None else batch.reserve_one()
        since = None if batch is None else batch.only_creates_since
        async with room, self._quotas.tags.reserve(self._owner, document.tags, since):
            try:
                await self._store.insert(document)
            except DuplicateDocument as error:
                raise translate_duplicate(error) from None
        if todo.position is not UNSET:
            self.shared.positions.forget(self._owner)
        self.shared.counter.maybe_refresh_snapshot(self._owner, document.id, document.updated_at)
        return await self._move_out_of_deleted_list(dto.Todo.from_document(document))

    def start_import(
        self, executor: Executor, mode: ImportMode, create_list: Callable[[ObjectId], Awaitable[ObjectId]]
    ) -> BulkImport:
        """Return an import of todos.

        Args:
            executor: See `BulkImport`.
            mode: See `BulkImport`.
            create_list: See `BulkImport`.
        """
        return BulkImport(
            self._store, self._owner, self.shared, self._writer, self._use_time_zone, executor, mode, create_list
        )

    async def _find_created(self, todo_id: ObjectId) -> dto.Todo | None:
        """Return the todo that an earlier attempt of the same request created, or None.

        Raises:
            Gone: It has been deleted since.
        """
        async for _ in Attempts():
            found = await self._store.get(Todo, Todo.id == todo_id, Todo.account == self._owner)
            if found is None:
                return None
            if found.owner is None:
                raise Gone("this todo was created and has been deleted since")
            if (confirmed := await self._writer.confirm(found)) is not None:
                return confirmed
        raise AssertionError  # unreachable: the last attempt raises `Busy`

    async def get(self, todo_id: str) -> dto.Todo:
        """Return a todo.

        Raises:
            NotFound: The account has no such todo.
        """
        found = await self._store.get(Todo, *self._match(todo_id), into=dto.Todo)
        if found is None:
            raise NotFound("there is no such todo")
        return found

    async def read_page(
        self, query: dto.TodoQuery, after: TodoPosition | None
    ) -> tuple[list[dto.Todo], TodoPosition | None]:
        """Return a page of a list or a search. See `Listing.read_page`."""
        return await Listing(self._store, self._owner, self.shared.selector).read_page(query, after)

    async def read_changes(self, since: SyncToken | None, limit: int) -> FeedPage[Change]:
        """Return a page of changes. See `ChangeFeed.read_changes`; `sync.changes` explains why no change is missed."""
        return await ChangeFeed(self._store, self._owner).read_changes(since, limit, now())

    async def summarize(self, tz: str | None) -> dto.Summary:
        """Count the todos. See `Summaries.summarize`."""
        return await self._summaries().summarize(tz)

    async def count_tags(self) -> list[dto.TagCount]:
        """Return each tag in use with the number of its todos, by name. See `Summaries.count_tags`."""
        return await self._summaries().count_tags()

    def _summaries(self) -> Summaries:
        return Summaries(self._store, self._owner, self._get_time_zone, self.shared.counter)

    async def update(
        self, todo_id: str, patch: dto.TodoUpdate, versions: Container[int] | None, change_id: ObjectId | None = None
    ) -> dto.Todo:
        """Apply a merge patch to a todo. The version stays the same if nothing changes.

        Args:
            todo_id: The id of the todo.
            patch: The merge patch.
            versions: The versions that the caller accepts; None for any.
            change_id: The id of the change, if the request may be repeated. It is applied at most once.

        Raises:
            Invalid: A field breaks a rule.
            Stale: The todo has another version.
            NotFound: The account has no such todo.
            Gone: See `AppliedChanges.includes`.
        """
        fields = clear_alternatives(validate_fields(resolve_patch(patch, DEFAULTS)))
        await self._require_list(fields.get("list_id"))
        completed, completed_at = fields.pop("completed", None), fields.pop("completed_at", None)
        if completed_at is not None and not completed:
            raise Invalid([ValidationIssue("/completed_at", "Expected a value only together with `completed: true`")])

        async def decide(todo: Todo, moment: datetime) -> dict[str, Any]:
            if patch.completed_at is None and completed is None and todo.completed:
                raise Invalid([ValidationIssue("/completed_at", "Expected a value while the todo is completed")])
            opened = await self._planner.reopen(todo) if completed is False and todo.completed else {}
            changes = opened | await self._planner.update(apply_changes(todo, opened), fields)
            if completed:
                completion.check_completion_time(completed_at, max(moment, todo.updated_at))
                changes |= await self._planner.complete(apply_changes(todo, changes), completed_at, moment)
            return changes

        return await self._move_out_of_deleted_list(await self._writer.change(todo_id, versions, decide, change_id))

    async def complete(
        self,
        todo_id: str,
        completed_at: datetime | None,
        versions: Container[int] | None,
        change_id: ObjectId | None = None,
    ) -> dto.Todo:
        """Complete a todo. A recurring todo moves to its next occurrence instead, and its steps become open.

        Completing a completed todo changes nothing. The other arguments and the errors are those of `update`.

        Args:
            todo_id: The id of the todo.
            completed_at: When it was completed, not in the future; None for now.
            versions: See `update`.
            change_id: See `update`.
        """

        async def decide(todo: Todo, moment: datetime) -> dict[str, Any]:
            completion.check_completion_time(completed_at, max(moment, todo.updated_at))
            return {} if todo.completed else await self._planner.complete(todo, completed_at, moment)

        return await self._writer.change(todo_id, versions, decide, change_id)

    async def reopen(
        self, todo_id: str, versions: Container[int] | None, change_id: ObjectId | None = None
    ) -> dto.Todo:
        """Reopen a completed todo, or undo the last completion of a recurring todo.

        If there is nothing to undo, an open todo does not change. Arguments and errors are those of `update`.
        """

        async def decide(todo: Todo, _: datetime) -> dict[str, Any]:
            return await self._planner.reopen(todo)

        return await self._writer.change(todo_id, versions, decide, change_id)

    async def list_completions(self, todo_id: str) -> list[dto.Completion]:
        """Return the last completions of a todo, the newest first.

        Raises:
            NotFound: The account has no such todo.
        """
        found = await self._store.get(Todo, *self._match(todo_id), into=derive_struct(Todo))
        if found is None:
            raise NotFound("there is no such todo")
        return completion.list_completions(found)

    async def move(
        self, todo_id: str, move: dto.TodoMove, versions: Container[int] | None, change_id: ObjectId | None = None
    ) -> dto.Todo:
        """Move a todo in the manual order of its list, or to a place in another list.

        If there is no room, some todos around the place get new positions and versions, and keep their order. A todo
        that is already there does not change. Further arguments and errors are those of `update`, and `Busy`.
        """
        place, fields = parse_place(move), validate_fields({"list_id": move.list_id})
        await self._require_list(fields.get("list_id"))
        list_id = fields.get("list_id", UNSET)
        moved = await self._mover.move(todo_id, place, list_id, versions, change_id)
        return await self._move_out_of_deleted_list(moved)

    async def delete(self, todo_id: str, versions: Container[int] | None, change_id: ObjectId | None = None) -> None:
        """Delete a todo, and store a tombstone without its content for the delta sync of the next 30 days.

        Args:
            todo_id: The id of the todo.
            versions: The versions that the caller accepts; None for any.
            change_id: The id of the change, if the request may be repeated. A repeat succeeds.

        Raises:
            Stale: The todo has another version.
            NotFound: The account has no such todo.
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
        await delete_leases(self._store, self._owner)
        await counts.delete_snapshot(self._store, self._owner)

    async def empty_list(self, list_id: ObjectId, *, delete: bool) -> None:
        """Move every todo of a list to the inbox, or delete it. Repeat the call if it fails halfway.

        A todo that another request moves out of the list meanwhile is left alone.

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
                        await self._writer.delete(todo.id, None, None, from_list=list_id)
                    else:
                        await self._writer.change(todo.id, None, move_to_inbox(list_id))
                except NotFound:
                    continue  # another request has deleted it meanwhile
            if len(found) < _LIST_BATCH and not found.truncated:
                return

    async def follow_time_zone(self, after: DueEndPosition | None, limit: int) -> DueEndPosition | None:
        """Recompute the `due_end` of some of the todos that follow the account's time zone.

        Repeat the call if it fails halfway.

        Args:
            after: The position that the previous call returned; None to begin.
            limit: The maximum number of todos to read, 1 to 9 999.

        Returns:
            The position of the last todo that was read; None if there are no more.

        Raises:
            NotFound: The account has been deleted.
        """
        return await refresh_due_ends(self._store, self._owner, self._writer, self._get_time_zone, after, limit)

    def _match(self, todo_id: str) -> list[Condition]:
        return match_todo(todo_id, self._owner)

    async def _require_list(self, list_id: ObjectId | None) -> None:
        if list_id is not None and not await has_list(self._store, self._owner, list_id):
            raise Invalid([ValidationIssue("/list_id", "There is no such list")])

    async def _move_out_of_deleted_list(self, todo: dto.Todo) -> dto.Todo:
        """Move a todo to the inbox if its list was deleted while it was being written.

        The deletion may have emptied the list before the todo was in it.
        """
        if todo.list_id is None or await has_list(self._store, self._owner, list_id := ObjectId(todo.list_id)):
            return todo
        return await self._writer.change(todo.id, None, move_to_inbox(list_id))
