"""Signing in, staying signed in, and the end of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from bson import ObjectId
from litestar import Litestar

from tests.people import Person, assert_problem
from todo_service.accounts.documents import Session
from todo_service.settings import Settings
from todo_service.store.base import DocumentStore

pytestmark = pytest.mark.anyio


def store_of(app: Litestar) -> DocumentStore:
    store: DocumentStore = app.state.store
    return store


async def renew(person: Person, token: str) -> httpx.Response:
    return await person.grant(grant_type="refresh_token", refresh_token=token)


@pytest.mark.parametrize("name", ["username", "email"])
async def test_one_signs_in_by_name_or_email_whatever_the_case(ada: Person, name: str) -> None:
    answer = await ada.grant(grant_type="password", username=getattr(ada, name).upper(), password=ada.password)

    tokens = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 600)
    assert set(tokens) == {"access_token", "token_type", "expires_in", "refresh_token"}


async def test_an_access_token_says_what_the_contract_names(ada: Person) -> None:
    header = jwt.get_unverified_header(ada.access_token)
    claims = jwt.decode(ada.access_token, options={"verify_signature": False})

    assert header["alg"] == "HS256"
    assert header["kid"]
    assert set(claims) == {"sub", "sid", "iat", "exp", "jti", "iss", "aud"}
    assert claims["exp"] - claims["iat"] == 600
    assert claims["sub"] == (await ada.get("/v1/users/me")).json()["id"]


async def test_a_wrong_name_and_a_wrong_password_answer_alike(ada: Person) -> None:
    wrong_password = await ada.grant(grant_type="password", username=ada.username, password="not the password")
    wrong_name = await ada.grant(grant_type="password", username="nobody", password=ada.password)

    one, other = assert_problem(wrong_password, 400), assert_problem(wrong_name, 400)
    assert one["error"] == other["error"] == "invalid_grant"
    assert one | {"request_id": ""} == other | {"request_id": ""}
    assert set(wrong_password.headers) == set(wrong_name.headers)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "password"}, "invalid_request"),
        ({"grant_type": "password", "username": "ada"}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "nonsense"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "A" * 80}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "ä"}, "invalid_grant"),
        ({"grant_type": "password", "username": "a\x00b", "password": "x\x00y"}, "invalid_grant"),
    ],
    ids=str,
)
async def test_a_bad_grant_says_why_in_the_terms_of_oauth(
    client: httpx.AsyncClient, form: dict[str, str], error: str
) -> None:
    answer = await client.post("/v1/auth/token", data=form)

    if not form:
        answer = await client.post("/v1/auth/token", content=b"", headers={"Content-Type": FORM})
    assert assert_problem(answer, 400)["error"] == error
    assert answer.headers["cache-control"] == "no-store"


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b'{"grant_type": "password"}', "application/json", 415),
        (b"grant_type=password", "text/plain", 415),
        (b"grant_type=password&grant_type=password", FORM, 400),
        (b"grant_type=%ff", FORM, 400),
        (b"\xff\xfe", FORM, 400),
        (b"&".join(b"a%d=1" % number for number in range(1000)), FORM, 400),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused(
    client: httpx.AsyncClient, body: bytes, media_type: str, status: int
) -> None:
    answer = await client.post("/v1/auth/token", content=body, headers={"Content-Type": media_type})

    assert_problem(answer, status)


async def test_fields_that_oauth_clients_add_are_ignored(ada: Person) -> None:
    answer = await ada.grant(
        grant_type="password", username=ada.username, password=ada.password, scope="", client_id="swagger"
    )

    assert answer.status_code == 200


async def test_a_refresh_token_is_spent_by_its_use(ada: Person) -> None:
    renewed = await renew(ada, ada.refresh_token)

    tokens = renewed.json()
    assert renewed.status_code == 200
    assert tokens["refresh_token"] != ada.refresh_token
    ada.access_token = tokens["access_token"]
    assert (await ada.get("/v1/users/me")).status_code == 200
    assert (await renew(ada, tokens["refresh_token"])).status_code == 200


async def test_a_client_that_lost_the_answer_may_send_the_token_again(ada: Person) -> None:
    lost = (await renew(ada, ada.refresh_token)).json()["refresh_token"]

    again = await renew(ada, ada.refresh_token)

    assert again.status_code == 200
    assert again.json()["refresh_token"] == lost
    assert (await renew(ada, lost)).status_code == 200


async def test_sending_one_token_many_times_at_once_gives_one_successor(ada: Person) -> None:
    answers = await asyncio.gather(*(renew(ada, ada.refresh_token) for _ in range(8)))

    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


async def test_a_spent_token_whose_successor_was_used_ends_the_session(ada: Person) -> None:
    second = (await renew(ada, ada.refresh_token)).json()["refresh_token"]
    third = (await renew(ada, second)).json()["refresh_token"]

    stolen = await renew(ada, ada.refresh_token)

    assert assert_problem(stolen, 400)["error"] == "invalid_grant"
    assert_problem(await renew(ada, third), 400)
    assert_problem(await ada.get("/v1/users/me"), 401)


async def test_a_spent_token_ends_the_session_after_the_grace(app: Litestar, ada: Person) -> None:
    second = (await renew(ada, ada.refresh_token)).json()["refresh_token"]
    store = store_of(app)
    claims = jwt.decode(ada.access_token, options={"verify_signature": False})
    session = await store.get(Session, Session.id == ObjectId(claims["sid"]))
    assert session is not None
    assert session.rotated_at is not None
    # the rotation is moved into the past, where a test would have to wait
    await store.update(
        Session, Session.id == session.id, changes={"rotated_at": session.rotated_at - timedelta(seconds=11)}
    )

    assert_problem(await renew(ada, ada.refresh_token), 400)
    assert_problem(await renew(ada, second), 400)


async def test_a_forged_token_does_not_end_the_session(ada: Person) -> None:
    raw = base64.urlsafe_b64decode(ada.refresh_token)
    forged = base64.urlsafe_b64encode(raw[:12] + bytes(len(raw) - 12)).decode()

    assert_problem(await renew(ada, forged), 400)
    assert (await ada.get("/v1/users/me")).status_code == 200
    assert (await renew(ada, ada.refresh_token)).status_code == 200


async def test_a_session_that_was_not_renewed_in_time_is_over(app: Litestar, ada: Person) -> None:
    claims = jwt.decode(ada.access_token, options={"verify_signature": False})
    store = store_of(app)
    session = await store.get(Session, Session.id == ObjectId(claims["sid"]))
    assert session is not None
    assert session.expires_at - session.created_at == timedelta(days=30)
    await store.update(Session, Session.id == session.id, changes={"expires_at": session.created_at})

    assert_problem(await renew(ada, ada.refresh_token), 400)


async def test_refresh_tokens_are_stored_only_as_hashes(app: Litestar, ada: Person) -> None:
    await renew(ada, ada.refresh_token)

    stored = [str(session.model_dump()) async for session in store_of(app).scan(Session)]

    assert len(stored) == 1
    assert ada.refresh_token not in stored[0]


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_revoking_either_token_signs_out_at_once(ada: Person, kind: str) -> None:
    assert (await ada.get("/v1/users/me")).status_code == 200

    revoked = await ada.client.post("/v1/auth/revoke", data={"token": getattr(ada, kind)})

    assert revoked.status_code == 200
    answer = await ada.get("/v1/users/me")
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert_problem(await renew(ada, ada.refresh_token), 400)


async def test_signing_out_ends_one_session_and_leaves_the_others(ada: Person) -> None:
    first = ada.access_token
    await ada.sign_in()

    await ada.client.post("/v1/auth/revoke", data={"token": first})

    assert (await ada.get("/v1/users/me")).status_code == 200


async def test_revoking_any_other_text_is_no_error(client: httpx.AsyncClient) -> None:
    for token in ("nonsense", "a.b.c", "ä", "A" * 80):
        assert (await client.post("/v1/auth/revoke", data={"token": token})).status_code == 200
    assert_problem(await client.post("/v1/auth/revoke", data={"token": ""}), 400)


def forge(token: str, key: bytes, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Return the token with other claims, signed with a key."""
    claims = jwt.decode(token, options={"verify_signature": False}) | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    kid = jwt.get_unverified_header(token)["kid"]
    return jwt.encode(claims, key, "HS256", headers={"kid": kid} | (header or {}))


