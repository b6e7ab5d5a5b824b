"""Registration by invitation, and closed registration."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import closing
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.accounts.test_interrupted_deletion import Interruption
from tests.application import CHEAP_COST, build_variables
from tests.people import Person, UserCreateFactory, assert_problem
from tests.waiting import wait_until
from todo_service.accounts.documents import Invitation, User
from todo_service.accounts.invitations import CLAIM_PERIOD, Invitations, Registration
from todo_service.accounts.passwords import Cost, Passwords
from todo_service.accounts.registrations import Registrations
from todo_service.app import create_app
from todo_service.errors import Forbidden
from todo_service.settings import Settings, load_settings
from todo_service.store.base import DocumentStore
from todo_service.store.instrumentation import observe

pytestmark = pytest.mark.anyio
WEEK = timedelta(days=7)
SLOW = Cost(memory=8 * 1024, passes=40)
ROUNDS = 4
CALLS_BEFORE_HASH = 4
"""How many store calls a registration with an invitation makes before it hashes the password."""


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


class StoreCalls:
    """Counts the store calls of each task."""

    def __init__(self, store: DocumentStore) -> None:
        self._calls: Counter[Any] = Counter()
        observe(store, self._record)

    def _record(self, operation: str, seconds: float, available: bool) -> None:
        self._calls[asyncio.current_task()] += 1

    async def are_made(self, task: asyncio.Task[Any], number: int) -> bool:
        return self._calls[task] >= number


async def register_and_delete(client: httpx.AsyncClient, text: str) -> int:
    """Register an account with an invitation, and delete it. Return the status of the registration."""
    body = build_body(invitation=text)
    response = await client.post("/v1/users", json=body)
    if response.status_code == 201:
        person = Person(client, UserCreateFactory.build(username=body["username"], password=body["password"]))
        await person.sign_in()
        assert (await person.delete("/v1/users/me", json={"password": person.password})).status_code == 204
    return response.status_code


async def end_claim_period(store: DocumentStore) -> None:
    """Change the times of all claims, as if `CLAIM_PERIOD` had passed."""
    async for invitation in store.scan(Invitation):
        if invitation.claimed_at is not None:
            changes = {"claimed_at": invitation.claimed_at - CLAIM_PERIOD}
            await store.update(Invitation, Invitation.id == invitation.id, changes=changes)


async def find_user(store: DocumentStore, body: dict[str, Any]) -> User | None:
    return await store.get(User, User.username_key == body["username"].casefold())


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


async def test_a_registration_in_progress_cannot_use_the_invitation_of_a_deleted_account(
    app: Litestar, client: httpx.AsyncClient, invitations: Invitations, settings: Settings
) -> None:
    """While another replica hashes the second password, the first account is created and deleted."""
    replica = create_app(settings, app.state.store, password_cost=SLOW)
    calls = StoreCalls(app.state.store)
    overlapping = 0
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=replica), base_url="http://testserver") as another:  # type: ignore[arg-type]  # httpx types scopes as plain dictionaries
        for _ in range(ROUNDS):
            text = await invite(invitations)
            late = asyncio.create_task(another.post("/v1/users", json=build_body(invitation=text)))
            await wait_until(partial(calls.are_made, late, CALLS_BEFORE_HASH))

            first = await register_and_delete(client, text)
            overlapping += not late.done()

            statuses = [first, (await late).status_code]
            assert sorted(statuses) == [201, 403]
    assert overlapping


async def test_an_interrupted_registration_leaves_one_account_or_a_usable_invitation(
    app: Litestar, client: httpx.AsyncClient, invitations: Invitations
) -> None:
    store: DocumentStore = app.state.store
    interruption = Interruption(store)
    for calls in count(1):
        text = await invite(invitations)
        bodies = [build_body(invitation=text) for _ in range(3)]
        response = await interruption.interrupt(client.post("/v1/users", json=bodies[0]), calls)
        await end_claim_period(store)

        others = [await client.post("/v1/users", json=body) for body in bodies[1:]]

        created = [await find_user(store, body) is not None for body in bodies]
        assert created.count(True) == 1, calls
        assert [other.status_code for other in others] == [201 if each else 403 for each in created[1:]]
        if response is not None:
            assert response.status_code == 201
            break
    assert calls > CALLS_BEFORE_HASH


async def test_a_claim_blocks_its_invitation_for_a_while_but_not_for_the_same_account(
    app: Litestar, client: httpx.AsyncClient, invitations: Invitations
) -> None:
    text, user_id = await invite(invitations), ObjectId()
    invitation = await invitations.admit(text, user_id)
    assert invitation is not None
    await invitations.claim(invitation, user_id)
    # as if the service had been killed before it created the account

    assert await invitations.admit(text, user_id) is not None
    assert_problem(await client.post("/v1/users", json=build_body(invitation=text)), 403)
    await end_claim_period(app.state.store)
    assert (await client.post("/v1/users", json=build_body(invitation=text))).status_code == 201
    with pytest.raises(Forbidden):
        await invitations.claim(invitation, user_id)


async def test_a_claim_of_an_interrupted_attempt_is_that_of_its_repeat(invitations: Invitations) -> None:
    user_id = ObjectId()
    invitation = await invitations.admit(await invite(invitations), user_id)
    assert invitation is not None

    await invitations.claim(invitation, user_id)
    await invitations.claim(invitation, user_id)

    with pytest.raises(Forbidden):
        await invitations.claim(invitation, ObjectId())


@pytest.mark.parametrize("registration", ["open", "invite"])
async def test_attempts_of_a_registration_that_overlap_create_one_account(
    app: Litestar, invitations: Invitations, registration: Registration
) -> None:
    store, identity = app.state.store, ObjectId()
    data = UserCreateFactory.build(display_name="", time_zone="UTC", invitation=await invite(invitations))
    with closing(Passwords(cost=CHEAP_COST)) as passwords:
        registrations = Registrations(store, passwords, Invitations(store, registration))

        users = await asyncio.gather(*(registrations.register(data, identity) for _ in range(4)))

    assert {user.id for user in users} == {str(identity)}
    assert [each.id async for each in store.scan(User)] == [identity]


async def test_a_registration_that_loses_its_username_to_a_concurrent_one_releases_its_invitation(
    client: httpx.AsyncClient, invitations: Invitations
) -> None:
    texts = [await invite(invitations) for _ in range(4)]
    body = build_body()

    responses = await asyncio.gather(*(client.post("/v1/users", json=body | {"invitation": text}) for text in texts))

    statuses = [response.status_code for response in responses]
    assert sorted(statuses) == [201, 409, 409, 409]
    for text, status in zip(texts, statuses, strict=True):
        again = await client.post("/v1/users", json=build_body(invitation=text))
        assert again.status_code == (403 if status == 201 else 201)


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
