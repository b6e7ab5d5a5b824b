"""Todos that follow the time zone of their account are updated when it changes, whatever writes meanwhile."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import httpx
import pytest
from litestar import Litestar
from msgspec import UNSET

from tests.application import running_app
from tests.people import Person
from tests.todos.replica import Replica, everything, follow_time_zones
from tests.waiting import wait_until
from todo_service.accounts.documents import User
from todo_service.accounts.passwords import Cost
from todo_service.accounts.time_zones import AFTER_IMPORTS, AFTER_REQUESTS, TimeZones
from todo_service.settings import Settings
from todo_service.store.base import DocumentStore
from todo_service.store.instrumentation import observe
from todo_service.todos import dto
from todo_service.todos.service import Todos

pytestmark = pytest.mark.anyio
BERLIN, NEW_YORK, TOKYO = "Europe/Berlin", "America/New_York", "Asia/Tokyo"
ENDS: Final = {
    BERLIN: "2027-01-31T22:59:59.999Z",
    NEW_YORK: "2027-02-01T04:59:59.999Z",
    TOKYO: "2027-01-31T14:59:59.999Z",
}
"""When 31 January 2027 ends in each time zone."""


async def follow(app: Litestar, after: timedelta = timedelta()) -> None:
    """Run the job as if some time had passed."""
    await follow_time_zones(app.state.store, after)


async def move(person: Person, time_zone: str) -> None:
    """Change the time zone of an account."""
    response = await person.patch("/v1/users/me", json={"time_zone": time_zone})
    assert response.status_code == 200, response.text


async def find_due(person: Person, moment: str) -> set[str]:
    """Return the titles of the todos that are due at a moment, to the millisecond."""
    due = datetime.fromisoformat(moment)
    margin = timedelta(milliseconds=1)
    parameters = {"due_after": (due - margin).isoformat(), "due_before": (due + margin).isoformat(), "limit": 200}
    return set(await person.titles(**parameters))


async def test_days_follow_the_time_zone(ada: Person, app: Litestar) -> None:
    await move(ada, BERLIN)
    replica = Replica(ada, limit=50)
    followed = await ada.todo(title="followed", due_on="2027-01-31")
    done = await ada.todo(title="done", due_on="2027-01-31", completed=True)
    await ada.todo(title="own", due_on="2027-01-31", time_zone=TOKYO)
    await ada.todo(title="moment", due_at="2027-02-01T00:00:00Z")
    await ada.todo(title="start", start_on="2027-01-31")
    await replica.sync()
    before = dict(replica.todos)

    await move(ada, NEW_YORK)
    await follow(app)

    assert await find_due(ada, ENDS[BERLIN]) == set()
    assert await find_due(ada, ENDS[NEW_YORK]) == {"followed", "done"}
    assert await find_due(ada, ENDS[TOKYO]) == {"own"}
    assert await ada.titles(sort="due_at") == ["own", "moment", "followed", "done", "start"]
    await replica.sync()
    assert replica.todos == await everything(ada)
    changed = {todo_id for todo_id, todo in replica.todos.items() if todo != before[todo_id]}
    assert changed == {followed["id"], done["id"]}
    assert {replica.todos[todo_id]["version"] for todo_id in changed} == {2}
    assert await ada.titles(updated_after=before[done["id"]]["updated_at"], completed="true") == ["done"]


async def test_days_follow_at_once_when_the_clock_has_been_set_back(ada: Person, app: Litestar) -> None:
    await ada.todo(title="followed", due_on="2027-01-31")
    for time_zone in (BERLIN, TOKYO, BERLIN):
        await move(ada, time_zone)

        await follow(app, timedelta(days=-1))

        assert await find_due(ada, ENDS[time_zone]) == {"followed"}


async def test_overdue_todos_and_the_summary_follow_the_time_zone(ada: Person, app: Litestar) -> None:
    west, east = "Etc/GMT+12", "Pacific/Kiritimati"  # never on the same day
    await move(ada, west)
    await ada.todo(title="today", due_on=datetime.now(ZoneInfo(west)).date().isoformat())
    before = (await ada.get("/v1/todos/summary")).json()
    assert await ada.titles(overdue="true") == []

    await move(ada, east)
    await follow(app)

    after = (await ada.get("/v1/todos/summary")).json()
    assert (before["overdue"], before["due_today"]) == (0, 1)
    assert (after["overdue"], after["due_today"]) == (1, 0)
    assert await ada.titles(overdue="true") == ["today"]


async def test_many_todos_follow_page_by_page(ada: Person, app: Litestar) -> None:
    await move(ada, TOKYO)
    # a page of todos of this size is read in several parts, and todos move past each other
    records = [
        {"title": str(number), "description": "ä" * 10_000, "due_on": f"2027-01-{number % 28 + 1:02}"}
        if number % 3
        else {"title": str(number), "description": "ä" * 10_000, "due_at": f"2027-01-{number % 28 + 1:02}T12:00:00Z"}
        for number in range(150)
    ]
    for start in range(0, len(records), 50):
        response = await ada.post("/v1/todos/import", json=records[start : start + 50])
        assert response.json()["imported"] == 50

    await move(ada, NEW_YORK)
    await follow(app)

    zone, replica = ZoneInfo(NEW_YORK), Replica(ada, limit=200)
    await replica.sync()
    assert len(replica.todos) == len(records)
    for todo in replica.todos.values():
        if todo["due_on"] is not None:
            following = date.fromisoformat(todo["due_on"]) + timedelta(days=1)
            midnight = datetime(following.year, following.month, following.day, tzinfo=zone)
            due = (midnight - timedelta(milliseconds=1)).astimezone(UTC).isoformat()
            assert todo["title"] in await find_due(ada, due)
        assert todo["version"] == (1 if todo["due_on"] is None else 2)


async def test_a_repeated_or_concurrent_run_changes_each_todo_once(ada: Person, app: Litestar) -> None:
    for number in range(20):
        await ada.todo(title=str(number), due_on="2027-01-31")
    await move(ada, TOKYO)

    await asyncio.gather(follow(app), follow(app), follow(app))
    for after in (timedelta(), AFTER_REQUESTS, AFTER_IMPORTS, 2 * AFTER_IMPORTS):
        await follow(app, after)

    assert {todo["version"] for todo in (await everything(ada)).values()} == {2}
    assert len(await find_due(ada, ENDS[TOKYO])) == 20
    [user] = [user async for user in app.state.store.scan(User)]
    assert user.next_visit_at is None


@pytest.mark.parametrize("after", [AFTER_REQUESTS, AFTER_IMPORTS], ids=["request", "import"])
async def test_a_write_that_read_the_time_zone_before_the_change_is_not_lost(
    ada: Person, app: Litestar, after: timedelta
) -> None:
    store: DocumentStore = app.state.store
    owner = await ada.account_id()
    time_zones = TimeZones(store)

    async def read_too_early() -> str:
        """Return the time zone, which the account changes before the caller uses it."""
        found = await time_zones.use(owner)
        await move(ada, TOKYO)
        await follow(app)
        if after == AFTER_IMPORTS:
            await follow(app, AFTER_REQUESTS)
        return found

    moment = await ada.todo(title="changed", due_at="2027-01-31T09:00:00Z")
    todos = Todos(store, owner, read_too_early)
    for write in (
        todos.create(dto.TodoCreate(title="created", due_on="2027-01-31")),
        todos.update(moment["id"], dto.TodoUpdate(due_on="2027-01-31", due_at=UNSET), None),
    ):
        await move(ada, BERLIN)
        await follow(app)
        written = await write
        assert written.title in await find_due(ada, ENDS[BERLIN])

        await follow(app, after)

        assert await find_due(ada, ENDS[BERLIN]) == set()
        assert written.title in await find_due(ada, ENDS[TOKYO])


async def test_concurrent_writes_and_changes_end_in_the_last_time_zone(ada: Person, app: Litestar) -> None:
    titles = {str(number) for number in range(30)}

    async def create(title: str) -> None:
        todo = await ada.todo(title=title, due_on="2027-01-30")
        await ada.patch(f"/v1/todos/{todo['id']}", json={"due_on": "2027-01-31"})

    async def change() -> None:
        for time_zone in (BERLIN, TOKYO, NEW_YORK, TOKYO, NEW_YORK):
            await move(ada, time_zone)
            await follow(app)

    await asyncio.gather(change(), *map(create, sorted(titles)))
    await follow(app, AFTER_REQUESTS)

    assert await find_due(ada, ENDS[NEW_YORK]) == titles


async def test_an_account_without_days_costs_no_read_of_a_todo(ada: Person, bob: Person, app: Litestar) -> None:
    # a copy, so that only the calls of this test are counted, not those of the application's jobs
    store: DocumentStore = copy.copy(app.state.store)
    for number in range(5):
        await ada.todo(due_at=f"2027-01-31T0{number}:00:00Z")
        await bob.todo(due_at=f"2027-01-31T0{number}:00:00Z")
    day = await bob.todo(due_on="2027-01-31")
    await bob.delete(f"/v1/todos/{day['id']}")
    calls: Counter[str] = Counter()
    observe(store, lambda operation, _, __: calls.update([operation]))

    await move(ada, TOKYO)
    calls.clear()
    await follow_time_zones(store)
    # the accounts whose visit is due, and the time of the next visit
    assert calls == {"find": 1, "update": 1}

    await move(bob, TOKYO)
    calls.clear()
    await follow_time_zones(store)
    assert calls == {"find": 2, "get": 1, "update": 1}


async def test_an_intended_local_time_belongs_to_its_time_zone(ada: Person, app: Litestar) -> None:
    await move(ada, BERLIN)
    # summer time skips 02:30 on 29 March 2099
    fields = {"due_at": "2099-03-28T02:30:00+01:00", "recurrence": "FREQ=DAILY"}
    followed, own = await ada.todo(**fields), await ada.todo(**fields, time_zone=BERLIN)
    for todo in (followed, own):
        moved = await ada.post(f"/v1/todos/{todo['id']}/complete")
        assert moved.json()["due_at"] == "2099-03-29T01:30:00.000Z"

    # a time zone with the same clock changes nothing
    await move(ada, "Europe/Paris")
    await follow(app)
    assert (await ada.get(f"/v1/todos/{followed['id']}")).json()["version"] == 2
    for time_zone in (TOKYO, "Africa/Lagos"):
        await move(ada, time_zone)
        await follow(app)
    assert (await ada.get(f"/v1/todos/{followed['id']}")).json()["version"] == 2

    due = [(await ada.post(f"/v1/todos/{todo['id']}/complete")).json()["due_at"] for todo in (followed, own)]
    assert due == ["2099-03-30T01:30:00.000Z", "2099-03-30T00:30:00.000Z"]


async def test_a_change_is_followed_after_a_restart(
    settings: Settings, password_cost: Cost, resolve_after: timedelta
) -> None:
    """The service itself runs the job. After a crash between a change and the job, the state is the same."""
    async with running_app(settings, password_cost, resolve_after) as app, connect(app) as client:
        ada = await Person.register(client)
        await move(ada, BERLIN)
        await follow(app)
        await ada.todo(title="followed", due_on="2027-01-31")
        await move(ada, TOKYO)

    # the jobs run when the service starts
    async with running_app(settings, password_cost, resolve_after) as app, connect(app) as client:
        again = ada.through(client)

        async def has_followed() -> bool:
            before, after = await find_due(again, ENDS[BERLIN]), await find_due(again, ENDS[TOKYO])
            assert before | after == {"followed"}
            return not before

        await wait_until(has_followed)


def connect(app: Litestar) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # httpx types scopes as plain dictionaries
    return httpx.AsyncClient(transport=transport, base_url="http://testserver")
