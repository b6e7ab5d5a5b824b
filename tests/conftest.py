"""Fixtures for every test: both stores, the application and its users."""

from __future__ import annotations

import os
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import settings as hypothesis_settings
from odmantic import Model
from pymongo import MongoClient

# failed assertions of these modules show the compared values too
pytest.register_assert_rewrite(
    "tests.people", "tests.serving", "tests.exchange", "tests.faults", "tests.openapi", "tests.todos"
)

from tests.mongod import fresh_database, given_uri, running_mongod  # noqa: E402  # after the registration
from todo_service.services import MODELS  # noqa: E402  # likewise
from todo_service.store.base import DocumentStore  # noqa: E402  # likewise
from todo_service.store.registry import create_store  # noqa: E402  # likewise

pytest_plugins = ["tests.application"]
hypothesis_settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
hypothesis_settings.register_profile("default", deadline=None)
hypothesis_settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Tests run on the event loop that serves in production."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that prints a measurement at the end of the run."""
    return lambda text: request.node.user_properties.append(("figure", text))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests marked with `slow` first. pytest-xdist then distributes the rest evenly."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the measurements of all worker processes."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in report.user_properties:
                if name == "figure":
                    terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {value}")


@pytest.fixture(scope="session")
def mongodb_uri(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[str]:
    """The address of a real MongoDB, without a database."""
    if given := given_uri():
        yield given
        return
    with running_mongod(tmp_path_factory.mktemp("mongod")) as (url, _):
        # when an attempt to connect is cancelled, PyMongo leaves its socket to the garbage collector
        left = rf"unclosed <socket\.socket .*, raddr=\('127\.0\.0\.1', {urlsplit(url).port}\)>"
        warnings.filterwarnings("ignore", left, ResourceWarning)  # for this test
        pytestconfig.addinivalue_line("filterwarnings", f"ignore:{left}:ResourceWarning")
        yield url


@pytest.fixture(scope="session")
def mongodb_client(mongodb_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    """A client of the real MongoDB."""
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        yield client


@pytest.fixture
def mongodb_url(mongodb_uri: str, mongodb_client: MongoClient[dict[str, Any]]) -> Iterator[str]:
    """The address of a fresh database on a real MongoDB."""
    with fresh_database(mongodb_uri, mongodb_client) as url:
        yield url


@pytest.fixture(params=["embedded", "mongodb"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a new store. A test with this fixture runs on both stores."""
    if request.param == "mongodb":
        url: str = request.getfixturevalue("mongodb_url")
        return url
    return f"lmdb://{tmp_path / 'store'}"


@pytest.fixture
def models() -> list[type[Model]]:
    """The models with which `store` is opened: those of the service."""
    return list(MODELS)


@pytest.fixture
async def store(store_url: str, models: list[type[Model]]) -> AsyncIterator[DocumentStore]:
    """An open store, without an application."""
    opened = create_store(store_url)
    await opened.open(*models)
    yield opened
    await opened.close()
