"""Changes of a todo with optimistic locking: read, decide, then write if the version is still the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from odmantic import ObjectId

from todo_service.applied_changes import AppliedChanges, encode_change
from todo_service.errors import NotFound
from todo_service.store.base import Condition, DocumentStore
from todo_service.store.optimistic import Attempts
from todo_service.store.structs import derive_struct
from todo_service.sync.changes import SYNC_TOKEN_LIFETIME
from todo_service.sync.counts import build_history_changes
from todo_service.timestamps import now
from todo_service.todos import dto, firing_times
from todo_service.todos.documents import Todo
from todo_service.todos.fields import ERASED, SEARCHED, extract_field_words
from todo_service.todos.schedule import SCHEDULE
from todo_service.todos.shared import SharedState
from todo_service.todos.uids import build_uid_fields
from todo_service.todos.validation import compose_texts, is_id
from todo_service.versions import check_version

TOMBSTONE_LIFETIME: Final = SYNC_TOKEN_LIFETIME + timedelta(days=1)
"""How long tombstones of todos and lists are stored."""
_COUNTED: Final = frozenset({"completed", "priority", "list_id", "tags", "due_end"})
_TOMBSTONE: Final = ERASED | {
    "owner": None,
    "words": [],
    "completed_at": None,
    "due_local": None,
    "start_local": None,
    "last_completed_at": None,
    "completions": [],
    "undo": None,
    "completion_recorded_at": None,
    "next_fire": None,
}

Decision = Callable[[Todo, datetime], Awaitable[dict[str, Any]]]
"""Takes a todo and the current time, and returns the fields that change, as the document stores them.

