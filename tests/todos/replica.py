"""A client that replicates an account by delta sync, and checks of its state."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from tests.people import Person
from todo_service.accounts.time_zones import TimeZones, ZoneVisits
from todo_service.store.base import DocumentStore
from todo_service.timestamps import now
from todo_service.todos.service import Todos


class Replica:
    """A replica of an account's todos and lists, built from its changes."""

    def __init__(self, person: Person, limit: int = 3) -> None:
        self.person = person
        self.limit = limit
        self.todos: dict[str, dict[str, Any]] = {}
        self.lists: dict[str, dict[str, Any]] = {}
        self.since: str | None = None

    async def page(self) -> bool:
        """Apply a page of changes, and return whether there are more."""
        parameters = {"limit": self.limit} | ({"since": self.since} if self.since else {})
        response = await self.person.get("/v1/todos/changes", params=parameters)
        assert response.status_code == 200, response.text
        body = response.json()
        for todo in body["changed"]:
            self.todos[todo["id"]] = todo
        for todo_id in body["deleted"]:
            self.todos.pop(todo_id, None)
        self.lists |= {each["id"]: each for each in body["lists_changed"]}
        for list_id in body["lists_deleted"]:
            self.lists.pop(list_id, None)
        self.since = body["next"]
        more: bool = body["has_more"]
        return more

    async def sync(self) -> None:
        while await self.page():
            pass


async def follow_time_zones(store: DocumentStore, after: timedelta = timedelta()) -> None:
    """Run the job that follows the time zones of accounts, as if some time had passed."""
    time_zones = TimeZones(store)
    visits = ZoneVisits(store, lambda owner: Todos(store, owner, partial(time_zones.get, owner)))
    while await visits.run_round(now() + after):
        pass


def find_due_end(todo: dict[str, Any], account_zone: str) -> datetime | None:
    """Return the moment at which a todo is due. The midnights of its time zone must exist, and occur once."""
    if todo["due_on"] is None:
        return datetime.fromisoformat(todo["due_at"]) if todo["due_at"] is not None else None
    following = date.fromisoformat(todo["due_on"]) + timedelta(days=1)
    midnight = datetime.combine(following, time(), ZoneInfo(todo["time_zone"] or account_zone))
    return midnight.astimezone(UTC) - timedelta(milliseconds=1)


def due(number: int) -> str:
    """Return a time in the past or the future, at least some minutes from now."""
    return (datetime.now(UTC) + timedelta(hours=5 * (number - 4), minutes=17)).isoformat()


async def everything(person: Person) -> dict[str, dict[str, Any]]:
    response = await person.get("/v1/todos", params={"limit": 200})
    assert response.json()["next_cursor"] is None
    return {todo["id"]: todo for todo in response.json()["items"]}


async def every_list(person: Person) -> dict[str, dict[str, Any]]:
    response = await person.get("/v1/lists", params={"limit": 200})
    assert response.json()["next_cursor"] is None
    return {each["id"]: each for each in response.json()["items"]}


async def assert_counted(person: Person, todos: dict[str, dict[str, Any]]) -> None:
    """Assert that the summary and the tags match these todos."""
    moment = datetime.now(UTC)
    summary = (await person.get("/v1/todos/summary", params={"tz": "UTC"})).json()
    tags = (await person.get("/v1/tags")).json()["items"]
    completed = sum(todo["completed"] for todo in todos.values())
    priorities = Counter(todo["priority"] for todo in todos.values())
    lists = Counter(todo["list_id"] for todo in todos.values())
    assert (summary["open"], summary["completed"]) == (len(todos) - completed, completed)
    assert {name: number for name, number in summary["by_priority"].items() if number} == priorities
    assert {one["list_id"]: one["count"] for one in summary["by_list"]} == lists
    account_zone = (await person.get("/v1/users/me")).json()["time_zone"]
    ends = [find_due_end(todo, account_zone) for todo in todos.values() if not todo["completed"]]
    moments = [end for end in ends if end is not None]
    today = [at for at in moments if at.date() == moment.date()]
    assert (summary["overdue"], summary["due_today"]) == (sum(at < moment for at in moments), len(today))
    counted = Counter(tag for todo in todos.values() for tag in todo["tags"])
    assert tags == summary["by_tag"] == [{"name": name, "count": counted[name]} for name in sorted(counted)]
