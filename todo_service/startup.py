"""Opening the store at startup, with retries, since a database may start at the same time as the service."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog
from odmantic import Model

from todo_service.store.base import DocumentStore
from todo_service.store.errors import StoreUnavailable

START_SECONDS: Final = 15.0
"""How long the service retries at startup while the store is unavailable."""
_RETRY_SECONDS: Final = 1.0
logger = structlog.get_logger(__name__)


async def open_store_with_retries(store: DocumentStore, *models: type[Model], seconds: float = START_SECONDS) -> None:
    """Open a store, and retry while it is unavailable.

    Args:
        store: The store.
        *models: The models to open it for.
        seconds: How long to retry; 0 tries once.

    Raises:
        StoreUnusable: The store cannot be opened, and retrying will not help.
        StoreUnavailable: The store is still unavailable after the last attempt.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            await store.open(*models)
        except StoreUnavailable as error:
            if time.monotonic() >= deadline:
                raise
            logger.warning("the store is unavailable, retrying", reason=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return
