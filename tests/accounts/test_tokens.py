"""Signing in, refreshing tokens and signing out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
import unicodedata
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import jwt
import msgspec
import pytest
from bson import ObjectId
from litestar import Litestar

from tests.people import Person, assert_problem
from todo_service.accounts.documents import Session
from todo_service.app import create_app
from todo_service.settings import Settings
from todo_service.store.base import DocumentStore

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


def get_store(app: Litestar) -> DocumentStore:
    store: DocumentStore = app.state.store
    return store


async def refresh(person: Person, token: str) -> httpx.Response:
    return await person.grant(grant_type="refresh_token", refresh_token=token)


@pytest.mark.parametrize("name", ["username", "email"])
async def test_sign_in_by_name_or_email_ignores_case_and_white_space(ada: Person, name: str) -> None:
    given = f" \t{getattr(ada, name).upper()}\u00a0\n"

    response = await ada.grant(grant_type="password", username=given, password=ada.password)

    tokens = response.json()
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["pragma"] == "no-cache"
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 600)
    assert set(tokens) == {"access_token", "token_type", "expires_in", "refresh_token"}


async def test_sign_in_compares_names_in_nfc(client: httpx.AsyncClient) -> None:
    person = await Person.register(client, email=f"zo\u00eb-{ObjectId()}@example.com")
    decomposed = unicodedata.normalize("NFD", person.email)

    response = await person.grant(grant_type="password", username=decomposed, password=person.password)

    assert decomposed != person.email
    assert response.status_code == 200


async def test_access_token_has_the_documented_claims(ada: Person) -> None:
    header = jwt.get_unverified_header(ada.access_token)
    claims = jwt.decode(ada.access_token, options={"verify_signature": False})

    assert header["alg"] == "HS256"
    assert header["kid"]
    assert set(claims) == {"sub", "sid", "iat", "exp", "jti", "iss", "aud"}
    assert claims["exp"] - claims["iat"] == 600
    assert claims["sub"] == (await ada.get("/v1/users/me")).json()["id"]


async def test_wrong_name_and_wrong_password_are_indistinguishable(ada: Person) -> None:
    wrong_password = await ada.grant(grant_type="password", username=ada.username, password="not the password")
    wrong_name = await ada.grant(grant_type="password", username="nobody", password=ada.password)

    one, other = assert_problem(wrong_password, 400), assert_problem(wrong_name, 400)
    assert one["error"] == other["error"] == "invalid_grant"
    assert one | {"request_id": ""} == other | {"request_id": ""}
    assert set(wrong_password.headers) == set(wrong_name.headers)


async def test_refreshing_returns_new_tokens(ada: Person) -> None:
    renewed = await refresh(ada, ada.refresh_token)

    tokens = renewed.json()
    assert renewed.status_code == 200
    assert tokens["refresh_token"] != ada.refresh_token
    ada.access_token = tokens["access_token"]
    assert (await ada.get("/v1/users/me")).status_code == 200
    assert (await refresh(ada, tokens["refresh_token"])).status_code == 200


async def test_client_that_lost_the_response_can_refresh_again(ada: Person) -> None:
    lost = (await refresh(ada, ada.refresh_token)).json()["refresh_token"]

    again = await refresh(ada, ada.refresh_token)

    assert again.status_code == 200
    assert again.json()["refresh_token"] == lost
    assert (await refresh(ada, lost)).status_code == 200


async def test_concurrent_refreshes_return_the_same_successor(ada: Person) -> None:
    responses = await asyncio.gather(*(refresh(ada, ada.refresh_token) for _ in range(8)))

    assert [response.status_code for response in responses] == [200] * 8
    assert len({response.json()["refresh_token"] for response in responses}) == 1


async def test_used_token_ends_the_session_once_its_successor_was_used(ada: Person) -> None:
    second = (await refresh(ada, ada.refresh_token)).json()["refresh_token"]
    third = (await refresh(ada, second)).json()["refresh_token"]

    stolen = await refresh(ada, ada.refresh_token)

    assert assert_problem(stolen, 400)["error"] == "invalid_grant"
    assert_problem(await refresh(ada, third), 400)
    assert_problem(await ada.get("/v1/users/me"), 401)


async def move_rotation_into_the_past(app: Litestar, person: Person, seconds: int) -> None:
    """Put a session into its state some time after its last refresh, instead of waiting."""
    store = get_store(app)
    claims = jwt.decode(person.access_token, options={"verify_signature": False})
    session = await store.get(Session, Session.id == ObjectId(claims["sid"]))
    assert session is not None
    assert session.rotated_at is not None
    rotated_at = session.rotated_at - timedelta(seconds=seconds)
    await store.update(Session, Session.id == session.id, changes={"rotated_at": rotated_at})


async def test_used_token_is_accepted_for_almost_a_minute(app: Litestar, ada: Person) -> None:
    lost = (await refresh(ada, ada.refresh_token)).json()["refresh_token"]
    await move_rotation_into_the_past(app, ada, 50)

    again = await refresh(ada, ada.refresh_token)

    assert again.json()["refresh_token"] == lost
    ada.access_token = again.json()["access_token"]
    assert (await ada.get("/v1/users/me")).status_code == 200
    assert (await refresh(ada, lost)).status_code == 200


async def test_used_token_ends_the_session_after_a_minute(app: Litestar, ada: Person) -> None:
    second = (await refresh(ada, ada.refresh_token)).json()["refresh_token"]
    await move_rotation_into_the_past(app, ada, 61)

    assert_problem(await refresh(ada, ada.refresh_token), 400)
    assert_problem(await refresh(ada, second), 400)
    assert_problem(await ada.get("/v1/users/me"), 401)


async def test_lost_response_does_not_outlive_the_session(ada: Person) -> None:
    second = (await refresh(ada, ada.refresh_token)).json()["refresh_token"]
    await ada.client.post("/v1/auth/revoke", data={"token": second})

    assert_problem(await refresh(ada, ada.refresh_token), 400)


@pytest.mark.own_app
async def test_another_replica_returns_the_same_successor(app: Litestar, settings: Settings, ada: Person) -> None:
    """It has the same store, and has begun to use a new SECRET_KEY."""
    lost = (await refresh(ada, ada.refresh_token)).json()["refresh_token"]
    rotated = msgspec.structs.replace(
        settings, secret_key=b"another secret key of the tests, long", previous_secret_keys=(settings.secret_key,)
    )
    transport = httpx.ASGITransport(app=create_app(rotated, get_store(app)))  # type: ignore[arg-type]  # httpx types scopes as plain dictionaries
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as replica:
        elsewhere = ada.through(replica)
        again = await refresh(elsewhere, ada.refresh_token)
        used = await refresh(elsewhere, lost)

    assert again.json()["refresh_token"] == lost
    assert used.status_code == 200
    assert_problem(await refresh(ada, ada.refresh_token), 400)


async def test_forged_token_does_not_end_the_session(ada: Person) -> None:
    raw = base64.urlsafe_b64decode(ada.refresh_token)
    forged = base64.urlsafe_b64encode(raw[:12] + bytes(len(raw) - 12)).decode()

    assert_problem(await refresh(ada, forged), 400)
    assert (await ada.get("/v1/users/me")).status_code == 200
    assert (await refresh(ada, ada.refresh_token)).status_code == 200


async def test_session_expires_unless_refreshed(app: Litestar, ada: Person) -> None:
    claims = jwt.decode(ada.access_token, options={"verify_signature": False})
    store = get_store(app)
    session = await store.get(Session, Session.id == ObjectId(claims["sid"]))
    assert session is not None
    assert session.expires_at - session.created_at == timedelta(days=30)
    await store.update(Session, Session.id == session.id, changes={"expires_at": session.created_at})

    assert_problem(await refresh(ada, ada.refresh_token), 400)


@pytest.mark.own_app
async def test_only_hashes_of_refresh_tokens_are_stored(app: Litestar, ada: Person) -> None:
    await refresh(ada, ada.refresh_token)

    stored = [str(session.model_dump()) async for session in get_store(app).scan(Session)]

    assert len(stored) == 1
    assert ada.refresh_token not in stored[0]


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_revoking_either_token_ends_the_session_immediately(ada: Person, kind: str) -> None:
    assert (await ada.get("/v1/users/me")).status_code == 200

    revoked = await ada.client.post("/v1/auth/revoke", data={"token": getattr(ada, kind)})

    assert (revoked.status_code, revoked.content) == (200, b"")
    response = await ada.get("/v1/users/me")
    assert_problem(response, 401)
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert_problem(await refresh(ada, ada.refresh_token), 400)


async def test_signing_out_does_not_affect_other_sessions(ada: Person) -> None:
    first = ada.access_token
    await ada.sign_in()

    await ada.client.post("/v1/auth/revoke", data={"token": first})

    assert (await ada.get("/v1/users/me")).status_code == 200


async def test_revoking_an_unknown_token_is_not_an_error(client: httpx.AsyncClient) -> None:
    for token in ("nonsense", "a.b.c", "ä", "A" * 80):
        assert (await client.post("/v1/auth/revoke", data={"token": token})).status_code == 200
    assert_problem(await client.post("/v1/auth/revoke", data={"token": ""}), 400)


def forge(token: str, key: bytes, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Return the token with changed claims, signed with a key."""
    claims = jwt.decode(token, options={"verify_signature": False}) | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    kid = jwt.get_unverified_header(token)["kid"]
    return jwt.encode(claims, key, "HS256", headers={"kid": kid} | (header or {}))


