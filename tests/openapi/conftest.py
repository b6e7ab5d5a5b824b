"""The OpenAPI document of the service."""

from __future__ import annotations

import json

import pytest

from tests.openapi.document import Json
from todo_service.app import render_openapi_document


@pytest.fixture(scope="session")
def document() -> Json:
    """The document as `todo-service openapi` prints it."""
    parsed: Json = json.loads(render_openapi_document("json"))
    return parsed
