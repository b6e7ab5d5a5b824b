"""A JSON export is a backup of an account."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.people import Person, assert_problem, build_report
from tests.todos.test_repeated_imports import read_lists, read_todos
from tests.todos.test_transfer import export_todos, import_todos

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
OWN = ("id", "version", "updated_at")
LISTS = (
    {"name": "Garden", "color": "#2e8b57", "position": 5.5},
    {"name": "Garden", "archived": True},
    {"name": "Empty", "uid": "given"},
)


def drop_own(documents: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    """Return documents without the fields that an import does not set, and without other fields."""
    return [{name: each[name] for name in each if name not in (*OWN, *names)} for each in documents]


async def furnish(person: Person) -> None:
    """Create lists, two of one name and one without todos, and todos in the manual order of their titles."""
    made = [(await person.post("/v1/lists", json=each)).json() for each in LISTS]
    await person.todo(title="c", list_id=made[1]["id"], position=3.0, uid="c@example.com")
    done = await person.todo(title="a", list_id=made[0]["id"], position=1.0, steps=[{"title": "s", "completed": True}])
    await person.todo(title="b", position=2.0, due_on="2027-01-31", recurrence="FREQ=DAILY", tags=["home"])
    completed = await person.post(f"/v1/todos/{done['id']}/complete", json={"completed_at": "2026-01-01T00:00:00Z"})
    assert completed.status_code == 200


async def describe(person: Person) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the lists and todos of an account, with the uids of the lists in place of their ids."""
    lists = await read_lists(person)
    uids = {each["id"]: each["uid"] for each in lists}
    todos = [each | {"list_id": uids.get(each["list_id"])} for each in await read_todos(person)]
    return drop_own(lists, "created_at"), drop_own(todos)


async def test_an_empty_account_gets_everything_back(ada: Person, bob: Person) -> None:
    await furnish(ada)
    body = (await export_todos(ada, "json")).content

    assert await import_todos(bob, "json", body, dry_run="true") == build_report(imported=3, lists_created=3)
    assert await describe(bob) == ([], [])
    assert await import_todos(bob, "json", body) == build_report(imported=3, lists_created=3)
    assert await describe(bob) == await describe(ada)
    assert await import_todos(bob, "json", body) == build_report(unchanged=3)
    assert await describe(bob) == await describe(ada)


async def test_a_list_is_found_by_its_uid_then_by_an_unambiguous_name(ada: Person) -> None:
    by_uid = (await ada.post("/v1/lists", json={"name": "Renamed", "uid": "1"})).json()
    by_name = (await ada.post("/v1/lists", json={"name": "House"})).json()
    for _ in range(2):
        await ada.post("/v1/lists", json={"name": "Garden"})
    names = ("Work", "House", "Garden")
    lists = [{"id": f"{number:024}", "uid": str(number), "name": name} for number, name in enumerate(names, start=1)]
    todos = [{"title": each["name"], "list_id": each["id"]} for each in lists]
    body = json.dumps({"lists": lists, "todos": todos})

    assert await import_todos(ada, "json", body) == build_report(imported=3, lists_created=1)
    assert await import_todos(ada, "json", body) == build_report(unchanged=3)

    found = await read_lists(ada)
    assert [each["name"] for each in found] == ["Renamed", "House", "Garden", "Garden", "Garden"]
    assert [todo["list_id"] for todo in await read_todos(ada)] == [by_uid["id"], by_name["id"], found[4]["id"]]
    assert found[4]["uid"] == "3"


async def test_lists_of_one_name_stay_apart_when_an_import_is_repeated(ada: Person, bob: Person) -> None:
    await furnish(ada)
    archive = (await export_todos(ada, "json")).json()
    # the first attempt has broken off after the first list
    await import_todos(bob, "json", json.dumps({"lists": archive["lists"][:1], "todos": []}))

    report = await import_todos(bob, "json", json.dumps(archive))

    assert report == build_report(imported=3, lists_created=2)
    assert await describe(bob) == await describe(ada)


