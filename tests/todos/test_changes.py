"""Delta sync: whoever applies every page to an empty map ends with exactly the account's todos."""

from __future__ import annotations

import asyncio
import copy
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar

from tests.people import Person, assert_problem
from todo_service.app import MODELS, create_app
from todo_service.settings import load_settings
from todo_service.store.base import DocumentStore
from todo_service.store.opening import open_store
from todo_service.timestamps import now
from todo_service.todos import service
from todo_service.todos.documents import Todo

pytestmark = pytest.mark.anyio
EXAMPLES = int(os.environ.get("CHANGES_EXAMPLES", "60"))


class Replica:
    """A client that keeps the account's todos by asking for changes."""

    def __init__(self, person: Person, limit: int = 3) -> None:
        self.person = person
        self.limit = limit
        self.todos: dict[str, dict[str, Any]] = {}
        self.since: str | None = None

    async def page(self) -> bool:
        """Apply one page, and tell whether there is more."""
        parameters = {"limit": self.limit} | ({"since": self.since} if self.since else {})
        answer = await self.person.get("/v1/todos/changes", params=parameters)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        for todo in body["changed"]:
            self.todos[todo["id"]] = todo
        for todo_id in body["deleted"]:
            self.todos.pop(todo_id, None)
        self.since = body["next"]
        more: bool = body["has_more"]
        return more

    async def synchronise(self) -> None:
        while await self.page():
            pass


async def everything(person: Person) -> dict[str, dict[str, Any]]:
    answer = await person.get("/v1/todos", params={"limit": 200})
    assert answer.json()["next_cursor"] is None
    return {todo["id"]: todo for todo in answer.json()["items"]}


async def test_a_first_round_has_everything_and_no_deletions(ada: Person, bob: Person) -> None:
    todos = [await ada.todo(title=str(number)) for number in range(7)]
    await ada.delete(f"/v1/todos/{todos[0]['id']}")
    await bob.todo()

    answer = (await ada.get("/v1/todos/changes")).json()
    replica = Replica(ada)
    await replica.synchronise()

    if answer["deleted"]:  # on MongoDB the last seconds are not settled
        assert answer["deleted"] == [todos[0]["id"]]
    assert [todo["id"] for todo in answer["changed"]] == [todo["id"] for todo in todos[1:]]
    assert answer["has_more"] is False
    assert replica.todos == await everything(ada)


async def test_later_rounds_have_what_is_new(ada: Person) -> None:
    replica = Replica(ada)
    kept, changed, deleted = [await ada.todo(title=title) for title in ("kept", "changed", "deleted")]
    await replica.synchronise()
    await ada.patch(f"/v1/todos/{changed['id']}", json={"title": "changed again"})
    await ada.delete(f"/v1/todos/{deleted['id']}")
    await ada.todo(title="new")

    answer = (await ada.get("/v1/todos/changes", params={"since": replica.since})).json()
    await replica.synchronise()

    assert answer["deleted"] == [deleted["id"]]
    assert {todo["title"] for todo in answer["changed"]} - {"kept"} == {"changed again", "new"}
    assert replica.todos == await everything(ada)
    assert kept["id"] in replica.todos


async def test_what_changes_between_two_pages_comes_again(ada: Person) -> None:
    todos = [await ada.todo(title=str(number)) for number in range(6)]
    replica = Replica(ada, limit=2)
    await replica.page()
    await ada.patch(f"/v1/todos/{todos[0]['id']}", json={"title": "changed"})
    await ada.delete(f"/v1/todos/{todos[1]['id']}")
    await ada.delete(f"/v1/todos/{todos[5]['id']}")

    await replica.synchronise()

    assert replica.todos == await everything(ada)


