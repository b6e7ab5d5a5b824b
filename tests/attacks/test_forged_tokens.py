"""Forged, modified and expired tokens are rejected."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest

from tests.people import Person, assert_problem
from todo_service.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
SOME_ID = "65f1a2b3c4d5e6f708192a3b"
PROTECTED = [
    ("GET", "/v1/users/me"),
    ("PATCH", "/v1/users/me"),
    ("DELETE", "/v1/users/me"),
    ("POST", "/v1/users/me/password"),
    ("GET", "/v1/sessions"),
    ("DELETE", "/v1/sessions"),
    ("DELETE", f"/v1/sessions/{SOME_ID}"),
    ("GET", "/v1/api-keys"),
    ("POST", "/v1/api-keys"),
    ("DELETE", f"/v1/api-keys/{SOME_ID}"),
    ("GET", "/v1/todos"),
    ("POST", "/v1/todos"),
    ("POST", "/v1/todos/batch"),
    ("GET", "/v1/todos/changes"),
    ("GET", "/v1/todos/summary"),
    ("GET", "/v1/todos/export"),
    ("POST", "/v1/todos/import"),
    ("GET", f"/v1/todos/{SOME_ID}"),
    ("PATCH", f"/v1/todos/{SOME_ID}"),
    ("DELETE", f"/v1/todos/{SOME_ID}"),
    ("POST", f"/v1/todos/{SOME_ID}/complete"),
    ("POST", f"/v1/todos/{SOME_ID}/reopen"),
    ("POST", f"/v1/todos/{SOME_ID}/move"),
    ("GET", f"/v1/todos/{SOME_ID}/completions"),
    ("GET", "/v1/lists"),
    ("POST", "/v1/lists"),
    ("GET", f"/v1/lists/{SOME_ID}"),
    ("PATCH", f"/v1/lists/{SOME_ID}"),
    ("DELETE", f"/v1/lists/{SOME_ID}"),
    ("POST", f"/v1/lists/{SOME_ID}/move"),
    ("GET", "/v1/tags"),
    ("GET", "/v1/events"),
    ("POST", "/v1/events/ticket"),
    ("GET", "/v1/webhooks"),
    ("POST", "/v1/webhooks"),
    ("GET", f"/v1/webhooks/{SOME_ID}"),
    ("PATCH", f"/v1/webhooks/{SOME_ID}"),
    ("DELETE", f"/v1/webhooks/{SOME_ID}"),
    ("POST", f"/v1/webhooks/{SOME_ID}/test"),
    ("POST", f"/v1/webhooks/{SOME_ID}/secret"),
    ("GET", f"/v1/webhooks/{SOME_ID}/deliveries"),
    ("POST", f"/v1/webhooks/{SOME_ID}/deliveries/{SOME_ID}/retry"),
]


def encode_part(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def derive_signing_key(settings: Settings) -> bytes:
    return hmac.digest(settings.secret_key, b"todo-service access tokens", "sha256")


class Forger:
    """Forges tokens from a valid one, with other claims, another header or another signature.

    Args:
        token: The valid token.
        settings: Provide the secret key, for tests of the claims alone.
    """

    def __init__(self, token: str, settings: Settings) -> None:
        self.token = token
        self.header: dict[str, Any] = jwt.get_unverified_header(token)
        self.claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        self.key = derive_signing_key(settings)

    def sign(self, header: dict[str, Any] | None = None, without: str = "", **claims: Any) -> str:
        """Return a token with other claims and a valid signature."""
        content = {name: value for name, value in (self.claims | claims).items() if name != without}
        return jwt.encode(content, self.key, "HS256", headers=self.header | (header or {}))

    def replace_signature(self, header: dict[str, Any], signature: str = "") -> str:
        """Return a token with another header and an arbitrary signature."""
        return f"{encode_part(self.header | header)}.{encode_part(self.claims)}.{signature}"

    def sign_with(self, key: bytes, header: dict[str, Any], algorithm: str = "sha256") -> str:
        """Return a token signed with another key."""
        content = f"{encode_part(self.header | header)}.{encode_part(self.claims)}"
        digest = hmac.digest(key, content.encode(), algorithm)
        return f"{content}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


now = int(time.time())
FORGERIES: dict[str, Callable[[Forger], str]] = {
    "alg none": lambda forger: forger.replace_signature({"alg": "none"}),
    "alg None": lambda forger: forger.replace_signature({"alg": "None"}),
    "alg nOnE with a signature": lambda forger: forger.replace_signature(
        {"alg": "nOnE"}, forger.token.rsplit(".", 1)[1]
    ),
    "no alg": lambda forger: forger.replace_signature({"alg": None}),
    "alg HS512": lambda forger: forger.sign_with(forger.key, {"alg": "HS512"}, "sha512"),
    "alg RS256 with a secret's signature": lambda forger: forger.sign_with(forger.key, {"alg": "RS256"}),
    "the empty key": lambda forger: forger.sign_with(b"", {}),
    "the key id as the key": lambda forger: forger.sign_with(forger.header["kid"].encode(), {}),
    "an unknown key id": lambda forger: forger.sign({"kid": "0" * 16}),
    "a key id that is a path": lambda forger: forger.sign({"kid": "../../dev/null"}),
    "a key id that is not a string": lambda forger: forger.replace_signature(
        {"kid": ["a"]}, forger.token.rsplit(".", 1)[1]
    ),
    "a key of its own": lambda forger: forger.sign_with(b"k" * 32, {"jwk": {"kty": "oct", "k": "a2tra2s"}}),
    "a key from elsewhere": lambda forger: forger.sign_with(b"k" * 32, {"jku": "http://127.0.0.1:9/keys"}),
    "no signature": lambda forger: forger.token.rsplit(".", 1)[0] + ".",
    "another signature": lambda forger: forger.token[:-4] + ("AAAA" if forger.token[-4:] != "AAAA" else "BBBB"),
    "other claims under the same signature": lambda forger: ".".join(
        [forger.token.split(".")[0], encode_part(forger.claims | {"exp": now + 9999}), forger.token.split(".")[2]]
    ),
    "expired": lambda forger: forger.sign(exp=now - 1),
    "expired long ago": lambda forger: forger.sign(exp=1),
    "no expiry": lambda forger: forger.sign(without="exp"),
    "expiry that is not a number": lambda forger: forger.sign(exp="tomorrow"),
    "not yet valid": lambda forger: forger.sign(nbf=now + 3600),
    "another audience": lambda forger: forger.sign(aud="another-service"),
    "no audience": lambda forger: forger.sign(without="aud"),
    "another issuer": lambda forger: forger.sign(iss="another-service"),
    "no issuer": lambda forger: forger.sign(without="iss"),
    "no account": lambda forger: forger.sign(without="sub"),
    "an account that is an operator": lambda forger: forger.sign(sub='{"$gt": ""}'),
    "no session": lambda forger: forger.sign(without="sid"),
    "another session": lambda forger: forger.sign(sid=SOME_ID),
    "a refresh token's form": lambda _: base64.urlsafe_b64encode(b"x" * 60).decode(),
    "an API key's form": lambda _: "todo_" + base64.urlsafe_b64encode(b"x" * 44).decode(),
    "four parts": lambda forger: forger.token + ".x",
    "one part": lambda _: "x",
    "very long": lambda _: "x" * 20_000,
    "twice": lambda forger: f"{forger.token}, Bearer {forger.token}",
}


@pytest.mark.own_app
async def test_forged_token_is_rejected(ada: Person, settings: Settings) -> None:
    forger = Forger(ada.access_token, settings)
    for way, forge in FORGERIES.items():
        response = await ada.client.get("/v1/users/me", headers={"Authorization": f"Bearer {forge(forger)}"})

        assert response.status_code == 401, way
        assert_problem(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")
    assert (await ada.get("/v1/users/me")).status_code == 200


async def test_every_operation_requires_a_token(client: httpx.AsyncClient) -> None:
    for method, path in PROTECTED:
        for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YWRhOmFkYQ=="}):
            assert_problem(await client.request(method, path, headers=headers), 401)
        for other in (f"{path}?access_token=x", f"{path}?token=x"):
            assert_problem(await client.request(method, other), 401)


async def test_list_of_protected_operations_is_complete(client: httpx.AsyncClient) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    found = {
        (method.upper(), re.sub(r"\{\w+\}", SOME_ID, path))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in ("get", "post", "patch", "put", "delete") and operation.get("security") != []
    }

    assert found == set(PROTECTED)


@pytest.mark.own_app
async def test_token_is_valid_only_for_its_account(ada: Person, bob: Person, settings: Settings) -> None:
    forger = Forger(ada.access_token, settings)
    mine = (await ada.get("/v1/users/me")).json()["id"]
    theirs = (await bob.get("/v1/users/me")).json()["id"]

    altered = ".".join(
        [ada.access_token.split(".")[0], encode_part(forger.claims | {"sub": theirs}), ada.access_token.split(".")[2]]
    )

    assert mine != theirs
    response = await ada.client.get("/v1/users/me", headers={"Authorization": f"Bearer {altered}"})
    assert_problem(response, 401)


@pytest.mark.parametrize("way", ["revoked", "session ended", "all ended", "account deleted", "refresh token stolen"])
async def test_token_of_an_ended_session_is_rejected(ada: Person, way: str) -> None:
    match way:
        case "revoked":
            await ada.client.post("/v1/auth/revoke", data={"token": ada.access_token})
        case "session ended":
            session = (await ada.get("/v1/sessions")).json()["items"][0]["id"]
            await ada.delete(f"/v1/sessions/{session}")
        case "all ended":
            await ada.delete("/v1/sessions")
        case "account deleted":
            await ada.ask("DELETE", "/v1/users/me", json={"password": ada.password})
        case _:
            first = ada.refresh_token
            second = (await ada.grant(grant_type="refresh_token", refresh_token=first)).json()["refresh_token"]
            assert (await ada.grant(grant_type="refresh_token", refresh_token=second)).status_code == 200
            assert (await ada.grant(grant_type="refresh_token", refresh_token=first)).status_code == 400

    assert_problem(await ada.get("/v1/users/me"), 401)
    assert_problem(await ada.grant(grant_type="refresh_token", refresh_token=ada.refresh_token), 400)


async def test_tokens_are_not_interchangeable(ada: Person) -> None:
    key = (await ada.post("/v1/api-keys", json={"name": "script", "scope": "write"})).json()

    for wrong in (ada.refresh_token, key["secret"][:-1], key["prefix"], key["id"]):
        response = await ada.client.get("/v1/todos", headers={"Authorization": f"Bearer {wrong}"})
        assert_problem(response, 401)
    for wrong in (ada.access_token, key["secret"]):
        assert_problem(await ada.grant(grant_type="refresh_token", refresh_token=wrong), 400)
    assert (await ada.client.post("/v1/auth/revoke", data={"token": key["secret"]})).status_code == 200
    response = await ada.client.get("/v1/todos", headers={"Authorization": f"Bearer {key['secret']}"})
    assert response.status_code == 200
    assert (await ada.get("/v1/todos")).status_code == 200


async def test_read_key_cannot_write(ada: Person) -> None:
    todo = await ada.todo()
    secret = (await ada.post("/v1/api-keys", json={"name": "script", "scope": "read"})).json()["secret"]
    header = {"Authorization": f"Bearer {secret}"}

    for method, path in PROTECTED:
        if method != "GET":
            path = path.replace(f"todos/{SOME_ID}", f"todos/{todo['id']}")
            response = await ada.client.request(method, path, headers=header | {"X-HTTP-Method-Override": "GET"})
            assert_problem(response, 403)
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json() == todo


@pytest.mark.own_app
async def test_key_id_does_not_reveal_the_secret_key(ada: Person, settings: Settings) -> None:
    shown = jwt.get_unverified_header(ada.access_token)["kid"]

    assert shown != hashlib.sha256(settings.secret_key).hexdigest()[:16]
    assert shown.encode() not in settings.secret_key
