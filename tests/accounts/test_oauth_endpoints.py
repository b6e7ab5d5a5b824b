"""The OAuth 2 endpoints: their forms, their errors and the credentials of clients."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.people import Person, assert_problem

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
FORM = "application/x-www-form-urlencoded"


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
async def test_invalid_grant_returns_an_oauth_error(
    client: httpx.AsyncClient, form: dict[str, str], error: str
) -> None:
    response = await client.post("/v1/auth/token", data=form)

    if not form:
        response = await client.post("/v1/auth/token", content=b"", headers={"Content-Type": FORM})
    assert assert_problem(response, 400)["error"] == error
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b'{"grant_type": "password"}', "application/json", 415),
        (b"grant_type=password", "text/plain", 415),
        (b"grant_type=password&grant_type=password", FORM, 400),
        (b"grant_type=%ff", FORM, 400),
        (b"\xff\xfe", FORM, 400),
        (b"&".join(b"a%d=1" % number for number in range(1000)), FORM, 400),
        (b"password=" + b"x" * 20_000, FORM, 413),
        (b"password=" + b"x" * 10_000, FORM, 400),
    ],
    ids=["JSON", "text", "repeated", "not UTF-8", "not ASCII", "too many fields", "too large", "too long a field"],
)
@pytest.mark.parametrize("call", ["token", "revoke"])
async def test_malformed_form_is_rejected(
    client: httpx.AsyncClient, call: str, body: bytes, media_type: str, status: int
) -> None:
    response = await client.post(f"/v1/auth/{call}", content=body, headers={"Content-Type": media_type})

    assert assert_problem(response, status)["error"] == "invalid_request"
    assert response.headers["cache-control"] == "no-store"


async def test_chunked_form_that_is_too_large_is_rejected(client: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1_000

    response = await client.post("/v1/auth/token", content=body(), headers={"Content-Type": FORM})

    assert assert_problem(response, 413)["error"] == "invalid_request"


@pytest.mark.parametrize("field", ["grant_type", "username", "password"])
async def test_missing_field_is_named(ada: Person, field: str) -> None:
    form = {"grant_type": "password", "username": ada.username, "password": ada.password}

    response = await ada.grant(**{name: value for name, value in form.items() if name != field})

    assert assert_problem(response, 400, f"/{field}")["error"] == "invalid_request"


@pytest.mark.parametrize("form", [{}, {"token": ""}, {"token_type_hint": "refresh_token"}], ids=str)
async def test_a_revocation_without_a_token_is_an_invalid_request(
    client: httpx.AsyncClient, form: dict[str, str]
) -> None:
    """As RFC 7009 and RFC 6749, section 5.2, have it."""
    response = await client.post("/v1/auth/revoke", data=form or None, headers={"Content-Type": FORM})

    assert assert_problem(response, 400, "/token")["error"] == "invalid_request"
    assert response.json()["error_description"]
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("call", ["token", "revoke"])
async def test_errors_outside_the_handler_are_oauth_errors_too(client: httpx.AsyncClient, call: str) -> None:
    path = f"/v1/auth/{call}"
    unknown_parameter = await client.post(path, params={"nonsense": "1"}, data={"token": "x"})
    wrong_method = await client.get(path)
    trailing_slash = await client.post(f"{path}/", content=b"")

    assert assert_problem(unknown_parameter, 400, "nonsense")["error"] == "invalid_request"
    assert assert_problem(wrong_method, 405)["error"] == "invalid_request"
    assert wrong_method.headers["allow"] == "OPTIONS, POST"
    assert (trailing_slash.status_code, trailing_slash.json()["error"]) == (415, "invalid_request")


@pytest.mark.parametrize(
    "fields",
    [
        {"client_id": "swagger", "scope": ""},
        {"client_id": "app", "client_secret": "secret", "scope": "read write"},
    ],
    ids=["public client", "confidential client"],
)
@pytest.mark.parametrize("basic", [None, b"app:secret", b":"], ids=["form", "Basic", "empty Basic"])
async def test_client_credentials_and_scope_are_ignored(
    ada: Person, fields: dict[str, str], basic: bytes | None
) -> None:
    headers = {"Authorization": f"Basic {b64encode(basic).decode()}"} if basic is not None else {}

    async def send(path: str, **form: str) -> httpx.Response:
        return await ada.client.post(path, data=form | fields, headers=headers)

    signed_in = await send("/v1/auth/token", grant_type="password", username=ada.username, password=ada.password)
    token = signed_in.json()["refresh_token"]
    refreshed = await send("/v1/auth/token", grant_type="refresh_token", refresh_token=token)
    revoked = await send("/v1/auth/revoke", token=refreshed.json()["refresh_token"], token_type_hint="refresh_token")

    assert [response.status_code for response in (signed_in, refreshed, revoked)] == [200, 200, 200]
    assert "scope" not in signed_in.json()
    assert_problem(await ada.grant(grant_type="refresh_token", refresh_token=refreshed.json()["refresh_token"]), 400)
