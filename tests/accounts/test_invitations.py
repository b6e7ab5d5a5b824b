"""Registration by invitation, and closed registration."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from tests.application import build_variables
from tests.people import Person, UserCreateFactory, assert_problem
from todo_service.accounts.documents import Invitation, User
from todo_service.accounts.invitations import Invitations
from todo_service.settings import Settings, load_settings
from todo_service.store.base import DocumentStore

pytestmark = pytest.mark.anyio
WEEK = timedelta(days=7)


@pytest.fixture
def registration() -> str:
    """Who may register; a test that needs another value overrides it."""
    return "invite"


@pytest.fixture
def settings(tmp_path: Path, store_url: str, registration: str) -> Settings:
    return load_settings(build_variables(tmp_path, store_url) | {"REGISTRATION": registration})


@pytest.fixture
def invitations(app: Litestar) -> Invitations:
    return Invitations(app.state.store, "invite")


def build_body(**fields: str) -> dict[str, Any]:
    user = UserCreateFactory.build()
    return {"username": user.username, "email": user.email, "password": user.password} | fields


async def invite(invitations: Invitations, lifetime: timedelta = WEEK) -> str:
    return (await invitations.create(lifetime)).text


async def count_invitations(store: DocumentStore) -> int:
    return len([each async for each in store.scan(Invitation)])


@pytest.mark.parametrize(
    "given",
    [{}, {"invitation": None}, {"invitation": ""}, {"invitation": "x"}, {"invitation": "A" * 32}],
    ids=str,
)
async def test_registration_requires_a_valid_invitation(client: httpx.AsyncClient, given: dict[str, Any]) -> None:
    problem = assert_problem(await client.post("/v1/users", json=build_body() | given), 403)

    assert problem["type"] == "urn:todo-service:problem:forbidden"
    assert "invitation" in problem["detail"]


async def test_an_invitation_admits_one_registration(
    app: Litestar, client: httpx.AsyncClient, invitations: Invitations
) -> None:
    text = await invite(invitations)

    first = await client.post("/v1/users", json=build_body(invitation=f" {text}\n"))
    second = await client.post("/v1/users", json=build_body(invitation=text))

    assert first.status_code == 201
    assert_problem(second, 403)
    assert await count_invitations(app.state.store) == 0


async def test_exactly_one_of_many_concurrent_registrations_uses_an_invitation(
    client: httpx.AsyncClient, invitations: Invitations
) -> None:
    text = await invite(invitations)

    responses = await asyncio.gather(
        *(client.post("/v1/users", json=build_body(invitation=text)) for _ in range(8)),
    )

    assert sorted(response.status_code for response in responses) == [201] + [403] * 7


async def test_a_registration_that_fails_does_not_use_up_its_invitation(
    client: httpx.AsyncClient, invitations: Invitations
) -> None:
    taken = build_body(invitation=await invite(invitations))
    assert (await client.post("/v1/users", json=taken)).status_code == 201
    text = await invite(invitations)

    duplicate = await client.post("/v1/users", json=taken | {"invitation": text})
    weak = await client.post("/v1/users", json=build_body(invitation=text, password="short"))

    assert_problem(duplicate, 409, "/username")
    assert_problem(weak, 422, "/password")
    assert (await client.post("/v1/users", json=build_body(invitation=text))).status_code == 201


async def test_an_invitation_stays_used_if_it_could_not_be_deleted(
    app: Litestar, client: httpx.AsyncClient, invitations: Invitations
) -> None:
    store: DocumentStore = app.state.store
    text = await invite(invitations)
    (stored,) = [each async for each in store.scan(Invitation)]
    body = build_body(invitation=text)
    assert (await client.post("/v1/users", json=body)).status_code == 201
    # as if the service had been killed before it deleted the invitation
    await store.insert(stored)

    assert_problem(await client.post("/v1/users", json=build_body(invitation=text)), 403)

    person = Person(client, UserCreateFactory.build(username=body["username"], password=body["password"]))
    await person.sign_in()
    assert (await person.delete("/v1/users/me", json={"password": person.password})).status_code == 204
    assert_problem(await client.post("/v1/users", json=build_body(invitation=text)), 403)


async def test_a_repeat_with_its_key_returns_the_account_although_the_invitation_is_used(
    client: httpx.AsyncClient, invitations: Invitations
) -> None:
    body, headers = build_body(invitation=await invite(invitations)), {"Idempotency-Key": "registration"}

    first = await client.post("/v1/users", json=body, headers=headers)
    repeat = await client.post("/v1/users", json=body, headers=headers)

    assert (first.status_code, repeat.status_code) == (201, 201)
    assert repeat.json() == first.json()


async def test_an_expired_invitation_is_rejected(client: httpx.AsyncClient, invitations: Invitations) -> None:
    text = await invite(invitations, timedelta(seconds=-1))

    assert_problem(await client.post("/v1/users", json=build_body(invitation=text)), 403)


async def test_an_invitation_is_stored_only_as_a_hash(app: Litestar, invitations: Invitations) -> None:
    text = await invite(invitations)

    (stored,) = [each async for each in app.state.store.scan(Invitation)]
    assert text not in str(stored.model_dump())
    assert text.encode() not in stored.secret_hash


@pytest.mark.parametrize("registration", ["open"])
async def test_an_invitation_is_ignored_while_registration_is_open(
    app: Litestar, client: httpx.AsyncClient, invitations: Invitations
) -> None:
    text = await invite(invitations)

    for given in (text, text, "nonsense"):
        assert (await client.post("/v1/users", json=build_body(invitation=given))).status_code == 201
    assert await count_invitations(app.state.store) == 1


@pytest.mark.parametrize("registration", ["closed"])
async def test_nobody_registers_while_registration_is_closed(
    app: Litestar, client: httpx.AsyncClient, invitations: Invitations
) -> None:
    text = await invite(invitations)

    problem = assert_problem(await client.post("/v1/users", json=build_body(invitation=text)), 403)

    assert problem["detail"] == "registration is closed"
    assert not [each async for each in app.state.store.scan(User)]


async def test_a_long_invitation_is_named(client: httpx.AsyncClient) -> None:
    assert_problem(await client.post("/v1/users", json=build_body(invitation="x" * 101)), 422, "/invitation")