@pytest.mark.parametrize("existing", ["skip", "update"])
async def test_a_list_is_created_for_a_todo_that_is_written(ada: Person, existing: str) -> None:
    made = (await ada.post("/v1/lists", json={"name": "Garden"})).json()
    await ada.todo(title="Sow", list_id=made["id"], uid="1")
    archive = (await export_todos(ada, "json")).json()
    table = (await export_todos(ada, "csv")).content
    await ada.delete(f"/v1/lists/{made['id']}")

    if existing == "skip":
        for file_format, body in (("json", json.dumps(archive)), ("csv", table)):
            assert await import_todos(ada, file_format, body) == build_report(unchanged=1)
            assert await read_lists(ada) == []
    else:
        body = json.dumps(archive)
        for dry_run in ("true", "false"):
            report = await import_todos(ada, "json", body, existing=existing, dry_run=dry_run)
            assert report == build_report(updated=1, lists_created=1)
        (garden,), (todo,) = await read_lists(ada), await read_todos(ada)
        assert (garden["name"], garden["uid"], todo["list_id"]) == ("Garden", made["uid"], garden["id"])


async def test_rejected_records_and_unchanged_todos_create_no_list(ada: Person) -> None:
    await ada.todo(uid="1", title="Sow")
    table = "uid,title,list\n1,Sow,Garden\n2,\u200b,House\n3,Mow,Meadow\n"
    archive = {
        "lists": [{"id": "1" * 24, "name": "Work"}, {"id": "2" * 24, "name": "Empty"}],
        "todos": [{"title": "x", "list_id": "1" * 24, "recurrence": "FREQ=DAILY"}],
    }

    for dry_run in ("true", "false"):
        report = await import_todos(ada, "csv", table, dry_run=dry_run)
        assert (report["imported"], report["unchanged"], report["rejected_count"]) == (1, 1, 1)
        assert report["lists_created"] == 1
    assert [each["name"] for each in await read_lists(ada)] == ["Meadow"]
    report = await import_todos(ada, "json", json.dumps(archive))
    assert (report["rejected_count"], report["lists_created"]) == (1, 1)
    assert [each["name"] for each in await read_lists(ada)] == ["Meadow", "Empty"]


async def test_an_edited_list_of_an_exported_table_moves_the_todo(ada: Person) -> None:
    garden, house = [(await ada.post("/v1/lists", json={"name": name})).json()["id"] for name in ("Garden", "House")]
    for number in range(3):
        await ada.todo(uid=str(number), list_id=garden)
    table = (await export_todos(ada, "csv")).text
    lines = table.splitlines()
    assert lines[1].count(",Garden,") == 1
    edited = [lines[0], lines[1].replace(",Garden,", ",House,"), lines[2].replace(",Garden,", ",Meadow,"), lines[3]]

    for dry_run in ("true", "false"):
        report = await import_todos(ada, "csv", "\r\n".join(edited), existing="update", dry_run=dry_run)
        assert report == build_report(updated=2, unchanged=1, lists_created=1)

    meadow = (await read_lists(ada))[-1]
    assert meadow["name"] == "Meadow"
    assert [todo["list_id"] for todo in await read_todos(ada)] == [house, meadow["id"], garden]
    assert await import_todos(ada, "csv", "\r\n".join(edited), existing="update") == build_report(unchanged=3)


async def test_a_list_that_breaks_a_rule_is_rejected_with_its_todos(ada: Person) -> None:
    lists = [{"id": "1" * 24, "name": " "}, {"id": "2" * 24, "name": "Garden"}]
    todos = [{"title": "x", "list_id": each["id"]} for each in lists]

    report = await import_todos(ada, "json", json.dumps({"lists": lists, "todos": todos}))

    assert (report["imported"], report["lists_created"], report["rejected_count"]) == (1, 1, 2)
    assert [each["errors"][0]["pointer"] for each in report["rejected"]] == ["/lists/0", "/todos/0/list_id"]
    assert [each["name"] for each in await read_lists(ada)] == ["Garden"]


@pytest.mark.parametrize("name", ["todos", "items"])
async def test_the_array_of_todos_has_one_of_two_names(ada: Person, name: str) -> None:
    assert await import_todos(ada, "json", json.dumps({name: [{"title": "x"}]})) == build_report(imported=1)


async def test_a_page_of_todos_is_imported(ada: Person, bob: Person) -> None:
    for title in ("a", "b"):
        await ada.todo(title=title)

    for parameters in ({"limit": "1"}, {}):
        page = await ada.get("/v1/todos", params=parameters)
        await import_todos(bob, "json", page.content)

    assert await bob.titles() == ["a", "b"]


@pytest.mark.parametrize("body", [{"todos": [], "items": []}, {"lists": []}, {"todos": {}}, {"items": 1}])
async def test_a_body_without_one_array_of_todos_is_refused(ada: Person, body: dict[str, Any]) -> None:
    assert_problem(await ada.post("/v1/todos/import", json=body), 422)
