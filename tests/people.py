"""Users of the service, and the data that they send."""

from __future__ import annotations

import copy
import itertools
from typing import Any, ClassVar
from urllib.parse import unquote

import httpx
from odmantic import ObjectId
from polyfactory.factories.msgspec_factory import MsgspecFactory

from todo_service.accounts.dto import UserCreate
from todo_service.todos.dto import StepCreate, TodoCreate
from todo_service.todos.reminder_types import ReminderCreate
from todo_service.web.oauth import is_oauth_endpoint

_numbers = itertools.count()


class UserCreateFactory(MsgspecFactory[UserCreate]):
    """Builds registrations, each with its own username and email."""

    __random_seed__ = 1

    @classmethod
    def username(cls) -> str:
        return f"person-{next(_numbers)}"

    @classmethod
    def email(cls) -> str:
        return f"person-{next(_numbers)}@example.com"

    @classmethod
    def password(cls) -> str:
        """Without letters, so that it never contains the username."""
        return cls.__faker__.password(length=20, upper_case=False, lower_case=False)


class TodoCreateFactory(MsgspecFactory[TodoCreate]):
    """Builds new todos with typical texts."""

    __random_seed__ = 1
    list_id = None
    due_at = None
    due_on = None
    start_at = None
    start_on = None
    time_zone = None
    recurrence = None
    recurrence_except = ["2027-12-25"]
    reminders: ClassVar[list[ReminderCreate]] = []
    position = 1.0

    @classmethod
    def uid(cls) -> str:
        return f"todo-{next(_numbers)}@example.com"

    @classmethod
    def steps(cls) -> list[StepCreate]:
        return [StepCreate(title=word, id=f"{index:024x}") for index, word in enumerate(cls.__faker__.words(2))]

    @classmethod
    def title(cls) -> str:
        return cls.__faker__.sentence(nb_words=4)

    @classmethod
    def description(cls) -> str:
        return cls.__faker__.paragraph()

    @classmethod
    def tags(cls) -> list[str]:
        return list(cls.__faker__.words(3, unique=True))


class Person:
    """A signed-in user of the service.

    Args:
        client: The client of the service.
        registration: The user's registration.
    """

    def __init__(self, client: httpx.AsyncClient, registration: UserCreate) -> None:
        self.client = client
        self.username = registration.username
        self.email = registration.email
        self.password = registration.password
        self.access_token = ""
        self.refresh_token = ""

    def through(self, client: httpx.AsyncClient) -> Person:
        """Return the same user with another client."""
        person = copy.copy(self)
        person.client = client
        return person

    @classmethod
    async def register(cls, client: httpx.AsyncClient, **fields: str) -> Person:
        """Register a new user, with these fields of the registration, and sign in."""
        person = cls(client, UserCreateFactory.build(**fields))
        body = {"username": person.username, "email": person.email, "password": person.password} | fields
        response = await client.post("/v1/users", json=body)
        assert response.status_code == 201, response.text
        await person.sign_in()
        return person

    async def sign_in(self) -> None:
        """Start a session and store its tokens."""
        response = await self.grant(grant_type="password", username=self.username, password=self.password)
        assert response.status_code == 200, response.text
        self.access_token = response.json()["access_token"]
        self.refresh_token = response.json()["refresh_token"]

    async def grant(self, **form: str) -> httpx.Response:
        """Call the token endpoint."""
        return await self.client.post("/v1/auth/token", data=form)

    async def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, **request: Any
    ) -> httpx.Response:
        """Send a request as this user."""
        authorization = {"Authorization": f"Bearer {self.access_token}"}
        return await self.client.request(method, path, headers=authorization | (headers or {}), **request)

    async def get(self, path: str, **request: Any) -> httpx.Response:
        return await self.ask("GET", path, **request)

    async def post(self, path: str, **request: Any) -> httpx.Response:
        return await self.ask("POST", path, **request)

    async def patch(self, path: str, **request: Any) -> httpx.Response:
        return await self.ask("PATCH", path, **request)

    async def delete(self, path: str, **request: Any) -> httpx.Response:
        return await self.ask("DELETE", path, **request)

    async def account_id(self) -> ObjectId:
        """Return the id of the account."""
        return ObjectId((await self.get("/v1/users/me")).json()["id"])

    async def todo(self, **fields: Any) -> dict[str, Any]:
        """Create a todo and return it."""
        response = await self.post("/v1/todos", json={"title": "Water the plants"} | fields)
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json()
        return created

    async def titles(self, **parameters: Any) -> list[str]:
        """Return the titles on the first page of a list."""
        response = await self.get("/v1/todos", params=parameters)
        assert response.status_code == 200, response.text
        return [todo["title"] for todo in response.json()["items"]]


def build_report(**numbers: Any) -> dict[str, Any]:
    """Return the report of an import. What is not given is 0 or empty."""
    nothing = {
        "imported": 0,
        "updated": 0,
        "unchanged": 0,
        "lists_created": 0,
        "rejected_count": 0,
        "warnings_count": 0,
    }
    return nothing | {"rejected": [], "warnings": []} | numbers


def assert_problem(response: httpx.Response, status: int, *pointers: str) -> dict[str, Any]:
    """Assert that a response is a problem with this status, and with errors at these pointers or parameters."""
    assert response.status_code == status, response.text
    oauth = is_oauth_endpoint(response.request.url.path)
    assert response.headers["content-type"] == f"application/{'json' if oauth else 'problem+json'}"
    problem: dict[str, Any] = response.json()
    assert problem.get("error_description") == (problem["detail"] if oauth else None)
    assert ("error" in problem) is oauth
    assert problem["status"] == status
    assert problem["type"]
    assert problem["title"]
    assert problem["detail"]
    assert unquote(problem["instance"]) == response.request.url.path
    assert problem["request_id"] == response.headers["x-request-id"]
    if pointers:
        assert [error.get("pointer", error.get("parameter")) for error in problem["errors"]] == list(pointers)
    return problem
