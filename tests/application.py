"""Fixtures for the application on each store, and for its users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar
from pymongo import MongoClient

from tests.mongod import fresh_database
from tests.people import Person
from todo_service.accounts.passwords import Cost
from todo_service.app import create_app
from todo_service.settings import Settings, load_settings
from todo_service.store.base import DocumentStore
from todo_service.store.mongodb.store import RESOLVE_AFTER, MongoDBStore
from todo_service.store.registry import create_store

SHARED_APPS = {"lmdb": "shared_embedded_app", "mongodb": "shared_mongodb_app"}
"""The fixture of the shared application for each scheme of a store's address. On other stores, nothing is shared."""
CHEAP_COST = Cost(memory=8, passes=1)
COUNTER_TIMEOUT = 60.0
"""The timeout of the shared rate-limit counter, in seconds.

The default timeout is too short for a busy machine: an application would fall back to a counter of its own and allow
more requests than the tests expect.
"""


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    """The settings of the application under test; a test that needs others overrides this fixture."""
    return load_settings(build_variables(tmp_path, store_url))


def build_variables(folder: Path, store_url: str) -> dict[str, str]:
    """Return the environment variables of the application under test."""
    return {"DATA_DIR": str(folder), "STORE_URL": store_url, "RATE_LIMIT_ENABLED": "false"}


@pytest.fixture
def password_cost() -> Cost:
    """What hashing a password costs: little, except in a test that overrides this fixture."""
    return CHEAP_COST


@pytest.fixture
def resolve_after() -> timedelta:
    """The age at which MongoDB's timestamps are resolved. A test with a single writer may override this fixture."""
    return RESOLVE_AFTER


def create_test_store(url: str, resolve_after: timedelta) -> DocumentStore:
    """Create the store at an address. On MongoDB, timestamps are resolved after the given time."""
    store = create_store(url)
    return MongoDBStore(url, resolve_after=resolve_after) if isinstance(store, MongoDBStore) else store


@asynccontextmanager
async def running_app(settings: Settings, password_cost: Cost, resolve_after: timedelta) -> AsyncIterator[Litestar]:
    """Run the application in this process."""
    store = create_test_store(settings.store_address, resolve_after)
    application = create_app(settings, store, password_cost=password_cost, counter_timeout=COUNTER_TIMEOUT)
    async with application.lifespan():
        yield application


@pytest.fixture
async def own_app(settings: Settings, password_cost: Cost, resolve_after: timedelta) -> AsyncIterator[Litestar]:
    """The application on a fresh store."""
    async with running_app(settings, password_cost, resolve_after) as application:
        yield application


@pytest.fixture(scope="session")
async def shared_embedded_app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Litestar]:
    """The application that tests share on the embedded store."""
    folder = tmp_path_factory.mktemp("shared")
    settings = load_settings(build_variables(folder, f"lmdb://{folder / 'store'}"))
    async with running_app(settings, CHEAP_COST, RESOLVE_AFTER) as application:
        yield application


@pytest.fixture(scope="session")
async def shared_mongodb_app(
    tmp_path_factory: pytest.TempPathFactory, mongodb_uri: str, mongodb_client: MongoClient[dict[str, Any]]
) -> AsyncIterator[Litestar]:
    """The application that tests share on MongoDB."""
    with fresh_database(mongodb_uri, mongodb_client) as url:
        settings = load_settings(build_variables(tmp_path_factory.mktemp("shared"), url))
        async with running_app(settings, CHEAP_COST, RESOLVE_AFTER) as application:
            yield application


@pytest.fixture
def app(request: pytest.FixtureRequest, settings: Settings, password_cost: Cost, resolve_after: timedelta) -> Litestar:
    """The running application: on a fresh store, or the shared one in modules marked with `shared_app`.

    Creating an application and its indexes takes longer than most tests. Tests that use accounts of their own and the
    default settings can share it. A test that reads the whole store is marked with `own_app`.
    """
    application: Litestar
    shared = SHARED_APPS.get(settings.store_address.partition(":")[0])
    marked = request.node.get_closest_marker("shared_app") and not request.node.get_closest_marker("own_app")
    if shared is None or not marked:
        application = request.getfixturevalue("own_app")
        return application
    default = load_settings(build_variables(settings.data_dir, settings.store_address))
    secret = {"secret_key": default.secret_key, "secret_key_generated": default.secret_key_generated}
    assert msgspec.structs.replace(settings, **secret) == default, "the shared app has the default settings"
    assert (password_cost, resolve_after) == (CHEAP_COST, RESOLVE_AFTER), "the shared app has the default settings"
    application = request.getfixturevalue(shared)
    return application


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
