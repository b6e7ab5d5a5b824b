"""Search: every word must be the start of a word, whatever the case and accents."""

from __future__ import annotations

import pytest

from tests.people import Person
from todo_service.todos import service

pytestmark = pytest.mark.anyio


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
async def test_a_search_finds_the_starts_of_words(ada: Person, bob: Person, q: str, *, found: bool) -> None:
    fields = {"description": "Große STRASSE, İstanbul 日本語", "steps": [{"title": "Kanne"}, {"title": "der Schlauch"}]}
    await ada.todo(title="Gärten gießen", **fields)
    await bob.todo(title="Gärten gießen", **fields)

    assert await ada.titles(q=q) == (["Gärten gießen"] if found else [])


async def test_a_search_follows_a_todo_s_changes(ada: Person) -> None:
    todo = await ada.todo(title="Water the plants")
    await ada.patch(f"/v1/todos/{todo['id']}", json={"title": "Feed the cat"})

    assert await ada.titles(q="plants") == []
    assert await ada.titles(q="cat") == ["Feed the cat"]
    await ada.delete(f"/v1/todos/{todo['id']}")
    assert await ada.titles(q="cat") == []


@pytest.mark.parametrize("few", [3, 1000], ids=["by its order's index", "by the words' index"])
@pytest.mark.parametrize("sort", ["created_at", "-created_at", "due_at", "-due_at", "title", "-priority", "position"])
async def test_a_search_is_paged_in_every_order_together_with_filters(
    ada: Person, monkeypatch: pytest.MonkeyPatch, sort: str, few: int
) -> None:
    monkeypatch.setattr(service, "FEW", few)
    for number in range(9):
        due_at = None if number % 3 == 0 else f"2027-01-0{9 - number}T00:00:00Z"
        await ada.todo(title=f"plant {number % 4}", due_at=due_at, priority="high" if number % 2 else "none")
    await ada.todo(title="plant done", completed=True)
    await ada.todo(title="other")
    expected = [title for title in await ada.titles(sort=sort, completed=False) if title.startswith("plant")]

    found, path = [], "/v1/todos"
    parameters = {"q": "PLA", "sort": sort, "limit": 2, "completed": False}
    answer = (await ada.get(path, params=parameters)).json()
    while True:
        found += [todo["title"] for todo in answer["items"]]
        if answer["next_cursor"] is None:
            break
        answer = (await ada.get(path, params=parameters | {"cursor": answer["next_cursor"]})).json()

    assert found == expected
    assert len(found) == 9
