"""Limits on how many documents an account has, exact under any concurrency and without a transaction.

Counting and then inserting lets every writer in that counts before another's insert. Here each document takes a
numbered slot instead: the model has a unique index on its owner and its slot, so that the store decides.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeVar

from odmantic import Model

from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument

SLOT: Final = "slot"
"""The name of the model's field, the last one of its unique index."""

ModelT = TypeVar("ModelT", bound=Model)


async def insert_into_slot(
    store: DocumentStore,
    build: Callable[[int], ModelT],
    taken_slots: Callable[[], Awaitable[Collection[int]]],
    slots: int,
) -> ModelT | None:
    """Insert a document into a free slot, and return it; None if all slots are taken.

    A lost race for a slot is repeated in another one. Each lost race is another's insert, so that this ends.

    Args:
        store: The store.
        build: Returns the document for a slot.
        taken_slots: Reads the slots that are taken at present.
        slots: How many there are; they are numbered from 0.

    Raises:
        DuplicateDocument: the document clashes in another field than its slot.
    """
    while free := sorted(set(range(slots)).difference(await taken_slots())):
        # at random, so that concurrent writers seldom want the same one
        document = build(random.choice(free))  # noqa: S311  # no secret
        try:
            await store.insert(document)
        except DuplicateDocument as error:
            if error.field != SLOT:
                raise
        else:
            return document
    return None
