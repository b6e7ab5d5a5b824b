"""Exact limits on the number of documents of an account, without transactions.

Counting before an insert is a race: several writers may count before any of them inserts. Instead, each document takes
a numbered slot, and a unique index on the owner and the slot lets only one writer have it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeVar

from odmantic import Model

from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument

SLOT: Final = "slot"
"""The name of the model's slot field, the last field of the unique index."""

ModelT = TypeVar("ModelT", bound=Model)


async def insert_into_slot(
    store: DocumentStore,
    build: Callable[[int], ModelT],
    taken_slots: Callable[[], Awaitable[Collection[int]]],
    slots: int,
) -> ModelT | None:
    """Insert a document into a free slot and return it, or return None if all slots are taken.

    After losing a race for a slot, the function tries another one. It terminates because each lost race means that
    another writer took a slot.

    Args:
        store: The store.
        build: Returns the document for a slot.
        taken_slots: Reads the slots that are taken at present.
        slots: The number of slots. They are numbered from 0.

    Raises:
        DuplicateDocument: The document violates a unique index in another field than the slot.
    """
    while free := sorted(set(range(slots)).difference(await taken_slots())):
        # a random slot, so that concurrent writers rarely collide
        document = build(random.choice(free))  # noqa: S311  # not a secret
        try:
            await store.insert(document)
        except DuplicateDocument as error:
            if error.field != SLOT:
                raise
        else:
            return document
    return None
