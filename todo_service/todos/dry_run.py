"""Dry runs of imports: what an import would write, without writing it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET
from odmantic import ObjectId

from todo_service.errors import Invalid, QuotaExceeded
from todo_service.store.base import DocumentStore
from todo_service.sync.counts import digest_tag
from todo_service.todos.creation import reserve_or_reject, to_rejection
from todo_service.todos.documents import Todo
from todo_service.todos.import_records import ImportRecord
from todo_service.todos.quotas import Quotas
from todo_service.todos.uids import derive_uid_key


class DryRun:
    """Records what an import would write, and applies the quotas to it.

    Tags that its updates would free still count.

    Args:
        store: The store.
        owner: The account.
        quotas: The quotas of all accounts.
        ensure_list: See `BulkCreation`.
    """

    def __init__(
        self, store: DocumentStore, owner: ObjectId, quotas: Quotas, ensure_list: Callable[[Todo], Awaitable[None]]
    ) -> None:
        self._store = store
        self._owner = owner
        self._quotas = quotas
        self._ensure_list = ensure_list
        self._left: int | None = None
        self._tags: set[str] | None = None
        self._written: dict[bytes, int] = {}

    def has(self, uid: str) -> bool:
        """Return whether a todo with this uid would have been written."""
        return derive_uid_key(uid).binary in self._written

    def remember(self, record: ImportRecord) -> None:
        """Remember that a record would have been written."""
        if record.todo.uid is not UNSET:
            self._written[derive_uid_key(record.todo.uid).binary] = _hash(record)

    def repeats(self, record: ImportRecord) -> bool:
        """Return whether a record equals the last one with its uid that would have been written."""
        uid = record.todo.uid
        return uid is not UNSET and self._written.get(derive_uid_key(uid).binary) == _hash(record)

    @property
    def refusal(self) -> Invalid | None:
        """See `BulkCreation.refusal`."""
        is_full = self._left is not None and self._left <= 0
        return to_rejection(QuotaExceeded("todos", self._quotas.todos.limit)) if is_full else None

    async def insert(self, documents: Sequence[Todo]) -> list[Todo | Invalid | None]:
        """Return what `BulkCreation.insert` would."""
        if self._left is None:
            limit = self._quotas.todos.limit
            # tombstones count too
            self._left = limit - await self._store.count(Todo, Todo.account == self._owner, limit=limit)
        return [await reserve_or_reject(document, self._check_new) for document in documents]

    async def check_update(self, document: Todo) -> None:
        """Count the tags of a changed todo, and plan its list.

        Raises:
            QuotaExceeded: There is no room for the tags.
            Invalid: The list cannot be created.
        """
        await self.add_tags(document.tags)
        await self._ensure_list(document)

    async def _check_new(self, document: Todo) -> None:
        assert self._left is not None  # `insert` has counted the todos
        if self._left <= 0:
            raise QuotaExceeded("todos", self._quotas.todos.limit)
        await self.check_update(document)
        self._left -= 1

    async def add_tags(self, tags: Iterable[str]) -> None:
        """Count the tags of a todo that would be written.

        Raises:
            QuotaExceeded: There is no room for them.
        """
        if self._tags is None:
            self._tags = await self._quotas.tags.find_used(self._owner)
        unknown = set(map(digest_tag, tags)) - self._tags
        if unknown and len(self._tags) + len(unknown) > self._quotas.tags.limit:
            raise QuotaExceeded("tags", self._quotas.tags.limit)
        self._tags |= unknown


def _hash(record: ImportRecord) -> int:
    """Return a hash of the fields that a record sets."""
    ignored: dict[str, Any] = dict.fromkeys((*record.replaced, "id", "version", "updated_at"))
    return hash(msgspec.json.encode(msgspec.structs.replace(record.todo, **ignored), enc_hook=str))