def strip_signature(token: str, algorithm: str) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    kid = jwt.get_unverified_header(token)["kid"]
    claims = jwt.decode(token, options={"verify_signature": False})
    return f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': kid})}.{part(claims)}."


async def test_only_unmodified_tokens_are_valid(settings: Settings, ada: Person, bob: Person) -> None:
    key = hmac.digest(settings.secret_key, b"todo-service access tokens", "sha256")
    token = ada.access_token
    now = int(time.time())
    bobs = jwt.decode(bob.access_token, options={"verify_signature": False})
    bad = {
        "none": strip_signature(token, "none"),
        "None": strip_signature(token, "None"),
        "no signature": token.rsplit(".", 1)[0] + ".",
        "another key": forge(token, b"x" * 32),
        "the bare secret": forge(token, settings.secret_key),
        "the public key id as a key": forge(token, hashlib.sha256(key).digest()),
        "an unknown key id": forge(token, key, {"kid": "unknown"}),
        "expired": forge(token, key, exp=now - 1),
        "another audience": forge(token, key, aud="elsewhere"),
        "another issuer": forge(token, key, iss="elsewhere"),
        "no expiry": forge(token, key, exp=None),
        "no session": forge(token, key, sid=None),
        "a session that is none": forge(token, key, sid="nonsense"),
        "a refresh token": ada.refresh_token,
        "another subject, badly signed": forge(token, b"x" * 32, sub=bobs["sub"]),
        "text": "nonsense",
        "dots": "...",
    }
    assert ada.access_token == token
    for name, forged in bad.items():
        ada.access_token = forged
        response = await ada.get("/v1/users/me")
        assert_problem(response, 401)
        assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"', name


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic {}", "{}", "Token {}", "Bearer ä{}"])
async def test_missing_bearer_token_is_challenged(ada: Person, header: str | None) -> None:
    headers = [] if header is None else [(b"Authorization", header.format(ada.access_token).encode())]

    response = await ada.client.get("/v1/todos", headers=headers)

    assert_problem(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"


async def test_scheme_is_case_insensitive(ada: Person) -> None:
    response = await ada.client.get("/v1/todos", headers={"Authorization": f"bearer {ada.access_token}"})

    assert response.status_code == 200


@pytest.mark.parametrize("end", ["every session", "this session", "the API key"])
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "1"}], ids=["plain", "keyed"])
async def test_session_ended_while_the_body_arrives_has_no_effect(
    ada: Person, end: str, headers: dict[str, str]
) -> None:
    token = ada.access_token
    if end == "the API key":
        key = (await ada.post("/v1/api-keys", json={"name": "script", "scope": "write"})).json()
        token = key["secret"]

    async def slow_body() -> AsyncIterator[bytes]:
        yield b'{"title": "Water '
        match end:
            case "every session":
                response = await ada.delete("/v1/sessions")
            case "this session":
                response = await ada.client.post("/v1/auth/revoke", data={"token": ada.refresh_token})
            case _:
                response = await ada.delete(f"/v1/api-keys/{key['id']}")
        assert response.status_code in (200, 204)
        yield b'the plants"}'

    response = await ada.client.post(
        "/v1/todos",
        content=slow_body(),
        headers=headers | {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )

    assert_problem(response, 401)
    await ada.sign_in()
    assert await ada.titles() == []
