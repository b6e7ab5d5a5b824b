"""The choice of the most selective filter of a list, and its reuse."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from litestar import Litestar

from tests.people import Person
from todo_service.store.instrumentation import observe
from todo_service.todos.dto import TodoQuery
from todo_service.todos.listing import Listing
from todo_service.todos.selectivity import FilterSelector

pytestmark = pytest.mark.anyio


async def read_titles(listing: Listing, query: TodoQuery) -> list[str]:
    found, after = await listing.read_page(query, None)
    while after is not None:
        page, after = await listing.read_page(query, after)
        found += page
    return [todo.title for todo in found]


async def test_the_pages_of_a_list_share_the_counts_of_its_filters(ada: Person, bob: Person, app: Litestar) -> None:
    for number in range(5):
        await ada.todo(title=f"plant {number}", tags=["home", "garden"], priority="high")
    calls = Counter[str]()
    observe(app.state.store, lambda operation, seconds, available: calls.update([operation]))
    parameters = {"tag": ["home", "garden"], "sort": "-priority", "limit": 2}

    first = (await ada.get("/v1/todos", params=parameters)).json()
    await ada.get("/v1/todos", params=parameters | {"cursor": first["next_cursor"]})
    await ada.get("/v1/todos", params=parameters | {"sort": "title", "limit": 3})
    assert calls["count"] == 2

    await ada.get("/v1/todos", params=parameters | {"tag": ["home", "work"]})
    assert calls["count"] == 4
    await bob.get("/v1/todos", params=parameters)
    assert calls["count"] == 6


async def test_many_filters_are_not_all_counted(ada: Person, app: Litestar) -> None:
    await ada.todo(title="one two three four five six seven eight nine ten eleven twelve")
    calls = Counter[str]()
    observe(app.state.store, lambda operation, seconds, available: calls.update([operation]))

    found = await ada.titles(q="one two three four five six seven eight nine ten eleven twelve")

    assert len(found) == 1
    assert calls["count"] == 8


@pytest.mark.parametrize("sort", ["-created_at", "due_at", "-priority"])
async def test_a_remembered_choice_never_changes_a_page(ada: Person, app: Litestar, sort: str) -> None:
    store, owner = app.state.store, await ada.account_id()
    query = TodoQuery(q="plant", tag=["home"], sort=sort, limit=2)  # type: ignore[arg-type]  # one of the orders
    listing = Listing(store, owner, FilterSelector(store, in_memory_limit=3))
    todos: list[dict[str, Any]] = []

    async def assert_right(number: int) -> None:
        fresh = Listing(store, owner, FilterSelector(store))
        found = await read_titles(listing, query)
        assert found == await read_titles(fresh, query)
        assert len(found) == number

    for count in (3, 9):
        # remembered with 3 todos: they are sorted; with 9, they are not
        while len(todos) < count:
            due_at = None if len(todos) % 3 else f"2027-01-0{9 - len(todos)}T00:00:00Z"
            todos.append(await ada.todo(title=f"plant {len(todos)}", tags=["home"], due_at=due_at))
        await assert_right(count)
    listing = Listing(store, owner, FilterSelector(store, in_memory_limit=3))
    await assert_right(9)
    for todo in todos[2:]:
        await ada.delete(f"/v1/todos/{todo['id']}")
    await assert_right(2)
