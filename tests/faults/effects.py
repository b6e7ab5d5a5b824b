"""Scenarios that repeat requests which span two documents while the service is killed, and check the guarantees.

Each scenario records the responses it receives. At the end it retries every request that got no response, and appends
a line to `faults` for each violated guarantee.
"""

from __future__ import annotations

import abc
import asyncio
from typing import Any, Final
from urllib.parse import urlsplit

from tests.faults.writers import Client, Response
from tests.people import UserCreateFactory

IMPORTED: Final = 60
OPERATIONS: Final = 100
_PAUSE: Final = 0.25
_PATIENCE: Final = 60.0
_DUE: Final = "2030-01-01T09:00:00.000Z"


class Account:
    """An account with its own session.

    Args:
        client: The client of the service.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        user = UserCreateFactory.build()
        self.registration = {"username": user.username, "email": user.email, "password": user.password}
        self.password = user.password
        self.tokens: dict[str, str] = {}

    async def sign_up(self) -> None:
        """Register and sign in, while the service runs undisturbed."""
        made = await self.client.ask("POST", "/v1/users", json=self.registration)
        assert made is not None
        assert made.status == 201, made
        tokens = await self.sign_in(self.password)
        assert isinstance(tokens, dict)
        self.tokens = tokens

    async def sign_in(self, password: str) -> dict[str, str] | Response | None:
        """Return the tokens of a new session, or the response if there are none."""
        form = {"grant_type": "password", "username": self.registration["username"], "password": password}
        response = await self.client.ask("POST", "/v1/auth/token", data=form)
        if response is None or not response.good:
            return response
        tokens: dict[str, str] = response.body
        return tokens

    async def ask(
        self, method: str, path: str, token: str | None = None, key: str | None = None, **request: Any
    ) -> Response | None:
        """Send a request with the account's access token, or with another token."""
        headers = {"Authorization": f"Bearer {token or self.tokens['access_token']}"} | request.pop("headers", {})
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self.client.ask(method, path, headers=headers, **request)

    async def retry(self, method: str, path: str, **request: Any) -> Response:
        """Retry a request until the response is neither a 409 nor a 503."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                response = await self.ask(method, path, **request)
                if response is not None and response.status not in (409, 503):
                    return response
                await asyncio.sleep(_PAUSE)

    async def is_alive(self, tokens: dict[str, str]) -> bool:
        """Return whether any token of a session is valid."""
        used = await self.retry("GET", "/v1/users/me", token=tokens["access_token"])
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        renewed = await self.retry("POST", "/v1/auth/token", data=form)
        if renewed.good:
            tokens |= renewed.body
        return used.good or renewed.good


class Scenario(abc.ABC):
    """A guarantee, tested by attempts that run until the service is killed.

    Args:
        account: An account that no other scenario uses.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.faults: list[str] = []
        self.begun = 0
        self.interrupted = 0

    async def run(self) -> None:
        """Run one attempt after the other until one gets no response."""
        while True:
            self.begun += 1
            if not await self.attempt(f"{type(self).__name__}-{self.begun}"):
                self.interrupted += 1
                return

    @abc.abstractmethod
    async def attempt(self, name: str) -> bool:
        """Run one attempt. Return False if the service did not respond."""

    async def after_restart(self) -> None:  # noqa: B027  # most scenarios check nothing here
        """Check the state after the kill."""

    @abc.abstractmethod
    async def finish(self) -> None:
        """Retry the requests without a response, and check the guarantee."""

    def check(self, held: object, fault: str) -> None:
        if not held:
            self.faults.append(f"{type(self).__name__}: {fault}")


