"""Moves of todos and lists in the manual order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person, assert_problem
from tests.todos.replica import Replica, everything
from todo_service.positions import HALVINGS
from todo_service.store.base import DocumentStore
from todo_service.todos.documents import Todo

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
SOME_ID = "65f1a2b3c4d5e6f708192a3b"
Json = dict[str, Any]


async def create_todos(person: Person, *titles: str, **fields: Any) -> list[str]:
    """Create todos and return their ids."""
    return [(await person.todo(title=title, **fields))["id"] for title in titles]


async def create_lists(person: Person, *names: str) -> list[str]:
    return [(await person.post("/v1/lists", json={"name": name})).json()["id"] for name in names]


async def move(person: Person, todo_id: str, **body: Any) -> Json:
    """Move a todo and return it."""
    response = await person.post(f"/v1/todos/{todo_id}/move", json=body)
    assert response.status_code == 200, response.text
    moved: Json = response.json()
    assert response.headers["etag"] == f'"{moved["version"]}"'
    return moved


async def read_order(person: Person, list_id: str = "inbox") -> list[Json]:
    """Return the todos of a list in the manual order, read page by page."""
    found: list[Json] = []
    parameters: dict[str, Any] = {"sort": "position", "limit": 200, "list_id": list_id}
    while True:
        page = (await person.get("/v1/todos", params=parameters)).json()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        parameters["cursor"] = page["next_cursor"]


async def read_titles(person: Person, list_id: str = "inbox") -> str:
    return " ".join([todo["title"] for todo in await read_order(person, list_id)])


@pytest.mark.parametrize(
    ("moved", "body", "expected"),
    [
        ("d", {"before": "b"}, "a d b c"),
        ("a", {"before": "c"}, "b a c d"),
        ("a", {"after": "b"}, "b a c d"),
        ("d", {"after": "a"}, "a d b c"),
        ("a", {"after": "d"}, "b c d a"),
        ("d", {"before": "a"}, "d a b c"),
        ("c", {"to": "first"}, "c a b d"),
        ("b", {"to": "last"}, "a c d b"),
    ],
)
async def test_a_todo_moves_to_the_place(ada: Person, moved: str, body: Json, expected: str) -> None:
    ids = dict(zip("abcd", await create_todos(ada, *"abcd"), strict=True))
    before = await everything(ada)

    answer = await move(ada, ids[moved], **{name: ids.get(value, value) for name, value in body.items()})

    assert await read_titles(ada) == expected
    after = await everything(ada)
    assert after.pop(ids[moved]) == answer
    assert answer["version"] == 2
    assert after == {todo_id: todo for todo_id, todo in before.items() if todo_id != ids[moved]}


@pytest.mark.parametrize(
    ("moved", "body"),
    [("b", {"before": "c"}), ("b", {"after": "a"}), ("a", {"to": "first"}), ("c", {"to": "last"})],
)
async def test_a_todo_that_is_already_there_does_not_change(ada: Person, moved: str, body: Json) -> None:
    ids = dict(zip("abc", await create_todos(ada, *"abc"), strict=True))

    answer = await move(ada, ids[moved], **{name: ids.get(value, value) for name, value in body.items()})

    assert answer["version"] == 1
    assert await read_titles(ada) == "a b c"


async def test_a_completed_todo_is_a_neighbor_too(ada: Person) -> None:
    a, b, c = await create_todos(ada, *"abc")
    await ada.post(f"/v1/todos/{b}/complete")

    await move(ada, c, before=b)
    assert await read_titles(ada) == "a c b"
    await move(ada, b, before=a)
    assert await read_titles(ada) == "b a c"


async def test_a_todo_moves_to_a_place_in_another_list(ada: Person) -> None:
    (garden,) = await create_lists(ada, "Garden")
    a, b, x = await create_todos(ada, *"abx")
    first, second = await create_todos(ada, "first", "second", list_id=garden)

    assert (await move(ada, b, list_id=garden, before=second))["list_id"] == garden
    assert (await read_titles(ada), await read_titles(ada, garden)) == ("a x", "first b second")
    assert (await move(ada, first, list_id=None, after=a))["list_id"] is None
    assert (await read_titles(ada), await read_titles(ada, garden)) == ("a first x", "b second")
    await move(ada, b, list_id=garden, to="last")
    assert await read_titles(ada, garden) == "second b"
    await ada.patch(f"/v1/todos/{x}", json={"list_id": garden})
    await move(ada, x, to="first")
    assert await read_titles(ada, garden) == "x second b"


async def test_a_todo_moves_into_an_empty_list(ada: Person) -> None:
    (garden,) = await create_lists(ada, "Garden")
    (a,) = await create_todos(ada, "a")

    await move(ada, a, list_id=garden, to="last")

    assert (await read_titles(ada), await read_titles(ada, garden)) == ("", "a")


async def test_bad_moves_are_rejected_and_write_nothing(ada: Person, bob: Person) -> None:
    garden, theirs = (await create_lists(ada, "Garden"))[0], (await create_lists(bob, "Garden"))[0]
    a, b = await create_todos(ada, *"ab")
    (elsewhere,) = await create_todos(ada, "elsewhere", list_id=garden)
    (foreign,) = await create_todos(bob, "foreign")
    gone = (await create_todos(ada, "gone"))[0]
    await ada.delete(f"/v1/todos/{gone}")
    before = await everything(ada)

    for body, place in (
        ({}, ""),
        ({"list_id": garden}, ""),
        ({"before": b, "after": b}, "/after"),
        ({"before": b, "to": "first"}, "/to"),
        ({"to": "middle"}, "/to"),
        ({"to": None}, "/to"),
        ({"before": None}, "/before"),
        ({"before": 7}, "/before"),
        ({"position": 7}, "/position"),
        ({"before": "nonsense"}, "/before"),
        ({"after": "\u0662" * 24}, "/after"),
        ({"after": "x" * 5000}, "/after"),
        ({"before": SOME_ID}, "/before"),
        ({"before": a}, "/before"),
        ({"before": gone}, "/before"),
        ({"after": foreign}, "/after"),
        ({"after": elsewhere}, "/after"),
        ({"after": b, "list_id": garden}, "/after"),
        ({"to": "first", "list_id": theirs}, "/list_id"),
        ({"to": "first", "list_id": SOME_ID}, "/list_id"),
        ({"to": "first", "list_id": "inbox"}, "/list_id"),
    ):
        problem = assert_problem(await ada.post(f"/v1/todos/{a}/move", json=body), 422)
        assert [error.get("pointer", "") for error in problem["errors"]] == [place], body
        (result,) = (await ada.post("/v1/todos/batch", json={"operations": [{"op": "move", "id": a} | body]})).json()[
            "results"
        ]
        assert result["status"] == 422
        assert [error.get("pointer") for error in result["problem"]["errors"]] == ["/operations/0" + place], body
    for path in (
        f"/v1/todos/{foreign}/move",
        f"/v1/todos/{SOME_ID}/move",
        f"/v1/todos/{gone}/move",
        "/v1/todos/x/move",
    ):
        assert_problem(await ada.post(path, json={"to": "first"}), 404)
    assert_problem(await ada.post(f"/v1/todos/{a}/move"), 400)

    assert await everything(ada) == before


async def test_if_match_is_honored(ada: Person) -> None:
    a, _ = await create_todos(ada, *"ab")
    path = f"/v1/todos/{a}/move"

    assert_problem(await ada.post(path, json={"to": "last"}, headers={"If-Match": '"7"'}), 412)
    assert await read_titles(ada) == "a b"
    assert (await ada.post(path, json={"to": "last"}, headers={"If-Match": '"1"'})).status_code == 200
    assert_problem(await ada.post(path, json={"to": "first"}, headers={"If-Match": '"1"'}), 412)
    answers = await asyncio.gather(
        *(ada.post(path, json={"to": end}, headers={"If-Match": '"2"'}) for end in ("first", "first", "first"))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412]


@pytest.mark.parametrize("spell", [str.lower, str.upper])
@pytest.mark.parametrize(
    ("path", "new", "query"), [("/v1/todos", "title", {"sort": "position"}), ("/v1/lists", "name", {})]
)
async def test_if_match_holds_if_the_moved_item_itself_is_renumbered(
    ada: Person, path: str, new: str, query: dict[str, str], spell: Callable[[str], str]
) -> None:
    """The item that moves is among the neighbors that get new positions, however the URL spells its id."""
    created = [(await ada.post(path, json={new: "x", "position": 5.0})).json()["id"] for _ in range(3)]
    first, second, third = sorted(created)  # of items at one position, the lowest id comes first

    answer = await ada.post(
        f"{path}/{spell(first)}/move", json={"after": second}, headers={"If-Match": '"1"', "Idempotency-Key": "x"}
    )

    assert answer.status_code == 200, answer.text
    assert [each["id"] for each in (await ada.get(path, params=query)).json()["items"]] == [second, first, third]


async def test_a_repeated_move_has_one_effect(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    a, b, c = await create_todos(ada, *"abc")
    key = {"Idempotency-Key": "move-once"}

    first = await ada.post(f"/v1/todos/{a}/move", json={"after": b}, headers=key)
    await move(ada, a, to="last")
    again = await ada.post(f"/v1/todos/{a}/move", json={"after": b}, headers=key)

    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    assert await read_titles(ada) == "b c a"
    assert_problem(await ada.post(f"/v1/todos/{a}/move", json={"after": c}, headers=key), 422)
    stored = await store.get(Todo, Todo.id == ObjectId(a))
    assert stored is not None
    assert len(stored.applied_change_ids) == 1


async def test_a_batch_moves(ada: Person) -> None:
    (garden,) = await create_lists(ada, "Garden")
    a, b, c = await create_todos(ada, *"abc")
    body = {
        "operations": [
            {"op": "move", "id": a, "to": "last"},
            {"op": "move", "id": c, "before": b, "if_match": '"1"'},
            {"op": "move", "id": b, "list_id": garden, "to": "first"},
            {"op": "complete", "id": b, "to": "first"},
            {"op": "move", "to": "first"},
            {"op": "move", "id": c, "to": "first", "todo": {}},
        ]
    }

    results = (await ada.post("/v1/todos/batch", json=body)).json()["results"]

    assert [result["status"] for result in results] == [200, 200, 200, 422, 422, 422]
    places = [result["problem"]["errors"][0]["pointer"] for result in results[3:]]
    assert places == ["/operations/3/to", "/operations/4/id", "/operations/5/todo"]
    assert (await read_titles(ada), await read_titles(ada, garden)) == ("c a", "b")


@pytest.mark.parametrize("place", ["before", "after"])
async def test_the_gap_between_new_neighbors_can_be_halved_forty_times(ada: Person, place: str) -> None:
    """Neighbors that were created one after the other, by a batch, and by an import."""
    batch = {"operations": [{"op": "create", "todo": {"title": title}} for title in ("c", "d")]}
    await create_todos(ada, "a", "b")
    assert (await ada.post("/v1/todos/batch", json=batch)).status_code == 200
    assert (await ada.post("/v1/todos/import", json=[{"title": "e"}, {"title": "f"}])).status_code == 200
    ends = {todo["title"]: todo["id"] for todo in await read_order(ada)}
    assert "".join(ends) == "abcdef"
    moved = await create_todos(ada, *map(str, range(HALVINGS)))

    for neighbors in ("ab", "bc", "cd", "de", "ef"):
        for todo_id in moved:
            await move(ada, todo_id, **{place: ends[neighbors[place == "before"]]})
        between = [todo["title"] for todo in await read_order(ada)]
        inner = between[between.index(neighbors[0]) + 1 : between.index(neighbors[1])]
        numbers = list(map(str, range(HALVINGS)))
        assert inner == (numbers if place == "before" else numbers[::-1])

    found = await everything(ada)
    assert {found[todo_id]["version"] for todo_id in ends.values()} == {1}


async def test_positions_of_many_todos_leave_room(ada: Person) -> None:
    """After 5 000 todos, too, neighbors can be parted forty times."""
    rows = "title\n" + "x\n" * 5_000
    response = await ada.post("/v1/todos/import", content=rows, headers={"Content-Type": "text/csv"})
    assert response.json()["imported"] == 5_000

    a, b, *moved = await create_todos(ada, *map(str, range(HALVINGS + 2)))
    for todo_id in moved:
        await move(ada, todo_id, after=a)

    found = [todo["id"] for todo in (await ada.get("/v1/todos", params={"sort": "-position"})).json()["items"]]
    assert found[: HALVINGS + 2] == [b, *moved, a]
    assert (await ada.get(f"/v1/todos/{b}")).json()["version"] == 1


@pytest.mark.parametrize("position", [5.0, 0.0, -1.7976931348623157e308, 1.7976931348623157e308, 5e-324])
async def test_todos_of_one_position_can_be_moved(ada: Person, position: float) -> None:
    """Clients and imports may give many todos the same position."""
    number = 12
    await create_todos(ada, *map(str, range(number)), position=position)
    expected = [todo["id"] for todo in await read_order(ada)]
    chance = random.Random(1)  # noqa: S311  # a fixed seed

    for _ in range(20):
        moved, neighbor = chance.sample(expected, 2)
        place = chance.choice(["before", "after"])
        await move(ada, moved, **{place: neighbor})
        expected.remove(moved)
        expected.insert(expected.index(neighbor) + (place == "after"), moved)
        assert [todo["id"] for todo in await read_order(ada)] == expected
    for end in ("first", "last"):
        moved = expected[number // 2]
        await move(ada, moved, to=end)
        expected.remove(moved)
        expected.insert(0 if end == "first" else number, moved)
        assert [todo["id"] for todo in await read_order(ada)] == expected


async def test_four_hundred_moves_between_the_same_two_neighbors(ada: Person, figure: Callable[[str], None]) -> None:
    lower, upper, *moved = await create_todos(ada, *map(str, range(102)))
    replica = Replica(ada, 200)
    await replica.sync()
    for part in range(4):
        place = {"after": lower} if part % 4 < 2 else {"before": upper}
        for start in range(0, 100, 10):
            operations = [{"op": "move", "id": todo_id} | place for todo_id in moved[start : start + 10]]
            results = (await ada.post("/v1/todos/batch", json={"operations": operations})).json()["results"]
            assert [result["status"] for result in results] == [200] * 10
        expected = moved[::-1] if "after" in place else moved

    order = await read_order(ada)

    assert [todo["id"] for todo in order] == [lower, *expected, upper]
    renumbered = sum(todo["version"] - 1 for todo in order) - 400
    figure(f"{renumbered} todos renumbered")
    assert renumbered < 1200
    # delta sync sends what was renumbered
    await replica.sync()
    assert replica.todos == {todo["id"]: todo for todo in order}


async def test_lists_move(ada: Person, bob: Person) -> None:
    ids = dict(zip("abcd", await create_lists(ada, *"abcd"), strict=True))
    (foreign,) = await create_lists(bob, "foreign")

    async def read_names() -> str:
        return "".join([each["name"] for each in (await ada.get("/v1/lists")).json()["items"]])

    assert await read_names() == "abcd"
    for moved, body, expected in (
        ("a", {"after": ids["c"]}, "bcad"),
        ("d", {"before": ids["c"]}, "bdca"),
        ("c", {"to": "first"}, "cbda"),
        ("b", {"to": "last"}, "cdab"),
    ):
        answer = await ada.post(f"/v1/lists/{ids[moved]}/move", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json() == (await ada.get(f"/v1/lists/{ids[moved]}")).json()
        assert answer.headers["etag"] == f'"{answer.json()["version"]}"'
        assert await read_names() == expected
    path = f"/v1/lists/{ids['a']}/move"
    bodies: list[tuple[Json, str]] = [
        ({}, ""),
        ({"before": foreign}, "/before"),
        ({"after": ids["a"]}, "/after"),
        ({"to": "first", "list_id": None}, "/list_id"),
    ]
    for body, place in bodies:
        problem = assert_problem(await ada.post(path, json=body), 422)
        assert [error.get("pointer", "") for error in problem["errors"]] == [place]
    assert_problem(await ada.post(path, json={"to": "first"}, headers={"If-Match": '"7"'}), 412)
    assert_problem(await ada.post(f"/v1/lists/{foreign}/move", json={"to": "first"}), 404)
    assert await read_names() == "cdab"


async def test_a_list_can_be_moved_between_the_same_two_a_hundred_times(ada: Person) -> None:
    a, b, c, d = await create_lists(ada, *"abcd")
    await ada.patch(f"/v1/lists/{a}", json={"position": 1})
    await ada.patch(f"/v1/lists/{d}", json={"position": 1.0000001})

    for number in range(100):
        moved = (b, c)[number % 2]
        answer = await ada.post(
            f"/v1/lists/{moved}/move", json={"after": a}, headers={"If-Match": "*", "Idempotency-Key": f"k{number}"}
        )
        assert answer.status_code == 200, answer.text

    assert [each["name"] for each in (await ada.get("/v1/lists")).json()["items"]] == ["a", "c", "b", "d"]
