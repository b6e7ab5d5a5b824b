"""`todo-service users` in a process of its own, while the service runs, on both stores."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from pymongo import MongoClient

from tests.forking import run_forked
from tests.mongod import fresh_database
from tests.serving import SECRET_KEY, START_SECONDS, Service, environment, run_command, running_service
from todo_service.accounts.documents import Invitation
from todo_service.services import MODELS
from todo_service.store.registry import create_store

PASSWORD = "correct horse battery"
ENDED_SECONDS = 10
"""Within this time, the end of a session is known to every process."""


class StartedSession(NamedTuple):
    """A session over HTTP.

    Attributes:
        header: Its Authorization header.
        refresh_token: Its refresh token.
    """

    header: dict[str, str]
    refresh_token: str


class Operator(NamedTuple):
    """Somebody with the settings of a running service.

    Attributes:
        service: The service.
        variables: Its settings.
    """

    service: Service
    variables: dict[str, str]

    def run(self, *arguments: str, password: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command with a password on its standard input."""
        return run_forked(
            self.service.folder,
            "users",
            *arguments,
            variables=environment(self.service.folder, **self.variables),
            text="" if password is None else f"{password}\n",
        )

    def ask(self, *arguments: str, password: str | None = None) -> Any:
        """Run a command that succeeds, and return its JSON."""
        done = self.run(*arguments, "--json", password=password)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def register(self, name: str, **fields: str) -> httpx.Response:
        """Register over HTTP."""
        body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD} | fields
        return self.service.post("/v1/users", json=body)

    def create(self, name: str) -> dict[str, Any]:
        """Register an account, and return it as the commands print it."""
        response = self.register(name)
        assert response.status_code == 201, response.text
        return {**response.json(), "disabled": False}

    def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        """Sign in over HTTP."""
        form = {"grant_type": "password", "username": name, "password": password}
        return self.service.post("/v1/auth/token", data=form)

    def authorize(self, name: str, password: str = PASSWORD) -> dict[str, str]:
        """Sign in, and return the Authorization header."""
        return self.start_session(name, password).header

    def start_session(self, name: str, password: str = PASSWORD) -> StartedSession:
        """Sign in, and use the session, so that the service caches that it is valid."""
        response = self.sign_in(name, password)
        assert response.status_code == 200, response.text
        tokens = response.json()
        started = StartedSession({"Authorization": f"Bearer {tokens['access_token']}"}, tokens["refresh_token"])
        self.assert_served(started.header)
        return started

    def create_key(self, header: dict[str, str]) -> dict[str, str]:
        """Create an API key and use it, so that the service caches it. Return its Authorization header."""
        created = self.service.post("/v1/api-keys", json={"name": "x", "scope": "write"}, headers=header)
        assert created.status_code == 201, created.text
        key = {"Authorization": f"Bearer {created.json()['secret']}"}
        self.assert_served(key)
        return key

    def assert_served(self, *headers: dict[str, str]) -> None:
        """Assert that requests with these headers succeed."""
        for header in headers:
            assert self.service.get("/v1/todos", headers=header).status_code == 200

    def refresh(self, token: str) -> httpx.Response:
        """Use a refresh token."""
        return self.service.post("/v1/auth/token", data={"grant_type": "refresh_token", "refresh_token": token})


@contextmanager
def running_operator(folder: Path, **variables: str) -> Iterator[Operator]:
    """Run a service with an operator until the block ends."""
    with running_service(folder, variables) as service:
        yield Operator(service, variables)


@pytest.fixture(scope="module")
def embedded_operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator of a service on the embedded store."""
    with running_operator(tmp_path_factory.mktemp("embedded")) as operator:
        yield operator


@pytest.fixture(scope="module")
def mongodb_operator(
    tmp_path_factory: pytest.TempPathFactory, mongodb_uri: str, mongodb_client: MongoClient[dict[str, Any]]
) -> Iterator[Operator]:
    """The operator of a service on MongoDB."""
    with (
        fresh_database(mongodb_uri, mongodb_client) as url,
        running_operator(tmp_path_factory.mktemp("mongodb"), STORE_URL=url, SECRET_KEY=SECRET_KEY) as operator,
    ):
        yield operator


@pytest.fixture(params=["embedded", "mongodb"])
def operator(request: pytest.FixtureRequest) -> Operator:
    """The operator of a running service. A test with this fixture runs on both stores."""
    found: Operator = request.getfixturevalue(f"{request.param}_operator")
    return found


@pytest.fixture(scope="module")
def taken(embedded_operator: Operator) -> Operator:
    """The operator of a service with the account `taken`."""
    embedded_operator.create("taken")
    return embedded_operator


def wait_until_refused(service: Service, headers: list[dict[str, str]]) -> None:
    """Wait until requests with any of these headers get a 401, which takes at most `ENDED_SECONDS`."""
    deadline = time.monotonic() + ENDED_SECONDS
    while {service.get("/v1/todos", headers=header).status_code for header in headers} != {401}:
        assert time.monotonic() < deadline, "the credentials still work"


def assert_fails(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Assert that a command failed with one line that contains these words."""
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("todo-service: ")
    for word in words:
        assert word in line


