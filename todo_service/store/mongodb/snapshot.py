"""Snapshots of a MongoDB database, for copies."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any, Final

from bson import ObjectId
from odmantic import Model
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from todo_service.store.base import Snapshot
from todo_service.store.bson_codec import move_id_first, read_id, split_documents
from todo_service.store.mongodb.connection import COPY_CALL_SECONDS, MongoDBConnection, guard_call
from todo_service.store.mongodb.errors import SNAPSHOT_GONE
from todo_service.store.query.planner import PRIMARY

_BATCH_DOCUMENTS: Final = 1000


class MongoDBSnapshot(Snapshot):
    """The documents that a session with snapshot reads sees; without a session, the current documents.

    Args:
        connection: The connection to read on.
        session: The session, or None on a standalone server, which has no snapshots.
    """

    def __init__(self, connection: MongoDBConnection, session: AsyncClientSession | None) -> None:
        self.taken_at = datetime.now(UTC)
        self.point_in_time = session is not None
        self._connection = connection
        self._session = session

    async def size(self, model: type[Model]) -> int:
        """See `Snapshot.size`. The count is the server's estimate."""
        async with guard_call(seconds=COPY_CALL_SECONDS):
            return int(await self._connection.collection(model).estimated_document_count())

    async def documents(self, model: type[Model], after: ObjectId | None = None) -> AsyncGenerator[list[bytes], None]:
        """See `Snapshot.documents`. Each batch is a query of its own, so that no cursor can expire between two."""
        beyond: dict[str, Any] = {} if after is None else {"_id": {"$gt": after}}
        while batch := await self._read_batch(model, beyond):
            yield batch
            beyond = {"_id": {"$gt": ObjectId(read_id(batch[-1]))}}

    async def _read_batch(self, model: type[Model], beyond: dict[str, Any]) -> list[bytes]:
        async with guard_call(seconds=COPY_CALL_SECONDS):
            try:
                # a negative limit requests a single reply, which is 16 MiB at most
                cursor = self._connection.collection(model).find_raw_batches(
                    beyond, limit=-_BATCH_DOCUMENTS, sort=[("_id", 1)], hint=PRIMARY, session=self._session
                )
                return [move_id_first(raw) async for part in cursor for raw in split_documents(part)]
            except OperationFailure as error:
                if error.code not in SNAPSHOT_GONE or self._session is None:
                    raise
        self._session, self.point_in_time = None, False
        return await self._read_batch(model, beyond)
