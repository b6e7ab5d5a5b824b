"""What the tests of background jobs share: a store without an application, and a clock that can be set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from todo_service.services import MODELS
from todo_service.store.base import DocumentStore
from todo_service.store.registry import create_store
from todo_service.timestamps import now


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[DocumentStore]:
    """An open store."""
    opened = create_store(store_url)
    await opened.open(*MODELS)
    yield opened
    await opened.close()


class Clock:
    """A clock that can be set.

    Attributes:
        ahead: How far it is ahead.
    """

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        """Return the time."""
        return now() + self.ahead

    def set(self, moment: datetime) -> None:
        """Set the time."""
        self.ahead = moment - now()
