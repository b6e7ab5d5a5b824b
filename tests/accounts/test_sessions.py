"""Where an account is signed in, and the end of it."""

from __future__ import annotations

import copy

import httpx
import pytest

from tests.people import Person, assert_problem

pytestmark = pytest.mark.anyio


async def elsewhere(person: Person) -> Person:
    """Return the same person, signed in once more."""
    twin = copy.copy(person)
    await twin.sign_in()
    return twin


async def ids(person: Person) -> list[str]:
    return [session["id"] for session in (await person.get("/v1/sessions")).json()["items"]]


async def test_sessions_are_listed_the_newest_first(ada: Person, bob: Person) -> None:
    await elsewhere(ada)
    answer = await ada.get("/v1/sessions", headers={"User-Agent": "another"})

    newest, oldest = answer.json()["items"]
    assert answer.headers["cache-control"] == "no-store"
    assert newest["created_at"] >= oldest["created_at"]
    assert [newest["current"], oldest["current"]] == [False, True]
    assert oldest == {
        "id": oldest["id"],
        "created_at": oldest["created_at"],
        "last_used_at": oldest["created_at"],
        "expires_at": oldest["expires_at"],
        "address": "127.0.0.1",
        "user_agent": oldest["user_agent"],
        "current": True,
    }
    assert oldest["user_agent"].startswith("python-httpx")
    assert len(await ids(bob)) == 1


async def test_sessions_are_paged(ada: Person, bob: Person) -> None:
    for _ in range(4):
        await elsewhere(ada)
    everything = await ids(ada)

    found, path = [], "/v1/sessions?limit=2"
    while path:
        answer = await ada.get(path)
        found += [session["id"] for session in answer.json()["items"]]
        path = answer.headers.get("link", "").split(">")[0].lstrip("<")

    assert found == everything
    assert len(found) == 5
    cursor = (await ada.get("/v1/sessions?limit=2")).json()["next_cursor"]
    assert_problem(await bob.get("/v1/sessions", params={"cursor": cursor}), 422, "cursor")


async def test_ending_one_session_leaves_the_others(ada: Person, bob: Person) -> None:
    phone = await elsewhere(ada)
    [phone_id, _] = await ids(ada)

    assert_problem(await bob.delete(f"/v1/sessions/{phone_id}"), 404)
    assert (await ada.delete(f"/v1/sessions/{phone_id}")).status_code == 204

    assert_problem(await phone.get("/v1/users/me"), 401)
    refused = await phone.grant(grant_type="refresh_token", refresh_token=phone.refresh_token)
    assert_problem(refused, 400)
    assert (await ada.get("/v1/users/me")).status_code == 200
    for unknown in (phone_id, "nonsense", "0" * 24):
        assert_problem(await ada.delete(f"/v1/sessions/{unknown}"), 404)


async def test_signing_out_everywhere_ends_this_session_too(ada: Person, bob: Person) -> None:
    phone = await elsewhere(ada)

    assert (await ada.delete("/v1/sessions")).status_code == 204

    assert_problem(await phone.get("/v1/users/me"), 401)
    assert_problem(await ada.get("/v1/users/me"), 401)
    assert (await bob.get("/v1/users/me")).status_code == 200


async def test_another_password_ends_every_other_session(ada: Person, client: httpx.AsyncClient) -> None:
    phone = await elsewhere(ada)
    change = {"current_password": ada.password, "new_password": "a new password of ours"}

    assert (await ada.post("/v1/users/me/password", json=change)).status_code == 204

    assert_problem(await phone.get("/v1/users/me"), 401)
    assert (await ada.get("/v1/users/me")).json()["version"] == 2
    assert_problem(await ada.grant(grant_type="password", username=ada.username, password=ada.password), 400)
    ada.password = change["new_password"]
    await ada.sign_in()


@pytest.mark.parametrize("new", ["short", "x" * 129, "contains {username} in it"])
async def test_a_password_that_breaks_a_rule_changes_nothing(ada: Person, new: str) -> None:
    phone = await elsewhere(ada)
    change = {"current_password": ada.password, "new_password": new.format(username=ada.username.upper())}

    assert_problem(await ada.post("/v1/users/me/password", json=change), 422, "/new_password")

    assert (await phone.get("/v1/users/me")).json()["version"] == 1
    await ada.sign_in()


async def test_a_wrong_current_password_is_forbidden(ada: Person) -> None:
    change = {"current_password": "not this one at all", "new_password": "a new password of ours"}

    assert_problem(await ada.post("/v1/users/me/password", json=change), 403)
    assert_problem(await ada.post("/v1/users/me/password", json={}), 422, "/current_password")
    await ada.sign_in()
