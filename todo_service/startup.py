"""Opening the store when the service starts; a store that is started at the same time may need a while to answer."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog
from odmantic import Model

from todo_service.store.base import DocumentStore
from todo_service.store.errors import StoreUnavailable

START_SECONDS: Final = 15.0
"""How long a store may take to answer when the service starts."""
_RETRY_SECONDS: Final = 1.0
logger = structlog.get_logger(__name__)


async def open_store_within(store: DocumentStore, *models: type[Model], seconds: float = START_SECONDS) -> None:
    """Open a store, and try again while it does not answer.

    Args:
        store: The store.
        *models: The models it is opened for.
        seconds: For how long it is tried again; 0 for one try.

    Raises:
        StoreUnusable: it cannot be opened, and waiting will not help.
        StoreUnavailable: it has not answered in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            await store.open(*models)
        except StoreUnavailable as error:
            if time.monotonic() >= deadline:
                raise
            logger.warning("the store does not answer yet", reason=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return