def test_a_created_account_can_sign_in(operator: Operator) -> None:
    user = operator.ask(
        *("create", "Grace", "--email", "Grace@Example.COM", "--display-name", "Grace H.", "--time-zone", "UTC"),
        password=PASSWORD,
    )

    response = operator.service.get("/v1/users/me", headers=operator.authorize("grace"))
    assert response.json() | {"disabled": False} == user
    assert (user["username"], user["email"], user["display_name"]) == ("Grace", "Grace@example.com", "Grace H.")
    done = operator.run("create", "ida", "--email", "ida@example.com", password=PASSWORD)
    assert (done.returncode, done.stdout, done.stderr) == (0, "created ida (ida@example.com)\n", "")


@pytest.mark.parametrize(
    ("arguments", "password", "words"),
    [
        (("create", "TAKEN", "--email", "new@example.com"), PASSWORD, ["username", "already taken"]),
        (("create", "new", "--email", "TAKEN@example.com"), PASSWORD, ["email", "already taken"]),
        (("create", "hammer", "--email", "new@example.com"), "a hammer and nails", ["password", "username"]),
        (("create", "no way", "--email", "new@example.com"), PASSWORD, ["username", "3 to 32"]),
        (("create", "new", "--email", "new@example.com"), "", ["standard input is empty"]),
        (("create", "new", "--email", "new@example.com"), "x" * 5000, ["password", "12 to 128"]),
        (("password", "taken"), "short", ["password", "12 to 128"]),
        (("disable", "nobody"), None, ["no account nobody"]),
        (("delete", "nobody@example.com", "--yes"), None, ["no account nobody@example.com"]),
    ],
    ids=lambda value: None,
)
def test_an_error_is_reported_in_one_line(
    taken: Operator, arguments: tuple[str, ...], password: str | None, words: list[str]
) -> None:
    assert_fails(taken.run(*arguments, password=password), *words)


