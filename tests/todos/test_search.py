"""Search: every word is the prefix of a word of the todo, ignoring case and accents."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar

from tests.people import Person, assert_problem
from todo_service.bounds.todos import QUERY_WORDS
from todo_service.todos.dto import TodoQuery
from todo_service.todos.listing import Listing
from todo_service.todos.query import parse_query_words
from todo_service.todos.selectivity import FilterSelector

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("garten", True),
        ("GÄRT", True),
        ("gart strasse", True),
        ("Straße", True),
        ("kanne", True),
        ("schlauch", True),
        ("arten", False),
        ("garten fenster", False),
        ("(garten)", True),
        (".*", False),
        ("", False),
        ("日本", True),
        ("i", True),
    ],
)
async def test_a_search_matches_prefixes_of_words(ada: Person, bob: Person, q: str, *, found: bool) -> None:
    fields = {"description": "Große STRASSE, İstanbul 日本語", "steps": [{"title": "Kanne"}, {"title": "der Schlauch"}]}
    await ada.todo(title="Gärten gießen", **fields)
    await bob.todo(title="Gärten gießen", **fields)

    assert await ada.titles(q=q) == (["Gärten gießen"] if found else [])


async def test_a_search_reflects_changes_of_a_todo(ada: Person) -> None:
    todo = await ada.todo(title="Water the plants")
    await ada.patch(f"/v1/todos/{todo['id']}", json={"title": "Feed the cat"})

    assert await ada.titles(q="plants") == []
    assert await ada.titles(q="cat") == ["Feed the cat"]
    await ada.delete(f"/v1/todos/{todo['id']}")
    assert await ada.titles(q="cat") == []


@pytest.mark.parametrize("in_memory_limit", [3, 1000], ids=["by its order's index", "by the words' index"])
@pytest.mark.parametrize("sort", ["created_at", "-created_at", "due_at", "-due_at", "title", "-priority", "position"])
async def test_a_search_with_filters_is_paginated_in_every_sort_order(
    ada: Person, app: Litestar, sort: Any, in_memory_limit: int
) -> None:
    for number in range(9):
        due_at = None if number % 3 == 0 else f"2027-01-0{9 - number}T00:00:00Z"
        await ada.todo(title=f"plant {number % 4}", due_at=due_at, priority="high" if number % 2 else "none")
    await ada.todo(title="plant done", completed=True)
    await ada.todo(title="other")
    expected = [title for title in await ada.titles(sort=sort, completed=False) if title.startswith("plant")]
    owner = await ada.account_id()
    listing = Listing(app.state.store, owner, FilterSelector(app.state.store, in_memory_limit))

    found, after = await listing.read_page(TodoQuery(q="PLA", sort=sort, limit=2, completed=False), None)
    while after is not None:
        page, after = await listing.read_page(TodoQuery(q="PLA", sort=sort, limit=2, completed=False), after)
        found += page

    assert [todo.title for todo in found] == expected
    assert len(found) == 9


async def test_a_search_for_a_sentence_finds_it(ada: Person) -> None:
    sentence = (
        "Call the plumber about the leak in the kitchen on the second floor, then ask Maria to bring back our ladder, "
        "and buy two litres of white paint before Saturday noon if the shop near us has it"
    )
    await ada.todo(title=sentence)

    assert await ada.titles(q=sentence) == [sentence]


async def test_a_search_for_too_many_words_is_rejected(ada: Person) -> None:
    words = [chr(letter) for letter in range(ord("\u0430"), ord("\u044f"))] + [chr(ord("a") + n) for n in range(26)]
    await ada.todo(title="x", description=" ".join(words))

    assert await ada.titles(q=" ".join(words[:QUERY_WORDS])) == ["x"]
    assert await ada.titles(q=" ".join([*words[:20], *words[:20], "x", "X"])) == ["x"]
    assert_problem(await ada.get("/v1/todos", params={"q": " ".join(words)}), 422, "q")


@pytest.mark.parametrize(
    ("q", "words"),
    [
        ("in", ["in"]),
        ("in inner", ["inner"]),
        ("inner in innermost IN", ["innermost"]),
        ("a b ab", ["ab", "b"]),
        ("in india inner", ["india", "inner"]),
    ],
)
def test_prefixes_of_other_words_are_dropped_from_a_search(q: str, words: list[str]) -> None:
    assert parse_query_words(q) == words