The todo may have been changed later than the current time, because the clock may have been set back.
"""


class TodoWriter:
    """Changes and deletes the todos of one account.

    Args:
        store: The store.
        owner: The account.
        shared: The state that all accounts share.
        use_time_zone: Returns the account's time zone (an IANA name) for a write that depends on it, and marks it as
            used.
        applied_changes: Finds and records the changes of the request.

    Attributes:
        applied_changes: Finds and records the changes of the request.
    """

    def __init__(
        self,
        store: DocumentStore,
        owner: ObjectId,
        shared: SharedState,
        use_time_zone: Callable[[], Awaitable[str]],
        applied_changes: AppliedChanges,
    ) -> None:
        self._store = store
        self._owner = owner
        self._shared = shared
        self._use_time_zone = use_time_zone
        self.applied_changes = applied_changes

    async def change(
        self, todo_id: str, versions: Container[int] | None, decide: Decision, change_id: ObjectId | None = None
    ) -> dto.Todo:
        """Change a todo. The version stays the same if nothing changes.

        Args:
            todo_id: The id of the todo.
            versions: The versions that the caller accepts; None for any.
            decide: Decides what changes. It is called again if another writer wins the race.
            change_id: The id of the change, if the request may be repeated. It is applied at most once.

        Raises:
            Stale: The todo has another version.
            NotFound: The account has no such todo.
            Gone: See `AppliedChanges.includes`.
        """
        async with self._shared.locks.hold(todo_id):
            async for _ in Attempts():
                todo: Todo | None = await self._store.get(Todo, *self._match(todo_id), into=derive_struct(Todo))
                if todo is None:
                    raise NotFound("there is no such todo")
                applied = self.applied_changes.includes(todo, change_id)
                if not applied:
                    check_version(todo.version, versions)
                current = now()
                moment = max(current, todo.updated_at)
                changes = {} if applied else await decide(todo, current)
                if changes:
                    changed = await self._write(todo, changes, moment, change_id)
                elif applied or change_id is None:
                    changed = await self.confirm(todo)
                else:
                    # record the id: a repeat must not apply a change that had no effect the first time
                    recorded = self.applied_changes.record(todo, moment, change_id)
                    changed = await self.confirm(todo, applied_change_ids=recorded)
                # of several writers that read the same version one succeeds; the others try again
                if changed is not None:
                    return changed
        raise AssertionError  # unreachable: the last attempt raises `Busy`

    async def confirm(self, todo: Todo, **changes: Any) -> dto.Todo | None:
        """Write a todo back without a new version, so that the response shows durable data.

        A partitioned MongoDB member may return data that is rolled back later.

        Args:
            todo: The todo as read.
            **changes: Fields to write.

        Returns:
            The todo, or None if it has changed since it was read.
        """
        return await self._store.update(
            Todo, *self._match(str(todo.id)), Todo.version == todo.version, changes=changes, into=dto.Todo
        )

    async def delete(
        self,
        todo_id: str,
        versions: Container[int] | None,
        change_id: ObjectId | None,
        from_list: ObjectId | None = None,
    ) -> None:
        """Replace a todo with a tombstone. See `Todos.delete`.

        Args:
            todo_id: The id of the todo.
            versions: The versions that the caller accepts; None for any.
            change_id: The id of the change, if the request may be repeated.
            from_list: If given, a todo that is not in this list is left alone.
        """
        async with self._shared.locks.hold(todo_id):
            async for _ in Attempts():
                todo: Todo | None = await self._store.get(Todo, *self._match(todo_id), into=derive_struct(Todo))
                if todo is None:
                    if await self._was_deleted_by(todo_id, change_id):
                        return
                    raise NotFound("there is no such todo")
                if from_list is not None and todo.list_id != from_list:
                    return
                check_version(todo.version, versions)
                moment = now()
                changes = (
                    _TOMBSTONE
                    | build_uid_fields(None, todo.id)
                    | {
                        "updated_at": moment,
                        "purge_at": moment + TOMBSTONE_LIFETIME,
                        "applied_change_ids": [encode_change(moment, change_id)] if change_id is not None else [],
                    }
                )
                changes |= await build_history_changes(self._store, todo, counts_change=True)
                if await self._store.update(Todo, *self._match(todo_id), Todo.version == todo.version, changes=changes):
                    return

    async def _was_deleted_by(self, todo_id: str, change_id: ObjectId | None) -> bool:
        if change_id is None:
            return False
        where = [Todo.account == self._owner, Todo.id == ObjectId(todo_id)]
        tombstone: Todo | None = await self._store.get(Todo, *where, into=derive_struct(Todo))
        if tombstone is None or not self.applied_changes.includes(tombstone, change_id):
            return False
        return await self._store.update(Todo, *where, changes={}) is not None

    async def _write(
        self, todo: Todo, changes: dict[str, Any], moment: datetime, change_id: ObjectId | None
    ) -> dto.Todo | None:
        """Write the changes of a todo. Return None if it has changed since it was read."""
        changes |= compose_texts(todo, changes)
        if SEARCHED & changes.keys():
            changes["words"] = extract_field_words(merge(todo, changes))
        if firing_times.SOURCES & changes.keys():
            changes["next_fire"] = await self._derive_next_fire(todo, apply_changes(todo, changes))
        changes |= await build_history_changes(self._store, todo, counts_change=bool(_COUNTED & changes.keys()))
        if change_id is not None:
            changes["applied_change_ids"] = self.applied_changes.record(todo, moment, change_id)
        changes |= {"version": todo.version + 1, "updated_at": moment}
        old_tags, tags = set(todo.tags), set(changes.get("tags", todo.tags))
        async with self._shared.quotas.tags.reserve(self._owner, tags - old_tags, removed=old_tags - tags) as room:
            changed: dto.Todo | None = await self._store.update(
                Todo, *self._match(str(todo.id)), Todo.version == todo.version, changes=changes, into=dto.Todo
            )
            room.may_be_incomplete = changed is None
        if "position" in changes:
            self._shared.positions.forget(self._owner)
        return changed

    async def _derive_next_fire(self, before: Todo, after: Todo) -> datetime | None:
        zones = await self._find_zone(before), await self._find_zone(after)
        # not the time of the change, which is later if the clock has been set back
        return firing_times.derive_next_fire(before, after, zones, now())

    async def _find_zone(self, todo: Todo) -> tzinfo:
        """Return the time zone in which a todo fires, or UTC if that does not matter."""
        if not firing_times.depends_on_zone(todo):
            return UTC
        return ZoneInfo(todo.time_zone or await self._use_time_zone())

    def _match(self, todo_id: str) -> list[Condition]:
        return match_todo(todo_id, self._owner)


def match_todo(todo_id: str, owner: ObjectId) -> list[Condition]:
    """Return the conditions that select a todo of an account.

    Raises:
        NotFound: The text is not an id.
    """
    if not is_id(todo_id):
        raise NotFound("there is no such todo")
    return [Todo.id == ObjectId(todo_id), Todo.owner == owner]


def select_changes(todo: Todo, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields whose values differ from those of a todo."""
    changes = {name: value for name, value in fields.items() if getattr(todo, name) != value}
    # an intended local time belongs to the moment for which it was computed; in another time zone it has no effect
    for name, local in (("due_at", "due_local"), ("start_at", "start_local")):
        if getattr(todo, local) is not None and name in changes:
            changes[local] = None
    return changes


def apply_changes(todo: Todo, changes: Mapping[str, Any]) -> Todo:
    """Return a todo with changes applied.

    Args:
        todo: The todo, as the store returns it.
        changes: The fields that change.
    """
    stored: Any = todo
    changed: Todo = msgspec.structs.replace(stored, **changes)
    return changed


def merge(todo: Todo, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the searched fields and the schedule of a todo, with changes applied."""
    names = SEARCHED | SCHEDULE | {"reminders"}
    return {name: getattr(todo, name) for name in names} | dict(changes)
