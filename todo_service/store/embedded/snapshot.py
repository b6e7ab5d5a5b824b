"""Snapshots of an embedded store: a read transaction that stays open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import lmdb
from bson import ObjectId
from odmantic import Model

from todo_service.store.base import Snapshot
from todo_service.store.bson_codec import move_id_first
from todo_service.store.embedded.databases import Collection

_BATCH_DOCUMENTS: Final = 1000
_BATCH_BYTES: Final = 2**22


class EmbeddedSnapshot(Snapshot):
    """The documents that a read transaction sees.

    Args:
        transaction: The transaction. It must stay open while the snapshot is in use.
        collections: The databases of each model.
    """

    point_in_time = True

    def __init__(self, transaction: lmdb.Transaction, collections: Mapping[type[Model], Collection]) -> None:
        self.taken_at = datetime.now(UTC)
        self._transaction = transaction
        self._collections = collections

    async def size(self, model: type[Model]) -> int:
        """See `Snapshot.size`. The number is exact."""
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
            while batch := await asyncio.to_thread(_read_batch, entries):
                yield batch


def _read_batch(entries: Iterator[bytes]) -> list[bytes]:
    batch: list[bytes] = []
    size = 0
    for raw in entries:
        batch.append(move_id_first(raw))
        size += len(raw)
        if len(batch) == _BATCH_DOCUMENTS or size >= _BATCH_BYTES:
            break
    return batch
