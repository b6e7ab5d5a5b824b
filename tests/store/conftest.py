"""The stores under test. A test with the fixture `store` or `store_url` in this folder runs on each of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from odmantic import Model

from tests.store.dict_store import SCHEME, databases, register_dict_store
from tests.store.models import MODELS

register_dict_store()


@pytest.fixture
def dict_url() -> Iterator[str]:
    """The address of a fresh store in dictionaries."""
    url = f"{SCHEME}://{uuid.uuid4().hex}"
    yield url
    databases.pop(url, None)


@pytest.fixture(params=["embedded", "mongodb", "dict"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a fresh store: the two of the service, and the example of a third."""
    if request.param == "embedded":
        return f"lmdb://{tmp_path / 'store'}"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def models() -> list[type[Model]]:
    """The models of these tests."""
    return list(MODELS)
