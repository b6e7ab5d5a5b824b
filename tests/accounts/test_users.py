"""Registering, updating and deleting accounts."""

from __future__ import annotations

import asyncio
import copy
import re

import httpx
import pytest
from litestar import Litestar

from tests.people import Person, assert_problem
from todo_service.accounts.api_keys import ApiKeys
from todo_service.accounts.documents import ClosedAccount, Session, User
from todo_service.accounts.passwords import Passwords
from todo_service.accounts.service import CLOSING_PERIOD, Accounts
from todo_service.accounts.sessions import Sessions
from todo_service.accounts.tokens import AccessTokens, RefreshTokens
from todo_service.app import create_app
from todo_service.bounds.accounts import PASSWORDS_OF_ADDRESS
from todo_service.lists.documents import TodoList
from todo_service.settings import Settings
from todo_service.store.base import DocumentStore
from todo_service.timestamps import now
from todo_service.todos.documents import Todo

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
PASSWORD = "correct horse battery"
NO_TIME_ZONES = [
    "localtime",
    "posixrules",
    "Factory",
    "right/Europe/Berlin",
    "posix/UTC",
    "zone.tab",
    "tzdata.zi",
    "Europe",
    "/UTC",
    "Europe/../UTC",
    "UTC\n",
    "Europe/Berlin ",
    "CEST",
    "+02:00",
]


async def test_registration_returns_the_account_without_its_password(client: httpx.AsyncClient) -> None:
    body = {"username": "Ada.L-1_", "email": "Ada@Example.COM", "password": PASSWORD}

    response = await client.post("/v1/users", json=body)

    user = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == "/v1/users/me"
    assert response.headers["etag"] == '"1"'
    assert response.headers["cache-control"] == "private, no-cache"
    assert user == {
        "id": user["id"],
        "username": "Ada.L-1_",
        "email": "Ada@example.com",
        "display_name": "",
        "time_zone": "UTC",
        "version": 1,
        "created_at": user["created_at"],
        "updated_at": user["created_at"],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", user["created_at"])


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"username": "ab"}, "/username"),
        ({"username": "x" * 33}, "/username"),
        ({"username": "ada lovelace"}, "/username"),
        ({"username": "ada\n"}, "/username"),
        ({"username": "ädä"}, "/username"),
        ({"username": ["ada"]}, "/username"),
        ({"username": {"$gt": ""}}, "/username"),
        ({"email": "nobody"}, "/email"),
        ({"email": "ada@"}, "/email"),
        ({"email": "ada@localhost"}, "/email"),
        ({"email": "a b@example.com"}, "/email"),
        ({"email": "ada@example.com\r\nBcc: x@example.com"}, "/email"),
        ({"email": "x" * 250 + "@example.com"}, "/email"),
        ({"password": "x" * 11}, "/password"),
        ({"password": "x" * 129}, "/password"),
        ({"password": "my name is ADA ok"}, "/password"),
        ({"display_name": None}, "/display_name"),
        ({"display_name": "x" * 101}, "/display_name"),
        ({"time_zone": ""}, "/time_zone"),
        ({"time_zone": "europe/berlin"}, "/time_zone"),
        ({"role": "admin"}, "/role"),
        ({"id": "65f1a2b3c4d5e6f708192a3b"}, "/id"),
    ],
    ids=str,
)
async def test_invalid_registration_names_the_field(
    client: httpx.AsyncClient, change: dict[str, object], place: str
) -> None:
    body = {"username": "ada", "email": "ada@example.com", "password": PASSWORD} | change

    assert_problem(await client.post("/v1/users", json=body), 422, place)


@pytest.mark.own_app
async def test_registration_takes_a_display_name_and_a_time_zone(client: httpx.AsyncClient) -> None:
    body = {"username": " ada ", "email": "ada@example.com", "password": PASSWORD}
    optional = {"display_name": " Zoe\u0308 ", "time_zone": "Europe/Berlin"}

    response = await client.post("/v1/users", json=body | optional)

    assert response.status_code == 201
    user = response.json()
    assert (user["username"], user["display_name"], user["time_zone"]) == ("ada", "Zoë", "Europe/Berlin")
    signed_in = await client.post(
        "/v1/auth/token", data={"grant_type": "password", "username": "ada", "password": PASSWORD}
    )
    headers = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
    assert (await client.get("/v1/users/me", headers=headers)).json() == user


