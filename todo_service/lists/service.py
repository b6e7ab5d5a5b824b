"""The rules of lists."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, Final, Literal

import msgspec
from odmantic import ObjectId
from odmantic.query import asc, desc

from todo_service.errors import Conflict, Gone, NotFound, QuotaExceeded
from todo_service.field_table import resolve_patch
from todo_service.lists import dto
from todo_service.lists.deletion import finish_deletion
from todo_service.lists.documents import DeletedList, TodoList
from todo_service.lists.fields import DEFAULTS, validate_fields
from todo_service.lists.sweep import schedule_sweeps
from todo_service.positions import STEP, advance
from todo_service.store.base import Condition, DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.store.optimistic import Attempts
from todo_service.store.paging import read_page
from todo_service.text import compose
from todo_service.timestamps import now
from todo_service.todos.account_lease import hold_order
from todo_service.todos.moves import Move
from todo_service.todos.ordering import ManualOrder, Placed, Renumbering
from todo_service.todos.places import parse_place
from todo_service.todos.service import Todos
from todo_service.todos.uids import build_uid_fields, derive_uid_key, translate_duplicate
from todo_service.todos.validation import is_id
from todo_service.versions import check_version

_DELETE_BATCH: Final = 500
"""How many lists, or tombstones of lists, of a deleted account are deleted at a time."""


class _Identity(msgspec.Struct, frozen=True):
    id: str


class ListPosition(msgspec.Struct, array_like=True, frozen=True):
    """The keyset position of a page: it begins after the list with this position and id."""

    position: float
    id: str


class Lists:
    """The lists of one account. No method reads or writes those of another account.

    Args:
        store: The store.
        owner: The account.
        todos: The account's todos.
    """

    def __init__(self, store: DocumentStore, owner: ObjectId, todos: Todos) -> None:
        self._store = store
        self._owner = owner
        self._todos = todos
        self._shared = todos.shared
        self._applied_changes = todos.applied_changes

    async def create(self, given: dto.TodoListCreate, identity: ObjectId | None = None) -> dto.TodoList:
        """Create a list.

        Args:
            given: The new list.
            identity: Its id, if the request may be repeated. A repeat returns the existing list.

        Raises:
            Invalid: A field breaks a rule.
            Duplicate: Another list has the uid.
            Gone: An earlier attempt of the same request created the list, and it has been deleted since.
            QuotaExceeded: The account has reached its quota of lists.
        """
        if identity is not None:
            # an empty update rather than a read, so that the response shows durable data
            created = await self._store.update(TodoList, *self._match(str(identity)), changes={})
            if created is not None:
                return dto.TodoList.from_document(created)
            if await self._store.get(DeletedList, DeletedList.id == identity, DeletedList.owner == self._owner):
                raise Gone("this list was created and has been deleted since")
        moment = now()
        fields = validate_fields(msgspec.structs.asdict(given))
        if "position" not in fields:
            # a new list comes last in the manual order
            last = await self._read_last_position()
            fields["position"] = STEP if last is None else advance(last)
        list_id = identity or ObjectId()
        fields |= build_uid_fields(fields.get("uid"), list_id)
        document = TodoList(
            id=list_id,
            account=self._owner,
            owner=self._owner,
            version=1,
            created_at=moment,
            updated_at=moment,
            **fields,
        )
        async with self._shared.quotas.lists.reserve_one(self._owner):
            try:
                await self._store.insert(document)
            except DuplicateDocument as error:
                raise translate_duplicate(error) from None
        return dto.TodoList.from_document(document)

    def check_quota(self, count: int) -> None:
        """Check whether `create` would find room for a list, without creating one.

        Args:
            count: How many lists the account has.

        Raises:
            QuotaExceeded: The account has reached its quota of lists.
        """
        if count >= self._shared.quotas.lists.limit:
            raise QuotaExceeded("lists", self._shared.quotas.lists.limit)

    async def get_by_uid(self, uid: str) -> dto.TodoList:
        """Return the list with a uid.

        Raises:
            NotFound: The account has no such list.
        """
        found = await self._store.get(TodoList, TodoList.owner == self._owner, TodoList.uid_key == derive_uid_key(uid))
        if found is None:
            raise NotFound("there is no such list")
        return dto.TodoList.from_document(found)

    async def get(self, list_id: str) -> dto.TodoList:
        """Return a list.

        Raises:
            NotFound: The account has no such list.
        """
        return dto.TodoList.from_document(await self._get_document(list_id))

    async def read_page(self, limit: int, after: ListPosition | None) -> tuple[list[dto.TodoList], ListPosition | None]:
        """Return a page of lists in their manual order, and the position of the next page.

        Args:
            limit: The maximum number of lists.
            after: The position of the page; None for the first page.

        Returns:
            The lists, and the position of the next page, or None if this is the last.
        """
        return await read_page(
            self._store,
            TodoList,
            TodoList.owner == self._owner,
            sort=(asc(TodoList.position), asc(TodoList.id)),
            after=(after.position, ObjectId(after.id)) if after is not None else None,
            limit=limit,
            into=dto.TodoList,
            position=lambda last: ListPosition(last.position, last.id),
        )

    async def update(self, list_id: str, patch: dto.TodoListUpdate, versions: Container[int] | None) -> dto.TodoList:
        """Apply a merge patch to a list. The version stays the same if nothing changes.

        Args:
            list_id: The id of the list.
            patch: The merge patch.
            versions: The versions that the caller accepts; None for any.

        Raises:
            Invalid: A field breaks a rule.
            Stale: The list has another version.
            NotFound: The account has no such list.
        """
        return await self._change(list_id, versions, validate_fields(resolve_patch(patch, DEFAULTS)))

    async def move(
        self, list_id: str, move: Move, versions: Container[int] | None, change_id: ObjectId | None = None
    ) -> dto.TodoList:
        """Move a list in the manual order.

        If there is no room between its new neighbors, some lists around them get new positions and versions, and keep
        their order. A list that is already there does not change.

        Args:
            list_id: The id of the list.
            move: Its new place.
            versions: The versions that the caller accepts; None for any.
            change_id: The id of the change, if the request may be repeated. It is applied at most once.

        Raises:
            Invalid: The place is ambiguous, or there is no such neighbor.
            Stale: The list has another version.
            NotFound: The account has no such list.
            Gone: See `AppliedChanges.includes`.
            Busy: Other moves of the account take too long.
        """
        place = parse_place(move)

        async def renumber(other_id: str, accepted: Container[int] | None, old: float, new: float) -> dto.TodoList:
            return await self._change(other_id, accepted, {"position": new}, old_position=old)

        async with hold_order(self._store, self._shared.locks, self._owner):
            found = await self._get_document(list_id)
            if self._applied_changes.includes(found, change_id):
                return await self._change(list_id, None, {}, change_id)
            check_version(found.version, versions)
            renumbering = Renumbering(str(found.id), versions, renumber)
            order = ManualOrder(self._store, TodoList, self._owner, write=renumbering.write)
            position = await order.find_position(place, found.id)
            fields = {"position": position} if position is not None else {}
            return await self._change(list_id, renumbering.versions, fields, change_id)

    async def _read_last_position(self) -> float | None:
        last = await self._store.find(
            TodoList,
            TodoList.owner == self._owner,
            sort=(desc(TodoList.position), desc(TodoList.id)),
            limit=1,
            into=Placed,
        )
        return last[0].position if last else None

    async def _change(
        self,
        list_id: str,
        versions: Container[int] | None,
        fields: Mapping[str, Any],
        change_id: ObjectId | None = None,
        old_position: float | None = None,
    ) -> dto.TodoList:
        """Change a list. The version stays the same if nothing changes.

        Args:
            list_id: The id of the list.
            versions: The versions that the caller accepts; None for any.
            fields: The new values.
            change_id: The id of the change, if the request may be repeated. It is applied at most once.
            old_position: If given, a list that has another position is left unchanged.
        """
        async with self._shared.locks.hold(list_id):
            async for _ in Attempts():
                found = await self._get_document(list_id)
                applied = self._applied_changes.includes(found, change_id)
                if not applied:
                    check_version(found.version, versions)
                moment = max(now(), found.updated_at)
                changes: dict[str, Any] = {}
                if not applied and old_position in (None, found.position):
                    changes = {name: value for name, value in fields.items() if getattr(found, name) != value}
                if changes:
                    # an earlier release stored names as they were sent
                    changes = {"name": compose(found.name)} | changes
                    changes |= {"version": found.version + 1, "updated_at": moment}
                if change_id is not None and not applied:
                    changes["applied_change_ids"] = self._applied_changes.record(found, moment, change_id)
                changed = await self._store.update(
                    TodoList, *self._match(list_id), TodoList.version == found.version, changes=changes
                )
                if changed is not None:
                    return dto.TodoList.from_document(changed)
        raise AssertionError  # unreachable: the last attempt raises `Busy`

    async def delete(self, list_id: str, todos: Literal["move", "delete"], versions: Container[int] | None) -> None:
        """Delete a list, and move its todos to the inbox or delete them.

        The list is first closed to new todos, then emptied, then replaced with a tombstone for the delta sync of the
        next 30 days. If the request is interrupted, a sweep completes the deletion after a minute. A repeat of the
        request also completes it, unless it requires the old version: closing a list gives it a new one. Of two
        requests that treat the todos differently, only the one that closes the list is executed.

        Args:
            list_id: The id of the list.
            todos: Whether to move or delete its todos.
            versions: The versions that the caller accepts; None for any.

        Raises:
            Stale: The list has another version.
            Conflict: Another request deletes the list, and treats its todos differently.
            NotFound: The account has no such list.
        """
        closed = await self._close(list_id, todos, versions)
        await finish_deletion(self._store, self._todos, closed)
        # a write that found the list before it was closed may still put a todo into it
        await schedule_sweeps(self._store, closed.id, self._owner, now())

    async def _close(self, list_id: str, todos: Literal["move", "delete"], versions: Container[int] | None) -> TodoList:
        """Close a list to new todos. See `delete`."""
        async for _ in Attempts():
            found = await self._get_document(list_id)
            check_version(found.version, versions)
            if found.closing not in (None, todos):
                raise Conflict("this list is already being deleted with another value of `todos`")
            await schedule_sweeps(self._store, found.id, self._owner, now())
            where = [*self._match(list_id), TodoList.version == found.version]
            # the new version ensures that no other writer with the same entity tag succeeds
            changes = {"closing": todos, "version": found.version + 1, "updated_at": max(now(), found.updated_at)}
            closed = await self._store.update(TodoList, *where, changes=changes)
            if closed is not None:
                return closed
        raise AssertionError  # unreachable: the last attempt raises `Busy`

    async def delete_all(self) -> None:
        """Delete every list and tombstone of the account, but not the todos in the lists.

        Repeat the call if it fails halfway.
        """
        # in batches, because there may be many tombstones
        batch: dict[str, Any] = {"sort": None, "limit": _DELETE_BATCH, "into": _Identity}
        while found := await self._store.find(TodoList, TodoList.account == self._owner, **batch):
            await self._store.delete(TodoList, TodoList.account == self._owner, _match_ids(TodoList, found))
        while found := await self._store.find(DeletedList, DeletedList.owner == self._owner, **batch):
            await self._store.delete(DeletedList, DeletedList.owner == self._owner, _match_ids(DeletedList, found))

    async def _get_document(self, list_id: str) -> TodoList:
        found = await self._store.get(TodoList, *self._match(list_id))
        if found is None:
            raise NotFound("there is no such list")
        return found

    def _match(self, list_id: str) -> list[Condition]:
        if not is_id(list_id):
            raise NotFound("there is no such list")
        return [TodoList.id == ObjectId(list_id), TodoList.owner == self._owner]


def _match_ids(model: type[Any], found: Iterable[_Identity]) -> Condition:
    condition: Condition = model.id.in_([ObjectId(each.id) for each in found])
    return condition
