"""The rules of todos."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import UNSET
from odmantic import ObjectId

from todo_service.errors import Fault, Invalid, InvalidParameter, NotFound, Stale
from todo_service.store.base import Condition, DocumentStore
from todo_service.timestamps import now
from todo_service.todos import dto
from todo_service.todos.documents import Todo
from todo_service.todos.query import Position, conditions, position_of, priority_rank, spans, title_key

TITLE_LENGTH: Final = 200
TAGS: Final = 20
TAG_LENGTH: Final = 50
_EARLIEST_DUE: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OPTIONAL: Final[Mapping[str, Any]] = {
    "description": "",
    "priority": "none",
    "due_at": None,
    "tags": [],
    "list_id": None,
}


class Todos:
    """The todos of one account. Everything asked here is asked of that account alone.

    Args:
        store: Where they are kept.
        owner: The account.
    """

    def __init__(self, store: DocumentStore, owner: ObjectId) -> None:
        self._store = store
        self._owner = owner

    async def create(self, todo: dto.TodoCreate) -> dto.Todo:
        """Make a todo.

        Raises:
            Invalid: a field breaks a rule.
        """
        given = {name: getattr(todo, name) for name in todo.__struct_fields__}
        moment = now()
        fields = _checked(given)
        document = Todo(
            id=ObjectId(),
            owner=self._owner,
            completed_at=moment if todo.completed else None,
            version=1,
            created_at=moment,
            updated_at=moment,
            # a new todo comes last in the manual order
            **{"position": moment.timestamp() * 1000} | fields,
        )
        await self._store.insert(document)
        return dto.Todo.of(document)

    async def todo(self, todo_id: str) -> dto.Todo:
        """Return a todo.

        Raises:
            NotFound: there is none with this id, or it is another account's.
        """
        found = await self._store.get(Todo, *self._this(todo_id), into=dto.Todo)
        if found is None:
            raise NotFound("there is no such todo")
        return found

    async def page(self, query: dto.TodoQuery, after: Position | None) -> tuple[list[dto.Todo], Position | None]:
        """Return a page of a list.

        Args:
            query: The filters, the order and how many.
            after: Where the page begins; None for the beginning.

        Returns:
            The todos, and where the next page begins, or None where this is the last.

        Raises:
            InvalidParameter: a filter breaks a rule.
        """
        if query.list_id is not UNSET and query.list_id != "inbox" and not _is_id(query.list_id):
            raise InvalidParameter("list_id", "Expected `inbox` or the 24 hex digits of a list")
        where = [Todo.owner == self._owner, *conditions(query, now())]
        wanted = query.limit + 1
        found: list[dto.Todo] = []
        for span in spans(query.sort, after):
            found += await self._store.find(
                Todo, *where, *span.where, sort=span.sort, limit=wanted - len(found), into=dto.Todo
            )
            if len(found) == wanted:
                break
        page = found[: query.limit]
        return page, position_of(query.sort, page[-1]) if len(found) > len(page) else None

    async def update(self, todo_id: str, patch: dto.TodoUpdate, versions: frozenset[int] | None) -> dto.Todo:
        """Change a todo by a merge patch; one that changes nothing leaves its version as it is.

        Args:
            todo_id: The todo.
            patch: What to change.
            versions: The versions that the caller accepts, or None for any.

        Raises:
            Invalid: a field breaks a rule.
            Stale: the todo has another version.
            NotFound: there is none with this id, or it is another account's.
        """
        given = {name: value for name in patch.__struct_fields__ if (value := getattr(patch, name)) is not UNSET}
        fields = _checked({name: _OPTIONAL[name] if value is None else value for name, value in given.items()})
        while True:
            todo = await self._store.get(Todo, *self._this(todo_id))
            if todo is None:
                raise NotFound("there is no such todo")
            if versions is not None and todo.version not in versions:
                raise Stale
            changes = {name: value for name, value in fields.items() if getattr(todo, name) != value}
            if not changes:
                return dto.Todo.of(todo)
            moment = max(now(), todo.updated_at)
            if "completed" in changes:
                changes["completed_at"] = moment if changes["completed"] else None
            changes |= {"version": todo.version + 1, "updated_at": moment}
            # of several writers who read the same version one succeeds; the others look again
            changed = await self._store.update(
                Todo, *self._this(todo_id), Todo.version == todo.version, changes=changes
            )
            if changed is not None:
                return dto.Todo.of(changed)

    async def delete(self, todo_id: str, versions: frozenset[int] | None) -> None:
        """Delete a todo.

        Args:
            todo_id: The todo.
            versions: The versions that the caller accepts, or None for any.

        Raises:
            Stale: the todo has another version.
            NotFound: there is none with this id, or it is another account's.
        """
        where = self._this(todo_id)
        if versions is not None:
            where.append(Todo.version.in_(sorted(versions)))  # type: ignore[attr-defined]  # ODMantic's proxy has it
        if not await self._store.delete(Todo, *where):
            await self.todo(todo_id)
            raise Stale

    async def delete_all(self) -> None:
        """Delete every todo of the account."""
        await self._store.delete(Todo, Todo.owner == self._owner)

    def _this(self, todo_id: str) -> list[Condition]:
        if not _is_id(todo_id):
            raise NotFound("there is no such todo")
        return [Todo.id == ObjectId(todo_id), Todo.owner == self._owner]


def _is_id(text: str) -> bool:
    return len(text) == 24 and ObjectId.is_valid(text)


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a todo's fields as they are stored, from those that a caller gave.

    Raises:
        Invalid: with every field that breaks a rule.
    """
    fields = {name: value for name, value in given.items() if value is not UNSET}
    faults: list[Fault] = []
    if "title" in fields:
        fields["title"] = fields["title"].strip()
        if not 1 <= len(fields["title"]) <= TITLE_LENGTH:
            faults.append(Fault("/title", f"Expected 1 to {TITLE_LENGTH} characters after trimming"))
        fields["title_key"] = title_key(fields["title"])
    if "priority" in fields:
        fields["priority_rank"] = priority_rank(fields["priority"])
    if fields.get("due_at") is not None and fields["due_at"] < _EARLIEST_DUE:
        faults.append(Fault("/due_at", "Expected a moment in the years 1970 to 9999"))
    if "tags" in fields:
        fields["tags"] = list(dict.fromkeys(tag.strip() for tag in fields["tags"]))
        faults += [
            Fault(f"/tags/{index}", f"Expected 1 to {TAG_LENGTH} characters after trimming")
            for index, tag in enumerate(given["tags"])
            if not 1 <= len(tag.strip()) <= TAG_LENGTH
        ]
        if len(fields["tags"]) > TAGS:
            faults.append(Fault("/tags", f"Expected {TAGS} tags at most"))
    if fields.get("list_id") is not None:
        # no list can be made yet, so every one that is named is unknown
        faults.append(Fault("/list_id", "There is no such list"))
    if faults:
        raise Invalid(faults)
    return fields