class ApiKeyOnce(Scenario):
    """An API key is created with an `Idempotency-Key`, deleted, and requested again."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self._secrets: dict[str, str] = {}
        self._deleted: dict[str, bool] = {}

    async def attempt(self, name: str) -> bool:
        self._deleted[name] = False
        created = await self._create(name)
        if created is None:
            return False
        self.check(created.status == 201, f"{name}: {created.status}")
        self._secrets[name] = created.body["secret"]
        # the key may have been deleted, whatever the response
        deleted = await self.account.ask("DELETE", f"/v1/api-keys/{created.body['id']}")
        if deleted is None:
            del self._deleted[name]
            return False
        self._deleted[name] = deleted.status == 204
        again = await self._create(name)
        self.check(again is None or again.status in (409, 410, 503), f"{name}: deleted, repeated: {again}")
        return again is not None

    async def _create(self, name: str) -> Response | None:
        return await self.account.ask("POST", "/v1/api-keys", key=name, json={"name": name, "scope": "read"})

    async def finish(self) -> None:
        alive = []
        for number in range(1, self.begun + 1):
            name = f"{type(self).__name__}-{number}"
            body = {"name": name, "scope": "read"}
            again = await self.account.retry("POST", "/v1/api-keys", key=name, json=body)
            allowed = (410,) if self._deleted.get(name) else (201,) if name in self._deleted else (201, 410)
            self.check(again.status in allowed, f"{name}: status {again.status}, expected {allowed}")
            if again.status == 201:
                alive.append(name)
                self.check(
                    self._secrets.get(name, again.body["secret"]) == again.body["secret"], f"{name}: two secrets"
                )
            elif name in self._secrets:
                used = await self.account.retry("GET", "/v1/todos", token=self._secrets[name])
                self.check(used.status == 401, f"{name}: its secret is good again")
        there = (await self.account.retry("GET", "/v1/api-keys", params={"limit": 200})).body["items"]
        self.check(sorted(item["name"] for item in there) == sorted(alive), "the list shows other keys")


class BatchOnce(Scenario):
    """A batch completes one recurring todo a hundred times."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self._todos: dict[str, str] = {}

    async def attempt(self, name: str) -> bool:
        body = {"title": name, "due_at": _DUE, "recurrence": "FREQ=DAILY"}
        created = await self.account.ask("POST", "/v1/todos", json=body)
        if created is None:
            return False
        self._todos[name] = created.body["id"]
        return await self.account.ask("POST", "/v1/todos/batch", key=name, json=self._batch(name)) is not None

    def _batch(self, name: str) -> dict[str, Any]:
        return {"operations": [{"op": "complete", "id": self._todos[name]}] * OPERATIONS}

    async def finish(self) -> None:
        for name, todo_id in self._todos.items():
            await self.account.retry("POST", "/v1/todos/batch", key=name, json=self._batch(name))
            todo = (await self.account.retry("GET", f"/v1/todos/{todo_id}")).body
            self.check(todo["version"] == OPERATIONS + 1, f"{name}: completed {todo['version'] - 1} times")


class ImportOnce(Scenario):
    """An import creates todos, and the list that contains them."""

    async def attempt(self, name: str) -> bool:
        return await self._send(name) is not None

    async def _send(self, name: str) -> Response | None:
        return await self.account.ask("POST", "/v1/todos/import", key=name, **self._file(name))

    def _file(self, name: str) -> dict[str, Any]:
        rows = "".join(f"{name} {number},{name}\n" for number in range(IMPORTED))
        return {"content": f"title,list\n{rows}", "headers": {"Content-Type": "text/csv"}}

    async def finish(self) -> None:
        names = [f"{type(self).__name__}-{number}" for number in range(1, self.begun + 1)]
        for name in names:
            report = await self.account.retry("POST", "/v1/todos/import", key=name, **self._file(name))
            self.check(report.status == 200 and report.body["imported"] == IMPORTED, f"{name}: {report}")
        lists: list[dict[str, Any]] = []
        page: dict[str, Any] = {"limit": 200}
        while True:
            found = (await self.account.retry("GET", "/v1/lists", params=page)).body
            lists += found["items"]
            if found["next_cursor"] is None:
                break
            page["cursor"] = found["next_cursor"]
        self.check(sorted(each["name"] for each in lists) == sorted(names), "lists are doubled or missing")
        summary = (await self.account.retry("GET", "/v1/todos/summary")).body
        counts = {each["list_id"]: each["count"] for each in summary["by_list"]}
        for each in lists:
            self.check(counts.get(each["id"]) == IMPORTED, f"{each['name']}: {counts.get(each['id'])} todos")


