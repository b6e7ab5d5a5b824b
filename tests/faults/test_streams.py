"""Event streams that are cut at random while the service and MongoDB are killed: no change is ever missed."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest

from tests.events.clients import EVENTS, EventReader, LiveReplica
from tests.faults.figures import Figures
from tests.faults.processes import ServiceProcess, running_processes
from tests.faults.proxy import Proxy
from tests.faults.writers import Client, Response
from tests.mongod import Mongod
from tests.people import UserCreateFactory
from tests.serving import PLAIN_HTTP, START_SECONDS
from tests.waiting import wait_until

pytestmark = pytest.mark.anyio
RUNS: Final = int(os.environ.get("FAULTS_MOMENTS", "50"))
_WRITERS: Final = 3
_WRITES: Final = 30
"""The number of acknowledged writes of each writer in a run."""
_STREAMS: Final = 5
_EVENTS: Final = 30
"""The maximum number of events before a client closes its stream."""
_CUT_BYTES: Final = 8000
_TICK: Final = 0.02
_LOST: Final = (httpx.TransportError, StopAsyncIteration, AttributeError)
"""The exceptions that end a stream. AnyIO raises AttributeError if a connection closes while it is being opened."""


class Member(NamedTuple):
    """A process of the service.

    Attributes:
        process: The process.
        client: The client of the writers.
        proxy: A proxy that cuts event streams.
        streams: The client of event streams, through the proxy.
    """

    process: ServiceProcess
    client: Client
    proxy: Proxy
    streams: httpx.AsyncClient

    async def restart(self) -> None:
        """Kill the process, and start it again."""
        await asyncio.to_thread(self.process.kill)
        self.process.start()
        await self.client.await_ready()


class Run:
    """An account with writers and event streams on all processes.

    Args:
        members: The processes.
        chance: The random choices.
        figures: Counts the faults.
    """

    def __init__(self, members: Sequence[Member], chance: random.Random, figures: Figures) -> None:
        self._members = members
        self._chance = chance
        self._figures = figures
        self._calm = False

    async def check(self, fault: Callable[[], Awaitable[None]]) -> None:
        """Write, cut streams and inject a fault, and check that each stream ends with the state of the account."""
        await self._sign_up()
        start = await self._ask("/v1/todos/changes", {})
        replicas = [LiveReplica(start["next"]) for _ in range(_STREAMS)]
        self._calm = False
        async with asyncio.TaskGroup() as following:
            tasks = [following.create_task(self._follow(replica)) for replica in replicas]
            async with asyncio.TaskGroup() as writing:
                injecting = writing.create_task(self._inject(fault))
                for _ in range(_WRITERS):
                    writing.create_task(self._write(injecting))
            self._calm = True
            for member in self._members:
                member.proxy.cut_after = None
            # the streams that are open now are not cut again: they must get what is missing without resuming
            with suppress(TimeoutError):
                await wait_until(lambda: self._have_state(replicas))
            for task in tasks:
                task.cancel()
        todos, lists = await self._read_state()
        for replica in replicas:
            assert (replica.todos, replica.lists) == (todos, lists)
            async with self._streaming(replica.last_id) as reader:
                assert reader is not None
                while await replica.follow(reader) != "ready":
                    pass
            assert (replica.todos, replica.lists) == (todos, lists)
        for member in self._members:
            assert not member.client.faults, member.client.faults[:10]

    async def _sign_up(self) -> None:
        user = UserCreateFactory.build()
        body = {"username": user.username, "email": user.email, "password": user.password}
        form = {"grant_type": "password", "username": user.username, "password": user.password}
        for member in self._members:
            member.client.authorization = {}
        # 409: an earlier request with a 503 has created the account
        assert (await self._retry("POST", "/v1/users", json=body)).status in (201, 409)
        tokens = await self._retry("POST", "/v1/auth/token", data=form)
        assert tokens.status == 200, tokens
        for member in self._members:
            member.client.authorization = {"Authorization": f"Bearer {tokens.body['access_token']}"}

    async def _inject(self, fault: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(self._chance.random() * 0.3)
        await fault()

    async def _write(self, injecting: asyncio.Task[None]) -> None:
        """Write until there are enough acknowledged writes, and the fault is over."""
        writer = _Writer(self._chance)
        written = 0
        while written < _WRITES or not injecting.done():
            method, path, body = writer.choose()
            response = await self._choose().client.ask(method, path, json=body)
            if response is None or response.status == 503:
                await asyncio.sleep(_TICK)
                continue
            # 404: an earlier deletion without a response has happened; 409: a list that is being deleted
            assert response.good or response.status in (404, 409), (method, path, response)
            if response.good:
                written += 1
                writer.record(method, path, response.body)

    async def _follow(self, replica: LiveReplica) -> None:
        """Follow one stream after the other, each of which ends at a random event or in the middle of one."""
        while True:
            with suppress(*_LOST):
                async with self._streaming(replica.last_id) as reader:
                    if reader is None:
                        await asyncio.sleep(_TICK)
                        continue
                    left = self._chance.randrange(1, _EVENTS)
                    while left > 0 or self._calm:
                        await replica.follow(reader)
                        left -= 1
            self._figures.faults["stream cut"] += 1

    @asynccontextmanager
    async def _streaming(self, last_id: str) -> AsyncIterator[EventReader | None]:
        """Open a stream of a random process. Yield None if the process or its store is not available."""
        member = self._choose()
        if not self._calm and self._chance.random() < 0.3:
            member.proxy.cut_after = self._chance.randrange(1, _CUT_BYTES)
        headers = member.client.authorization | {"Last-Event-ID": last_id}
        async with member.streams.stream("GET", EVENTS, headers=headers) as response:
            # 429: the process has not noticed yet that earlier streams were cut
            assert response.status_code in (200, 429, 503), await response.aread()
            yield EventReader(response) if response.status_code == 200 else None

    async def _have_state(self, replicas: Sequence[LiveReplica]) -> bool:
        """Return whether all replicas have the state of the account.

        It may still change: another process finishes the deletion of a list after a kill.
        """
        todos, lists = await self._read_state()
        return all((replica.todos, replica.lists) == (todos, lists) for replica in replicas)

    async def _read_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return await self._read_all("/v1/todos"), await self._read_all("/v1/lists")

    async def _read_all(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        parameters: dict[str, str] = {}
        while True:
            page = await self._ask(path, parameters)
            found |= {item["id"]: item for item in page["items"]}
            if page["next_cursor"] is None:
                return found
            parameters["cursor"] = page["next_cursor"]

    async def _ask(self, path: str, parameters: dict[str, str]) -> Any:
        response = await self._retry("GET", path, params={"limit": "200"} | parameters)
        assert response.status == 200, response
        return response.body

    async def _retry(self, method: str, path: str, **request: Any) -> Response:
        """Send a request until there is a response other than 503."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                response = await self._choose().client.ask(method, path, **request)
                if response is not None and response.status != 503:
                    return response
                await asyncio.sleep(_TICK)

    def _choose(self) -> Member:
        return self._chance.choice(self._members)


