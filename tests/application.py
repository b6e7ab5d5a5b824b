"""Fixtures for the application on each store, and for its users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from litestar import Litestar

from tests.people import Person
from todo_service.accounts.passwords import Cost
from todo_service.app import create_app
from todo_service.settings import Settings, load_settings
from todo_service.store.base import DocumentStore
from todo_service.store.mongodb.store import RESOLVE_AFTER, MongoDBStore
from todo_service.store.registry import create_store, find_local_folder


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    """The settings of the application under test; a test that needs others overrides this fixture."""
    return load_settings({"DATA_DIR": str(tmp_path), "STORE_URL": store_url, "RATE_LIMIT_ENABLED": "false"})


@pytest.fixture
def password_cost() -> Cost:
    """What hashing a password costs: little, except in a test that overrides this fixture."""
    return Cost(memory=8, passes=1)


@pytest.fixture
def resolve_after() -> timedelta:
    """The age at which MongoDB's timestamps are resolved. A test with a single writer may override this fixture."""
    return RESOLVE_AFTER


def create_test_store(url: str, resolve_after: timedelta) -> DocumentStore:
    """Create the store at an address. On MongoDB, timestamps are resolved after the given time."""
    if find_local_folder(url) is not None:
        return create_store(url)
    return MongoDBStore(url, resolve_after=resolve_after)


@pytest.fixture
async def app(settings: Settings, password_cost: Cost, resolve_after: timedelta) -> AsyncIterator[Litestar]:
    """The running application."""
    store = create_test_store(settings.store_address, resolve_after)
    application = create_app(settings, store, password_cost=password_cost)
    async with application.lifespan():
        yield application


@pytest.fixture
async def client(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, without an account."""
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # httpx types scopes as plain dictionaries
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as connection:
        yield connection


@pytest.fixture
async def ada(client: httpx.AsyncClient) -> Person:
    """A signed-in user."""
    return await Person.register(client)


@pytest.fixture
async def bob(client: httpx.AsyncClient) -> Person:
    """Another signed-in user."""
    return await Person.register(client)
