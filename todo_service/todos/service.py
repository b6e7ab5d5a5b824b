"""The rules of todos."""

from __future__ import annotations

import contextlib
import zoneinfo
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET
from odmantic import ObjectId

from todo_service.bounds.todos import APPLIED_CHANGES, PAGE_BYTES
from todo_service.errors import Gone, Invalid, NotFound, QuotaExceeded, Stale, ValidationIssue
from todo_service.executors import Budget, Executor
from todo_service.lists.documents import TodoList
from todo_service.store.base import Condition, DocumentStore, DuplicateDocument, struct_of
from todo_service.store.optimistic import Attempts
from todo_service.sync import counts
from todo_service.sync.changes import BY_CHANGE, REMEMBERED, ChangeFeed, ChangePosition, SyncToken
from todo_service.sync.counts import count_history
from todo_service.timestamps import is_storable, now
from todo_service.todos import dto
from todo_service.todos.documents import Step, Todo
from todo_service.todos.listing import Listing
from todo_service.todos.query import Position
from todo_service.todos.recurrence import Rule, require_occurrence
from todo_service.todos.shared import SharedState
from todo_service.todos.summary import Summaries
from todo_service.todos.validation import NOT_KEPT, is_id, validate_fields
from todo_service.todos.words import words_of

ResultT = TypeVar("ResultT")
_SWEEP: Final = 200
_DELETED_AT_ONCE: Final = 500
_REPEATABLE: Final = timedelta(hours=25)
"""How long after a change it may be repeated with its `Idempotency-Key`, and a little more."""
_PURGED_AFTER: Final = REMEMBERED + timedelta(days=1)
_OPTIONAL: Final[dict[str, Any]] = {
    "description": "",
    "priority": "none",
    "due_at": None,
    "tags": [],
    "list_id": None,
    "steps": [],
    "recurrence": None,
}
_COUNTED: Final = frozenset({"completed", "priority", "list_id", "tags", "due_at"})
_SEARCHED: Final = frozenset({"title", "description", "steps"})

Decide = Callable[[Todo, datetime], Awaitable[dict[str, Any]]]
"""What becomes of a todo at a moment: the new values of fields, as they are stored."""


class _Identity(msgspec.Struct):
    id: str


class _Changed(msgspec.Struct):
    changed: str


