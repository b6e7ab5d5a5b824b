"""Exports while sessions end and lists change."""

from __future__ import annotations

import json

import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.todos.accounts import load
from todo_service.errors import Unauthenticated
from todo_service.exchange.formats.registry import FORMATS
from todo_service.exchange.service import Transfer, TransferCapacity
from todo_service.lists.dto import TodoListCreate
from todo_service.lists.service import Lists
from todo_service.store.base import DocumentStore
from todo_service.todos.dto import TodoCreate, TodoQuery, TodoUpdate
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


@pytest.mark.parametrize("name", FORMATS)
async def test_a_todo_in_a_list_created_during_the_export_is_imported_into_the_inbox(app: Litestar, name: str) -> None:
    store: DocumentStore = app.state.store
    owner, capacity = ObjectId(), TransferCapacity()
    todos = Todos(store, owner, get_utc)
    lists = Lists(store, owner, todos)
    created = [await todos.create(TodoCreate(title=str(number))) for number in range(210)]

    async def move_last() -> None:
        """Move the last todo to a new list, after the lists have been read and before the second page is."""
        if started:
            new = await lists.create(TodoListCreate("New"))
            await todos.update(created[-1].id, TodoUpdate(list_id=new.id), None)

    started = False
    export = Transfer(todos, lists, get_utc, owner, capacity).export(FORMATS[name], move_last)
    beginning = await anext(export)
    started = True
    file = beginning + b"".join([chunk async for chunk in export])

    async def read_body() -> bytes:
        return file

    other = ObjectId()
    copies = Todos(store, other, get_utc)
    transfer = Transfer(copies, Lists(store, other, copies), get_utc, other, capacity)
    report = await transfer.import_file(FORMATS[name], read_body, lambda _: ObjectId())
    capacity.close()
    newest, _ = await copies.read_page(TodoQuery(sort="-created_at", limit=1), None)

    assert (report.imported, report.rejected) == (210, [])
    assert [todo.list_id for todo in newest] == [None]


async def test_todos_of_a_list_that_is_gone_are_exported_in_the_inbox(app: Litestar) -> None:
    store: DocumentStore = app.state.store
    owner = await load(store, 10)  # in lists that do not exist
    todos, capacity = Todos(store, owner, get_utc), TransferCapacity()
    transfer = Transfer(todos, Lists(store, owner, todos), get_utc, owner, capacity)

    archive = json.loads(b"".join([chunk async for chunk in transfer.export(FORMATS["json"])]))

    capacity.close()
    assert archive["lists"] == []
    assert [todo["list_id"] for todo in archive["todos"]] == [None] * 10
