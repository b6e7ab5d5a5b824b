"""OAuth 2 libraries sign in, use the token, refresh it and sign out, and report errors as their own exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import oauthlib.oauth2
import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from oauthlib.oauth2 import LegacyApplicationClient
from requests_oauthlib import OAuth2Session

from tests.people import UserCreateFactory
from tests.sdk.tools import FOLDER, MODULES, run
from tests.serving import PLAIN_HTTP, Service, running_service

SCENARIOS = FOLDER / "scenarios"
TOKEN, REVOKE, TODOS = "/v1/auth/token", "/v1/auth/revoke", "/v1/todos"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("oauth")) as running:
        yield running


@pytest.fixture
def credentials(service: Service) -> dict[str, str]:
    """The username and the password of a new account."""
    user = UserCreateFactory.build()
    body = {"username": user.username, "email": user.email, "password": user.password}
    assert service.post("/v1/users", json=body).status_code == 201
    return {"username": user.username, "password": user.password}


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
def test_authlib(service: Service, credentials: dict[str, str], method: str) -> None:
    def connect() -> AuthlibSession:
        return AuthlibSession("todo", "unused", token_endpoint=service.url + TOKEN, token_endpoint_auth_method=method)

    def find_error(action: Callable[[], object]) -> str:
        with pytest.raises(OAuthError) as caught:
            action()
        assert caught.value.description
        return str(caught.value.error)

    with connect() as client:
        first = client.fetch_token(**credentials, grant_type="password", scope="read")
        assert client.get(service.url + TODOS).status_code == 200
        second = client.refresh_token(service.url + TOKEN)
        client.refresh_token(service.url + TOKEN)
        assert client.get(service.url + TODOS).status_code == 200

        assert second["refresh_token"] != first["refresh_token"]
        wrong = credentials | {"password": "wrong"}
        assert find_error(lambda: client.fetch_token(**wrong, grant_type="password")) == "invalid_grant"
        assert find_error(lambda: client.fetch_token(grant_type="password")) == "invalid_request"
        assert find_error(lambda: client.fetch_token(grant_type="client_credentials")) == "unsupported_grant_type"
        spent = first["refresh_token"]
        assert find_error(lambda: client.refresh_token(service.url + TOKEN, refresh_token=spent)) == "invalid_grant"

    with connect() as client:
        token = client.fetch_token(**credentials, grant_type="password")
        assert client.revoke_token(service.url + REVOKE, token["refresh_token"]).status_code == 200
        assert client.get(service.url + TODOS).status_code == 401


def test_requests_oauthlib(service: Service, credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    url = service.url + TOKEN
    session = OAuth2Session(client=LegacyApplicationClient("todo", scope=["read", "write"]))

    first = dict(session.fetch_token(url, **credentials))
    assert session.get(service.url + TODOS).status_code == 200
    second = dict(session.refresh_token(url))
    session.refresh_token(url)
    assert session.get(service.url + TODOS).status_code == 200

    assert second["refresh_token"] != first["refresh_token"]
    with pytest.raises(oauthlib.oauth2.InvalidGrantError):
        session.fetch_token(url, **credentials | {"password": "wrong"})
    with pytest.raises(oauthlib.oauth2.InvalidGrantError):
        session.refresh_token(url, refresh_token=first["refresh_token"])


def test_oauthlib(service: Service, credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    client = LegacyApplicationClient("todo")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    def send(body: str, path: str = TOKEN) -> str:
        return service.post(path, content=body, headers=headers).text

    client.parse_request_body_response(send(client.prepare_request_body(**credentials, include_client_id=True)))
    url, bearer, _ = client.add_token(service.url + TODOS)
    assert httpx.get(url, headers=bearer, verify=PLAIN_HTTP).status_code == 200
    client.parse_request_body_response(send(client.prepare_refresh_body()))

    wrong = client.prepare_request_body(credentials["username"], "wrong")
    with pytest.raises(oauthlib.oauth2.InvalidGrantError):
        client.parse_request_body_response(send(wrong))
    with pytest.raises(oauthlib.oauth2.UnsupportedGrantTypeError):
        client.parse_request_body_response(send("grant_type=client_credentials"))
    with pytest.raises(oauthlib.oauth2.OAuth2Error, match=r"\(invalid_request\) username is missing"):
        client.parse_request_body_response(send("grant_type=password"))
    _, _, revocation = client.prepare_token_revocation_request(service.url + REVOKE, client.refresh_token)
    assert send(revocation, REVOKE) == ""
    with pytest.raises(oauthlib.oauth2.InvalidGrantError):
        client.parse_request_body_response(send(client.prepare_refresh_body()))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "oauth4webapi",
            "200 bearer bearer 400 invalid_grant 400 invalid_request bearer 400 invalid_grant 400 invalid_grant",
        ),
        (
            "simple_oauth2",
            "200 Bearer 400 invalid_grant 400 invalid_request Bearer 400 invalid_grant 400 invalid_grant",
        ),
    ],
)
def test_npm_client(service: Service, credentials: dict[str, str], tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "node_modules").symlink_to(MODULES)
    script = tmp_path / f"{name}.mjs"
    script.write_text((SCENARIOS / script.name).read_text())
    variables = {"SERVICE_URL": service.url, "NAME": credentials["username"], "PASSWORD": credentials["password"]}

    assert run("node", script, cwd=tmp_path, variables=variables).strip() == told
