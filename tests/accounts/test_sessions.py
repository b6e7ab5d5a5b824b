"""Sessions: listing and ending them, and password changes."""

from __future__ import annotations

import asyncio
import copy

import httpx
import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.people import Person, assert_problem
from tests.waiting import wait_until
from todo_service.accounts.documents import Session, User
from todo_service.accounts.sessions import Client, Sessions
from todo_service.accounts.tokens import AccessTokens, RefreshTokens
from todo_service.bounds.accounts import MAX_SESSIONS
from todo_service.errors import Unauthenticated
from todo_service.settings import Settings
from todo_service.store.base import DocumentStore

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


async def sign_in_again(person: Person) -> Person:
    """Return the same person in another session."""
    twin = copy.copy(person)
    await twin.sign_in()
    return twin


async def list_session_ids(person: Person) -> list[str]:
    return [session["id"] for session in (await person.get("/v1/sessions")).json()["items"]]


async def test_sessions_are_listed_newest_first(ada: Person, bob: Person) -> None:
    await sign_in_again(ada)
    response = await ada.get("/v1/sessions", headers={"User-Agent": "another"})

    newest, oldest = response.json()["items"]
    assert response.headers["cache-control"] == "no-store"
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
    assert len(await list_session_ids(bob)) == 1


async def test_sessions_are_listed_in_pages(ada: Person, bob: Person) -> None:
    for _ in range(4):
        await sign_in_again(ada)
    everything = await list_session_ids(ada)

    found, path = [], "/v1/sessions?limit=2"
    while path:
        response = await ada.get(path)
        found += [session["id"] for session in response.json()["items"]]
        path = response.headers.get("link", "").split(">")[0].lstrip("<")

    assert found == everything
    assert len(found) == 5
    cursor = (await ada.get("/v1/sessions?limit=2")).json()["next_cursor"]
    assert_problem(await bob.get("/v1/sessions", params={"cursor": cursor}), 422, "cursor")


async def test_ending_a_session_does_not_affect_others(ada: Person, bob: Person) -> None:
    phone = await sign_in_again(ada)
    [phone_id, _] = await list_session_ids(ada)

    assert_problem(await bob.delete(f"/v1/sessions/{phone_id}"), 404)
    assert (await ada.delete(f"/v1/sessions/{phone_id}")).status_code == 204

    assert_problem(await phone.get("/v1/users/me"), 401)
    rejected = await phone.grant(grant_type="refresh_token", refresh_token=phone.refresh_token)
    assert_problem(rejected, 400)
    assert (await ada.get("/v1/users/me")).status_code == 200
    for unknown in (phone_id, "nonsense", "0" * 24):
        assert_problem(await ada.delete(f"/v1/sessions/{unknown}"), 404)


async def test_signing_out_everywhere_includes_this_session(ada: Person, bob: Person) -> None:
    phone = await sign_in_again(ada)

    assert (await ada.delete("/v1/sessions")).status_code == 204

    assert_problem(await phone.get("/v1/users/me"), 401)
    assert_problem(await ada.get("/v1/users/me"), 401)
    assert (await bob.get("/v1/users/me")).status_code == 200


async def test_new_password_ends_all_other_sessions(ada: Person, client: httpx.AsyncClient) -> None:
    phone = await sign_in_again(ada)
    change = {"current_password": ada.password, "new_password": "a new password of ours"}

    assert (await ada.post("/v1/users/me/password", json=change)).status_code == 204

    assert_problem(await phone.get("/v1/users/me"), 401)
    assert (await ada.get("/v1/users/me")).json()["version"] == 2
    assert_problem(await ada.grant(grant_type="password", username=ada.username, password=ada.password), 400)
    ada.password = change["new_password"]
    await ada.sign_in()


@pytest.mark.parametrize("new", ["short", "x" * 129, "contains {username} in it"])
async def test_invalid_new_password_changes_nothing(ada: Person, new: str) -> None:
    phone = await sign_in_again(ada)
    change = {"current_password": ada.password, "new_password": new.format(username=ada.username.upper())}

    assert_problem(await ada.post("/v1/users/me/password", json=change), 422, "/new_password")

    assert (await phone.get("/v1/users/me")).json()["version"] == 1
    await ada.sign_in()