class Todos:
    """The todos of one account. Everything asked here is asked of that account alone.

    Args:
        store: Where they are kept.
        owner: The account.
        time_zone: Returns the account's time zone, an IANA name.
        rules: Works recurrence rules out; None where no rule is given and no todo completed.
        shared: What the todos of all accounts share in this process; a state of its own unless it is given.

    Attributes:
        shared: As it was given.
    """

    def __init__(
        self,
        store: DocumentStore,
        owner: ObjectId,
        time_zone: Callable[[], Awaitable[str]],
        rules: Executor | None = None,
        shared: SharedState | None = None,
    ) -> None:
        self._store = store
        self._owner = owner
        self._time_zone = time_zone
        self._rules = rules
        self.shared = shared = shared or SharedState(store)
        self._quotas = shared.quotas

    async def create(self, todo: dto.TodoCreate, identity: ObjectId | None = None) -> dto.Todo:
        """Make a todo.

        Args:
            todo: What it is to be.
            identity: Its id, where the call may be repeated: then the todo that is there already is the answer.

        Raises:
            Invalid: a field breaks a rule.
            Gone: it was made by the same call before, and has been deleted since.
            QuotaExceeded: the account has as many todos or tags as it may have.
        """
        if identity is not None and (made := await self._made(identity)) is not None:
            return made
        document = self._document(todo, identity or ObjectId(), now())
        await self._ensure_occurs(document.recurrence, document.due_at)
        await self._check_list(document.list_id)
        async with self._quotas.todos.one(self._owner):
            with self._quotas.tags.writing(self._owner) as tags:
                await tags.add(document.tags)
                await self._store.insert(document)
        self.shared.counting.count_later(self._owner, document.id, document.updated_at)
        return await self._settle_list(dto.Todo.of(document))

    async def add(
        self, todos: Sequence[dto.TodoImport], identities: Sequence[ObjectId | None], executor: Executor
    ) -> list[Invalid | None]:
        """Make many todos, in order. Each comes last in the manual order unless it says otherwise.

        Args:
            todos: What they are to be; the lists that they name are the account's.
            identities: Their ids, where the call may be repeated: a todo that is there already is not made again.
            executor: Checks them in a thread, since that takes milliseconds for each of the largest.

        Returns:
            For each todo what is wrong with it, or None where it is there now.
        """
        moment = now()
        results = await executor.run(lambda budget: list(self._documents(todos, identities, moment, budget)))
        answers = await self._insert_within_quotas(results)
        documents = [
            result
            for result, answer in zip(results, answers, strict=True)
            if isinstance(result, Todo) and answer is None
        ]
        for document in documents:
            self.shared.counting.count_later(self._owner, document.id, moment)
        for list_id in {document.list_id for document in documents}:
            # it was deleted while its todos were written, and whoever deletes has passed by
            if list_id is not None and not await self._has_list(list_id):
                await self.empty_list(list_id, delete=False)
        return answers

    def _documents(
        self,
        todos: Sequence[dto.TodoImport],
        identities: Sequence[ObjectId | None],
        moment: datetime,
        budget: Budget,
    ) -> Iterator[Todo | Invalid]:
        """Return each new todo as it is stored, or what is wrong with it."""
        place = 0
        for todo, identity in zip(todos, identities, strict=True):
            budget.check()
            try:
                document = self._document(todo, identity or ObjectId(), moment, place)
                require_occurrence(document.recurrence, document.due_at, budget)
            except Invalid as error:
                yield error
            else:
                place += 1
                yield document

    async def _ensure_occurs(self, recurrence: str | None, due_at: datetime | None) -> None:
        """Check that a rule occurs on a due date or after it.

        Raises:
            Invalid: it does not.
        """
        if recurrence is not None and due_at is not None:
            await self._work_out(lambda budget: require_occurrence(recurrence, due_at, budget))

    async def _work_out(self, work: Callable[[Budget], ResultT]) -> ResultT:
        """Work a recurrence rule out in a thread: it takes milliseconds."""
        assert self._rules is not None  # whoever gives a rule or completes a todo was given an executor
        return await self._rules.run(work, self._owner)

    async def _insert_within_quotas(self, results: Sequence[Todo | Invalid]) -> list[Invalid | None]:
        """Insert todos, and return for each what is wrong with it, or None where it is there now."""
        answers: list[Invalid | None] = []
        documents: list[Todo] = []
        wanted = sum(isinstance(result, Todo) for result in results)
        async with self._quotas.todos.room(self._owner, wanted) as room:
            with self._quotas.tags.writing(self._owner, patient=True) as tags:
                for result in results:
                    if isinstance(result, Invalid):
                        answers.append(result)
                        continue
                    try:
                        if len(documents) == room:
                            raise QuotaExceeded("todos", self._quotas.todos.limit)
                        await tags.add(result.tags)
                    except QuotaExceeded as error:
                        answers.append(Invalid([ValidationIssue("", str(error))]))
                    else:
                        documents.append(result)
                        answers.append(None)
                await self._insert_all(documents)
        return answers

    async def _insert_all(self, documents: Sequence[Todo]) -> None:
        try:
            await self._store.insert(*documents)
        except DuplicateDocument:
            # the same call has made some of them before
            for document in documents:
                with contextlib.suppress(DuplicateDocument):
                    await self._store.insert(document)

    def _document(
        self, todo: dto.TodoCreate | dto.TodoImport, identity: ObjectId, moment: datetime, place: int = 0
    ) -> Todo:
        """Return a new todo as it is stored.

        Args:
            todo: What it is to be.
            identity: Its id.
            moment: When it is made.
            place: How many are made before it in the same moment, to come before it in the manual order.

        Raises:
            Invalid: a field breaks a rule.
        """
        fields = validate_fields({name: getattr(todo, name) for name in dto.TodoCreate.__struct_fields__})
        # a new todo comes last in the manual order
        fields = {"position": moment.timestamp() * 1000 + place / 1000} | fields
        _check_together(fields, fields)
        created_at = moment
        completed_at = moment if todo.completed else None
        if isinstance(todo, dto.TodoImport):
            if todo.completed_at is not None and not todo.completed:
                raise Invalid(
                    [ValidationIssue("/completed_at", "Expected no such time of a todo that is not completed")]
                )
            for name in ("created_at", "completed_at"):
                if isinstance(given := getattr(todo, name), datetime) and not is_storable(given):
                    raise Invalid([ValidationIssue(f"/{name}", NOT_KEPT)])
            if todo.created_at is not UNSET:
                created_at = min(todo.created_at, moment)
            if todo.completed_at is not None:
                completed_at = todo.completed_at
        return Todo(
            id=identity,
            account=self._owner,
            owner=self._owner,
            completed_at=completed_at,
            due_local=None,
            words=words_in(fields),
            version=1,
            created_at=created_at,
            updated_at=moment,
            **fields,
        )

    async def _made(self, identity: ObjectId) -> dto.Todo | None:
        found = await self._store.get(Todo, Todo.id == identity, Todo.account == self._owner)
        if found is None:
            return None
        if found.owner is None:
            raise Gone("this todo was made and has been deleted since")
        return await self._confirmed(found) or await self._made(identity)

    async def _confirmed(self, todo: Todo, **changes: Any) -> dto.Todo | None:
        """Return a todo that was read, once it is as durable as if it had just been written; None if it is not so.

        A member of MongoDB that was cut off may show what will be taken back, and what is answered must stay.
        """
        return await self._store.update(
            Todo, *self._this(str(todo.id)), Todo.version == todo.version, changes=changes, into=dto.Todo
        )

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
        """Return a page of a list or a search. See `Listing.page`."""
        return await Listing(self._store, self._owner).page(query, after)

    async def changes(self, since: SyncToken | None, limit: int) -> tuple[list[dto.Todo], list[str], SyncToken, bool]:
        """Return what has changed. See `ChangeFeed.page`; `sync.changes` says why nothing is ever missed."""
        return await ChangeFeed(self._store, self._owner).page(since, limit, now())

    async def summary(self, tz: str | None) -> dto.Summary:
        """Count the todos. See `Summaries.summary`."""
        return await self._summaries().summary(tz)

    async def tags(self) -> list[dto.TagCount]:
        """Return every tag in use and how many todos have it, by name. See `Summaries.tags`."""
        return await self._summaries().tags()

    def _summaries(self) -> Summaries:
        return Summaries(self._store, self._owner, self._time_zone, self.shared.counting)

    async def update(
        self, todo_id: str, patch: dto.TodoUpdate, versions: frozenset[int] | None, change_id: ObjectId | None = None
    ) -> dto.Todo:
        """Change a todo by a merge patch; one that changes nothing leaves its version as it is.

        Args:
            todo_id: The todo.
            patch: What to change.
            versions: The versions that the caller accepts, or None for any.
            change_id: The id of this change, where the call may be repeated: a todo that has it is not changed again.

        Raises:
            Invalid: a field breaks a rule.
            Stale: the todo has another version.
            NotFound: there is none with this id, or it is another account's.
        """
        given = {name: value for name in patch.__struct_fields__ if (value := getattr(patch, name)) is not UNSET}
        fields = validate_fields({name: _OPTIONAL[name] if value is None else value for name, value in given.items()})
        await self._check_list(fields.get("list_id"))

        async def decide(todo: Todo, moment: datetime) -> dict[str, Any]:
            changes = _differing(todo, fields)
            merged = _merged(todo, changes)
            _check_together(changes, merged)
            if {"recurrence", "due_at"} & changes.keys():
                await self._ensure_occurs(merged["recurrence"], merged["due_at"])
            if "completed" in changes:
                changes["completed_at"] = moment if changes["completed"] else None
            return changes

        return await self._settle_list(await self._change(todo_id, versions, decide, change_id))

    async def complete(
        self, todo_id: str, versions: frozenset[int] | None, change_id: ObjectId | None = None
    ) -> dto.Todo:
        """Complete a todo; one that recurs moves to its next due date instead, its steps open again.

        Completing a completed todo changes nothing. Arguments and errors as in `update`.
        """

        async def decide(todo: Todo, moment: datetime) -> dict[str, Any]:
            if todo.completed:
                return {}
            if todo.recurrence is not None and todo.due_at is not None:
                zone = zoneinfo.ZoneInfo(await self._time_zone())
                rule, due_at, local = Rule(todo.recurrence), todo.due_at, todo.due_local
                following = await self._work_out(lambda budget: rule.next(due_at, local, zone, budget))
                if following is not None:
                    again = [Step(id=step.id, title=step.title, completed=False) for step in todo.steps]
                    return {
                        "due_at": following.due_at,
                        "due_local": following.local,
                        "recurrence": following.recurrence,
                        "steps": again,
                    }
            return {"completed": True, "completed_at": moment}

        return await self._change(todo_id, versions, decide, change_id)

    async def reopen(
        self, todo_id: str, versions: frozenset[int] | None, change_id: ObjectId | None = None
    ) -> dto.Todo:
        """Open a completed todo again; an open one stays as it is. Arguments and errors as in `update`."""

        async def decide(todo: Todo, _: datetime) -> dict[str, Any]:
            return {"completed": False, "completed_at": None} if todo.completed else {}

        return await self._change(todo_id, versions, decide, change_id)

    async def delete(self, todo_id: str, versions: frozenset[int] | None, change_id: ObjectId | None = None) -> None:
        """Delete a todo. That it was deleted is remembered for 30 days, of what was in it nothing.

        Args:
            todo_id: The todo.
            versions: The versions that the caller accepts, or None for any.
            change_id: As in `update`.

        Raises:
            Stale: the todo has another version.
            NotFound: there is none with this id, or it is another account's.
        """
        emptied = {"title": "", "title_key": "", "priority_rank": 0, "words": [], "completed_at": None}
        async with self.shared.locks.hold(todo_id):
            async for _ in Attempts():
                todo: Todo | None = await self._store.get(Todo, *self._this(todo_id), into=struct_of(Todo))
                if todo is None:
                    if await self._was_deleted_by(todo_id, change_id):
                        return
                    raise NotFound("there is no such todo")
                if versions is not None and todo.version not in versions:
                    raise Stale
                moment = now()
                gone = {"owner": None, "due_local": None, "updated_at": moment, "purge_at": moment + _PURGED_AFTER}
                kept = {"applied_change_ids": [change_id] if change_id is not None else []}
                kept |= await count_history(self._store, todo, counted_otherwise=True)
                changes = _OPTIONAL | emptied | gone | kept
                if await self._store.update(Todo, *self._this(todo_id), Todo.version == todo.version, changes=changes):
                    return

    async def _was_deleted_by(self, todo_id: str, change_id: ObjectId | None) -> bool:
        if change_id is None:
            return False
        where = [Todo.id == ObjectId(todo_id), Todo.applied_change_ids == change_id]
        return await self._store.update(Todo, Todo.account == self._owner, *where, changes={}) is not None

    async def delete_all(self) -> None:
        """Delete every todo of the account and every remembered deletion; a repeat deletes what is left."""
        while True:
            found = await self._store.find(
                Todo,
                Todo.account == self._owner,
                sort=BY_CHANGE,
                limit=_DELETED_AT_ONCE,
                max_bytes=PAGE_BYTES,
                into=_Changed,
            )
            if not found:
                break
            upto = ChangePosition.read(found[-1].changed).stamp
            await self._store.delete(Todo, Todo.account == self._owner, Todo.changed <= upto)
        await counts.forget(self._store, self._owner)

    async def empty_list(self, list_id: ObjectId, *, delete: bool) -> None:
        """Move every todo of a list to the inbox, or delete them. Doing it again finishes what was broken off."""

        async def to_inbox(todo: Todo, _: datetime) -> dict[str, Any]:
            return {"list_id": None} if todo.list_id == list_id else {}

        while True:
            where = [Todo.owner == self._owner, Todo.list_id == list_id]
            found = await self._store.find(Todo, *where, sort=None, limit=_SWEEP, max_bytes=PAGE_BYTES, into=_Identity)
            for todo in found:
                try:
                    if delete:
                        await self.delete(todo.id, None)
                    else:
                        await self._change(todo.id, None, to_inbox)
                except NotFound:
                    continue  # someone else has deleted it meanwhile
            if len(found) < _SWEEP and not found.truncated:
                return

    async def _change(
        self, todo_id: str, versions: frozenset[int] | None, decide: Decide, change_id: ObjectId | None = None
    ) -> dto.Todo:
        """Change a todo as a rule decides from what it is; a rule that changes nothing leaves its version as it is."""
        async with self.shared.locks.hold(todo_id):
            async for _ in Attempts():
                todo: Todo | None = await self._store.get(Todo, *self._this(todo_id), into=struct_of(Todo))
                if todo is None:
                    raise NotFound("there is no such todo")
                applied = change_id is not None and change_id in todo.applied_change_ids
                if not applied and versions is not None and todo.version not in versions:
                    raise Stale
                moment = max(now(), todo.updated_at)
                changes = {} if applied else await decide(todo, moment)
                if changes:
                    changed = await self._write(todo, changes, moment, change_id)
                elif applied or change_id is None:
                    changed = await self._confirmed(todo)
                else:
                    # a repeat must not find something to do that this call did not
                    changed = await self._confirmed(todo, applied_change_ids=_remember(todo, moment, change_id))
                # of several writers who read the same version one succeeds; the others look again
                if changed is not None:
                    return changed
        raise AssertionError  # `Attempts` ends by an error

    async def _write(
        self, todo: Todo, changes: dict[str, Any], moment: datetime, change_id: ObjectId | None
    ) -> dto.Todo | None:
        """Write what was decided of a todo, or return None where it has been changed since it was read."""
        if _SEARCHED & changes.keys():
            changes["words"] = words_in(_merged(todo, changes))
        changes |= await count_history(self._store, todo, counted_otherwise=bool(_COUNTED & changes.keys()))
        if change_id is not None:
            changes["applied_change_ids"] = _remember(todo, moment, change_id)
        changes |= {"version": todo.version + 1, "updated_at": moment}
        new_tags = set(changes.get("tags", ())) - set(todo.tags)
        with self._quotas.tags.writing(self._owner) as tags:
            await tags.add(new_tags)
            return await self._store.update(
                Todo, *self._this(str(todo.id)), Todo.version == todo.version, changes=changes, into=dto.Todo
            )

    def _this(self, todo_id: str) -> list[Condition]:
        if not is_id(todo_id):
            raise NotFound("there is no such todo")
        return [Todo.id == ObjectId(todo_id), Todo.owner == self._owner]

    async def _has_list(self, list_id: ObjectId) -> bool:
        found = await self._store.get(TodoList, TodoList.id == list_id, TodoList.owner == self._owner)
        return found is not None and found.closing is None

    async def _check_list(self, list_id: ObjectId | None) -> None:
        if list_id is not None and not await self._has_list(list_id):
            raise Invalid([ValidationIssue("/list_id", "There is no such list")])

    async def _settle_list(self, todo: dto.Todo) -> dto.Todo:
        """Move a todo to the inbox if its list was deleted while it was written, and whoever deletes has passed by."""
        if todo.list_id is None or await self._has_list(list_id := ObjectId(todo.list_id)):
            return todo

        async def to_inbox(found: Todo, _: datetime) -> dict[str, Any]:
            return {"list_id": None} if found.list_id == list_id else {}

        return await self._change(todo.id, None, to_inbox)


