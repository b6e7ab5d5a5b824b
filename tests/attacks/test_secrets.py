"""Secrets appear in no log, metric, response or repr, and response times reveal nothing."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from odmantic import ObjectId

from tests.cost import Lowest
from tests.people import Person, UserCreateFactory
from tests.serving import START_SECONDS, running_service
from todo_service.accounts import dto
from todo_service.accounts.documents import User
from todo_service.accounts.invitations import NewInvitation
from todo_service.accounts.passwords import PRODUCTION_COST, Passwords
from todo_service.accounts.sessions import Sessions, Tokens
from todo_service.accounts.tokens import AccessTokens, RefreshTokens
from todo_service.observability.controllers import MetricsAccess
from todo_service.settings import load_settings
from todo_service.store.registry import create_store
from todo_service.timestamps import now

JSON = {"Content-Type": "application/json"}
TRIES = 40
SIMILAR = math.log(1.6)
SECRET_KEY = "the-secret-key-of-the-tests-which-is-long"
METRICS_TOKEN = "the-metrics-token-of-the-tests"


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_do_not_leak_into_responses_logs_or_metrics(tmp_path: Path, form: str) -> None:
    user = UserCreateFactory.build()
    variables = {
        "SECRET_KEY": SECRET_KEY,
        "METRICS_TOKEN": METRICS_TOKEN,
        "LOG_FORMAT": form,
        "LOG_LEVEL": "debug",
        "ENVIRONMENT": "production",
    }
    seen: list[str] = []
    with (
        running_service(tmp_path, variables) as service,
        httpx.Client(base_url=service.url, timeout=START_SECONDS) as client,
    ):
        body = {"username": user.username, "email": user.email, "password": user.password}
        seen.append(client.post("/v1/users", json=body).text)
        form_fields = {"grant_type": "password", "username": user.username, "password": user.password}
        tokens = client.post("/v1/auth/token", data=form_fields).json()
        header = {"Authorization": f"Bearer {tokens['access_token']}"}
        key = client.post("/v1/api-keys", json={"name": "script", "scope": "write"}, headers=header).json()["secret"]
        hook = {"url": "https://192.0.66.1/hook", "events": ["todo.changed"]}
        created = client.post("/v1/webhooks", json=hook, headers=header).json()
        seen.append(client.post(f"/v1/webhooks/{created['id']}/test", headers=header).text)
        secrets = [user.password, tokens["access_token"], tokens["refresh_token"], key, created["secret"]]
        secrets += [SECRET_KEY, METRICS_TOKEN]

        for secret in secrets:
            seen += [
                client.get(f"/v1/todos/{secret}", headers=header).text.replace(f"/v1/todos/{secret}", ""),
                client.get("/v1/todos", headers={"Authorization": f"Bearer {secret}x"}).text,
                client.post("/v1/auth/token", data=form_fields | {"password": secret + "x"}).text,
                client.post("/v1/auth/token", data=form_fields | {"username": secret}).text,
                client.post("/v1/auth/token", data={"grant_type": "refresh_token", "refresh_token": secret + "x"}).text,
                client.post("/v1/users", json=body | {"password": secret[:11]}).text,
                client.post("/v1/users", json={secret: secret, "password": secret} | body).text.replace(
                    f"/{secret[:100]}", ""
                ),
                client.post(
                    "/v1/users", content=f'{{"password": "{secret}"', headers={"Content-Type": "application/json"}
                ).text,
                client.get(f"/v1/todos?cursor={secret}", headers=header).text,
                client.get("/v1/todos", headers=header | {"X-Request-ID": "x", "Cookie": secret}).text,
                client.get("/metrics", headers={"Authorization": f"Bearer {secret}x"}).text,
            ]
        for path in (
            "/",
            "/v1/users/me",
            "/v1/sessions",
            "/v1/api-keys",
            "/v1/webhooks",
            "/schema/openapi.json",
            "/health/ready",
        ):
            seen.append(client.get(path, headers=header).text)
        figures = client.get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})
        assert figures.status_code == 200
        seen.append(figures.text)
        service.stop()
    seen.append((tmp_path / "service.log").read_text())

    for secret in secrets:
        for text in seen:
            assert secret not in text
    assert user.email not in seen[-1]


def test_repr_contains_no_secrets(tmp_path: Path) -> None:
    settings = load_settings(
        {
            "DATA_DIR": str(tmp_path),
            "SECRET_KEY": SECRET_KEY,
            "PREVIOUS_SECRET_KEYS": SECRET_KEY[::-1],
            "METRICS_TOKEN": METRICS_TOKEN,
            "STORE_URL": "mongodb://ada:mongo-secret@127.0.0.1/todo",
        }
    )
    store = create_store(settings.store_address)
    access, refresh = AccessTokens([settings.secret_key], 600), RefreshTokens([settings.secret_key])
    tokens = Tokens("the-access-token", "the-refresh-token", 600)
    objects = [
        settings,
        store,
        access,
        refresh,
        refresh.issue(ObjectId())._replace(text="the-refresh-token"),
        Sessions(store, access, refresh, 30),
        Passwords(),
        tokens,
        MetricsAccess(METRICS_TOKEN, open_to_all=False),
        dto.UserCreate("ada", "ada@example.com", "the-password", invitation="the-invitation"),
        NewInvitation("the-invitation", now()),
        dto.UserDelete("the-password"),
        dto.PasswordChange("the-password", "the-password"),
        dto.TokenPair("the-access-token", "Bearer", 600, "the-refresh-token"),
        User(
            id=ObjectId(),
            username="ada",
            username_key="ada",
            email="ada@example.com",
            email_key="ada@example.com",
            password_hash="the-password-hash",
            created_at=now(),
            updated_at=now(),
        ),
    ]

    for text in [f"{thing!r} {thing!s} {thing}" for thing in objects]:
        for secret in (
            SECRET_KEY,
            SECRET_KEY[::-1],
            METRICS_TOKEN,
            "mongo-secret",
            "the-access-token",
            "the-refresh-token",
            "the-password",
            "the-invitation",
        ):
            assert secret not in text


@pytest.mark.anyio
@pytest.mark.parametrize("password_cost", [PRODUCTION_COST], ids=["real"])
async def test_timing_does_not_reveal_whether_a_name_exists(ada: Person, figure: Callable[[str], None]) -> None:
    """Compares the medians of alternating attempts, with a generous bound."""
    distance = Lowest(SIMILAR)
    for _ in distance:
        ratio = await compare_sign_in_times(ada)
        figure(f"known over unknown: {ratio:.2f}")
        distance.add(abs(math.log(ratio)))

    assert distance.value <= SIMILAR


async def compare_sign_in_times(ada: Person) -> float:
    """Return the median time of rejected sign-ins with a known name, divided by that with unknown names."""
    known: list[float] = []
    unknown: list[float] = []
    for number in range(TRIES):
        for name, times in ((ada.username, known), (f"nobody-{number}", unknown)):
            started = time.perf_counter()
            response = await ada.grant(grant_type="password", username=name, password="a wrong password")
            times.append(time.perf_counter() - started)
            assert response.status_code == 400
            assert response.json()["detail"] == "the name or the password is wrong"

    return statistics.median(known) / statistics.median(unknown)


@pytest.mark.anyio
async def test_response_does_not_reveal_whether_a_name_exists(ada: Person) -> None:
    known = await ada.grant(grant_type="password", username=ada.username, password="a wrong password")
    by_email = await ada.grant(grant_type="password", username=ada.email, password="a wrong password")
    unknown = await ada.grant(grant_type="password", username="nobody", password="a wrong password")

    bodies = [{**response.json(), "request_id": ""} for response in (known, by_email, unknown)]
    assert bodies[0] == bodies[1] == bodies[2]
    shapes = [
        {name: "" if "id" in name else value for name, value in response.headers.items()}
        for response in (known, unknown)
    ]
    assert shapes[0] == shapes[1]
