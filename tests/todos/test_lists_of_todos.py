"""Listing todos: filters, sort orders and pagination."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.people import Person, assert_problem
from todo_service.timestamps import format_timestamp

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
PRIORITIES = ["none", "low", "medium", "high", "urgent"]


async def pages(person: Person, **parameters: Any) -> list[list[dict[str, Any]]]:
    """Follow the links from the first page to the last."""
    found = []
    response = await person.get("/v1/todos", params=parameters)
    while True:
        assert response.status_code == 200, response.text
        body = response.json()
        found.append(body["items"])
        if body["next_cursor"] is None:
            assert "link" not in response.headers
            return found
        link = response.links["next"]["url"]
        assert body["next_cursor"] in link
        response = await person.get(link)


async def everything(person: Person, **parameters: Any) -> list[dict[str, Any]]:
    return [todo for page in await pages(person, **parameters) for todo in page]


@pytest.fixture
async def many(ada: Person) -> list[dict[str, Any]]:
    """Forty todos that differ in every sorted field, with ties in each."""
    chance = random.Random(7)  # noqa: S311  # no secret
    start = datetime(2027, 1, 1, tzinfo=UTC)
    todos = [
        {
            "title": chance.choice(["apple", "Banana", "Äpfel", "cherry", "apple pie"]),
            "priority": chance.choice(PRIORITIES),
            "due_at": chance.choice([None, format_timestamp(start + timedelta(days=chance.randrange(5)))]),
            "position": float(chance.randrange(6)),
            "completed": chance.random() < 0.4,
            "tags": chance.sample(["home", "work", "garden"], chance.randrange(4)),
        }
        for _ in range(40)
    ]
    created: list[dict[str, Any]] = []
    for first in range(0, len(todos), 5):
        operations = [{"op": "create", "todo": todo} for todo in todos[first : first + 5]]
        response = await ada.post("/v1/todos/batch", json={"operations": operations})
        created += [result["todo"] for result in response.json()["results"]]
    assert len({todo["created_at"] for todo in created}) > 1
    return created


SORT_KEYS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "created_at": lambda todo: todo["created_at"],
    "updated_at": lambda todo: todo["updated_at"],
    "due_at": lambda todo: todo["due_at"],
    "priority": lambda todo: PRIORITIES.index(todo["priority"]),
    "title": lambda todo: todo["title"].lower().replace("ä", "a"),
    "position": lambda todo: todo["position"],
}


@pytest.mark.parametrize("limit", [1, 7, 200])
@pytest.mark.parametrize("direction", ["", "-"])
@pytest.mark.parametrize("field", SORT_KEYS)
async def test_pages_of_any_size_preserve_every_sort_order(
    ada: Person, many: list[dict[str, Any]], field: str, direction: str, limit: int
) -> None:
    found = await everything(ada, sort=direction + field, limit=limit)

    key = SORT_KEYS[field]
    dated = sorted((todo for todo in many if key(todo) is not None), key=key, reverse=direction == "-")
    assert [key(todo) for todo in found] == [key(todo) for todo in dated] + [None] * (len(many) - len(dated))
    assert sorted(todo["id"] for todo in found) == sorted(todo["id"] for todo in many)


async def test_the_default_sort_order_is_by_creation(ada: Person, many: list[dict[str, Any]]) -> None:
    assert [todo["created_at"] for todo in await everything(ada)] == [todo["created_at"] for todo in many]


@pytest.mark.parametrize("sort", ["created_at", "-due_at", "priority"])
@pytest.mark.parametrize(
    ("parameters", "holds"),
    [
        ({"completed": "true"}, lambda todo: todo["completed"]),
        ({"completed": "false"}, lambda todo: not todo["completed"]),
        ({"priority": ["high", "low"]}, lambda todo: todo["priority"] in ("high", "low")),
        ({"tag": "home"}, lambda todo: "home" in todo["tags"]),
        ({"tag": ["home", "work"]}, lambda todo: {"home", "work"} <= set(todo["tags"])),
        ({"tag": "nowhere"}, lambda todo: False),
        ({"list_id": "inbox"}, lambda todo: True),
        ({"list_id": "65f1a2b3c4d5e6f708192a3b"}, lambda todo: False),
        ({"due_after": "2027-01-02T00:00:00Z"}, lambda todo: (todo["due_at"] or "") > "2027-01-02T00:00:00.000Z"),
        (
            {"due_before": "2027-01-03T01:00:00+01:00"},
            lambda todo: (todo["due_at"] or "9") < "2027-01-03T00:00:00.000Z",
        ),
        ({"overdue": "true"}, lambda todo: False),
        ({"overdue": "false"}, lambda todo: True),
        ({"created_after": "2020-01-01T00:00:00Z"}, lambda todo: True),
        ({"created_before": "2020-01-01T00:00:00Z"}, lambda todo: False),
        ({"updated_after": "2020-01-01T00:00:00Z"}, lambda todo: True),
        (
            {"completed": "false", "tag": "work", "priority": "urgent", "due_after": "2027-01-01T00:00:00Z"},
            lambda todo: (
                not todo["completed"]
                and "work" in todo["tags"]
                and todo["priority"] == "urgent"
                and (todo["due_at"] or "") > "2027-01-01T00:00:00.000Z"
            ),
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
async def test_a_filter_returns_exactly_the_matching_todos(
    ada: Person, many: list[dict[str, Any]], parameters: dict[str, Any], holds: Any, sort: str
) -> None:
    found = await everything(ada, **parameters, sort=sort, limit=3)

    assert sorted(todo["id"] for todo in found) == sorted(todo["id"] for todo in many if holds(todo))


async def test_overdue_todos_are_open_and_due_in_the_past(ada: Person) -> None:
    await ada.todo(title="late", due_at="2020-01-01T00:00:00Z")
    await ada.todo(title="done", due_at="2020-01-01T00:00:00Z", completed=True)
    await ada.todo(title="early", due_at="2999-01-01T00:00:00Z")
    await ada.todo(title="whenever")

    assert await ada.titles(overdue="true") == ["late"]
    assert await ada.titles(overdue="false") == ["done", "early", "whenever"]


async def test_a_list_contains_only_the_account_s_todos(ada: Person, bob: Person) -> None:
    await ada.todo(title="ada's")
    await bob.todo(title="bob's")

    assert await ada.titles() == ["ada's"]
    assert await bob.titles() == ["bob's"]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": ["1", "2"]}, "limit"),
        ({"completed": "perhaps"}, "completed"),
        ({"completed": ""}, "completed"),
        ({"priority": "extreme"}, "priority"),
        ({"priority": ["low", "extreme"]}, "priority"),
        ({"list_id": "nonsense"}, "list_id"),
        ({"list_id": "null"}, "list_id"),
        ({"due_after": "0"}, "due_after"),
        ({"due_after": "2027-01-01"}, "due_after"),
        ({"due_before": "2027-01-01T00:00:00"}, "due_before"),
        ({"sort": "colour"}, "sort"),
        ({"sort": "--title"}, "sort"),
        ({"colour": "red"}, "colour"),
        ({"tag[$ne]": "x"}, "tag[$ne]"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"tag": "a\x00b"}, "tag"),
    ],
    ids=str,
)
async def test_an_invalid_parameter_of_a_list_is_named(ada: Person, parameters: dict[str, Any], name: str) -> None:
    assert_problem(await ada.get("/v1/todos", params=parameters), 422, name)


async def test_a_cursor_is_bound_to_the_account_the_filters_and_the_sort_order(ada: Person, bob: Person) -> None:
    for person in (ada, bob):
        for number in range(3):
            await person.todo(title=f"todo {number}")
    cursor = (await ada.get("/v1/todos", params={"limit": 1})).json()["next_cursor"]

    assert_problem(await bob.get("/v1/todos", params={"cursor": cursor}), 422, "cursor")
    assert_problem(await ada.get("/v1/todos", params={"cursor": cursor, "sort": "title"}), 422, "cursor")
    assert_problem(await ada.get("/v1/todos", params={"cursor": cursor, "completed": "false"}), 422, "cursor")
    assert_problem(await ada.get("/v1/todos", params={"cursor": cursor[:-1] + "~"}), 422, "cursor")
    assert_problem(
        await ada.get("/v1/todos", params={"cursor": ("A" if cursor[0] != "A" else "B") + cursor[1:]}), 422, "cursor"
    )
    assert await ada.titles(cursor=cursor, limit=200) == ["todo 1", "todo 2"]


async def test_long_titles_are_sorted_by_their_first_400_bytes_and_then_by_creation(ada: Person) -> None:
    titles = ["🌱" * 99 + end for end in ("b", "d", "a", "c")]
    alike = ["🌲" * 199 + end for end in ("b", "d", "a", "c")]
    for title in [*titles, *alike]:
        await ada.todo(title=title)

    expected = [*sorted(titles), *alike]
    assert [todo["title"] for todo in await everything(ada, sort="title", limit=1)] == expected
    assert [todo["title"] for todo in await everything(ada, sort="-title", limit=3)] == expected[::-1]


async def test_a_plus_that_was_not_encoded_is_read_as_one(ada: Person) -> None:
    """A query decodes it to a space."""
    await ada.todo(title="due", due_at="2027-01-31T09:00:00+01:00")

    for query in (
        "due_after=2027-01-31T08:59:59+01:00&due_before=2027-01-31T09:00:01+01:00",
        "due_after=2027-01-31T08:59:59.5%2B01:00&due_before=2027-01-31T09:00:01%2001:00",
    ):
        found = await ada.get(f"/v1/todos?{query}")
        assert [todo["title"] for todo in found.json()["items"]] == ["due"]
    for wrong in ("2027-01-31+09:00", "2027-01-31T09:00:00+1:00", "2027-01-31T09:00:00++01:00"):
        assert_problem(await ada.get(f"/v1/todos?due_after={wrong}"), 422, "due_after")


@pytest.mark.parametrize("sort", ["created_at", "-title"])
async def test_pagination_during_writes_neither_repeats_nor_skips_todos(ada: Person, sort: str) -> None:
    lasting = {(await ada.todo(title=f"lasting {number % 7}"))["id"] for number in range(150)}
    fleeting = [(await ada.todo(title=f"fleeting {number % 7}"))["id"] for number in range(150)]
    stop = asyncio.Event()

    async def disturb() -> None:
        while fleeting and not stop.is_set():
            await ada.delete(f"/v1/todos/{fleeting.pop()}")
            await ada.todo(title=f"new {len(fleeting) % 7}")

    disturber = asyncio.create_task(disturb())
    found = [todo["id"] for todo in await everything(ada, sort=sort, limit=5)]
    stop.set()
    await disturber

    assert len(found) == len(set(found))
    assert lasting <= set(found)
