"""Creating, reading, updating and deleting todos."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import pytest

from tests.people import Person, TodoCreateFactory, assert_problem

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_a_new_todo_has_every_field_and_a_location(ada: Person) -> None:
    response = await ada.post("/v1/todos", json={"title": "  Water the plants "})

    todo = response.json()
    assert response.status_code == 201
    assert re.fullmatch(r"[0-9a-f]{24}", todo["id"])
    assert TIME.fullmatch(todo["created_at"])
    assert response.headers["location"] == f"/v1/todos/{todo['id']}"
    assert response.headers["etag"] == '"1"'
    assert todo == {
        "id": todo["id"],
        "title": "Water the plants",
        "description": "",
        "completed": False,
        "completed_at": None,
        "priority": "none",
        "due_at": None,
        "due_on": None,
        "start_at": None,
        "start_on": None,
        "time_zone": None,
        "tags": [],
        "list_id": None,
        "steps": [],
        "recurrence": None,
        "recurrence_from": "due",
        "recurrence_except": [],
        "last_completed_at": None,
        "reminders": [],
        "position": todo["position"],
        "uid": todo["id"],
        "version": 1,
        "created_at": todo["created_at"],
        "updated_at": todo["created_at"],
    }


async def test_a_created_todo_reads_back_byte_for_byte(ada: Person) -> None:
    for wanted in TodoCreateFactory.batch(20):
        body = msgspec.to_builtins(wanted) | {"due_at": "2027-03-28T02:30:00.9999+02:00"}
        created = await ada.post("/v1/todos", json=body)
        read = await ada.get(created.headers["location"])

        assert created.status_code == 201, created.text
        assert read.content == created.content
        assert read.json()["due_at"] == "2027-03-28T00:30:00.999Z"
        assert {name: read.json()[name] for name in body if name != "due_at"} == {
            name: value for name, value in body.items() if name != "due_at"
        }


async def test_a_todo_created_as_completed_has_a_completion_time(ada: Person) -> None:
    todo = await ada.todo(completed=True)

    assert todo["completed_at"] == todo["created_at"]


async def test_duplicate_tags_are_dropped_and_the_order_is_preserved(ada: Person) -> None:
    todo = await ada.todo(tags=[" home", "work", "home ", "Home"])

    assert todo["tags"] == ["home", "work", "Home"]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "/title"),
        ({"title": None}, "/title"),
        ({"title": 7}, "/title"),
        ({"title": " \t\n"}, "/title"),
        ({"title": "x" * 201}, "/title"),
        ({"title": "x", "colour": "red"}, "/colour"),
        ({"title": "x", "id": "65f1a2b3c4d5e6f708192a3b"}, "/id"),
        ({"title": "x", "owner": "65f1a2b3c4d5e6f708192a3b"}, "/owner"),
        ({"title": "x", "version": 3}, "/version"),
        ({"title": "x", "description": "x" * 10_001}, "/description"),
        ({"title": "x", "completed": "true"}, "/completed"),
        ({"title": "x", "completed": 1}, "/completed"),
        ({"title": "x", "priority": "extreme"}, "/priority"),
        ({"title": "x", "due_at": 0}, "/due_at"),
        ({"title": "x", "due_at": "2027-01-31T09:00:00"}, "/due_at"),
        ({"title": "x", "due_at": "2027-01-31"}, "/due_at"),
        ({"title": "x", "due_at": "2027-02-30T09:00:00Z"}, "/due_at"),
        ({"title": "x", "due_at": "1969-12-31T23:59:59Z"}, "/due_at"),
        ({"title": "x", "due_at": "9999-12-31T23:59:59-01:00"}, "/due_at"),
        ({"title": "x", "tags": "home"}, "/tags"),
        ({"title": "x", "tags": ["a", 3]}, "/tags/1"),
        ({"title": "x", "tags": ["a", " "]}, "/tags/1"),
        ({"title": "x", "tags": ["x" * 51]}, "/tags/0"),
        ({"title": "x", "tags": [str(number) for number in range(21)]}, "/tags"),
        ({"title": "x", "list_id": "65f1a2b3c4d5e6f708192a3b"}, "/list_id"),
        ({"title": "x", "list_id": {"$gt": ""}}, "/list_id"),
        ({"title": "x\x00y"}, "/title"),
        ({"title": "x", "position": "first"}, "/position"),
    ],
    ids=str,
)
async def test_an_invalid_field_is_named_and_nothing_is_written(ada: Person, body: dict[str, Any], place: str) -> None:
    response = await ada.post("/v1/todos", json=body)

    assert_problem(response, 422, place)
    assert await ada.titles() == []


async def test_every_invalid_field_is_named(ada: Person) -> None:
    response = await ada.post("/v1/todos", json={"title": " ", "tags": ["", "a"], "due_at": "1969-01-01T00:00:00Z"})

    assert_problem(response, 422, "/title", "/due_at", "/tags/0")


@pytest.mark.parametrize("title", ["🌱" * 200, "שלום עולם", "q\u0301", "a\u202eb", "\\", '"', "x" * 200])
async def test_a_title_accepts_any_text(ada: Person, title: str) -> None:
    todo = await ada.todo(title=title)

    assert todo["title"] == title
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json()["title"] == title


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("todo_id", ["65f1a2b3c4d5e6f708192a3b", "nonsense", "65F1A2B3C4D5E6F708192A3Z", "a" * 500])
async def test_a_missing_todo_is_not_found(ada: Person, method: str, todo_id: str) -> None:
    body = {"json": {"title": "x"}} if method == "PATCH" else {}

    response = await ada.ask(method, f"/v1/todos/{todo_id}", **body)

    assert_problem(response, 404)


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_another_account_s_todo_is_not_found(ada: Person, bob: Person, method: str) -> None:
    todo = await ada.todo()
    body = {"json": {"title": "mine now"}} if method == "PATCH" else {}

    response = await bob.ask(method, f"/v1/todos/{todo['id']}", **body)

    assert_problem(response, 404)
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json() == todo


async def test_if_none_match_returns_304_for_an_unchanged_todo(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo())['id']}"

    for condition in ('"1"', 'W/"1"', '"7", "1"', "*", '"1-gzip"', '"1;gzip"', 'W/"1-br"', '"1--gzip"', ', "1",,'):
        response = await ada.get(path, headers={"If-None-Match": condition})
        assert response.status_code == 304
        assert response.content == b""
        assert response.headers["etag"] == '"1"'
        assert response.headers["cache-control"] == "private, no-cache"
    assert (await ada.get(path, headers={"If-None-Match": '"2"'})).status_code == 200


async def test_a_patch_changes_only_its_own_fields(ada: Person) -> None:
    todo = await ada.todo(description="all of them", due_at="2027-01-31T09:00:00Z", tags=["home"])

    response = await ada.patch(f"/v1/todos/{todo['id']}", json={"title": "Water all the plants", "priority": "high"})

    changed = response.json()
    assert response.status_code == 200
    assert response.headers["etag"] == '"2"'
    assert changed == todo | {
        "title": "Water all the plants",
        "priority": "high",
        "version": 2,
        "updated_at": changed["updated_at"],
    }
    assert changed["updated_at"] >= todo["updated_at"]
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json() == changed


async def test_null_resets_an_optional_field(ada: Person) -> None:
    todo = await ada.todo(description="x", priority="low", due_at="2027-01-31T09:00:00Z", tags=["home"])

    cleared = {"description": None, "priority": None, "due_at": None, "tags": None, "list_id": None}
    response = await ada.patch(f"/v1/todos/{todo['id']}", json=cleared)

    assert {name: response.json()[name] for name in cleared} == {
        "description": "",
        "priority": "none",
        "due_at": None,
        "tags": [],
        "list_id": None,
    }


@pytest.mark.parametrize("name", ["title", "completed", "position"])
async def test_null_is_invalid_for_a_required_field(ada: Person, name: str) -> None:
    todo = await ada.todo()

    response = await ada.patch(f"/v1/todos/{todo['id']}", json={name: None})

    assert_problem(response, 422, f"/{name}")


@pytest.mark.parametrize("patch", [{}, {"title": "Water the plants"}, {"completed": False, "tags": []}])
async def test_a_patch_without_effect_does_not_change_the_version(ada: Person, patch: dict[str, Any]) -> None:
    todo = await ada.todo()

    response = await ada.patch(f"/v1/todos/{todo['id']}", json=patch)

    assert response.status_code == 200
    assert response.json() == todo


async def test_completing_sets_the_completion_time_and_reopening_clears_it(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo())['id']}"

    completed = (await ada.patch(path, json={"completed": True})).json()
    again = (await ada.patch(path, json={"completed": True})).json()
    reopened = (await ada.patch(path, json={"completed": False})).json()

    assert completed["completed_at"] == completed["updated_at"]
    assert again == completed
    assert reopened["completed_at"] is None


async def test_a_patch_accepts_only_merge_patch_and_plain_json(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo())['id']}"

    for media_type, status in {
        "application/merge-patch+json": 200,
        "application/json": 200,
        "application/json; charset=utf-8": 200,
        "application/json; charset=latin-1": 415,
        "application/json-patch+json": 415,
        "text/plain": 415,
    }.items():
        response = await ada.patch(path, content=b'{"priority": "low"}', headers={"Content-Type": media_type})
        assert response.status_code == status, media_type
        accepted = "application/json, application/merge-patch+json" if status == 415 else None
        assert response.headers.get("accept-patch") == accepted
    compressed = await ada.patch(path, content=b"x", headers={"Content-Encoding": "gzip"})
    assert assert_problem(compressed, 415)
    assert (compressed.headers["accept-patch"], compressed.headers["accept-encoding"]) == (accepted, "identity")
    posted = await ada.post("/v1/todos", content=b"x", headers={"Content-Type": "text/plain"})
    assert "accept-patch" not in posted.headers


async def test_a_stale_entity_tag_changes_nothing(ada: Person) -> None:
    todo = await ada.todo()
    path = f"/v1/todos/{todo['id']}"

    for condition in ('"2"', 'W/"2"', '"0", "17"', '"abc"', '""', '"2-gzip"', '"1-x"', '"1-"', ' , "2"'):
        assert_problem(await ada.patch(path, json={"title": "x"}, headers={"If-Match": condition}), 412)
        assert_problem(await ada.delete(path, headers={"If-Match": condition}), 412)
    assert (await ada.get(path)).json() == todo


async def test_an_invalid_if_match_is_rejected(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo())['id']}"

    for condition in ("1", '"1" "2"', "", ",", '"1', '*, "1"'):
        assert_problem(await ada.patch(path, json={"title": "x"}, headers={"If-Match": condition}), 422, "If-Match")


async def test_a_matching_entity_tag_permits_the_change(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo())['id']}"

    changed = await ada.patch(path, json={"title": "x"}, headers={"If-Match": '"1"'})
    deleted = await ada.delete(path, headers={"If-Match": '"9", "2"'})

    assert changed.headers["etag"] == '"2"'
    assert deleted.status_code == 204
    assert_problem(await ada.get(path), 404)


async def test_an_entity_tag_that_a_proxy_rewrote_permits_the_change(ada: Person) -> None:
    """nginx makes tags weak, and others append the content coding."""
    path = f"/v1/todos/{(await ada.todo())['id']}"

    for version, form in enumerate(
        ('W/"{}"', '"{}-gzip"', '"{};gzip"', '"{}-br"', 'W/"{}-zstd"', ',, "{}--gzip" ,'), 1
    ):
        condition = {"If-Match": form.format(version)}
        assert (await ada.get(path, headers=condition)).status_code == 200
        response = await ada.patch(path, json={"title": f"change {version}"}, headers=condition)
        assert response.headers["etag"] == f'"{version + 1}"', form


async def test_a_read_with_a_stale_if_match_is_rejected(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo())['id']}"

    assert_problem(await ada.get(path, headers={"If-Match": '"2"'}), 412)
    # If-Match comes first (RFC 9110, section 13.2.2)
    assert_problem(await ada.get(path, headers={"If-Match": '"2"', "If-None-Match": '"1"'}), 412)
    assert (await ada.get(path, headers={"If-Match": '"1"', "If-None-Match": '"1"'})).status_code == 304
    assert (await ada.get(path, headers={"If-Match": "*"})).status_code == 200


async def test_if_none_match_rejects_the_change_of_a_document_with_the_tag(ada: Person) -> None:
    todo, other = await ada.todo(), (await ada.post("/v1/lists", json={"name": "Home"})).json()
    password = {"password": ada.password}
    paths = {f"/v1/todos/{todo['id']}": None, f"/v1/lists/{other['id']}": None, "/v1/users/me": password}
    before = [(await ada.get(path)).json() for path in paths]

    for path, deletion in paths.items():
        for tags in ('"1"', 'W/"1-gzip"', '"7", "1"', "*"):
            condition = {"If-None-Match": tags}
            assert_problem(await ada.patch(path, json={}, headers=condition), 412)
            assert_problem(await ada.ask("DELETE", path, json=deletion, headers=condition), 412)
        assert_problem(await ada.patch(path, json={}, headers={"If-None-Match": "x"}), 422, "If-None-Match")
        stale = {"If-Match": '"2"', "If-None-Match": '"3"'}
        assert_problem(await ada.patch(path, json={}, headers=stale), 412)
    assert [(await ada.get(path)).json() for path in paths] == before

    for path in paths:
        assert (await ada.patch(path, json={}, headers={"If-None-Match": '"2"'})).status_code == 200
    missing = f"/v1/todos/{other['id']}"
    assert_problem(await ada.patch(missing, json={}, headers={"If-None-Match": "*"}), 404)


async def test_actions_ignore_if_none_match(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo())['id']}"

    for action in ("complete", "reopen"):
        assert (await ada.post(f"{path}/{action}", headers={"If-None-Match": "*"})).status_code == 200


async def test_one_of_many_writers_with_the_same_entity_tag_succeeds(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo())['id']}"

    responses = await asyncio.gather(
        *(ada.patch(path, json={"title": f"writer {n}"}, headers={"If-Match": '"1"'}) for n in range(32))
    )

    winners = [response.json() for response in responses if response.status_code == 200]
    assert sorted(response.status_code for response in responses) == [200] + [412] * 31
    assert (await ada.get(path)).json() == winners[0]


async def test_no_write_without_an_entity_tag_is_lost(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo())['id']}"

    responses = await asyncio.gather(*(ada.patch(path, json={"title": f"writer {n}"}) for n in range(16)))

    assert [response.status_code for response in responses] == [200] * 16
    assert sorted(response.json()["version"] for response in responses) == list(range(2, 18))
    assert (await ada.get(path)).json()["version"] == 17


async def test_a_deleted_todo_is_not_found(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo())['id']}"

    deleted = await ada.delete(path)

    assert deleted.status_code == 204
    assert deleted.content == b""
    assert_problem(await ada.get(path), 404)
    assert_problem(await ada.delete(path), 404)
    assert_problem(await ada.patch(path, json={"title": "back again"}), 404)
    assert await ada.titles() == []


READ_ONLY = {"id", "uid", "version", "created_at", "updated_at", "last_completed_at"}


@pytest.mark.parametrize("fields", [{"due_on": "2027-01-31"}, {"due_on": "2027-01-31", "recurrence": "FREQ=DAILY"}])
async def test_a_client_may_send_all_fields_back(ada: Person, fields: dict[str, str]) -> None:
    todo = await ada.todo(**fields)
    path = f"/v1/todos/{todo['id']}"

    for completed in (False, True, True, False):
        body = {name: value for name, value in todo.items() if name not in READ_ONLY} | {"completed": completed}
        if not completed:
            body["completed_at"] = None
        response = await ada.patch(path, json=body)
        assert response.status_code == 200, response.text
        changed = response.json()
        if "recurrence" not in fields:
            assert changed["completed"] is completed
            assert (changed["completed_at"] is not None) is completed
            assert changed["version"] == todo["version"] + (completed is not todo["completed"])
        todo = changed


async def test_null_does_not_clear_the_time_of_completion_of_a_completed_todo(ada: Person) -> None:
    todo = await ada.todo(completed=True)
    path, cleared = f"/v1/todos/{todo['id']}", {"completed_at": None}

    assert_problem(await ada.patch(path, json=cleared), 422, "/completed_at")
    assert (await ada.patch(path, json=cleared | {"completed": True})).json() == todo
    opened = (await ada.patch(path, json=cleared | {"completed": False})).json()
    assert (opened["completed"], opened["completed_at"]) == (False, None)
    assert (await ada.patch(path, json=cleared)).json() == opened