def test_a_closed_standard_input_is_reported(embedded_operator: Operator) -> None:
    arguments = f"{sys.executable} -m todo_service users"
    for command, word in (("password ada", "password"), ("delete ada", "--yes")):
        done = subprocess.run(  # noqa: S602  # only a shell closes a descriptor
            f"exec {arguments} {command} <&-",
            shell=True,
            env=environment(embedded_operator.service.folder),
            cwd=embedded_operator.service.folder,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        assert_fails(done, "standard input is closed", word)


def test_an_argument_that_is_not_utf_8_is_reported(embedded_operator: Operator) -> None:
    done = run_command(embedded_operator.service.folder, "users", "disable", "ad\udcff")

    assert done.returncode == 2
    assert "expected UTF-8" in done.stderr


def test_every_account_is_listed(operator: Operator) -> None:
    created = [operator.create(name) for name in ("lise", "emmy")]
    operator.ask("disable", "lise")

    listed = {user["username"]: user for user in operator.ask("list")}
    lines = operator.run("list").stdout.splitlines()

    assert listed["emmy"] == created[1]
    assert listed["lise"]["disabled"]
    assert lines[0].split() == ["USERNAME", "CREATED", "STATUS", "EMAIL"]
    assert ["lise", created[0]["created_at"][:10], "disabled", "lise@example.com"] in [line.split() for line in lines]
    assert len(lines) == len(listed) + 1


def test_a_disabled_account_is_locked_until_it_is_enabled(operator: Operator) -> None:
    user = operator.create("mary")
    session = operator.start_session("mary")
    key = operator.create_key(session.header)

    assert operator.ask("disable", "mary@example.com")["disabled"]

    wait_until_refused(operator.service, [session.header, key])
    wrong = operator.sign_in("mary", "not the password")
    locked = operator.sign_in("mary")
    assert (locked.status_code, operator.refresh(session.refresh_token).status_code) == (400, 400)
    assert [locked.json()[name] for name in ("type", "detail")] == [wrong.json()[name] for name in ("type", "detail")]
    assert operator.ask("sessions", "mary") == []

    enabled = operator.ask("enable", "mary")
    assert (enabled["id"], enabled["disabled"]) == (user["id"], False)
    operator.start_session("mary")
    wait_until_refused(operator.service, [session.header, key])
    assert operator.refresh(session.refresh_token).status_code == 400


def test_a_new_password_ends_all_sessions(operator: Operator) -> None:
    operator.create("rosa")
    sessions = [operator.start_session("rosa") for _ in range(2)]
    key = operator.create_key(sessions[0].header)

    operator.ask("password", "rosa", password="another horse battery")

    wait_until_refused(operator.service, [session.header for session in sessions])
    assert [operator.refresh(session.refresh_token).status_code for session in sessions] == [400, 400]
    assert operator.ask("sessions", "rosa") == []
    assert operator.sign_in("rosa").status_code == 400
    operator.start_session("rosa", "another horse battery")
    operator.assert_served(key)


def test_sessions_are_listed_and_ended(operator: Operator) -> None:
    operator.create("vera")
    sessions = [operator.start_session("vera") for _ in range(2)]
    key = operator.create_key(sessions[0].header)
    shown = operator.service.get("/v1/sessions", headers=sessions[0].header).json()["items"]

    listed = operator.ask("sessions", "vera")
    operator.assert_served(*(session.header for session in sessions))
    ended = operator.run("sessions", "vera", "--end")

    assert listed == [{name: value for name, value in session.items() if name != "current"} for session in shown]
    assert (ended.returncode, ended.stderr) == (0, "sessions ended: 2\n")
    assert [line.split()[0] for line in ended.stdout.splitlines()] == [session["id"] for session in listed]
    wait_until_refused(operator.service, [session.header for session in sessions])
    assert [operator.refresh(session.refresh_token).status_code for session in sessions] == [400, 400]
    assert operator.ask("sessions", "vera") == []
    operator.start_session("vera")
    operator.assert_served(key)


def test_a_deletion_is_confirmed_and_leaves_nothing(operator: Operator) -> None:
    operator.create("olga")
    session = operator.start_session("olga")
    key = operator.create_key(session.header)

    refused = operator.run("delete", "olga", password="n")
    assert refused.returncode == 1
    assert operator.sign_in("olga").status_code == 200
    confirmed = operator.run("delete", "olga", password="y")

    assert (confirmed.returncode, confirmed.stdout) == (0, "deleted olga (olga@example.com)\n")
    wait_until_refused(operator.service, [session.header, key])
    assert operator.sign_in("olga").status_code == operator.refresh(session.refresh_token).status_code == 400
    operator.create("olga")
    assert operator.ask("delete", "olga", "--yes")["username"] == "olga"


def test_an_invitation_admits_one_registration(tmp_path: Path, store_url: str) -> None:
    with running_operator(tmp_path, REGISTRATION="invite", STORE_URL=store_url, SECRET_KEY=SECRET_KEY) as operator:
        printed = operator.run("invite", "--days", "1")
        invited = operator.ask("invite")

        for name, text in (("anna", printed.stdout), ("bess", invited["invitation"])):
            assert operator.register(name).status_code == 403
            assert operator.register(name, invitation=text).status_code == 201
            assert operator.register(f"not-{name}", invitation=text).status_code == 403
    assert printed.stderr.startswith("valid for one registration until ")


@pytest.mark.anyio
@pytest.mark.parametrize(("arguments", "days"), [((), 7), (("--days", "1"), 1), (("--days", "365"), 365)])
async def test_an_invitation_expires(tmp_path: Path, store_url: str, arguments: tuple[str, ...], days: int) -> None:
    variables = {"REGISTRATION": "invite", "STORE_URL": store_url, "SECRET_KEY": SECRET_KEY}
    with running_operator(tmp_path, **variables) as operator:
        before = datetime.now(UTC) - timedelta(milliseconds=1)
        invited = operator.ask("invite", *arguments)
        expires_at = datetime.fromisoformat(invited["expires_at"])
        assert before <= expires_at - timedelta(days=days) <= datetime.now(UTC)

        assert operator.register("early", invitation=invited["invitation"]).status_code == 201

        late = operator.ask("invite", *arguments)["invitation"]
        store = create_store(store_url)
        await store.open(*MODELS)
        (invitation,) = [each async for each in store.scan(Invitation)]
        changes = {"expires_at": invitation.expires_at - timedelta(days=days)}
        await store.update(Invitation, Invitation.id == invitation.id, changes=changes)
        await store.close()
        assert operator.register("late", invitation=late).status_code == 403


@pytest.mark.parametrize("days", ["0", "366", "-1", "soon"])
def test_the_lifetime_of_an_invitation_is_bounded(embedded_operator: Operator, days: str) -> None:
    done = embedded_operator.run("invite", "--days", days)

    assert (done.returncode, done.stdout) == (2, "")
    assert "--days" in done.stderr


def test_an_unavailable_store_is_reported_in_one_line(tmp_path: Path) -> None:
    done = run_command(tmp_path, "users", "list", STORE_URL="mongodb://127.0.0.1:1/todo")

    assert_fails(done, "store", "MongoDB does not respond")
