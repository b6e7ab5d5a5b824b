"""Where an account is signed in, and the end of it."""

from __future__ import annotations

import asyncio
import copy

import httpx
import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person, assert_problem
from todo_service.accounts.documents import Session, User
from todo_service.accounts.sessions import Client, Sessions
from todo_service.accounts.tokens import AccessTokens, RefreshTokens
from todo_service.bounds.accounts import MAX_SESSIONS
from todo_service.settings import Settings
from todo_service.store.base import DocumentStore

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


def sessions_of(store: DocumentStore, settings: Settings) -> Sessions:
    keys = [settings.secret_key]
    return Sessions(store, AccessTokens(keys, 600), RefreshTokens(keys), 30)


async def user_id(person: Person) -> ObjectId:
    return ObjectId((await person.get("/v1/users/me")).json()["id"])


async def is_alive(person: Person) -> bool:
    """Return whether any token of a person's session is good."""
    used = await person.get("/v1/users/me")
    renewed = await person.grant(grant_type="refresh_token", refresh_token=person.refresh_token)
    assert (used.status_code, renewed.status_code) in ((200, 200), (401, 400))
    return used.status_code == 200


async def change_password(person: Person, new: str) -> httpx.Response:
    change = {"current_password": person.password, "new_password": new}
    return await person.post("/v1/users/me/password", json=change)


async def test_the_password_and_the_end_of_its_sessions_are_one_write(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    phone, tablet = await elsewhere(ada), await elsewhere(ada)
    own = next(item["id"] for item in (await ada.get("/v1/sessions")).json()["items"] if item["current"])
    # a crash leaves this after the one write; no session has been deleted yet
    changes = {"password_generation": 2, "surviving_session": ObjectId(own)}
    await store.update(User, User.id == await user_id(ada), changes=changes)
    # phone and tablet have not been used lately; a replica forgets within seconds
    assert len([found async for found in store.scan(Session)]) == 3

    assert await ids(ada) == [own]
    assert not await is_alive(phone)
    assert not await is_alive(tablet)
    assert await is_alive(ada)


async def test_a_session_whose_password_was_checked_before_the_change_is_never_alive(
    ada: Person, app: Litestar, settings: Settings
) -> None:
    sessions = sessions_of(app.state.store, settings)
    account = await user_id(ada)
    assert (await change_password(ada, "a new password of ours")).status_code == 204
    tokens = await sessions.start(account, 1, Client("", ""))
    thief = copy.copy(ada)
    thief.access_token, thief.refresh_token = tokens.access, tokens.refresh

    assert not await is_alive(thief)
    assert await is_alive(ada)
    assert len(await ids(ada)) == 1


async def test_only_the_session_of_the_last_change_survives(ada: Person) -> None:
    assert (await change_password(ada, "a second password of ours")).status_code == 204
    ada.password = "a second password of ours"
    phone = await elsewhere(ada)
    assert (await change_password(phone, "a third password of ours")).status_code == 204

    assert not await is_alive(ada)
    assert await is_alive(phone)
    phone.password = "a third password of ours"
    assert (await change_password(phone, "a fourth password of ours")).status_code == 204
    assert await is_alive(phone)


async def test_no_sign_in_that_races_with_a_change_of_password_lives_on(ada: Person) -> None:
    old = [copy.copy(ada) for _ in range(8)]

    async def sign_in(person: Person) -> Person | None:
        answer = await person.grant(grant_type="password", username=person.username, password=person.password)
        if answer.status_code != 200:
            return None
        person.access_token, person.refresh_token = answer.json()["access_token"], answer.json()["refresh_token"]
        return person

    changed, signed_in = await asyncio.gather(
        change_password(ada, "a new password of ours"), asyncio.gather(*map(sign_in, old))
    )

    assert changed.status_code == 204
    for person in signed_in:
        assert person is None or not await is_alive(person)
    assert await is_alive(ada)


async def test_of_changes_of_password_at_once_one_succeeds(ada: Person) -> None:
    phone = await elsewhere(ada)

    answers = await asyncio.gather(
        *(change_password(person, f"a new password {number}") for number, person in enumerate((ada, phone) * 2))
    )

    # a session that has ended meanwhile is refused as such
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 204
    assert set(statuses[1:]) <= {401, 403}
    assert [await is_alive(ada), await is_alive(phone)].count(True) == 1


async def test_api_keys_outlive_a_change_of_password(ada: Person) -> None:
    key = (await ada.post("/v1/api-keys", json={"name": "script", "scope": "read"})).json()
    assert (await change_password(ada, "a new password of ours")).status_code == 204
    ada.access_token = key["secret"]

    assert (await ada.get("/v1/users/me")).status_code == 200


async def test_beyond_a_hundred_sessions_the_oldest_ends(ada: Person, app: Litestar, settings: Settings) -> None:
    sessions = sessions_of(app.state.store, settings)
    account = await user_id(ada)
    clients = [Client("192.0.2.1", str(number)) for number in range(MAX_SESSIONS)]
    for client in clients[:90]:
        await sessions.start(account, 1, client)
    assert await is_alive(ada)
    latest = await asyncio.gather(*(sessions.start(account, 1, client) for client in clients[90:]))

    ada.access_token = latest[-1].access
    found = (await ada.get("/v1/sessions?limit=200")).json()["items"]
    assert {session["user_agent"] for session in found} == {client.user_agent for client in clients}