def _differing(todo: Todo, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a todo has otherwise."""
    changes = {name: value for name, value in fields.items() if getattr(todo, name) != value}
    if "due_at" in changes:
        changes["due_local"] = None
    return changes


def _remember(todo: Todo, moment: datetime, change_id: ObjectId) -> list[ObjectId]:
    """Return the ids of the changes that a todo remembers once one more has been applied."""
    # what was applied before the last change may not be repeated any more where that was long ago
    earlier = todo.applied_change_ids if moment - todo.updated_at < _REPEATABLE else []
    return [*earlier, change_id][-APPLIED_CHANGES:]


def _merged(todo: Todo, changes: Mapping[str, Any]) -> dict[str, Any]:
    names = _SEARCHED | {"recurrence", "due_at"}
    return {name: getattr(todo, name) for name in names} | dict(changes)


def words_in(fields: Mapping[str, Any]) -> list[str]:
    """Return the words of a todo with these fields."""
    return words_of(fields["title"], fields["description"], *(step.title for step in fields["steps"]))


def _check_together(changes: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """Check what fields mean to each other, where one of them changes.

    Raises:
        Invalid: the todo would recur without a due date.
    """
    if fields["recurrence"] is None or not {"recurrence", "due_at"} & changes.keys():
        return
    if fields["due_at"] is None:
        pointer = "/recurrence" if changes.get("recurrence") is not None else "/due_at"
        raise Invalid([ValidationIssue(pointer, "Expected a due date where there is a recurrence")])
