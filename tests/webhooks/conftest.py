"""Fixtures for webhooks: receivers, and an application and an account that may send to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.application import build_variables
from tests.webhooks.harness import Account
from tests.webhooks.receiver import Receiver, running_receiver
from todo_service.settings import Settings, load_settings
from todo_service.store.base import DocumentStore


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    """The settings of the application under test: webhooks may be sent to loopback addresses."""
    return load_settings(build_variables(tmp_path, store_url) | {"WEBHOOK_NETWORKS": "127.0.0.0/8"})


@pytest.fixture
def default_settings(tmp_path: Path, store_url: str) -> Settings:
    """The settings that allow no network."""
    return load_settings(build_variables(tmp_path, store_url))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything."""
    async with running_receiver() as running:
        yield running


@pytest.fixture
def account(store: DocumentStore) -> Account:
    """An account without an application."""
    return Account(store)
