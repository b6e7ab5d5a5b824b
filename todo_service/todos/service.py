"""The rules of todos."""

from __future__ import annotations

import asyncio
import contextlib
import zoneinfo
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final, TypeVar

from msgspec import UNSET
from odmantic import ObjectId

from todo_service.bounds import QUERY_WORDS
from todo_service.errors import Fault, Gone, Invalid, InvalidParameter, NotFound, Stale
from todo_service.executors import Budget, Executor
from todo_service.store.base import Condition, DocumentStore, DuplicateDocument, struct_of
from todo_service.timestamps import is_kept, now
from todo_service.todos import counts, dto
from todo_service.todos.changes import BY_CHANGE, Change, Place, Since
from todo_service.todos.counts import remembering
from todo_service.todos.documents import Step, Todo, TodoList
from todo_service.todos.query import (
    FEW,
    PRIORITIES,
    Position,
    Span,
    arranged,
    filters_of,
    not_overdue,
    ordered,
    position_of,
    spans,
)
from todo_service.todos.recurrence import Rule, require_occurrence
from todo_service.todos.validation import NOT_KEPT, is_id, validate_fields
from todo_service.todos.words import words_of

ResultT = TypeVar("ResultT")
REMEMBERED: Final = timedelta(days=30)
"""How long a deletion is remembered for those who ask for changes."""
_SWEEP: Final = 200
_MARKS: Final = 10
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


