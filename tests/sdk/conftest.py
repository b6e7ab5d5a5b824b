"""The running service, and the document that the clients are generated from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.openapi.golden import GOLDEN
from tests.serving import Service, running_service


@pytest.fixture(scope="session")
def document() -> Path:
    """The golden document, which equals the one that the service serves."""
    return GOLDEN


@pytest.fixture(scope="session")
def limited_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with rate limits."""
    limits = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_API": "200/minute", "RATE_LIMIT_AUTH": "100/minute"}
    with running_service(tmp_path_factory.mktemp("service"), limits) as service:
        yield service
