"""Builds the documents of new todos for requests and imports, and inserts those of imports."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Final
from zoneinfo import ZoneInfo

from msgspec import UNSET
from odmantic import ObjectId

from todo_service.errors import Invalid, QuotaExceeded, ValidationIssue
from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.todos import dto
from todo_service.todos.documents import Todo
from todo_service.todos.fields import SETTABLE, extract_field_words, validate_fields
from todo_service.todos.firing_times import find_first_after, list_firing_times
from todo_service.todos.quotas import Quotas
from todo_service.todos.reminders import check_reminders
from todo_service.todos.schedule import check_schedule, clear_alternatives, derive_due_end
from todo_service.todos.uids import UID_KEY, build_uid_fields

_FULL_SECONDS: Final = 2.0
"""How long an import remembers that there was no room for another todo."""


def build_document(
    todo: dto.TodoCreate | dto.TodoImport,
    owner: ObjectId,
    todo_id: ObjectId,
    moment: datetime,
    account_zone: str | None,
    position: float,
) -> Todo:
    """Return the document of a new todo.

    Args:
        todo: The todo.
        owner: Its account.
        todo_id: Its id.
        moment: When it is created.
        account_zone: The time zone of the account, an IANA name; None if the todo does not depend on it
            (`schedule.needs_account_zone`).
        position: Its position, unless it states one.

    Raises:
        Invalid: A field breaks a rule.
    """
    given = validate_fields({name: getattr(todo, name, UNSET) for name in SETTABLE})
    if given.get("completed_at") is not None and not todo.completed:
        raise Invalid([ValidationIssue("/completed_at", "Expected null for a todo that is not completed")])
    fields: dict[str, Any] = {"created_at": moment, "position": position} | given
    fields |= build_uid_fields(given.get("uid"), todo_id)
    fields["completed_at"] = given.get("completed_at") or (moment if todo.completed else None)
    fields = clear_alternatives(fields)
    check_schedule(fields, fields)
    check_reminders(fields, fields)
    zone = ZoneInfo(fields["time_zone"] or account_zone or "UTC")
    fields["due_end"] = derive_due_end(fields, zone)
    return Todo(
        id=todo_id,
        account=owner,
        owner=owner,
        due_local=None,
        next_fire=find_first_after(list_firing_times(SimpleNamespace(**fields), zone), moment),
        words=extract_field_words(fields),
        version=1,
        updated_at=moment,
        **fields,
    )


async def reserve_or_reject(document: Todo, check: Callable[[Todo], Awaitable[None]]) -> Todo | Invalid:
    """Reserve what a document needs. Return the document, or why it is rejected.

    Args:
        document: The document.
        check: Reserves what the document needs. It raises `QuotaExceeded` or `Invalid` if it cannot.
    """
    try:
        await check(document)
    except QuotaExceeded as error:
        return to_rejection(error)
    except Invalid as error:
        return error
    return document


def to_rejection(error: QuotaExceeded) -> Invalid:
    """Return the rejection of a record for which there is no room."""
    return Invalid([ValidationIssue("", str(error))])


class BulkCreation:
    """Inserts many new todos of one account.

    Args:
        store: The store.
        owner: The account.
        quotas: The quotas of all accounts.
        ensure_list: Called with each document that the quotas allow. It may replace the document's list id, and raises
            `Invalid` if it cannot create the list.
    """

    def __init__(
        self, store: DocumentStore, owner: ObjectId, quotas: Quotas, ensure_list: Callable[[Todo], Awaitable[None]]
    ) -> None:
        self._store = store
        self._owner = owner
        self._quotas = quotas
        self._ensure_list = ensure_list
        self._full_until = 0.0

    @property
    def refusal(self) -> Invalid | None:
        """Why no further todo can be inserted, or None if there may be room.

        It lets a caller reject todos before their documents are built.
        """
        is_full = time.monotonic() < self._full_until
        return to_rejection(QuotaExceeded("todos", self._quotas.todos.limit)) if is_full else None

    async def insert(self, documents: Sequence[Todo]) -> list[Todo | Invalid | None]:
        """Insert the documents that the quotas allow.

        Returns:
            For each document itself, or why it was rejected, or None if another todo has its uid. A document that an
            earlier attempt of the same request has inserted counts as inserted.
        """
        results: list[Todo | Invalid | None] = []
        while left := documents[len(results) :]:
            async with self._quotas.todos.reserve_up_to(self._owner, len(left)) as room:
                # if some fit, insert those and ask again; if none fits, refuse all
                if not room:
                    self._full_until = time.monotonic() + _FULL_SECONDS
                results += await self._insert_first(left, room, reject_rest=not room)
        return results

    async def _insert_first(
        self, candidates: Sequence[Todo], room: int, *, reject_rest: bool
    ) -> list[Todo | Invalid | None]:
        """Insert the first `room` documents, and return the results up to there.

        Args:
            candidates: The documents.
            room: How many documents the quota of todos allows.
            reject_rest: Whether to replace all further documents by an error instead of leaving them out.
        """
        results: list[Todo | Invalid] = []
        documents: list[Todo] = []
        wanted = {tag for candidate in candidates for tag in candidate.tags} if room else set()
        async with self._quotas.tags.reserve_up_to(self._owner, wanted) as tags:

            async def check(candidate: Todo) -> None:
                if len(documents) == room:
                    raise QuotaExceeded("todos", self._quotas.todos.limit)
                if not tags.add(candidate.tags):
                    raise QuotaExceeded("tags", self._quotas.tags.limit)
                await self._ensure_list(candidate)

            for candidate in candidates:
                if len(documents) == room and not reject_rest:
                    break
                if tags.has_new_tags and not tags.has_room(candidate.tags):
                    break  # store these first, so that a count sees which of their tags are in use
                results.append(result := await reserve_or_reject(candidate, check))
                if isinstance(result, Todo):
                    documents.append(result)
            taken = await self._insert(documents)
            tags.may_be_incomplete = len(documents) - len(taken) < tags.added
        return [None if isinstance(result, Todo) and result.id in taken else result for result in results]

    async def _insert(self, documents: Sequence[Todo]) -> set[ObjectId]:
        """Insert documents, and return the ids of those that were not inserted because another todo has their uid."""
        taken: set[ObjectId] = set()
        try:
            await self._store.insert(*documents)
        except DuplicateDocument:
            # an earlier attempt of the same request, or another import, has created some of them
            for document in documents:
                try:
                    await self._store.insert(document)
                except DuplicateDocument as error:
                    if error.field == UID_KEY:
                        taken.add(document.id)
        return taken
