"""Moves todos in the manual order of their list, and to other lists."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime
from typing import Any

from msgspec import UNSET, UnsetType
from odmantic import ObjectId

from todo_service.errors import NotFound
from todo_service.store.base import Condition, DocumentStore
from todo_service.store.optimistic import Attempts
from todo_service.store.structs import derive_struct
from todo_service.todos import dto
from todo_service.todos.account_lease import hold_order
from todo_service.todos.documents import Todo
from todo_service.todos.ordering import ManualOrder, Renumbering
from todo_service.todos.places import Place
from todo_service.todos.shared import SharedState
from todo_service.todos.writes import TodoWriter, match_todo, select_changes
from todo_service.versions import check_version


class _LeftListError(Exception):
    """The todo was moved to another list after it was read."""


class TodoMover:
    """Moves the todos of one account.

    Args:
        store: The store.
        owner: The account.
        shared: The state that all accounts share.
        writer: Changes the todos of the account.
    """

    def __init__(self, store: DocumentStore, owner: ObjectId, shared: SharedState, writer: TodoWriter) -> None:
        self._store = store
        self._owner = owner
        self._shared = shared
        self._writer = writer

    async def move(
        self,
        todo_id: str,
        place: Place,
        list_id: ObjectId | UnsetType | None,
        versions: Container[int] | None,
        change_id: ObjectId | None,
    ) -> dto.Todo:
        """Move a todo. See `Todos.move`.

        Args:
            todo_id: The id of the todo.
            place: The place in the order of the list.
            list_id: The id of its new list, None for the inbox; `UNSET` if it stays in its list.
            versions: The versions that the caller accepts; None for any.
            change_id: The id of the change, if the request may be repeated. It is applied at most once.
        """
        async with hold_order(self._store, self._shared.locks, self._owner):
            async for _ in Attempts():
                todo: Todo | None = await self._store.get(Todo, *self._match(todo_id), into=derive_struct(Todo))
                if todo is None:
                    raise NotFound("there is no such todo")
                try:
                    if self._writer.applied_changes.includes(todo, change_id):
                        return await self._writer.change(todo_id, None, _keep, change_id)
                    check_version(todo.version, versions)
                    return await self._move(todo, place, list_id, versions, change_id)
                except _LeftListError:
                    continue
        raise AssertionError  # unreachable: the last attempt raises `Busy`

    async def _move(
        self,
        todo: Todo,
        place: Place,
        list_id: ObjectId | UnsetType | None,
        versions: Container[int] | None,
        change_id: ObjectId | None,
    ) -> dto.Todo:
        target = todo.list_id if list_id is UNSET else list_id

        async def renumber(other_id: str, accepted: Container[int] | None, old: float, new: float) -> dto.Todo:
            return await self._writer.change(other_id, accepted, _renumber(target, old, new))

        async def decide(current: Todo, _: datetime) -> dict[str, Any]:
            if current.list_id != todo.list_id:
                raise _LeftListError
            return select_changes(current, changes)

        renumbering = Renumbering(str(todo.id), versions, renumber)
        order = ManualOrder(
            self._store,
            Todo,
            self._owner,
            Todo.list_id == target,
            Todo.completed.in_([False, True]),  # type: ignore[attr-defined]  # ODMantic's field proxy has it
            write=renumbering.write,
        )
        position = await order.find_position(place, todo.id)
        changes = {"list_id": target} | ({"position": position} if position is not None else {})
        return await self._writer.change(str(todo.id), renumbering.versions, decide, change_id)

    def _match(self, todo_id: str) -> list[Condition]:
        return match_todo(todo_id, self._owner)


def _renumber(list_id: ObjectId | None, old: float, new: float) -> Any:
    """Return a decision that changes the position of a todo, unless it has been moved meanwhile."""

    async def decide(todo: Todo, _: datetime) -> dict[str, Any]:
        return {"position": new} if todo.list_id == list_id and todo.position == old else {}

    return decide


async def _keep(_: Todo, __: datetime) -> dict[str, Any]:
    return {}
