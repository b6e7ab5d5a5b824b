"""The lists of imported todos."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType
from odmantic import ObjectId

from todo_service.bounds.exchange import IMPORT_LISTS
from todo_service.bounds.todos import LIST_NAME_LENGTH
from todo_service.errors import Duplicate, Invalid, QuotaExceeded, ValidationIssue
from todo_service.exchange.formats.base import Draft, FileList, FileLists, RejectedRecord
from todo_service.exchange.record_uids import hash_list_name, hash_uid
from todo_service.lists.dto import TodoList, TodoListCreate
from todo_service.lists.fields import validate_fields
from todo_service.lists.service import Lists
from todo_service.positions import advance
from todo_service.store.errors import DuplicateDocument
from todo_service.text import compose, trim
from todo_service.todos import dto
from todo_service.todos.uids import validate_uid

_FIRST_LIST: Final = 2**31
"""The number of the first list that an import creates; lower numbers are todos."""

IdFactory = Callable[[int], ObjectId | None]
"""Returns the id of the n-th document that an import creates, so that a retry finds it, or None without retries."""


@dataclass(slots=True)
class _Planned:
    """A list that the account does not have.

    Attributes:
        list: The list.
        created: Its id, once it has been created. The id is not the planned one if a concurrent import created the
            list.
    """

    list: TodoListCreate
    created: ObjectId | None = None


class ListResolver:
    """Finds the lists that records name, and creates those that do not exist.

    A list in the file matches the account's list with the same uid, or else its only list with the same name. Otherwise
    the list is new. If the file gives it no uid, one is derived from its name. A later import of the file therefore
    finds the list again, even after it was renamed.

    A new list is only planned until a todo is written into it (`create`). So an import that changes no todo creates no
    list, other than lists without todos (`create_empty`).

    An import numbers the lists in the order in which they first occur in the body, and derives the id of a new list
    from its number. A retry of the import therefore finds the list, even while the first attempt is still running.

    Args:
        lists: Reads and creates the account's lists.
        known: All lists that the account has when the import starts.
        make_id: Returns the ids of new lists.
        dry_run: Whether to write nothing.

    Attributes:
        created: The number of lists that were created.
    """

    def __init__(self, lists: Lists, known: Sequence[TodoList], make_id: IdFactory, *, dry_run: bool = False) -> None:
        self._lists = lists
        self._make_id = make_id
        self._dry_run = dry_run
        self.created = 0
        self._names = {each.id: compose(each.name) for each in known}
        self._by_uid = {each.uid: each.id for each in known}
        self._known = known
        self._unambiguous = _find_unambiguous(known)
        self._numbers: dict[str, int] = {}
        self._found: dict[str, str] = {}
        self._planned: dict[ObjectId, _Planned] = {}
        self._file_lists: dict[str, FileList] = {}
        """The lists of the file that no todo has named yet."""

    def add(self, found: FileLists) -> list[RejectedRecord]:
        """Find or plan all lists of a file, in their order. Call it before `resolve`.

        Returns:
            The lists that break a rule.
        """
        uids = {each.list.uid for each in found.lists}
        # the file may have another list of the same name
        self._unambiguous = _find_unambiguous([each for each in self._known if each.uid not in uids])
        position = max((each.position for each in self._known), default=0.0)
        rejected = []
        for each in found.lists:
            position = advance(position)
            try:
                self._find_or_plan(each.list, position)
                self._file_lists[_get_key(each.list)] = each
            except Invalid as error:
                rejected.append(_reject(each, error))
        return rejected

    def resolve(self, draft: Draft) -> dto.TodoImport:
        """Return the todo with the id of a list, which may be planned.

        If the file gives the list of `list_id` another name than the account does, and no uid, the name takes
        precedence: in a table with both columns, people edit the name.

        Raises:
            Invalid: The todo names a list that does not exist, or whose name breaks a rule.
        """
        todo, named = draft.todo, draft.list
        if named is None:
            if todo.list_id is not None and todo.list_id not in self._names:
                raise Invalid([ValidationIssue("/list_id", "There is no such list")])
            return todo
        key = _get_key(named)
        self._file_lists.pop(key, None)
        if (name := self._names.get(todo.list_id or "")) is not None and (
            named.uid is not UNSET or compose(trim(named.name)) == name
        ):
            self._get_number(key)
            return todo
        return msgspec.structs.replace(todo, list_id=self._find_or_plan(named))

    async def create(self, list_id: ObjectId) -> ObjectId:
        """Create the list with this id if it is planned, and return its id.

        Args:
            list_id: The id in a todo that `resolve` has returned.

        Raises:
            Invalid: The quota of lists is exhausted.
        """
        planned = self._planned.get(list_id)
        if planned is None:
            return list_id
        if planned.created is None:
            planned.created = await self._create(planned.list, list_id)
            self.created += 1
        return planned.created

    async def create_empty(self) -> list[RejectedRecord]:
        """Create the lists of the file that no todo has named. Call it after the last record.

        Returns:
            The lists that could not be created.
        """
        rejected = []
        for key, each in self._file_lists.items():
            try:
                await self.create(ObjectId(self._found[key]))
            except Invalid as error:
                rejected.append(_reject(each, error))
        return rejected

    def _find_or_plan(self, named: TodoListCreate, position: float | UnsetType = UNSET) -> str:
        """Return the id of a list.

        Args:
            named: The list.
            position: Its position if it is new and the file states none; by default it comes last.

        Raises:
            Invalid: It breaks a rule.
        """
        name = compose(trim(named.name))
        if len(name) > LIST_NAME_LENGTH:
            raise Invalid([ValidationIssue("/list_id", f"Expected a name of at most {LIST_NAME_LENGTH} characters")])
        uid = _get_key(named)
        number = self._get_number(uid)
        if uid not in self._found:
            identity = self._make_id(_FIRST_LIST + number)
            found = self._by_uid.get(uid) or self._unambiguous.pop(name, None)
            if found is None:
                placed = position if named.position is UNSET else named.position
                found = self._plan(msgspec.structs.replace(named, uid=uid, position=placed), identity or ObjectId())
            elif found == str(identity):
                self.created += 1  # by an earlier attempt of the same request
            self._found[uid] = found
        return self._found[uid]

    def _get_number(self, uid: str) -> int:
        """Return the number of a list: the number of lists that occurred before it."""
        if uid not in self._numbers:
            if len(self._numbers) >= IMPORT_LISTS:
                raise Invalid([ValidationIssue("/list_id", f"Expected at most {IMPORT_LISTS} different lists")])
            self._numbers[uid] = len(self._numbers)
        return self._numbers[uid]

    def _plan(self, new: TodoListCreate, identity: ObjectId) -> str:
        try:
            validate_fields(msgspec.structs.asdict(new))
        except Invalid as error:
            raise Invalid([ValidationIssue("/list_id", issue.detail) for issue in error.issues]) from None
        self._planned[identity] = _Planned(new)
        return str(identity)

    async def _create(self, new: TodoListCreate, identity: ObjectId) -> ObjectId:
        try:
            if self._dry_run:
                self._lists.check_quota(len(self._known) + self.created)
                return identity
            try:
                created = await self._lists.create(new, identity)
            except DuplicateDocument:
                # a concurrent retry has just created it
                created = await self._lists.create(new, identity)
        except Duplicate:
            # a concurrent import has just created it
            assert new.uid is not UNSET
            created = await self._lists.get_by_uid(new.uid)
        except QuotaExceeded as error:
            raise Invalid([ValidationIssue("/list_id", str(error))]) from None
        return ObjectId(created.id)


def _reject(file_list: FileList, error: Invalid) -> RejectedRecord:
    issues = [ValidationIssue(file_list.pointer, issue.detail) for issue in error.issues]
    return RejectedRecord(file_list.line, issues)


def _get_key(named: TodoListCreate) -> str:
    """Return the uid of a list: that of the file, or else one derived from its name."""
    if named.uid is not UNSET:
        with contextlib.suppress(ValueError):
            return validate_uid(named.uid)
    return hash_list_name(named.name) if named.uid is UNSET else hash_uid(named.uid)


def _find_unambiguous(lists: Iterable[TodoList]) -> dict[str, str]:
    """Return the ids of lists whose name no other list has, by name."""
    ids: dict[str, list[str]] = {}
    for each in lists:
        ids.setdefault(compose(each.name), []).append(each.id)
    return {name: found[0] for name, found in ids.items() if len(found) == 1}
