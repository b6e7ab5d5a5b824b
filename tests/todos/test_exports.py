"""An export ends with the session that started it."""

from __future__ import annotations

import pytest
from litestar import Litestar

from tests.todos.accounts import load
from todo_service.errors import Unauthenticated
from todo_service.exchange.formats.registry import FORMATS
from todo_service.exchange.service import Transfer, TransferCapacity
from todo_service.lists.service import Lists
from todo_service.store.base import DocumentStore
from todo_service.todos.service import Todos

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


async def get_utc() -> str:
    return "UTC"


@pytest.mark.parametrize("name", FORMATS)
async def test_an_export_ends_when_its_session_ends(app: Litestar, name: str) -> None:
    store: DocumentStore = app.state.store
    owner = await load(store, 500)
    todos, capacity = Todos(store, owner, get_utc), TransferCapacity()
    transfer = Transfer(todos, Lists(store, owner, todos), get_utc, owner, capacity)
    chunks: list[bytes] = []

    async def check_caller() -> None:
        if chunks:
            raise Unauthenticated("the session has ended", "invalid_token")

    export = transfer.export(FORMATS[name], check_caller)
    chunks.append(await anext(export))

    with pytest.raises(Unauthenticated):
        await anext(export)
    capacity.close()
