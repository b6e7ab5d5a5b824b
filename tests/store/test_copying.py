"""Copying: everything arrives, as it was, or the target says that it has not; whatever ends it is finished later."""

from __future__ import annotations

import gzip
import json
import os
import stat
import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import msgspec
import pytest
from bson import Decimal128, Int64, Regex, Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odmantic import ObjectId
from odmantic.query import asc

from tests.mongod import running_mongod
from tests.store.models import MODELS, Badge, Note, Thing, Ticket
from todo_service.store.backup import Backup
from todo_service.store.base import (
    Access,
    DocumentStore,
    DuplicateDocument,
    State,
    StoreError,
    StoreUnusable,
    UnsupportedExpression,
)
from todo_service.store.copying import Copied, Step, TargetInUse, copy
from todo_service.store.documents import EXACT, decode, encode
from todo_service.store.opening import open_store

pytestmark = pytest.mark.anyio
FORMS = ["embedded", "mongodb", "backup"]


class Places:
    """Fresh addresses of each form."""

    def __init__(self, folder: Path, mongodb_url: str) -> None:
        self.folder = folder
        self._mongodb_url = mongodb_url
        self._made = 0

    def new(self, form: str) -> str:
        self._made += 1
        match form:
            case "embedded":
                return f"lmdb://{self.folder / f'store {self._made}'}"
            case "mongodb":
                return f"{self._mongodb_url}_{self._made}"
        return f"file://{self.folder / f'backup {self._made}.ndjson.gz'}"


@pytest.fixture
def places(tmp_path: Path, mongodb_url: str, mongodb_names: list[str]) -> Places:
    return Places(tmp_path, mongodb_url)