class CreateOnce(Scenario):
    """A todo, a list and an account are created once each, although SECRET_KEY changes at every start."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self._first: dict[str, Any] = {}

    def _requests(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        user = {"username": name.lower(), "email": f"{name}@example.com", "password": "correct horse battery"}
        return [("/v1/todos", {"title": name}), ("/v1/lists", {"name": name}), ("/v1/users", user)]

    async def attempt(self, name: str) -> bool:
        for path, body in self._requests(name):
            response = await self.account.ask("POST", path, key=name + path, json=body)
            if response is None:
                return False
            if response.good:
                self._first[name + path] = response.body
        return True

    async def finish(self) -> None:
        for number in range(1, self.begun + 1):
            name = f"{type(self).__name__}-{number}"
            for path, body in self._requests(name):
                again = await self.account.retry("POST", path, key=name + path, json=body)
                self.check(again.status == 201, f"{name}{path}: {again}")
                self.check(
                    self._first.get(name + path, again.body) == again.body, f"{name}{path}: two different responses"
                )
        for path, field in (("/v1/todos", "title"), ("/v1/lists", "name")):
            names, page = [], {"limit": "200"}
            while True:
                found = (await self.account.retry("GET", path, params=page)).body
                names += [item[field] for item in found["items"]]
                if found["next_cursor"] is None:
                    break
                page["cursor"] = found["next_cursor"]
            self.check(len(names) == len(set(names)) == self.begun, f"{path}: {len(names)} of {self.begun}")


class PasswordOnce(Scenario):
    """A password change, while others sign in with the old password."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self._others: list[tuple[str, dict[str, str]]] = []
        self._new: str | None = None

    async def attempt(self, name: str) -> bool:
        old, self._new = self.account.password, f"the password {name}"
        change = {"current_password": old, "new_password": self._new}
        racing = [asyncio.create_task(self.account.sign_in(old)) for _ in range(3)]
        changed = await self.account.ask("POST", "/v1/users/me/password", json=change)
        responses = await asyncio.gather(*racing)
        self._others += [(old, tokens) for tokens in responses if isinstance(tokens, dict)]
        if changed is None or changed.status == 503:
            return False
        self.check(changed.status == 204, f"{name}: {changed}")
        self.account.password, self._new = self._new, None
        return None not in responses

    async def after_restart(self) -> None:
        if self._new is not None:
            form = {"grant_type": "password", "username": self.account.registration["username"], "password": self._new}
            if (await self.account.retry("POST", "/v1/auth/token", data=form)).good:
                self.account.password = self._new
            self._new = None
        for password, tokens in self._others:
            if password != self.account.password:
                self.check(not await self.account.is_alive(tokens), f"a session lives that began under {password!r}")
        self._others = [other for other in self._others if other[0] == self.account.password]
        self.check(await self.account.is_alive(self.account.tokens), "the session of the change has ended")

    async def finish(self) -> None:
        await self.after_restart()


class BodyAfterTheEnd(Scenario):
    """A POST whose session ends between its head and its body."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self._refused: list[str] = []

    async def attempt(self, name: str) -> bool:
        tokens = await self.account.sign_in(self.account.password)
        if not isinstance(tokens, dict):
            return False
        try:
            return await self._send(name, tokens)
        except (ConnectionError, asyncio.IncompleteReadError):
            return False

    async def _send(self, name: str, tokens: dict[str, str]) -> bool:
        address = urlsplit(str(self.account.client.url))
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        body = f'{{"title": "{name}"}}'
        head = (
            f"POST /v1/todos HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {tokens['access_token']}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        )
        try:
            writer.write(head.encode())
            # the service asks for the body once it has verified the token
            if b" 100 " not in await reader.readuntil(b"\r\n\r\n"):
                return False
            ended = await self.account.ask("POST", "/v1/auth/revoke", data={"token": tokens["refresh_token"]})
            if ended is None or not ended.good:
                return ended is not None
            self._refused.append(name)
            writer.write(body.encode())
            response = await reader.readuntil(b"\r\n\r\n")
            self.check(b" 401 " in response.split(b"\r\n")[0], f"{name}: {response.split()[1]!r} after the end")
        finally:
            writer.close()
        return True

    async def finish(self) -> None:
        there = (await self.account.retry("GET", "/v1/todos", params={"limit": 200})).body["items"]
        for todo in there:
            self.check(todo["title"] not in self._refused, f"{todo['title']} was created after the end")


SCENARIOS: Final = (ApiKeyOnce, BatchOnce, ImportOnce, CreateOnce, PasswordOnce, BodyAfterTheEnd)
