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
from todo_service.todos.uids import UID_KEY, identify

_FULL_SECONDS: Final = 2.0
"""How long an import remembers that there was no room for another todo."""


def build_document(
    todo: dto.TodoCreate | dto.TodoImport,
    owner: ObjectId,
    identity: ObjectId,
    moment: datetime,
    account_zone: str | None,
    position: float,
) -> Todo:
    """Return the document of a new todo.

    Args:
        todo: The todo.
        owner: Its account.
        identity: Its id.
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
    fields |= identify(given.get("uid"), identity)
    fields["completed_at"] = given.get("completed_at") or (moment if todo.completed else None)
    fields = clear_alternatives(fields)
    check_schedule(fields, fields)
    check_reminders(fields, fields)
    zone = ZoneInfo(fields["time_zone"] or account_zone or "UTC")
    fields["due_end"] = derive_due_end(fields, zone)
    return Todo(
        id=identity,
        account=owner,
        owner=owner,
        due_local=None,
        next_fire=find_first_after(list_firing_times(SimpleNamespace(**fields), zone), moment),
        words=extract_field_words(fields),
        version=1,
        updated_at=moment,
        **fields,
    )


async def admit(document: Todo, check: Callable[[Todo], Awaitable[None]]) -> Todo | Invalid:
    """Return a document, or why it is rejected.

    Args:
        document: The document.
        check: Reserves what the document needs. It raises `QuotaExceeded` or `Invalid` if it cannot.
    """
    try:
        await check(document)
    except QuotaExceeded as error:
        return refuse(error)
    except Invalid as error:
        return error
    return document


def refuse(error: QuotaExceeded) -> Invalid:
    """Return why a record for which there is no room is rejected."""
    return Invalid([ValidationIssue("", str(error))])


class BulkCreation:
    """Inserts many new todos of one account.

    Args:
        store: The store.
        owner: The account.
        quotas: The quotas of all accounts.
        place: Called with each document that the quotas allow. It may give it another list. It raises `Invalid` if it
            cannot create the list.
    """

    def __init__(
        self, store: DocumentStore, owner: ObjectId, quotas: Quotas, place: Callable[[Todo], Awaitable[None]]
    ) -> None:
        self._store = store
        self._owner = owner
        self._quotas = quotas
        self._place = place
        self._full_until = 0.0

    @property
    def refusal(self) -> Invalid | None:
        """Why no further todo can be inserted, or None if there may be room.

        A caller can refuse todos by it before it builds their documents.
        """
        is_full = time.monotonic() < self._full_until
        return refuse(QuotaExceeded("todos", self._quotas.todos.limit)) if is_full else None

    async def insert(self, documents: Sequence[Todo]) -> list[Todo | Invalid | None]:
        """Insert the documents that the quotas allow.

        Returns:
            For each document itself, or why it was rejected, or None if another todo has its uid. A document that an
            earlier attempt of the same request has inserted counts as inserted.
        """
        admitted: list[Todo | Invalid | None] = []
        while left := documents[len(admitted) :]:
            async with self._quotas.todos.reserve_up_to(self._owner, len(left)) as room:
                # if some fit, insert those and ask again; if none fits, refuse all
                if not room:
                    self._full_until = time.monotonic() + _FULL_SECONDS
                admitted += await self._insert_first(left, room, refuse=not room)
        return admitted

    async def _insert_first(
        self, candidates: Sequence[Todo], room: int, *, refuse: bool
    ) -> list[Todo | Invalid | None]:
        """Insert the first `room` documents, and return the results up to there.

        Args:
            candidates: The documents.
            room: How many documents the quota of todos allows.
            refuse: Whether to replace all further documents by an error instead of leaving them out.
        """
        admitted: list[Todo | Invalid] = []
        documents: list[Todo] = []
        wanted = {tag for candidate in candidates for tag in candidate.tags} if room else set()
        async with self._quotas.tags.reserve_up_to(self._owner, wanted) as tags:

            async def check(candidate: Todo) -> None:
                if len(documents) == room:
                    raise QuotaExceeded("todos", self._quotas.todos.limit)
                if not tags.add(candidate.tags):
                    raise QuotaExceeded("tags", self._quotas.tags.limit)
                await self._place(candidate)

            for candidate in candidates:
                if len(documents) == room and not refuse:
                    break
                if tags.is_used and not tags.has_room(candidate.tags):
                    break  # store these first, so that a count sees which of their tags are in use
                admitted.append(result := await admit(candidate, check))
                if isinstance(result, Todo):
                    documents.append(result)
            taken = await self._insert(documents)
            tags.is_doubtful = len(documents) - len(taken) < tags.added
        return [None if isinstance(result, Todo) and result.id in taken else result for result in admitted]

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