class _Writer:
    """Chooses requests that write todos and lists of its own.

    Args:
        chance: The random choices.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._count = 0
        self._todos: list[str] = []
        self._lists: list[str] = []

    def choose(self) -> tuple[str, str, Any]:
        """Return the method, the path and the body of the next request."""
        self._count += 1
        name = f"number {self._count}"
        list_id = self._chance.choice([*self._lists, None])
        new = {"title": name, "list_id": list_id, "description": "x" * self._chance.randrange(1000)}
        requests: list[tuple[str, str, Any]] = [
            ("POST", "/v1/todos", new),
            ("POST", "/v1/todos/batch", {"operations": [{"op": "create", "todo": new}] * 2}),
            ("POST", "/v1/lists", {"name": name}),
        ]
        if self._todos:
            todo = f"/v1/todos/{self._chance.choice(self._todos)}"
            requests += [
                ("PATCH", todo, {"title": name}),
                ("PATCH", todo, {"list_id": list_id}),
                ("POST", f"{todo}/complete", None),
                ("DELETE", todo, None),
            ]
        if list_id is not None:
            kept = self._chance.choice(("move", "delete"))
            requests += [
                ("PATCH", f"/v1/lists/{list_id}", {"name": name}),
                ("DELETE", f"/v1/lists/{list_id}?todos={kept}", None),
            ]
        method, path, body = self._chance.choice(requests)
        if method == "DELETE":  # it is not used again, even if there is no response
            self._todos = [each for each in self._todos if each not in path]
            self._lists = [each for each in self._lists if each not in path]
        return method, path, body

    def record(self, method: str, path: str, body: Any) -> None:
        """Record what a request has created."""
        match method, path:
            case "POST", "/v1/todos":
                self._todos.append(body["id"])
            case "POST", "/v1/todos/batch":
                self._todos += [result["todo"]["id"] for result in body["results"]]
            case "POST", "/v1/lists":
                self._lists.append(body["id"])


@asynccontextmanager
async def serving(folder: Path, store_url: str, figures: Figures) -> AsyncIterator[list[Member]]:
    """Run two processes of the service on a store until the block ends."""
    async with running_processes(folder, store_url, 2) as processes, AsyncExitStack() as stack:
        members = []
        for process in processes:
            # how long a request may take is the subject of other tests
            client = Client(process.url, figures, mortal=True, response_seconds=START_SECONDS)
            await stack.enter_async_context(client.opened())
            proxy = await stack.enter_async_context(Proxy(int(process.url.rpartition(":")[2])).running())
            streams = httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{proxy.port}", timeout=START_SECONDS, verify=PLAIN_HTTP
            )
            await stack.enter_async_context(streams)
            members.append(Member(process, client, proxy, streams))
        yield members
        for member in members:
            assert await asyncio.to_thread(member.process.stop) == 0


def restarts(members: Sequence[Member], figures: Figures, store: str) -> list[Callable[[], Awaitable[None]]]:
    """Return the faults that kill a process of the service, or both."""

    async def kill_both() -> None:
        await asyncio.gather(*(kill(member) for member in members))

    async def kill(member: Member) -> None:
        await member.restart()
        figures.faults[f"service with streams killed ({store})"] += 1

    return [lambda: kill(members[0]), lambda: kill(members[1]), kill_both]


@pytest.mark.slow
async def test_streams_miss_nothing_while_the_service_is_killed_on_the_embedded_store(
    tmp_path: Path, figures: Figures
) -> None:
    async with serving(tmp_path, f"lmdb://{tmp_path / 'store'}", figures) as members:
        faults = restarts(members, figures, "embedded")
        for number in range(RUNS):
            chance = random.Random(number)  # noqa: S311  # no secret
            await Run(members, chance, figures).check(chance.choice(faults))


@pytest.mark.slow
async def test_streams_miss_nothing_while_the_service_and_mongod_are_killed(tmp_path: Path, figures: Figures) -> None:
    (tmp_path / "mongod").mkdir()
    mongod = Mongod(tmp_path / "mongod", "--wiredTigerCacheSizeGB", "0.25")
    await asyncio.to_thread(mongod.start)

    async def kill_mongod() -> None:
        await asyncio.to_thread(mongod.kill)
        await asyncio.to_thread(mongod.start)
        figures.faults["mongod with streams killed"] += 1
        for member in members:
            await member.client.await_ready()

    try:
        async with serving(tmp_path, f"{mongod.url}/todo", figures) as members:
            faults = [*restarts(members, figures, "mongodb"), kill_mongod]
            for number in range(RUNS):
                chance = random.Random(number)  # noqa: S311  # no secret
                await Run(members, chance, figures).check(chance.choice(faults))
    finally:
        mongod.stop()