@pytest.mark.own_app
async def test_repeated_registration_returns_the_first_display_name(client: httpx.AsyncClient) -> None:
    body = {"username": "ada", "email": "ada@example.com", "password": PASSWORD, "display_name": "Ada"}
    headers = {"Idempotency-Key": "registration"}

    first = await client.post("/v1/users", json=body, headers=headers)
    repeat = await client.post("/v1/users", json=body, headers=headers)

    assert (first.status_code, first.json()["display_name"]) == (201, "Ada")
    assert repeat.json() == first.json()


@pytest.mark.parametrize("name", NO_TIME_ZONES)
async def test_only_names_of_the_iana_database_are_time_zones(ada: Person, name: str) -> None:
    body = {"username": "grace", "email": "grace@example.com", "password": PASSWORD, "time_zone": name}

    for response in (
        await ada.client.post("/v1/users", json=body),
        await ada.patch("/v1/users/me", json={"time_zone": name}),
    ):
        problem = assert_problem(response, 422, "/time_zone")
        assert problem["errors"][0]["detail"] == "Expected a name of the IANA time zone database, such as Europe/Berlin"
    assert_problem(await ada.get("/v1/todos/summary", params={"tz": name}), 422, "tz")


async def test_only_null_resets_the_time_zone(ada: Person) -> None:
    await ada.patch("/v1/users/me", json={"time_zone": "Europe/Berlin"})

    assert_problem(await ada.patch("/v1/users/me", json={"time_zone": ""}), 422, "/time_zone")
    assert (await ada.get("/v1/users/me")).json()["time_zone"] == "Europe/Berlin"
    assert (await ada.patch("/v1/users/me", json={"time_zone": None})).json()["time_zone"] == "UTC"


@pytest.mark.parametrize("name", ["Europe/Berlin", "UTC", "Asia/Calcutta", "US/Pacific", "Etc/GMT+5", "EST5EDT"])
async def test_current_and_former_names_of_zones_are_accepted(ada: Person, name: str) -> None:
    changed = await ada.patch("/v1/users/me", json={"time_zone": name})

    assert changed.json()["time_zone"] == name
    assert (await ada.get("/v1/todos/summary", params={"tz": name})).status_code == 200
    assert (await ada.get("/v1/todos/summary")).status_code == 200


async def test_email_in_nfd_signs_in(client: httpx.AsyncClient) -> None:
    person = await Person.register(client, email="jose\u0301@example.com")

    assert (await person.get("/v1/users/me")).json()["email"] == "josé@example.com"
    for name in ("jose\u0301@example.com", " JOSÉ@example.com", "josé@example.com\ufeff"):
        response = await person.grant(grant_type="password", username=name, password=person.password)
        assert response.status_code == 200


@pytest.mark.parametrize("email", ["ada@example.test", "ada+todo@mail.corp.internal", "ä@exämple.de", "a@nas.local"])
async def test_local_email_domains_are_accepted(client: httpx.AsyncClient, email: str) -> None:
    person = await Person.register(client, email=email)

    assert (await person.get("/v1/users/me")).json()["email"] == email


@pytest.mark.own_app
async def test_name_and_email_are_unique_ignoring_case(client: httpx.AsyncClient) -> None:
    ada = await Person.register(client, username="ada", email="ada@example.com")

    same_name = {"username": "ADA", "email": "other@example.com", "password": PASSWORD}
    same_email = {"username": "other", "email": "ADA@example.com", "password": PASSWORD}

    assert_problem(await client.post("/v1/users", json=same_name), 409, "/username")
    assert_problem(await client.post("/v1/users", json=same_email), 409, "/email")
    await ada.sign_in()


