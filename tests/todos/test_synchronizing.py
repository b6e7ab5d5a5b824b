"""Randomized tests of delta sync: two writers, each on its own replica, and a reader that alternates between them.

One replica is an application in this process, the other is `todo-service serve` in a process of its own, on the same
store. `pdm run test-synchronizing` runs 2 000 programs on each store.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from odmantic import ObjectId

from tests.application import create_test_store
from tests.people import Person
from tests.serving import SECRET_KEY, START_SECONDS, running_service
from tests.todos.replica import Replica, assert_counted, due, every_list, everything, follow_time_zones
from todo_service.accounts.documents import User
from todo_service.accounts.sessions import Client, Sessions
from todo_service.accounts.time_zones import AFTER_REQUESTS
from todo_service.accounts.tokens import AccessTokens, RefreshTokens
from todo_service.app import create_app
from todo_service.services import MODELS
from todo_service.settings import load_settings
from todo_service.store.mongodb.store import RESOLVE_AFTER
from todo_service.sync.counting import TodoCounter
from todo_service.timestamps import now
from todo_service.todos.shared import SharedState

RUNS = int(os.environ.get("SYNCHRONIZED_PROGRAMS", "120"))
Step = tuple[str, int]


class Replicas:
    """Two replicas of the service on one store.

    Args:
        here: The client of the replica in this process.
        there: The client of the replica in another process.
        sessions: Signs accounts in.
        store: The store.
    """

    def __init__(self, here: httpx.AsyncClient, there: httpx.AsyncClient, sessions: Sessions, store: Any) -> None:
        self.here = here
        self.there = there
        self._sessions = sessions
        self._store = store

    async def account(self) -> tuple[Person, Person]:
        """Create an account without hashing a password, and return its user on each replica."""
        moment, user_id = now(), ObjectId()
        names: dict[str, Any] = dict.fromkeys(("username", "username_key", "email", "email_key"), str(user_id))
        user = User(id=user_id, invitation=user_id, **names, password_hash="", created_at=moment, updated_at=moment)
        await self._store.insert(user)
        ada = Person.__new__(Person)
        ada.client = self.here
        ada.access_token = (await self._sessions.start(user_id, 1, Client("", ""))).access
        twin = copy.copy(ada)
        twin.client = self.there
        return ada, twin

    async def follow_time_zones(self) -> None:
        """Run the job that follows the time zones of accounts. The other replica runs it too, at its own times."""
        await follow_time_zones(self._store, AFTER_REQUESTS)


@asynccontextmanager
async def replicas(folder: Path, store_url: str, url: str, resolve_after: timedelta) -> AsyncIterator[Replicas]:
    variables = {
        "DATA_DIR": str(folder),
        "STORE_URL": store_url,
        "SECRET_KEY": SECRET_KEY,
        "RATE_LIMIT_ENABLED": "false",
    }
    configuration = load_settings(variables)
    store = create_test_store(configuration.store_address, resolve_after)
    # not the application's lifespan, which must end in the task that started it
    await store.open(*MODELS)
    keys = [configuration.secret_key]
    sessions = Sessions(store, AccessTokens(keys, 3600), RefreshTokens(keys), 1)
    # this replica stores a new snapshot of the counts after almost every change
    shared = SharedState(store, counter=TodoCounter(store, min_changes=2))
    transport = httpx.ASGITransport(app=create_app(configuration, store, shared_state=shared))  # type: ignore[arg-type]  # as plain dictionaries
    try:
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://testserver") as here,
            httpx.AsyncClient(base_url=url, timeout=START_SECONDS) as there,
        ):
            yield Replicas(here, there, sessions, store)
    finally:
        await shared.close()
        await store.close()


@pytest.fixture
def running(tmp_path: Path, store_url: str, resolve_after: timedelta) -> Iterator[tuple[asyncio.Runner, Replicas]]:
    """Both replicas, and the event loop of their clients."""
    with (
        running_service(tmp_path, {"STORE_URL": store_url, "SECRET_KEY": SECRET_KEY}) as service,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        opened = replicas(tmp_path, store_url, service.url, resolve_after)
        found = runner.run(opened.__aenter__())
        try:
            yield runner, found
        finally:
            runner.run(opened.__aexit__(None, None, None))


WRITES = [
    *("create", "day", "recurring", "update", "move", "reorder", "complete", "reopen", "delete", "batch", "drop list"),
    *("rename list", "zone"),
]
ZONES = ["UTC", "America/New_York", "Asia/Tokyo", "Pacific/Kiritimati"]
programs = st.lists(st.tuples(st.sampled_from(WRITES), st.integers(0, 9)), min_size=1, max_size=8)
reading = st.lists(st.booleans(), max_size=6)


class Account:
    """The todos and lists that both writers have created."""

    def __init__(self) -> None:
        self.todos: list[str] = []
        self.lists: list[str] = []

    def todo(self, number: int) -> str:
        return self.todos[number % len(self.todos)] if self.todos else "0" * 24


async def write(person: Person, program: list[Step], account: Account) -> None:
    """Run a program on the existing todos."""
    for step, number in program:
        path = f"/v1/todos/{account.todo(number)}"
        match step:
            case "create":
                todo = await person.todo(title=f"todo {number}", tags=[str(number)], due_at=due(number))
                account.todos.append(todo["id"])
            case "day":
                day = (now() + timedelta(days=number - 4)).date().isoformat()
                fields = {"due_on": day, "start_on": day, "recurrence": "FREQ=DAILY;COUNT=2" if number % 3 else None}
                zone = [None, None, *ZONES][number % 6]
                account.todos.append((await person.todo(title=f"day {number}", time_zone=zone, **fields))["id"])
            case "zone":
                response = await person.patch("/v1/users/me", json={"time_zone": ZONES[number % len(ZONES)]})
                assert response.status_code == 200, response.text
            case "recurring":
                times = {"due_on": "2027-01-01"} if number % 2 else {"due_at": "2027-01-01T09:00:00Z"}
                todo = await person.todo(title=f"todo {number}", **times, recurrence="FREQ=DAILY;COUNT=2")
                account.todos.append(todo["id"])
            case "update":
                changed = {"due_at": due(number + 1)} if number % 2 else {"due_on": due(number + 1)[:10]}
                start = {"start_at": None, "start_on": None}
                response = await person.patch(path, json={"priority": "high"} | start | changed)
                assert response.status_code in (200, 404), response.text
            case "move":
                made = await person.post("/v1/lists", json={"name": f"list {number}"})
                assert made.status_code == 201, made.text
                response = await person.patch(path, json={"list_id": made.json()["id"]})
                assert response.status_code in (200, 404), response.text
                account.lists.append(made.json()["id"])
            case "reorder":
                place = {"after": account.todo(number + 3)} if number % 2 else {"to": "first"}
                assert (await person.post(f"{path}/move", json=place)).status_code in (200, 404, 422)
            case "complete" | "reopen":
                assert (await person.post(f"{path}/{step}")).status_code in (200, 404)
            case "delete":
                assert (await person.delete(path)).status_code in (204, 404)
            case "rename list" if account.lists:
                response = await person.patch(f"/v1/lists/{account.lists[-1]}", json={"name": f"renamed {number}"})
                assert response.status_code in (200, 404), response.text
            case "drop list" if account.lists:
                parameters = {"todos": "move" if number % 2 else "delete"}
                response = await person.delete(f"/v1/lists/{account.lists.pop()}", params=parameters)
                assert response.status_code == 204, response.text
            case "batch":
                operations: list[dict[str, Any]] = [
                    {"op": "create", "todo": {"title": f"of a batch {number}"}},
                    {"op": "update", "id": account.todo(number + 1), "todo": {"completed": bool(number % 2)}},
                    {"op": "delete", "id": account.todo(number + 2)},
                ]
                response = await person.post("/v1/todos/batch", json={"operations": operations})
                results = response.json()["results"]
                assert [result["status"] in (200, 201, 204, 404) for result in results] == [True] * 3, results
                account.todos.append(results[0]["todo"]["id"])


async def read(replica: Replica, ada: Person, twin: Person, pages: list[bool]) -> None:
    """Read pages during the writes, each from one of both replicas."""
    for elsewhere in pages:
        replica.person = twin if elsewhere else ada
        await replica.page()


@pytest.mark.slow
def test_a_reader_concurrent_with_two_writers_converges(
    running: tuple[asyncio.Runner, Replicas], figure: Callable[[str], None]
) -> None:
    runner, found = running
    programs_run = 0

    async def run_programs(one: list[Step], other: list[Step], pages: list[bool], limit: int) -> None:
        ada, twin = await found.account()
        account, replica = Account(), Replica(ada, limit)
        await asyncio.gather(write(ada, one, account), write(twin, other, account), read(replica, ada, twin, pages))
        await found.follow_time_zones()
        later = Replica(twin, limit)
        await asyncio.gather(replica.sync(), later.sync())
        expected = await everything(ada)
        assert replica.todos == expected
        assert later.todos == expected
        assert replica.lists == later.lists == await every_list(ada)
        await assert_counted(ada, expected)
        # changes between two rounds are not lost or miscounted
        await write(ada, other[:2], account)
        await found.follow_time_zones()
        await replica.sync()
        assert replica.todos == await everything(twin)
        assert replica.lists == await every_list(twin)
        await assert_counted(twin, replica.todos)

    # concurrent writers do not fail in the same way twice, so shrinking is pointless
    @settings(max_examples=RUNS, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
    @given(programs, programs, reading, st.integers(1, 5))
    def run(one: list[Step], other: list[Step], pages: list[bool], limit: int) -> None:
        nonlocal programs_run
        runner.run(run_programs(one, other, pages, limit))
        programs_run += 1

    run()
    figure(f"{programs_run} programs, nothing missed")
    assert programs_run >= RUNS


# the reader's replica resolves MongoDB's timestamps earlier, which makes the test faster
@pytest.mark.parametrize("resolve_after", [RESOLVE_AFTER / 5])
def test_rounds_that_start_at_the_resolved_stamp_miss_nothing(running: tuple[asyncio.Runner, Replicas]) -> None:
    """Read until the start of a round has passed three successive writes."""
    runner, found = running

    async def run_programs() -> None:
        ada, twin = await found.account()
        replica = Replica(ada, 200)
        account, reading = Account(), True

        async def keep_writing(person: Person) -> None:
            number = 0
            while reading:
                number += 1
                steps = [("create", number), ("update", number * 7), ("delete", number * 3), ("complete", number)]
                await write(person, steps[: 1 + number % 4], account)
                # keep the account within one page
                while len(account.todos) > 50:
                    assert (await person.delete(f"/v1/todos/{account.todos.pop(0)}")).status_code in (204, 404)

        async def changed_since(replica: Replica) -> set[str]:
            response = await ada.get("/v1/todos/changes", params={"since": replica.since, "limit": 200})
            return {todo["id"] for todo in response.json()["changed"]}

        async def keep_reading() -> None:
            nonlocal reading
            try:
                for _ in range(3):
                    landmark = (await ada.todo(title="landmark"))["id"]
                    await replica.sync()
                    while landmark in await changed_since(replica):
                        await replica.sync()
                        assert (await ada.get("/v1/todos/summary")).status_code == 200
            finally:
                reading = False

        await asyncio.gather(keep_writing(ada), keep_writing(twin), keep_reading())
        await replica.sync()
        fresh = Replica(twin, 200)
        await fresh.sync()
        assert replica.todos == fresh.todos
        assert replica.todos == await everything(twin)
        await assert_counted(ada, replica.todos)
        await assert_counted(twin, replica.todos)

    runner.run(run_programs())