async def test_a_deleted_todo_is_not_kept_in_the_store(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    todo = await ada.todo(title="a secret", description="more of it", tags=["secret"], steps=[{"title": "secret"}])
    await ada.delete(f"/v1/todos/{todo['id']}")

    [remembered] = [found async for found in store.scan(Todo)]

    assert "secret" not in repr(remembered)
    assert remembered.purge_at is not None


async def test_a_token_of_another_account_or_of_another_kind_is_refused(ada: Person, bob: Person) -> None:
    await ada.todo()
    token = (await ada.get("/v1/todos/changes")).json()["next"]
    await ada.todo()
    cursor = (await ada.get("/v1/todos", params={"limit": 1})).json()["next_cursor"]

    for person, since in ((bob, token), (ada, token[:-2]), (ada, "x"), (ada, ""), (ada, cursor)):
        assert_problem(await person.get("/v1/todos/changes", params={"since": since}), 422, "since")
    assert_problem(await ada.get("/v1/todos", params={"limit": 1, "cursor": token}), 422, "cursor")


async def test_a_token_that_is_older_than_what_is_remembered_is_gone(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await ada.get("/v1/todos/changes")).json()["next"]
    monkeypatch.setattr(service, "now", lambda: now() + service.REMEMBERED)

    assert_problem(await ada.get("/v1/todos/changes", params={"since": token}), 410)
    assert (await ada.get("/v1/todos/changes")).status_code == 200


steps = st.lists(
    st.tuples(st.sampled_from(["create", "update", "delete", "page", "complete"]), st.integers(0, 9)),
    min_size=3,
    max_size=12,
)


async def write(person: Person, row: list[tuple[str, int]], replica: Replica) -> None:
    """Carry out a row of steps on whatever todos there are."""
    for step, number in row:
        known = list(await everything(person))
        todo_id = known[number % len(known)] if known else None
        if step == "page":
            await replica.page()
        elif step == "create" or todo_id is None:
            await person.todo(title=f"todo {number}")
        elif step == "update":
            answer = await person.patch(f"/v1/todos/{todo_id}", json={"title": f"at {time.monotonic()}"})
            assert answer.status_code in (200, 404)
        elif step == "complete":
            assert (await person.post(f"/v1/todos/{todo_id}/complete")).status_code in (200, 404)
        else:
            assert (await person.delete(f"/v1/todos/{todo_id}")).status_code in (204, 404)


async def compare(ada: Person, twin: Person, one: list[Any], other: list[Any], limit: int) -> None:
    for todo_id in await everything(ada):
        await ada.delete(f"/v1/todos/{todo_id}")
    replica, later = Replica(ada, limit), Replica(ada, limit)
    await asyncio.gather(write(ada, one, replica), write(twin, other, replica))
    await replica.synchronise()
    await later.synchronise()
    expected = await everything(ada)
    assert replica.todos == expected
    assert later.todos == expected


def test_two_writers_and_a_reader_end_with_the_account_s_state(tmp_path: Path, store_url: str) -> None:
    """Two writers, on MongoDB on replicas of their own, and a client that reads pages meanwhile, in any order."""
    rows = 0
    secret = {"SECRET_KEY": "a secret of the tests, 32 bytes long", "RATE_LIMIT_ENABLED": "false"}
    variables = {"DATA_DIR": str(tmp_path), "STORE_URL": store_url, **secret}
    stack = AsyncExitStack()

    async def connect() -> httpx.AsyncClient:
        configuration = load_settings(variables)
        store = open_store(configuration.store_address)
        # without the application's lifespan, which ends in the task that began it
        await store.open(*MODELS)
        stack.push_async_callback(store.close)
        application = create_app(configuration, store)
        transport = httpx.ASGITransport(app=application)  # type: ignore[arg-type]  # httpx types scopes otherwise
        return await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://testserver"))

    async def two() -> tuple[Person, Person]:
        client = await connect()
        ada = await Person.register(client)
        twin = copy.copy(ada)
        # a process opens a folder of the embedded store once, so there the writers share the replica
        twin.client = await connect() if store_url.startswith("mongodb") else client
        return ada, twin

    with asyncio.Runner() as runner:
        ada, twin = runner.run(two())

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(steps, steps, st.integers(1, 4))
        def rounds(one: list[Any], other: list[Any], limit: int) -> None:
            nonlocal rows
            runner.run(compare(ada, twin, one, other, limit))
            rows += 1

        try:
            rounds()
        finally:
            runner.run(stack.aclose())
    assert rows >= EXAMPLES
