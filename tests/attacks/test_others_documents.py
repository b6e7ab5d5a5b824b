"""Documents of other accounts can be neither read nor changed, and look as if they did not exist."""

from __future__ import annotations

from typing import Any

import pytest

from tests.people import Person, assert_problem

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
NOBODY_S = "65f1a2b3c4d5e6f708192a3b"


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"title": "mine now"}),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("POST", "/complete", None),
        ("POST", "/reopen", None),
        ("POST", "/move", {"to": "first"}),
        ("GET", "/completions", None),
    ],
)
async def test_todo_of_another_account_in_a_path_is_not_found(
    ada: Person, bob: Person, method: str, suffix: str, body: dict[str, Any] | None
) -> None:
    todo = await ada.todo()

    responses = [
        await bob.ask(method, f"/v1/todos/{identity}{suffix}", headers=headers, json=body)
        for identity in (todo["id"], NOBODY_S)
        for headers in ({}, {"If-Match": '"1"'}, {"If-Match": "*"}, {"If-None-Match": '"1"'})
    ]

    told = [{**assert_problem(response, 404), "instance": "", "request_id": ""} for response in responses]
    assert all(problem == told[0] for problem in told)
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json() == todo


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PATCH", {"name": "mine now"}), ("DELETE", None)])
async def test_list_of_another_account_in_a_path_is_not_found(
    ada: Person, bob: Person, method: str, body: dict[str, Any] | None
) -> None:
    made = (await ada.post("/v1/lists", json={"name": "Garden"})).json()
    todo = await ada.todo(list_id=made["id"])

    assert_problem(await bob.ask(method, f"/v1/lists/{made['id']}", json=body), 404)
    assert_problem(await bob.ask(method, f"/v1/lists/{NOBODY_S}", json=body), 404)
    assert (await ada.get(f"/v1/lists/{made['id']}")).json() == made
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json() == todo


async def test_list_of_another_account_in_a_body_is_unknown(ada: Person, bob: Person) -> None:
    theirs = (await ada.post("/v1/lists", json={"name": "Garden"})).json()["id"]
    todo = await bob.todo()

    for identity in (theirs, NOBODY_S):
        assert_problem(await bob.post("/v1/todos", json={"title": "x", "list_id": identity}), 422, "/list_id")
        assert_problem(await bob.patch(f"/v1/todos/{todo['id']}", json={"list_id": identity}), 422, "/list_id")
    assert await ada.titles(list_id=theirs) == []


async def test_list_of_another_account_as_a_filter_behaves_like_an_unknown_list(ada: Person, bob: Person) -> None:
    theirs = (await ada.post("/v1/lists", json={"name": "Garden"})).json()["id"]
    await ada.todo(list_id=theirs)

    foreign = await bob.get("/v1/todos", params={"list_id": theirs})
    nobody_s = await bob.get("/v1/todos", params={"list_id": NOBODY_S})

    assert foreign.status_code == nobody_s.status_code
    assert foreign.json().get("items", []) == nobody_s.json().get("items", [])
    assert foreign.json().get("items", []) == []


async def test_todo_of_another_account_in_a_batch_is_not_found(ada: Person, bob: Person) -> None:
    todo = await ada.todo()
    theirs = (await ada.post("/v1/lists", json={"name": "Garden"})).json()["id"]
    operations: list[dict[str, Any]] = [
        {"op": "update", "id": todo["id"], "todo": {"title": "mine now"}},
        {"op": "complete", "id": todo["id"]},
        {"op": "reopen", "id": todo["id"], "if_match": '"1"'},
        {"op": "delete", "id": todo["id"]},
        {"op": "create", "todo": {"title": "x", "list_id": theirs}},
    ]

    response = await bob.post("/v1/todos/batch", json={"operations": operations})

    assert [result["status"] for result in response.json()["results"]] == [404, 404, 404, 404, 422]
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json() == todo
    assert await bob.titles() == []


@pytest.mark.parametrize("path", ["/v1/todos", "/v1/sessions", "/v1/api-keys", "/v1/lists"])
async def test_cursor_of_another_account_is_rejected(ada: Person, bob: Person, path: str) -> None:
    for person in (ada, bob):
        for n in range(3):
            await person.todo()
            await person.sign_in()
            assert (await person.post("/v1/lists", json={"name": f"list {n}"})).status_code == 201
            assert (await person.post("/v1/api-keys", json={"name": f"{n}", "scope": "read"})).status_code == 201
    cursor = (await ada.get(path, params={"limit": 1})).json()["next_cursor"]

    assert_problem(await bob.get(path, params={"limit": 1, "cursor": cursor}), 422, "cursor")
    assert_problem(await ada.get(path, params={"limit": 1, "cursor": cursor[:-2]}), 422, "cursor")
    assert (await ada.get(path, params={"limit": 1, "cursor": cursor})).status_code == 200


