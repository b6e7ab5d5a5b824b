"""Accounts that prepare data for the benchmarks over HTTP, and check a response of each kind."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self

import httpx

PASSWORD: Final = "correct horse battery staple"
_MAX_IN_FLIGHT: Final = 8
_PART_BYTES: Final = 2**18


class UnexpectedResponse(Exception):
    """A service sent another response than expected."""


class Account:
    """A signed-in account.

    Args:
        url: The URL of the service.
        username: The name to register.
    """

    def __init__(self, url: str, username: str) -> None:
        self.username = username
        self._client = httpx.Client(base_url=url, timeout=60)
        registration = {"username": username, "email": f"{username}@example.com", "password": PASSWORD}
        self.ask("POST", "/v1/users", 201, json=registration)
        form = {"grant_type": "password", "username": username, "password": PASSWORD}
        token = self.ask("POST", "/v1/auth/token", 200, data=form).json()["access_token"]
        self.authorization = {"Authorization": f"Bearer {token}"}
        self._client.headers.update(self.authorization)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._client.close()

    def ask(self, method: str, path: str, status: int, **request: Any) -> httpx.Response:
        """Send a request and return the response.

        Raises:
            UnexpectedResponse: The response has another status.
        """
        response = self._client.request(method, path, **request)
        if response.status_code != status:
            raise UnexpectedResponse(
                f"{method} {path} returned {response.status_code}, not {status}\n{response.text[:500]}"
            )
        return response

    def measure_size(self, path: str) -> int:
        """Read a whole response, and return the size of its body in bytes."""
        with self._client.stream("GET", path) as response:
            if response.status_code != 200:
                raise UnexpectedResponse(f"GET {path} returned {response.status_code}, not 200")
            return sum(len(part) for part in response.iter_raw(_PART_BYTES))

    def create(self, todos: Iterable[dict[str, Any]]) -> list[str]:
        """Create todos, several at a time, and return their ids in the given order."""
        with ThreadPoolExecutor(_MAX_IN_FLIGHT) as threads:
            responses = threads.map(lambda todo: self.ask("POST", "/v1/todos", 201, json=todo), todos)
            return [response.json()["id"] for response in responses]