class Todos:
    """The todos of one account. Everything asked here is asked of that account alone.

    Args:
        store: Where they are kept.
        owner: The account.
        time_zone: Returns the account's time zone, an IANA name.
        rules: Works recurrence rules out; None where no rule is given and no todo completed.
    """

    def __init__(
        self,
        store: DocumentStore,
        owner: ObjectId,
        time_zone: Callable[[], Awaitable[str]],
        rules: Executor | None = None,
    ) -> None:
        self._store = store
        self._owner = owner
        self._time_zone = time_zone
        self._rules = rules

    async def create(self, todo: dto.TodoCreate, identity: ObjectId | None = None) -> dto.Todo:
        """Make a todo.

        Args:
            todo: What it is to be.
            identity: Its id, where the call may be repeated: then the todo that is there already is the answer.

        Raises:
            Invalid: a field breaks a rule.
            Gone: it was made by the same call before, and has been deleted since.
        """
        if identity is not None and (made := await self._made(identity)) is not None:
            return made
        document = self._document(todo, identity or ObjectId(), now())
        await self._check_fires(document.recurrence, document.due_at)
        await self._check_list(document.list_id)
        await self._store.insert(document)
        await counts.follow(self._store, self._owner, document.id, document.updated_at)
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
        answers = [result if isinstance(result, Invalid) else None for result in results]
        documents = [result for result in results if isinstance(result, Todo)]
        await self._insert_all(documents)
        for document in documents:
            await counts.follow(self._store, self._owner, document.id, moment)
        for list_id in {document.list_id for document in documents}:
            # it was deleted while its todos were written, and whoever deletes has passed by
            if list_id is not None and not await self._has_list(list_id):
                await self.leave_list(list_id, delete=False)
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
                require_occurrence(document.recurrence, document.due_at)
            except Invalid as error:
                yield error
            else:
                place += 1
                yield document

    async def _check_fires(self, recurrence: str | None, due_at: datetime | None) -> None:
        """Check that a rule occurs on a due date or after it.

        Raises:
            Invalid: it does not.
        """
        if recurrence is not None and due_at is not None:
            await self._work_out(lambda: require_occurrence(recurrence, due_at))

    async def _work_out(self, work: Callable[[], ResultT]) -> ResultT:
        """Work a recurrence rule out in a thread: it takes milliseconds."""
        assert self._rules is not None  # whoever gives a rule or completes a todo was given an executor
        return await self._rules.run(lambda _: work(), self._owner)

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
                raise Invalid([Fault("/completed_at", "Expected no such time of a todo that is not completed")])
            for name in ("created_at", "completed_at"):
                if isinstance(given := getattr(todo, name), datetime) and not is_kept(given):
                    raise Invalid([Fault(f"/{name}", NOT_KEPT)])
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

    async def _confirmed(self, todo: Todo) -> dto.Todo | None:
        """Return a todo that was read, once it is as durable as if it had just been written; None if it is not so.

        A member of MongoDB that was cut off may show what will be taken back, and what is answered must stay.
        """
        return await self._store.update(
            Todo, *self._this(str(todo.id)), Todo.version == todo.version, changes={}, into=dto.Todo
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
        """Return a page of a list.

        Args:
            query: The filters, the order and how many.
            after: Where the page begins; None for the beginning.

        Returns:
            The todos, and where the next page begins, or None where this is the last.

        Raises:
            InvalidParameter: a filter breaks a rule.
        """
        if query.list_id is not UNSET and query.list_id != "inbox" and not is_id(query.list_id):
            raise InvalidParameter("list_id", "Expected `inbox` or the 24 hex digits of a list")
        if query.q is not UNSET:
            words = words_of(query.q)
            if len(words) > QUERY_WORDS:
                raise InvalidParameter("q", f"Expected {QUERY_WORDS} different words at most")
            if not words:
                return [], None
        if query.completed is True and query.overdue is True:
            return [], None
        moment = now()
        filters, late = filters_of(query, moment), not_overdue(query, moment)
        wanted = query.limit + 1
        found = None if len(filters) == 1 or ordered(query) else await self._few(query, filters, late, after)
        if found is None:
            every = [*(condition for conditions in filters for condition in conditions), *late]
            # what is equal to the last todo of the page before is seldom anything, but for priorities
            together = 1 if after is None or query.sort.endswith("priority") else 2
            found = await self._spanned(list(spans(query, after)), every, wanted, together)
        page = found[: query.limit]
        return page, position_of(query.sort, page[-1]) if len(found) > len(page) else None

    async def _spanned(self, parts: list[Span], every: list[Condition], wanted: int, together: int) -> list[dto.Todo]:
        """Read spans until there are as many todos as are wanted.

        Args:
            parts: The spans.
            every: What holds for every todo.
            wanted: How many todos.
            together: How many of the first spans are asked for at once, since one alone is likely to be too little.
        """

        def reading(span: Span, limit: int) -> Awaitable[list[dto.Todo]]:
            # the store reads the index that holds the first conditions
            where = (Todo.owner == self._owner, *span.where, *every)
            return self._store.find(Todo, *where, sort=span.sort, limit=limit, into=dto.Todo)

        first, rest = parts[:together], parts[together:]
        found = [todo for part in await asyncio.gather(*(reading(span, wanted) for span in first)) for todo in part]
        for span in rest:
            if len(found) >= wanted:
                break
            found += await reading(span, wanted - len(found))
        return found[:wanted]

    async def _few(
        self, query: dto.TodoQuery, filters: list[list[Condition]], late: list[Condition], after: Position | None
    ) -> list[dto.Todo] | None:
        """Return what the rarest of the filters leaves, in order, or None where that is more than `FEW`."""
        *rare, _ = filters
        numbers = [
            await self._store.count(Todo, Todo.owner == self._owner, *conditions, limit=FEW + 1) for conditions in rare
        ]
        if min(numbers) > FEW:
            return None
        rarest_first = [rare[numbers.index(min(numbers))], *filters]
        where = [condition for conditions in rarest_first for condition in conditions]
        # meanwhile it may have become a few more
        few = await self._store.find(
            Todo, Todo.owner == self._owner, *where, *late, sort=None, limit=2 * FEW, into=dto.Todo
        )
        return arranged(few, query.sort, after) if len(few) < 2 * FEW else None

    async def update(
        self, todo_id: str, patch: dto.TodoUpdate, versions: frozenset[int] | None, mark: ObjectId | None = None
    ) -> dto.Todo:
        """Change a todo by a merge patch; one that changes nothing leaves its version as it is.

        Args:
            todo_id: The todo.
            patch: What to change.
            versions: The versions that the caller accepts, or None for any.
            mark: The id of this change, where the call may be repeated: what has it already is not changed again.

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
                await self._check_fires(merged["recurrence"], merged["due_at"])
            if "completed" in changes:
                changes["completed_at"] = moment if changes["completed"] else None
            return changes

        return await self._settle_list(await self._change(todo_id, versions, decide, mark))

    async def complete(self, todo_id: str, versions: frozenset[int] | None, mark: ObjectId | None = None) -> dto.Todo:
        """Complete a todo; one that recurs moves to its next due date instead, its steps open again.

        Completing a completed todo changes nothing. Arguments and errors as in `update`.
        """

        async def decide(todo: Todo, moment: datetime) -> dict[str, Any]:
            if todo.completed:
                return {}
            if todo.recurrence is not None and todo.due_at is not None:
                zone = zoneinfo.ZoneInfo(await self._time_zone())
                rule, due_at, local = Rule(todo.recurrence), todo.due_at, todo.due_local
                following = await self._work_out(lambda: rule.next(due_at, local, zone))
                if following is not None:
                    again = [Step(id=step.id, title=step.title, completed=False) for step in todo.steps]
                    return {
                        "due_at": following.due_at,
                        "due_local": following.local,
                        "recurrence": following.recurrence,
                        "steps": again,
                    }
            return {"completed": True, "completed_at": moment}

        return await self._change(todo_id, versions, decide, mark)

    async def reopen(self, todo_id: str, versions: frozenset[int] | None, mark: ObjectId | None = None) -> dto.Todo:
        """Open a completed todo again; an open one stays as it is. Arguments and errors as in `update`."""

        async def decide(todo: Todo, _: datetime) -> dict[str, Any]:
            return {"completed": False, "completed_at": None} if todo.completed else {}

        return await self._change(todo_id, versions, decide, mark)

    async def delete(self, todo_id: str, versions: frozenset[int] | None, mark: ObjectId | None = None) -> None:
        """Delete a todo. That it was deleted is remembered for 30 days, of what was in it nothing.

        Args:
            todo_id: The todo.
            versions: The versions that the caller accepts, or None for any.
            mark: As in `update`.

        Raises:
            Stale: the todo has another version.
            NotFound: there is none with this id, or it is another account's.
        """
        emptied = {"title": "", "title_key": "", "priority_rank": 0, "words": [], "completed_at": None}
        while True:
            todo: Todo | None = await self._store.get(Todo, *self._this(todo_id), into=struct_of(Todo))
            if todo is None:
                done = [Todo.id == ObjectId(todo_id), Todo.marks == mark]
                if mark is not None and await self._store.update(Todo, Todo.account == self._owner, *done, changes={}):
                    return
                raise NotFound("there is no such todo")
            if versions is not None and todo.version not in versions:
                raise Stale
            moment = now()
            gone = {"owner": None, "due_local": None, "updated_at": moment, "purge_at": moment + _PURGED_AFTER}
            kept = {"marks": [mark] if mark is not None else []} | remembering(todo, counted_otherwise=True)
            changes = _OPTIONAL | emptied | gone | kept
            if await self._store.update(Todo, *self._this(todo_id), Todo.version == todo.version, changes=changes):
                return

    async def delete_all(self) -> None:
        """Delete every todo of the account, and what is remembered of deleted ones."""
        await self._store.delete(Todo, Todo.account == self._owner)
        await counts.forget(self._store, self._owner)

    async def leave_list(self, list_id: ObjectId, *, delete: bool) -> None:
        """Move every todo of a list to the inbox, or delete them. Doing it again finishes what was broken off."""

        async def to_inbox(todo: Todo, _: datetime) -> dict[str, Any]:
            return {"list_id": None} if todo.list_id == list_id else {}

        while True:
            where = [Todo.owner == self._owner, Todo.list_id == list_id]
            found = await self._store.find(Todo, *where, sort=None, limit=_SWEEP, into=dto.Todo)
            for todo in found:
                try:
                    if delete:
                        await self.delete(todo.id, None)
                    else:
                        await self._change(todo.id, None, to_inbox)
                except NotFound:
                    continue  # someone else has deleted it meanwhile
            if len(found) < _SWEEP:
                return

    async def changes(self, since: Since | None, limit: int) -> tuple[list[dto.Todo], list[str], Since, bool]:
        """Return what has changed; `todos.changes` says why nothing is ever missed.

        Args:
            since: Where the page begins; None for everything there is.
            limit: How many documents at most.

        Returns:
            The changed todos, the ids of deleted ones, where the next page begins, and whether there is more at once.

        Raises:
            Gone: deletions since then may have been forgotten, or the documents are not those of then any more.
        """
        moment = now()
        generation = self._store.state.generation
        if since is not None and moment.timestamp() - since.issued > REMEMBERED.total_seconds():
            raise Gone("deletions are remembered for 30 days: begin again without `since`")
        if since is not None and since.generation != generation:
            raise Gone("the documents were copied or restored since then: begin again without `since`")
        here = (since or Since.beginning(generation)).round(Place.of(await self._store.settled()), moment)
        found: list[Change] = []
        where = [Todo.account == self._owner]
        for span in here.spans():
            found += await self._store.find(
                Todo, *where, *span, sort=BY_CHANGE, limit=limit + 1 - len(found), into=Change
            )
            if len(found) > limit:
                break
        page = found[:limit]
        changed = [change.todo() for change in page if change.owner is not None]
        deleted = [change.id for change in page if change.owner is None and not here.need_not_know(change)]
        more = len(found) > limit
        return changed, deleted, here.after(page[-1]) if more else here.finished(), more

    async def summary(self, tz: str | None) -> dto.Summary:
        """Count the todos: see `todos.counts`.

        Args:
            tz: The IANA time zone whose day today is; None for the account's.

        Raises:
            InvalidParameter: there is no such time zone.
        """
        try:
            zone = zoneinfo.ZoneInfo(tz if tz is not None else await self._time_zone())
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise InvalidParameter("tz", "Expected a name of the IANA time zone database") from None
        moment = now()
        today = moment.astimezone(zone).date()
        starts, ends = (_midnight(today + timedelta(days=days), zone) for days in (0, 1))
        found = await counts.count(self._store, self._owner, moment)
        overdue, before_today, until_tomorrow = await asyncio.gather(
            *(self._due_before(found, at) for at in (moment, starts, ends))
        )
        return dto.Summary(
            open=found.open,
            completed=found.completed,
            overdue=overdue,
            due_today=until_tomorrow - before_today,
            by_priority=dto.PriorityCounts(**{name: found.priorities.get(name, 0) for name in PRIORITIES}),
            by_list=[dto.ListCount(name or None, number) for name, number in sorted(found.lists.items())],
            by_tag=_tag_counts(found),
        )

    async def _due_before(self, found: counts.Counts, moment: datetime) -> int:
        """Count the open todos that are due before a moment around now: by hours, and what is left in an index."""
        hour = counts.hour_of(moment)
        starts = counts.start_of(hour)
        whole = found.due.before(hour)
        if starts == moment:
            return whole
        part = [Todo.due_at >= starts, Todo.due_at < moment]  # type: ignore[operator]  # expressions, which null never meets
        return whole + await self._store.count(Todo, Todo.owner == self._owner, Todo.completed == False, *part)  # noqa: E712  # as above

    async def tags(self) -> list[dto.TagCount]:
        """Return every tag in use and how many todos have it, by name: see `todos.counts`."""
        return _tag_counts(await counts.count(self._store, self._owner, now()))

    async def _change(
        self, todo_id: str, versions: frozenset[int] | None, decide: Decide, mark: ObjectId | None = None
    ) -> dto.Todo:
        """Change a todo as a rule decides from what it is; a rule that changes nothing leaves its version as it is."""
        while True:
            todo: Todo | None = await self._store.get(Todo, *self._this(todo_id), into=struct_of(Todo))
            if todo is None:
                raise NotFound("there is no such todo")
            if mark is not None and mark in todo.marks:
                if (kept := await self._confirmed(todo)) is not None:
                    return kept
                continue
            if versions is not None and todo.version not in versions:
                raise Stale
            moment = max(now(), todo.updated_at)
            changes = await decide(todo, moment)
            if not changes:
                if (kept := await self._confirmed(todo)) is not None:
                    return kept
                continue
            if _SEARCHED & changes.keys():
                changes["words"] = words_in(_merged(todo, changes))
            changes |= remembering(todo, counted_otherwise=bool(_COUNTED & changes.keys()))
            if mark is not None:
                changes["marks"] = [*todo.marks, mark][-_MARKS:]
            changes |= {"version": todo.version + 1, "updated_at": moment}
            # of several writers who read the same version one succeeds; the others look again
            changed = await self._store.update(
                Todo, *self._this(todo_id), Todo.version == todo.version, changes=changes, into=dto.Todo
            )
            if changed is not None:
                return changed

    def _this(self, todo_id: str) -> list[Condition]:
        if not is_id(todo_id):
            raise NotFound("there is no such todo")
        return [Todo.id == ObjectId(todo_id), Todo.owner == self._owner]

    async def _has_list(self, list_id: ObjectId) -> bool:
        found = await self._store.get(TodoList, TodoList.id == list_id, TodoList.owner == self._owner)
        return found is not None and found.closing is None

    async def _check_list(self, list_id: ObjectId | None) -> None:
        if list_id is not None and not await self._has_list(list_id):
            raise Invalid([Fault("/list_id", "There is no such list")])

    async def _settle_list(self, todo: dto.Todo) -> dto.Todo:
        """Move a todo to the inbox if its list was deleted while it was written, and whoever deletes has passed by."""
        if todo.list_id is None or await self._has_list(list_id := ObjectId(todo.list_id)):
            return todo

        async def to_inbox(found: Todo, _: datetime) -> dict[str, Any]:
            return {"list_id": None} if found.list_id == list_id else {}

        return await self._change(todo.id, None, to_inbox)


def _midnight(day: Any, zone: zoneinfo.ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _differing(todo: Todo, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a todo has otherwise."""
    changes = {name: value for name, value in fields.items() if getattr(todo, name) != value}
    if "due_at" in changes:
        changes["due_local"] = None
    return changes


def _merged(todo: Todo, changes: Mapping[str, Any]) -> dict[str, Any]:
    names = _SEARCHED | {"recurrence", "due_at"}
    return {name: getattr(todo, name) for name in names} | dict(changes)


def words_in(fields: Mapping[str, Any]) -> list[str]:
    """Return the words of a todo with these fields."""
    return words_of(fields["title"], fields["description"], *(step.title for step in fields["steps"]))


def _tag_counts(found: counts.Counts) -> list[dto.TagCount]:
    return [dto.TagCount(name, number) for name, number in sorted(found.tags.values())]


def _check_together(changes: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """Check what fields mean to each other, where one of them changes.

    Raises:
        Invalid: the todo would recur without a due date.
    """
    if fields["recurrence"] is None or not {"recurrence", "due_at"} & changes.keys():
        return
    if fields["due_at"] is None:
        pointer = "/recurrence" if changes.get("recurrence") is not None else "/due_at"
        raise Invalid([Fault(pointer, "Expected a due date where there is a recurrence")])