async def test_wrong_current_password_is_forbidden(ada: Person) -> None:
    change = {"current_password": "not this one at all", "new_password": "a new password of ours"}

    assert_problem(await ada.post("/v1/users/me/password", json=change), 403)
    assert_problem(await ada.post("/v1/users/me/password", json={}), 422, "/current_password")
    await ada.sign_in()


def create_sessions(store: DocumentStore, settings: Settings, access_seconds: int = 600) -> Sessions:
    keys = [settings.secret_key]
    return Sessions(store, AccessTokens(keys, access_seconds), RefreshTokens(keys), 30)


async def test_cleaning_up_ended_sessions_ends_no_stream_of_a_new_one(ada: Person, app: Litestar) -> None:
    store, ended = app.state.store, list[ObjectId]()
    user = await store.get(User, User.id == await ada.account_id())
    tokens, refresh_tokens = AccessTokens([b"k" * 32], 600), RefreshTokens([b"k" * 32])
    sessions = Sessions(store, tokens, refresh_tokens, 30, on_end=ended.extend)
    old, new = [
        sessions.identify((await sessions.start(user.id, generation, Client("", ""))).access).session_id
        for generation in (1, 2)
    ]
    user.password_generation, user.surviving_session = 2, None

    await sessions.delete_ended(user)

    assert old in ended
    assert new not in ended


async def is_alive(person: Person) -> bool:
    """Return whether the tokens of a person's session are valid."""
    used = await person.get("/v1/users/me")
    refreshed = await person.grant(grant_type="refresh_token", refresh_token=person.refresh_token)
    assert (used.status_code, refreshed.status_code) in ((200, 200), (401, 400))
    return used.status_code == 200


async def change_password(person: Person, new: str) -> httpx.Response:
    change = {"current_password": person.password, "new_password": new}
    return await person.post("/v1/users/me/password", json=change)


