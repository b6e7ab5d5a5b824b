"""Passwords are compared as OpaqueString (RFC 8265)."""

from __future__ import annotations

import time
import unicodedata

import httpx
import pytest
from litestar import Litestar

from tests.application import CHEAP_COST
from tests.people import Person, assert_problem
from todo_service.accounts.documents import User
from todo_service.accounts.passwords import Cost, Passwords
from todo_service.store.base import DocumentStore

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
NFC = "Müller-Lüdenscheidt 한국어 Việt"
NFD = unicodedata.normalize("NFD", NFC)
WRONG = "not the password"
EMOJI = "👩\u200d👩\u200d👧 correct horse ❤\ufe0f"
"""A password that the profile disallows."""


async def register(client: httpx.AsyncClient, password: str) -> Person:
    """Register a person with this password."""
    return await Person.register(client, password=password)


async def register_earlier(app: Litestar, client: httpx.AsyncClient, password: str) -> Person:
    """Register a person whose password was hashed by an earlier release, as it was sent."""
    person = await Person.register(client)
    store: DocumentStore = app.state.store
    passwords = Passwords(cost=CHEAP_COST)
    changes = {"password_hash": await passwords.hash(password)}
    passwords.close()
    user = await store.get(User, User.username_key == person.username.casefold())
    assert user is not None
    assert await store.update(User, User.id == user.id, changes=changes) is not None
    return person


async def signs_in(person: Person, password: str) -> bool:
    """Return whether a password is accepted."""
    response = await person.grant(grant_type="password", username=person.username, password=password)
    assert response.status_code in (200, 400)
    return response.status_code == 200


async def list_accepted(person: Person, *passwords: str) -> list[bool]:
    return [await signs_in(person, password) for password in passwords]


@pytest.mark.parametrize(
    ("registered", "typed"),
    [(NFC, NFD), (NFD, NFC), ("correct\u3000horse\xa0battery", "correct horse battery")],
    ids=["NFC", "NFD", "spaces"],
)
async def test_password_is_accepted_in_every_form(client: httpx.AsyncClient, registered: str, typed: str) -> None:
    person = await register(client, registered)

    assert await list_accepted(person, registered, typed, typed[1:], typed.upper()) == [True, True, False, False]

    changed = await person.post("/v1/users/me/password", json={"current_password": typed, "new_password": f"{typed}!"})
    assert changed.status_code == 204
    assert await list_accepted(person, f"{registered}!", registered, typed) == [True, False, False]

    deleted = await person.delete("/v1/users/me", json={"password": f"{registered}!"})
    assert deleted.status_code == 204


@pytest.mark.parametrize(
    ("password", "named"),
    [
        ("correct\thorse battery", "U+0009"),
        ("correct horse battery\x7f", "U+007F"),
        ("correct horse battery\x85", "U+0085"),
        ("correct horse battery\u200b", "U+200B"),
        (EMOJI, "U+200D"),
        ("correct horse battery\ue000", "U+E000"),
        ("correct horse battery\u0378", "U+0378"),
        ("correct horse battery\ufdd0", "U+FDD0"),
    ],
    ids=ascii,
)
async def test_disallowed_character_is_named(client: httpx.AsyncClient, ada: Person, password: str, named: str) -> None:
    body = {"username": "grace", "email": "grace@example.com", "password": password}
    change = {"current_password": ada.password, "new_password": password}

    registered = await client.post("/v1/users", json=body)
    changed = await ada.post("/v1/users/me/password", json=change)

    for response, pointer in ((registered, "/password"), (changed, "/new_password")):
        problem = assert_problem(response, 422, pointer)
        detail = f"Expected a password without {named}, which RFC 8265 disallows"
        assert problem["errors"][0]["detail"] == detail
    assert await signs_in(ada, ada.password)


async def test_length_is_that_of_the_prepared_password(client: httpx.AsyncClient) -> None:
    body = {"username": "grace", "email": "grace@example.com"}
    letter = unicodedata.normalize("NFD", "ệ")

    for password in (letter * 11, letter * 129, "a" + "\u0316\u0300" * 20):
        assert_problem(await client.post("/v1/users", json=body | {"password": password}), 422, "/password")
    person = await register(client, letter * 128)
    assert await signs_in(person, "ệ" * 128)


async def test_prepared_password_does_not_contain_the_username(client: httpx.AsyncClient) -> None:
    body = {"username": "Kate", "email": "kate@example.com", "password": "my name is \u212aate"}

    assert_problem(await client.post("/v1/users", json=body), 422, "/password")


@pytest.mark.parametrize(("hashed", "other"), [(NFC, NFD), (NFD, NFC)], ids=["NFC", "NFD"])
async def test_earlier_hash_is_replaced_when_its_form_is_typed(
    app: Litestar, client: httpx.AsyncClient, hashed: str, other: str
) -> None:
    person = await register_earlier(app, client, hashed)

    # the prepared form is always tried, so an earlier hash of NFC matches both
    assert await list_accepted(person, other, hashed, other, WRONG) == [hashed == NFC, True, True, False]


async def test_earlier_password_that_is_disallowed_now_is_still_accepted(
    app: Litestar, client: httpx.AsyncClient
) -> None:
    person = await register_earlier(app, client, EMOJI)

    assert await list_accepted(person, EMOJI, EMOJI[1:], EMOJI) == [True, False, True]
    change = {"current_password": EMOJI, "new_password": NFD}
    assert (await person.post("/v1/users/me/password", json=change)).status_code == 204
    assert await list_accepted(person, NFC, EMOJI) == [True, False]


@pytest.mark.parametrize("confirm", ["delete", "change"])
async def test_earlier_hash_confirms_a_deletion_and_a_change(
    app: Litestar, client: httpx.AsyncClient, confirm: str
) -> None:
    person = await register_earlier(app, client, NFD)

    if confirm == "delete":
        response = await person.delete("/v1/users/me", json={"password": NFD})
    else:
        change = {"current_password": NFD, "new_password": NFC}
        response = await person.post("/v1/users/me/password", json=change)

    assert response.status_code == 204


@pytest.mark.parametrize(
    "password",
    [WRONG, NFC[1:], NFD[1:], EMOJI, "é" * 500, "a" + "\u0316\u0300" * 500],
    ids=["ASCII", "NFC", "NFD", "disallowed", "long", "marks"],
)
async def test_wrong_password_costs_as_much_as_a_wrong_name(password: str) -> None:
    """Whatever the form of the password, and of the one that was hashed: the number of hashes is the same."""
    passwords = Passwords(cost=Cost(memory=1024, passes=16))
    hashes = [None, await passwords.hash("correct horse battery"), await passwords.hash(NFD)]
    costs = [float("inf")] * len(hashes)
    for _ in range(5):
        for index, password_hash in enumerate(hashes):
            before = time.process_time()
            assert await passwords.verify_and_update(password_hash, password) == (False, None)
            costs[index] = min(costs[index], time.process_time() - before)
    passwords.close()

    assert max(costs) < 1.5 * min(costs)
