"""The deletion of an account that breaks off after any of its steps can be finished, and then leaves nothing."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any, Final

import httpx
import pytest
from litestar import Litestar
from odmantic import Model, ObjectId

from tests.accounts.test_users import create_accounts
from tests.people import Person
from todo_service.accounts.documents import ApiKey, ClosedAccount, Session, User
from todo_service.accounts.service import CLOSING_PERIOD
from todo_service.idempotency.documents import IdempotentRequest
from todo_service.lists.documents import DeletedList, TodoList
from todo_service.settings import Settings
from todo_service.store.base import DocumentStore
from todo_service.store.instrumentation import observe
from todo_service.sync.counts import CountSnapshot
from todo_service.timestamps import now
from todo_service.todos.documents import Todo

pytestmark = pytest.mark.anyio
KEY: Final = {"Idempotency-Key": "first"}
OWNED: Final[tuple[type[Model], ...]] = (
    User,
    Session,
    ApiKey,
    Todo,
    TodoList,
    DeletedList,
    CountSnapshot,
    IdempotentRequest,
)


class Interruption:
    """Cancels a request after a number of store calls."""

    def __init__(self, store: DocumentStore) -> None:
        self._request: asyncio.Task[httpx.Response] | None = None
        self._left = 0
        observe(store, self._record)

    def _record(self, operation: str, seconds: float, available: bool) -> None:
        current = asyncio.current_task()
        if current is None or current is not self._request:
            return
        self._left -= 1
        if not self._left:
            current.cancel()

    async def interrupt(self, request: Any, calls: int) -> httpx.Response | None:
        """Return the response to a request, or None if it was cancelled after this many calls."""
        self._left = calls
        self._request = asyncio.create_task(request)
        await asyncio.wait([self._request])
        return None if self._request.cancelled() else self._request.result()


async def register_with_documents(client: httpx.AsyncClient) -> tuple[Person, ObjectId]:
    """Register an account that owns a document of each kind, and return it with its id."""
    person = await Person.register(client)
    await person.todo()
    assert (await person.post("/v1/todos", json={"title": "x"}, headers=KEY)).status_code == 201
    assert (await person.post("/v1/api-keys", json={"name": "x", "scope": "write"})).status_code == 201
    for _ in range(2):
        added = await person.post("/v1/lists", json={"name": "x"})
    assert (await person.delete(f"/v1/lists/{added.json()['id']}")).status_code == 204
    return person, await person.account_id()


async def delete_again(person: Person) -> bool:
    """Sign in and repeat the deletion. Return False if the interrupted one has deleted the account itself."""
    signed_in = await person.grant(grant_type="password", username=person.username, password=person.password)
    if signed_in.status_code == 200:
        person.access_token = signed_in.json()["access_token"]
        response = await person.delete("/v1/users/me", json={"password": person.password})
        # the last write of an interrupted request may still be in flight
        assert response.status_code in (204, 401)
        return response.status_code == 204
    return False


async def list_left_documents(store: DocumentStore, user_id: ObjectId) -> list[str]:
    """Return the kind of each document that an account still owns."""
    return [
        model.__name__
        for model in OWNED
        async for document in store.scan(model)
        if user_id in (document.id, getattr(document, "owner", None), getattr(document, "account", None))
    ]


@pytest.mark.parametrize("finished_by", ["a repeat", "the background job"])
async def test_an_interrupted_deletion_can_be_finished_after_every_step(
    app: Litestar, client: httpx.AsyncClient, settings: Settings, finished_by: str
) -> None:
    store: DocumentStore = app.state.store
    accounts = create_accounts(store, settings)
    interruption = Interruption(store)
    left_behind: dict[int, list[str]] = {}
    for calls in count(1):
        person, user_id = await register_with_documents(client)
        deletion = person.delete("/v1/users/me", json={"password": person.password})
        response = await interruption.interrupt(deletion, calls)

        if await store.get(ClosedAccount, ClosedAccount.id == user_id) is None:
            continue  # nothing has been deleted yet
        if finished_by == "the background job" or not await delete_again(person):
            await accounts.finish_deletions(now() + 2 * CLOSING_PERIOD)
        if left := await list_left_documents(store, user_id):
            left_behind[calls] = left
        if response is not None:
            assert response.status_code == 204
            break

    assert not left_behind
    assert calls > len(OWNED)