@pytest.mark.own_app
async def test_new_password_and_end_of_sessions_are_one_atomic_write(ada: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    phone, tablet = await sign_in_again(ada), await sign_in_again(ada)
    own = next(item["id"] for item in (await ada.get("/v1/sessions")).json()["items"] if item["current"])
    # the state after a crash: the password has been written, but no session has been deleted
    changes = {"password_generation": 2, "surviving_session": ObjectId(own)}
    await store.update(User, User.id == await ada.account_id(), changes=changes)
    # phone and tablet have not been used recently, so their sessions are not cached
    assert len([found async for found in store.scan(Session)]) == 3

    assert await list_session_ids(ada) == [own]
    assert not await is_alive(phone)
    assert not await is_alive(tablet)
    assert await is_alive(ada)


async def test_session_started_with_the_old_password_is_never_alive(
    ada: Person, app: Litestar, settings: Settings
) -> None:
    sessions = create_sessions(app.state.store, settings)
    account = await ada.account_id()
    assert (await change_password(ada, "a new password of ours")).status_code == 204
    tokens = await sessions.start(account, 1, Client("", ""))
    thief = copy.copy(ada)
    thief.access_token, thief.refresh_token = tokens.access, tokens.refresh

    assert not await is_alive(thief)
    assert await is_alive(ada)
    assert len(await list_session_ids(ada)) == 1


async def test_a_session_whose_first_access_token_has_expired_ends_with_the_old_password(
    ada: Person, app: Litestar, settings: Settings
) -> None:
    store: DocumentStore = app.state.store
    sessions, account = create_sessions(store, settings, access_seconds=1), await ada.account_id()
    first = await sessions.start(account, 1, Client("", ""))
    await sessions.authenticate(first.access)

    async def has_expired() -> bool:
        try:
            sessions.identify(first.access)
        except Unauthenticated:
            return True
        return False

    await wait_until(has_expired)
    second = await sessions.refresh(first.refresh, Client("", ""))
    await store.update(User, User.id == account, changes={"password_generation": 2})

    assert len(sessions.evict_all(account)) == 1
    with pytest.raises(Unauthenticated, match="the session has ended"):
        await sessions.authenticate(second.access)


async def test_only_the_session_of_the_last_password_change_survives(ada: Person) -> None:
    assert (await change_password(ada, "a second password of ours")).status_code == 204
    ada.password = "a second password of ours"
    phone = await sign_in_again(ada)
    assert (await change_password(phone, "a third password of ours")).status_code == 204

    assert not await is_alive(ada)
    assert await is_alive(phone)
    phone.password = "a third password of ours"
    assert (await change_password(phone, "a fourth password of ours")).status_code == 204
    assert await is_alive(phone)


async def test_sign_in_racing_with_a_password_change_does_not_survive(ada: Person) -> None:
    old = [copy.copy(ada) for _ in range(8)]

    async def sign_in(person: Person) -> Person | None:
        response = await person.grant(grant_type="password", username=person.username, password=person.password)
        if response.status_code != 200:
            return None
        person.access_token, person.refresh_token = response.json()["access_token"], response.json()["refresh_token"]
        return person

    changed, signed_in = await asyncio.gather(
        change_password(ada, "a new password of ours"), asyncio.gather(*map(sign_in, old))
    )

    assert changed.status_code == 204
    for person in signed_in:
        assert person is None or not await is_alive(person)
    assert await is_alive(ada)


async def test_a_password_change_with_an_outdated_tag_changes_nothing(ada: Person) -> None:
    phone = await sign_in_again(ada)
    tag = (await ada.get("/v1/users/me")).headers["etag"]
    await ada.patch("/v1/users/me", json={"display_name": "Ada Lovelace"})
    body = {"current_password": ada.password, "new_password": "a new password of ours"}

    assert_problem(await ada.post("/v1/users/me/password", json=body, headers={"If-Match": tag}), 412)
    assert await is_alive(phone)
    assert (await ada.grant(grant_type="password", username=ada.username, password=ada.password)).status_code == 200
    tag = (await ada.get("/v1/users/me")).headers["etag"]
    responses = await asyncio.gather(
        ada.post("/v1/users/me/password", json=body, headers={"If-Match": tag}),
        *(ada.patch("/v1/users/me", json={"display_name": "x" * n}, headers={"If-Match": tag}) for n in range(1, 5)),
    )
    assert [response.is_success for response in responses].count(True) == 1
    assert {response.status_code for response in responses if not response.is_success} == {412}


async def test_only_one_of_several_concurrent_password_changes_succeeds(ada: Person) -> None:
    phone = await sign_in_again(ada)

    responses = await asyncio.gather(
        *(change_password(person, f"a new password {number}") for number, person in enumerate((ada, phone) * 2))
    )

    # 401 if the session has ended in the meantime
    statuses = sorted(response.status_code for response in responses)
    assert statuses[0] == 204
    assert set(statuses[1:]) <= {401, 403}
    assert [await is_alive(ada), await is_alive(phone)].count(True) == 1


async def test_api_keys_survive_a_password_change(ada: Person) -> None:
    key = (await ada.post("/v1/api-keys", json={"name": "script", "scope": "read"})).json()
    assert (await change_password(ada, "a new password of ours")).status_code == 204
    ada.access_token = key["secret"]

    assert (await ada.get("/v1/users/me")).status_code == 200


@pytest.mark.own_app
async def test_oldest_session_ends_beyond_a_hundred(ada: Person, app: Litestar, settings: Settings) -> None:
    sessions = create_sessions(app.state.store, settings)
    account = await ada.account_id()
    clients = [Client("192.0.2.1", str(number)) for number in range(MAX_SESSIONS)]
    for client in clients[:90]:
        await sessions.start(account, 1, client)
    assert await is_alive(ada)
    latest = await asyncio.gather(*(sessions.start(account, 1, client) for client in clients[90:]))

    ada.access_token = latest[-1].access
    found = (await ada.get("/v1/sessions?limit=200")).json()["items"]
    assert {session["user_agent"] for session in found} == {client.user_agent for client in clients}