@pytest.mark.own_app
async def test_exactly_one_of_many_concurrent_registrations_succeeds(client: httpx.AsyncClient) -> None:
    bodies = [
        {"username": "ada", "email": f"ada{n}@example.com", "password": PASSWORD} for n in range(PASSWORDS_OF_ADDRESS)
    ]

    responses = await asyncio.gather(*(client.post("/v1/users", json=body) for body in bodies))

    assert sorted(response.status_code for response in responses) == [201] + [409] * (PASSWORDS_OF_ADDRESS - 1)


async def test_account_is_updated_with_its_entity_tag(ada: Person) -> None:
    read = await ada.get("/v1/users/me")
    not_modified = await ada.get("/v1/users/me", headers={"If-None-Match": read.headers["etag"]})
    changed = await ada.patch(
        "/v1/users/me",
        json={"display_name": " Ada ", "time_zone": "Europe/Berlin", "email": "new@example.com"},
        headers={"If-Match": read.headers["etag"]},
    )
    stale = await ada.patch("/v1/users/me", json={"display_name": "x"}, headers={"If-Match": read.headers["etag"]})

    assert not_modified.status_code == 304
    assert changed.status_code == 200
    assert changed.headers["etag"] == '"2"'
    assert changed.json() == read.json() | {
        "display_name": "Ada",
        "time_zone": "Europe/Berlin",
        "email": "new@example.com",
        "version": 2,
        "updated_at": changed.json()["updated_at"],
    }
    assert_problem(stale, 412)
    assert (await ada.get("/v1/users/me")).json() == changed.json()


async def test_null_resets_an_optional_field(ada: Person) -> None:
    await ada.patch("/v1/users/me", json={"display_name": "Ada", "time_zone": "Europe/Berlin"})

    cleared = await ada.patch("/v1/users/me", json={"display_name": None, "time_zone": None})

    assert (cleared.json()["display_name"], cleared.json()["time_zone"]) == ("", "UTC")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"email": "nobody"}, "/email"),
        ({"email": None}, "/email"),
        ({"display_name": "x" * 101}, "/display_name"),
        ({"time_zone": "Mars/Olympus"}, "/time_zone"),
        ({"time_zone": "../../etc/passwd"}, "/time_zone"),
        ({"username": "grace"}, "/username"),
        ({"password": PASSWORD}, "/password"),
        ({"version": 9}, "/version"),
    ],
    ids=str,
)
async def test_invalid_patch_changes_nothing(ada: Person, change: dict[str, object], place: str) -> None:
    before = await ada.get("/v1/users/me")

    response = await ada.patch("/v1/users/me", json={"display_name": "x"} | change)

    assert_problem(response, 422, place)
    assert (await ada.get("/v1/users/me")).content == before.content


async def test_email_of_another_account_is_rejected(ada: Person, bob: Person) -> None:
    assert_problem(await ada.patch("/v1/users/me", json={"email": bob.email.upper()}), 409, "/email")


async def test_all_concurrent_patches_are_applied(ada: Person) -> None:
    responses = await asyncio.gather(
        *(ada.patch("/v1/users/me", json={"display_name": str(number)}) for number in range(150))
    )

    assert {response.status_code for response in responses} == {200}
    assert sorted(response.json()["version"] for response in responses) == list(range(2, 152))


async def test_deleting_an_account_deletes_everything_it_owns(ada: Person, bob: Person) -> None:
    await ada.todo()
    await bob.todo(title="bob's")

    rejected = await ada.delete("/v1/users/me", json={"password": "not the password"})
    without = await ada.delete("/v1/users/me")
    deleted = await ada.delete("/v1/users/me", json={"password": ada.password})

    assert_problem(rejected, 403)
    assert_problem(without, 400)
    assert deleted.status_code == 204
    assert_problem(await ada.get("/v1/todos"), 401)
    assert_problem(await ada.grant(grant_type="refresh_token", refresh_token=ada.refresh_token), 400)
    assert_problem(await ada.grant(grant_type="password", username=ada.username, password=ada.password), 400)
    again = await Person.register(ada.client, username=ada.username, email=ada.email)
    assert await again.titles() == []
    assert await bob.titles() == ["bob's"]