def unsigned(token: str, algorithm: str) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    kid = jwt.get_unverified_header(token)["kid"]
    claims = jwt.decode(token, options={"verify_signature": False})
    return f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': kid})}.{part(claims)}."


async def test_only_our_own_unaltered_tokens_are_good(settings: Settings, ada: Person, bob: Person) -> None:
    key = hmac.digest(settings.secret_key, b"todo-service access tokens", "sha256")
    token = ada.access_token
    now = int(time.time())
    bobs = jwt.decode(bob.access_token, options={"verify_signature": False})
    bad = {
        "none": unsigned(token, "none"),
        "None": unsigned(token, "None"),
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
        answer = await ada.get("/v1/users/me")
        assert_problem(answer, 401)
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"', name


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic {}", "{}", "Token {}", "Bearer ä{}"])
async def test_a_request_without_a_bearer_token_is_asked_for_one(ada: Person, header: str | None) -> None:
    headers = [] if header is None else [(b"Authorization", header.format(ada.access_token).encode())]

    answer = await ada.client.get("/v1/todos", headers=headers)

    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_scheme_s_case_does_not_matter(ada: Person) -> None:
    answer = await ada.client.get("/v1/todos", headers={"Authorization": f"bearer {ada.access_token}"})

    assert answer.status_code == 200


@pytest.mark.parametrize("end", ["every session", "this session", "the API key"])
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "1"}], ids=["plain", "keyed"])
async def test_a_caller_who_is_signed_out_while_the_body_arrives_does_nothing(
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
                answer = await ada.delete("/v1/sessions")
            case "this session":
                answer = await ada.client.post("/v1/auth/revoke", data={"token": ada.refresh_token})
            case _:
                answer = await ada.delete(f"/v1/api-keys/{key['id']}")
        assert answer.status_code in (200, 204)
        yield b'the plants"}'

    answer = await ada.client.post(
        "/v1/todos",
        content=slow_body(),
        headers=headers | {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )

    assert_problem(answer, 401)
    await ada.sign_in()
    assert await ada.titles() == []
