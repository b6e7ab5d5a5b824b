"""The TTL job of an embedded store: it deletes expired documents at an interval, as MongoDB does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from odmantic import Model

from todo_service.store.base import DocumentStore
from todo_service.store.errors import StoreUnavailable
from todo_service.store.query.planner import list_indexes
from todo_service.timestamps import EARLIEST

logger = structlog.get_logger(__name__)


async def delete_expired_forever(store: DocumentStore, models: Sequence[type[Model]], interval: float) -> None:
    """Delete expired documents at an interval. Errors are logged, and the next run tries again.

    Args:
        store: The open store.
        models: The models of the store.
        interval: The pause between two runs, in seconds.
    """
    while True:
        try:
            await _delete_expired(store, models)
        except StoreUnavailable as error:
            logger.warning("expired documents could not be deleted", reason=str(error))
        except Exception:
            logger.exception("expired documents could not be deleted")
        await asyncio.sleep(interval)


async def _delete_expired(store: DocumentStore, models: Sequence[type[Model]]) -> None:
    for model in models:
        for index in list_indexes(model):
            if index.expires_after is not None:
                deadline = datetime.now(UTC) - timedelta(seconds=index.expires_after)
                earliest = {"$gte": EARLIEST} if index.time_key is not None else {}
                await store.delete(model, {index.keys[0]: {**earliest, "$lt": deadline}})
