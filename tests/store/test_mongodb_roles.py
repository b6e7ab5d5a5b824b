"""The roles that the service and `copy` need on a MongoDB with access control, as docs/scaling.md states them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.mongod import Mongod
from tests.serving import SECRET_KEY, running_service
from todo_service.services import MODELS
from todo_service.store.transfer.copying import copy

SERVED, COPIED = "served", "copied"


@pytest.fixture
def urls(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The addresses of two databases. Their users have the roles for the service, and for the target of a copy."""
    (tmp_path / "mongod").mkdir()
    server = Mongod(tmp_path / "mongod", "--auth")
    server.start()
    try:
        with MongoClient[dict[str, Any]](server.url) as client:  # the first user may be created without one
            client.admin.command("createUser", "root", pwd="secret", roles=["root"])
        with MongoClient[dict[str, Any]](server.url, username="root", password="secret") as client:
            client[SERVED].command("createUser", SERVED, pwd="secret", roles=["readWrite"])
            client[COPIED].command("createUser", COPIED, pwd="secret", roles=["readWrite", "dbAdmin"])
        yield {name: server.url.replace("//", f"//{name}:secret@") + f"/{name}" for name in (SERVED, COPIED)}
    finally:
        server.stop()


@pytest.mark.anyio
async def test_the_documented_roles_are_enough(urls: dict[str, str], tmp_path: Path) -> None:
    variables = {"STORE_URL": urls[SERVED], "SECRET_KEY": SECRET_KEY}
    registration = {"username": "ada", "email": "ada@example.com", "password": "correct horse battery"}

    with running_service(tmp_path, variables) as service:
        assert service.post("/v1/users", json=registration).status_code == 201
    with running_service(tmp_path, variables) as service:  # again, when the collections exist
        assert service.post("/v1/users", json=registration).status_code == 409
    await copy(urls[SERVED], urls[COPIED], MODELS)
    with running_service(tmp_path, variables | {"STORE_URL": urls[COPIED]}) as service:
        assert service.post("/v1/users", json=registration).status_code == 409
