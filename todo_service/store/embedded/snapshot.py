"""A snapshot of an embedded store: what one read transaction sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import lmdb
from bson import ObjectId
from odmantic import Model

from todo_service.store.base import Snapshot
from todo_service.store.codec import move_id_first
from todo_service.store.embedded.catalog import Collection

_SLICE_DOCUMENTS: Final = 1000
_SLICE_BYTES: Final = 2**22


class EmbeddedSnapshot(Snapshot):
    """What a read transaction sees.

    Args:
        transaction: The transaction, which stays open for as long.
        collections: The databases of each model.
    """

    point_in_time = True

    def __init__(self, transaction: lmdb.Transaction, collections: Mapping[type[Model], Collection]) -> None:
        self.taken_at = datetime.now(UTC)
        self._transaction = transaction
        self._collections = collections

    async def size(self, model: type[Model]) -> int:
        """See `Snapshot.size`; exact."""
        found = self._collections.get(model)
        return 0 if found is None else int(self._transaction.stat(found.documents)["entries"])

    async def documents(self, model: type[Model], after: ObjectId | None = None) -> AsyncGenerator[list[bytes], None]:
        """See `Snapshot.documents`."""
        found = self._collections.get(model)
        if found is None:
            return
        with self._transaction.cursor(found.documents) as cursor:
            if not (cursor.first() if after is None else cursor.set_range(after.binary + b"\x00")):
                return
            entries = cursor.iternext(keys=False)
            while batch := await asyncio.to_thread(_take_slice, entries):
                yield batch


def _take_slice(entries: Iterator[bytes]) -> list[bytes]:
    batch: list[bytes] = []
    size = 0
    for raw in entries:
        batch.append(move_id_first(raw))
        size += len(raw)
        if len(batch) == _SLICE_DOCUMENTS or size >= _SLICE_BYTES:
            break
    return batch
