"""Event streams: every change arrives, a stream resumes where the last one ended, and it ends when it must."""

from __future__ import annotations

import asyncio
import copy
import random
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from odmantic import ObjectId

from tests.events.clients import EVENTS, EventReader, LiveReplica, streaming
from tests.mongod import fresh_database
from tests.people import Person, assert_problem
from tests.serving import PLAIN_HTTP, SECRET_KEY, START_SECONDS, Service, run_command, running_service
from tests.todos.replica import every_list, everything
from tests.waiting import wait_until
from tests.web.test_metrics import fetch_samples, get_sample
from todo_service.accounts.tickets import Tickets
from todo_service.bounds.events import STREAMS, TICKET_SECONDS
from todo_service.security.caller import Caller
from todo_service.store.registry import create_store
from todo_service.timestamps import now

pytestmark = pytest.mark.anyio
ENDED_SECONDS = 10
"""Within this time, the end of a session ends its streams in every process."""


@pytest.fixture(scope="module", params=["embedded", "mongodb"])
def variables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The settings of a service on each store."""
    if request.param == "embedded":
        yield {"STORE_URL": f"lmdb://{tmp_path_factory.mktemp('store')}", "SECRET_KEY": SECRET_KEY}
        return
    uri, client = request.getfixturevalue("mongodb_uri"), request.getfixturevalue("mongodb_client")
    with fresh_database(uri, client) as url:
        yield {"STORE_URL": url, "SECRET_KEY": SECRET_KEY}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Iterator[Service]:
    """A service that tests share. Each of them has accounts of its own."""
    with running_service(tmp_path_factory.mktemp("service"), variables) as service:
        yield service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, timeout=START_SECONDS, verify=PLAIN_HTTP) as client:
        yield client


@pytest.fixture
async def ada(client: httpx.AsyncClient) -> Person:
    return await Person.register(client)


async def test_changes_arrive_as_they_happen(ada: Person) -> None:
    bob = await Person.register(ada.client)
    await bob.todo()
    async with streaming(ada) as reader:
        assert reader.response.headers["content-type"] == "text/event-stream"
        assert reader.response.headers["cache-control"] == "no-store"
        assert reader.response.headers["x-accel-buffering"] == "no"
        assert await reader.read_until("ready") == []
        assert reader.last_id

        todo = await ada.todo(title="x")
        assert await reader.read_until("todo") == []
        garden = (await ada.post("/v1/lists", json={"name": "garden"})).json()
        assert await reader.read_until("list") == []
        moved = (await ada.patch(f"/v1/todos/{todo['id']}", json={"list_id": garden["id"]})).json()
        event = await reader.read()
        while event.json().get("version") != 2:  # MongoDB may repeat the changes of the last seconds
            event = await reader.read()
        assert (event.event, event.json()) == ("todo", moved)
        await bob.todo(title="of another account")
        await ada.delete(f"/v1/lists/{garden['id']}", params={"todos": "delete"})
        seen = await reader.read_until("list-deleted")

        assert ("todo-deleted", {"id": todo["id"]}) in seen
        assert {name for name, _ in seen} <= {"todo", "todo-deleted", "list"}


async def test_the_data_of_an_event_is_one_line_for_every_client(ada: Person) -> None:
    # httpx's `iter_lines`, for one, splits at all of them
    separators = "\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"
    async with streaming(ada) as reader:
        await reader.read_until("ready")
        accepted = []
        for separator in separators:
            body = {"title": "x", "description": f"a{separator}b"}
            response = await ada.post("/v1/todos", json=body)
            if response.status_code != 422:
                accepted.append(response.json())

        for todo in accepted:
            event = await reader.read()
            assert event.data.splitlines() == [event.data]
            assert event.json() == todo
    assert len(accepted) == 3


async def test_reminders_arrive_once_on_every_stream_and_are_not_replayed(ada: Person) -> None:
    bob = await Person.register(ada.client)
    since = (await ada.get("/v1/todos/changes")).json()["next"]
    async with streaming(ada) as one, streaming(ada) as other, streaming(bob) as foreign:
        for reader in (one, other, foreign):
            await reader.read_until("ready")
        at = (now() + timedelta(seconds=2)).isoformat()
        todo = await ada.todo(due_at=at, reminders=[{"at": at}, {"minutes_before": 0}])
        later = await ada.todo(reminders=[{"at": (now() + timedelta(seconds=3)).isoformat()}])
        read = [[event async for event in read_reminders(reader, 3)] for reader in (one, other)]
        await bob.todo(title="of another account")
        foreign_names = [name for name, _ in await foreign.read_until("todo")]
        last_id = one.last_id
        metrics = (await ada.client.get("/metrics")).text

    assert 'todo_service_firings_total{kind="due"} 1.0\n' in metrics
    assert 'todo_service_firings_total{kind="reminder"} 3.0\n' in metrics
    assert "todo_service_firing_lateness_seconds_count 4.0\n" in metrics
    for reminders in read:
        shown = sorted((each["todo"]["id"], sorted(each["reminder"]), each["occurrence"]) for each in reminders)
        at_shown, later_shown = todo["due_at"], later["reminders"][0]["at"]
        expected = [(todo["id"], ["at"], at_shown), (todo["id"], ["minutes_before"], at_shown)]
        assert shown == sorted([*expected, (later["id"], ["at"], later_shown)])
        assert [each["todo"] for each in reminders if each["todo"]["id"] == todo["id"]] == [todo, todo]
    assert foreign_names == []
    for start in (since, last_id):
        async with streaming(ada, last_id=start) as reader:
            await ada.todo(title="later")
            assert "reminder" not in [name for name, _ in await reader.read_until("ready")]
            title = ""
            while title != "later":
                event = await reader.read()
                assert event.event == "todo"  # MongoDB may repeat the changes of the last seconds
                title = event.json()["title"]


async def test_streams_and_what_they_send_are_measured(ada: Person) -> None:
    await ada.todo(title="missed")
    before = await fetch_samples(ada.client)
    async with streaming(ada, since=(await ada.get("/v1/todos/changes")).json()["next"]) as reader:
        await reader.read_until("ready")
        await ada.todo(title="live")
        while (event := await reader.read()).json()["title"] != "live":
            pass
        during = await fetch_samples(ada.client)

    def grown(name: str, **labels: str) -> float:
        return get_sample(during, name, **labels) - get_sample(before, name, **labels)

    assert event.event == "todo"
    assert get_sample(during, "event_streams") >= 1
    assert grown("events_total", type="ready") == 1
    assert grown("events_total", type="todo") >= 1
    assert grown("event_lag_seconds_count") == 1
    assert 0 <= grown("event_lag_seconds_sum") < START_SECONDS

    async def are_closed() -> bool:
        return get_sample(await fetch_samples(ada.client), "event_streams") == 0

    await wait_until(are_closed)
    route = {"method": "GET", "route": EVENTS}
    after = await fetch_samples(ada.client)
    assert get_sample(after, "http_requests_total", status="200", **route) > get_sample(
        before, "http_requests_total", status="200", **route
    )
    # a stream lasts as long as its client wants
    assert get_sample(after, "http_request_duration_seconds_count", **route) == get_sample(
        before, "http_request_duration_seconds_count", **route
    )


async def read_reminders(reader: EventReader, count: int) -> AsyncIterator[dict[str, Any]]:
    """Yield the data of the next reminders."""
    while count:
        event = await reader.read()
        assert event.id
        if event.event == "reminder":
            count -= 1
            yield event.json()


async def test_a_stream_resumes_after_the_last_event_or_a_sync_token(ada: Person) -> None:
    first = await ada.todo(title="first")
    since = (await ada.get("/v1/todos/changes")).json()["next"]
    second = await ada.todo(title="second")
    async with streaming(ada, since=since) as reader:
        missed = await reader.read_until("ready")
        assert [data for _, data in missed if data["id"] != first["id"]] == [second]
        last_id = reader.last_id
    third = await ada.todo(title="third")
    await ada.delete(f"/v1/todos/{second['id']}")

    # the header takes precedence
    async with streaming(ada, last_id, since="x") as reader:
        missed_later = await reader.read_until("ready")

    assert ("todo", third) in missed_later
    assert ("todo-deleted", {"id": second["id"]}) in missed_later
    changes = (await ada.get("/v1/todos/changes", params={"since": reader.last_id})).json()
    assert {todo["id"] for todo in changes["changed"]} <= {first["id"], third["id"]}


async def test_an_event_of_any_other_process_arrives(ada: Person, tmp_path: Path, variables: dict[str, str]) -> None:
    with running_service(tmp_path, variables) as service:
        async with (
            httpx.AsyncClient(base_url=service.url, timeout=START_SECONDS, verify=PLAIN_HTTP) as client,
            streaming(ada) as reader,
        ):
            await reader.read_until("ready")
            twin = ada.through(client)
            for number in range(8):
                todo = await twin.todo(title=str(number))
                while (event := await reader.read()).json()["id"] != todo["id"]:
                    pass
                assert event.json() == todo


async def test_tokens_of_others_and_broken_tokens_are_rejected(ada: Person) -> None:
    bob = await Person.register(ada.client)
    token = (await bob.get("/v1/todos/changes")).json()["next"]
    for given in (token, "x"):
        assert_problem(await ada.get(EVENTS, params={"since": given}), 422, "since")
        assert_problem(await ada.get(EVENTS, headers={"Last-Event-ID": given}), 422, "Last-Event-ID")
    assert_problem(await ada.get(EVENTS, params={"tag": "x"}), 422, "tag")
    assert_problem(await ada.client.get(EVENTS), 401)


async def test_head_returns_the_headers_alone(ada: Person) -> None:
    response = await ada.client.head(EVENTS, headers={"Authorization": f"Bearer {ada.access_token}"})

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert response.content == b""


async def test_an_account_may_have_ten_streams_beside_its_other_requests(ada: Person) -> None:
    async with httpx.AsyncClient(
        base_url=ada.client.base_url, timeout=START_SECONDS, verify=PLAIN_HTTP, limits=httpx.Limits(max_connections=20)
    ) as client:
        opened = [
            await client.send(
                client.build_request("GET", EVENTS, headers={"Authorization": f"Bearer {ada.access_token}"}),
                stream=True,
            )
            for _ in range(STREAMS)
        ]
        assert [response.status_code for response in opened] == [200] * STREAMS
        rejected = await ada.get(EVENTS)
        served = await asyncio.gather(*(ada.get("/v1/todos") for _ in range(10)))
        await opened[0].aclose()
        deadline = time.monotonic() + START_SECONDS
        while (head := await ada.client.head(EVENTS, headers=rejected.request.headers)).status_code == 429:
            assert time.monotonic() < deadline
        for response in opened[1:]:
            await response.aclose()

    assert_problem(rejected, 429)
    assert int(rejected.headers["retry-after"]) > 0
    assert {response.status_code for response in served} == {200}
    assert head.status_code == 200


async def test_a_ticket_opens_one_stream_that_ends_with_the_session(ada: Person) -> None:
    issued = await ada.post("/v1/events/ticket")
    ticket = issued.json()["ticket"]
    key = (await ada.post("/v1/api-keys", json={"name": "x", "scope": "write"})).json()["secret"]
    [session] = (await ada.get("/v1/sessions")).json()["items"]

    async with streaming(ada, ticket=ticket) as reader:
        await reader.read_until("ready")
        again = await ada.client.get(EVENTS, params={"ticket": ticket})
        forged = await ada.client.get(EVENTS, params={"ticket": ticket[:-2]})
        by_key = await ada.client.post("/v1/events/ticket", headers={"Authorization": f"Bearer {key}"})
        elsewhere = await ada.client.get("/v1/todos", params={"ticket": ticket})
        assert (await ada.delete(f"/v1/sessions/{session['id']}")).status_code == 204
        assert await reader.read_to_end() == []

    assert (issued.status_code, issued.json()["expires_in"]) == (201, 60)
    for response in (again, forged, elsewhere):
        assert_problem(response, 401)
    assert_problem(by_key, 403)


async def test_a_ticket_expires(ada: Person, variables: dict[str, str]) -> None:
    account = (await ada.get("/v1/users/me")).json()["id"]
    [session] = (await ada.get("/v1/sessions")).json()["items"]
    caller = Caller(ObjectId(account), ObjectId(session["id"]), expires=0)
    tickets = Tickets(create_store(variables["STORE_URL"]), [SECRET_KEY.encode()])
    old = tickets.issue(caller, now() - timedelta(seconds=TICKET_SECONDS))
    new = tickets.issue(caller, now())

    assert_problem(await ada.client.get(EVENTS, params={"ticket": old}), 401)
    assert (await ada.client.head(EVENTS, params={"ticket": new})).status_code == 200


@pytest.mark.parametrize("variables", ["embedded"], indirect=True)
async def test_an_idle_stream_sends_comments(ada: Person) -> None:
    headers = {"Authorization": f"Bearer {ada.access_token}"}
    async with ada.client.stream("GET", EVENTS, headers=headers) as response:
        lines = response.aiter_lines()
        assert await anext(lines) == "retry: 2000"
        while not (line := await anext(lines)).startswith(":"):
            assert line == "" or line.startswith(("id: ", "event: ready", "data: {}"))


async def test_a_stream_ends_with_its_api_key(ada: Person) -> None:
    added = (await ada.post("/v1/api-keys", json={"name": "x", "scope": "read"})).json()
    reader_of_key = copy.copy(ada)
    reader_of_key.access_token = added["secret"]
    async with streaming(reader_of_key) as reader:
        await reader.read_until("ready")
        assert (await ada.delete(f"/v1/api-keys/{added['id']}")).status_code == 204
        assert await reader.read_to_end() == []


async def test_idle_streams_end_soon_after_another_process_has_ended_their_sessions(
    ada: Person, tmp_path: Path, variables: dict[str, str]
) -> None:
    bob = await Person.register(ada.client)
    other = tmp_path / "other"
    other.mkdir()
    with running_service(other, variables) as service:
        async with (
            httpx.AsyncClient(base_url=service.url, timeout=START_SECONDS, verify=PLAIN_HTTP) as client,
            streaming(ada) as disabled,
            streaming(bob) as signed_out,
        ):
            for reader in (disabled, signed_out):
                await reader.read_until("ready")
            done = await asyncio.to_thread(run_command, tmp_path, "users", "disable", ada.username, **variables)
            assert done.returncode == 0, done.stderr
            assert (await bob.through(client).delete("/v1/sessions")).status_code == 204
            async with asyncio.timeout(ENDED_SECONDS):
                for reader in (disabled, signed_out):
                    assert await reader.read_to_end() == []


async def test_a_stream_ends_when_its_token_expires(ada: Person) -> None:
    expiring = copy.copy(ada)
    expires_at = (now() + timedelta(seconds=3)).isoformat()
    added = await ada.post("/v1/api-keys", json={"name": "x", "scope": "read", "expires_at": expires_at})
    expiring.access_token = added.json()["secret"]
    async with streaming(expiring) as reader:
        assert set(await reader.read_to_end()) <= {"ready"}

    assert_problem(await expiring.get(EVENTS), 401)


async def test_streams_end_when_the_service_stops(ada: Person, tmp_path: Path, variables: dict[str, str]) -> None:
    with running_service(tmp_path, variables) as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=START_SECONDS, verify=PLAIN_HTTP) as client:
            async with streaming(ada.through(client)) as reader:
                await reader.read_until("ready")
                service.process.terminate()
                assert await reader.read_to_end() == []
            assert await asyncio.to_thread(service.process.wait, START_SECONDS) == 0


async def test_streams_that_are_cut_at_random_miss_nothing(ada: Person) -> None:
    """Two writers, and three replicas whose streams end after a few events and resume."""
    since = (await ada.get("/v1/todos/changes")).json()["next"]
    chance = random.Random(1)  # noqa: S311  # the same in every run
    replicas = [LiveReplica(since) for _ in range(3)]
    writing = True

    async def write() -> None:
        todos: list[str] = []
        lists: list[str] = []
        for number in range(60):
            todos.append((await ada.todo(title=str(number)))["id"])
            if number % 3 == 0:
                lists.append((await ada.post("/v1/lists", json={"name": str(number)})).json()["id"])
            await ada.patch(f"/v1/todos/{chance.choice(todos)}", json={"title": f"changed {number}"})
            if number % 4 == 0:
                await ada.delete(f"/v1/todos/{todos.pop(chance.randrange(len(todos)))}")
            if number % 9 == 0:
                await ada.delete(f"/v1/lists/{lists.pop()}")

    async def follow(replica: LiveReplica) -> None:
        while writing:
            async with streaming(ada, replica.last_id) as reader:
                for _ in range(chance.randrange(1, 12)):
                    await replica.follow(reader)

    following = [asyncio.create_task(follow(replica)) for replica in replicas]
    await asyncio.gather(write(), write())
    writing = False
    while not all(task.done() for task in following):
        await ada.todo(title="for streams that wait for further events")
    await asyncio.gather(*following)
    for replica in replicas:
        async with streaming(ada, replica.last_id) as reader:
            while await replica.follow(reader) != "ready":
                pass
        assert replica.todos == await everything(ada)
        assert replica.lists == await every_list(ada)
