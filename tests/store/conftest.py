"""The store under test: a test with the fixture `store` runs on both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.store.models import MODELS
from todo_service.store.base import DocumentStore
from todo_service.store.registry import create_store


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[DocumentStore]:
    """Provide an open store."""
    opened = create_store(store_url)
    await opened.open(*MODELS)
    yield opened
    await opened.close()