async def test_sync_token_of_another_account_is_rejected(ada: Person, bob: Person) -> None:
    await ada.todo()
    since = (await ada.get("/v1/todos/changes")).json()["next"]

    assert_problem(await bob.get("/v1/todos/changes", params={"since": since}), 422, "since")
    assert_problem(await bob.get("/v1/todos", params={"cursor": since}), 422, "cursor")
    assert (await ada.get("/v1/todos/changes", params={"since": since})).status_code == 200


async def test_sessions_and_keys_of_another_account_cannot_be_ended(ada: Person, bob: Person) -> None:
    session = (await ada.get("/v1/sessions")).json()["items"][0]["id"]
    key = (await ada.post("/v1/api-keys", json={"name": "script", "scope": "read"})).json()

    for path in (f"/v1/sessions/{session}", f"/v1/api-keys/{key['id']}", f"/v1/sessions/{key['id']}"):
        assert_problem(await bob.delete(path), 404)
    assert (await ada.get("/v1/todos", headers={"Authorization": f"Bearer {key['secret']}"})).status_code == 200


async def test_idempotency_key_of_another_account_replays_nothing(ada: Person, bob: Person) -> None:
    header = {"Idempotency-Key": "the-same"}
    first = await ada.post("/v1/todos", json={"title": "Ada's"}, headers=header)
    second = await bob.post("/v1/todos", json={"title": "Ada's"}, headers=header)

    assert second.status_code == 201
    assert "idempotency-replayed" not in second.headers
    assert first.json()["id"] != second.json()["id"]


async def test_reads_return_only_the_caller_s_documents(ada: Person, bob: Person) -> None:
    await ada.todo(title="Ada's secret", tags=["adas"])
    await ada.post("/v1/lists", json={"name": "Ada's list"})

    for path in ("/v1/todos", "/v1/todos?q=secret", "/v1/todos?tag=adas", "/v1/todos/changes", "/v1/lists", "/v1/tags"):
        response = await bob.get(path)
        assert response.status_code == 200
        assert "ada" not in response.text.lower(), path
    assert (await bob.get("/v1/todos/summary")).json()["open"] == 0


async def test_read_only_fields_cannot_be_set(ada: Person) -> None:
    todo = await ada.todo()
    made = (await ada.post("/v1/lists", json={"name": "Garden"})).json()
    for field in ("id", "_id", "owner", "version", "created_at", "updated_at", "completed_at", "words", "__class__"):
        extra = {field: NOBODY_S if "id" in field or field == "owner" else 99}

        assert_problem(await ada.post("/v1/todos", json={"title": "x"} | extra), 422, f"/{field}")
        assert_problem(await ada.patch(f"/v1/todos/{todo['id']}", json=extra), 422, f"/{field}")
        assert_problem(await ada.post("/v1/lists", json={"name": "x"} | extra), 422, f"/{field}")
        assert_problem(await ada.patch(f"/v1/lists/{made['id']}", json=extra), 422, f"/{field}")
        assert_problem(await ada.patch("/v1/users/me", json=extra), 422, f"/{field}")
        batch = {"operations": [{"op": "create", "todo": {"title": "x"} | extra}]}
        response = await ada.post("/v1/todos/batch", json=batch)
        assert response.status_code == 422 or response.json()["results"][0]["status"] == 422
    assert "x" not in await ada.titles()
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json() == todo


async def test_account_cannot_gain_privileges(ada: Person) -> None:
    body = {"username": "mallory", "email": "mallory@example.com", "password": "correct horse battery"}

    for field in ("id", "password_hash", "username_key", "email_key", "version", "is_admin", "scope"):
        assert_problem(await ada.client.post("/v1/users", json=body | {field: "x"}), 422, f"/{field}")
        assert_problem(await ada.patch("/v1/users/me", json={field: "x"}), 422, f"/{field}")
    for private in ("password", "password_hash", "username_key", "email_key"):
        assert private not in (await ada.get("/v1/users/me")).json()