def create_accounts(store: DocumentStore, settings: Settings) -> Accounts:
    keys = [settings.secret_key]
    sessions = Sessions(store, AccessTokens(keys, 600), RefreshTokens(keys), 30)
    return Accounts(store, Passwords(), sessions, ApiKeys(store))


async def test_of_concurrent_writers_with_the_same_tag_only_one_deletes_or_changes_an_account(ada: Person) -> None:
    tag = {"If-Match": '"1"'}

    responses = await asyncio.gather(
        *(ada.delete("/v1/users/me", json={"password": ada.password}, headers=tag) for _ in range(2)),
        *(ada.patch("/v1/users/me", json={"display_name": f"Ada {n}"}, headers=tag) for n in range(4)),
    )

    statuses = [response.status_code for response in responses]
    assert sum(status in (200, 204) for status in statuses) == 1, statuses
    assert set(statuses) <= {200, 204, 401, 404, 412}


@pytest.mark.own_app
async def test_late_writes_by_another_replica_are_deleted_with_the_account(
    ada: Person, app: Litestar, settings: Settings
) -> None:
    store: DocumentStore = app.state.store
    another = create_app(settings, store)
    transport = httpx.ASGITransport(app=another)  # type: ignore[arg-type]  # httpx types scopes as plain dictionaries
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        replica_user = copy.copy(ada)
        replica_user.client = client
        assert await replica_user.titles() == []  # now that replica has cached the session
        assert (await ada.delete("/v1/users/me", json={"password": ada.password})).status_code == 204
        await replica_user.todo()
        assert (await replica_user.post("/v1/lists", json={"name": "x"})).status_code == 201
    accounts = create_accounts(store, settings)

    await accounts.finish_deletions(now())
    assert [found async for found in store.scan(Todo)] != []
    await accounts.finish_deletions(now() + 2 * CLOSING_PERIOD)

    for model in (Todo, TodoList, Session, User):
        assert [found async for found in store.scan(model)] == []
    assert [account.swept async for account in store.scan(ClosedAccount)] == [True]


@pytest.mark.own_app
async def test_interrupted_deletion_is_finished(ada: Person, bob: Person, app: Litestar, settings: Settings) -> None:
    store: DocumentStore = app.state.store
    await ada.todo()
    await bob.todo()
    user_id = await ada.account_id()
    # the state after a crash following the first step
    closed_at = now() - CLOSING_PERIOD * 2
    await store.insert(ClosedAccount(id=user_id, closed_at=closed_at, expires_at=closed_at + CLOSING_PERIOD * 24))

    await create_accounts(store, settings).finish_deletions(now())

    assert_problem(await ada.get("/v1/users/me"), 404)
    assert user_id not in [todo.owner async for todo in store.scan(Todo)]
    assert await bob.titles() == ["Water the plants"]


async def test_password_is_stored_as_an_argon2id_hash(app: Litestar, client: httpx.AsyncClient) -> None:
    ada = await Person.register(client)
    store: DocumentStore = app.state.store

    user = await store.get(User, User.username_key == ada.username)

    assert user is not None
    assert user.password_hash.startswith("$argon2id$")
    assert ada.password not in str(user.model_dump())


@pytest.mark.anyio
async def test_email_that_is_too_long_when_case_folded_is_rejected(client: httpx.AsyncClient) -> None:
    """Case folding turns U+0390 into three characters, so a 254-byte address exceeds the index limit."""
    domain = ("a" * 60 + ".") * 2 + "com"
    for count, status in ((64, 422), (40, 201)):
        body = {
            "username": f"ada{count}",
            "email": "\u0390" * count + "@" + domain,
            "password": "correct horse battery",
        }
        response = await client.post("/v1/users", json=body)
        assert response.status_code == status, response.text
