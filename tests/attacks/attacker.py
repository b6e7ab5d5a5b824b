"""A client that sends hostile requests to a real service and measures their cost."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx

from tests.attacks.locations import Location, Request
from tests.attacks.shapes import AnyShape
from tests.cost import ATTEMPTS, FROZEN_SECONDS, cost, find_growth, probing
from tests.people import UserCreateFactory
from tests.serving import Service, running_service

GIVE_UP_SECONDS: Final = 300
"""An import of 64 MiB may take minutes next to other work."""
STOP_SECONDS: Final = 15.0
"""The CPU time above which a request fails, like one that freezes the service. It is then not sent at ten times the
size, which might cost a hundred times as much."""
PERCENTAGES: Final = (1, 10, 100)
_SPENT_TOKEN: Final = 401
_RATE_LIMITED: Final = 429


class Attacker:
    """A client with an account that sends expensive requests.

    Args:
        service: The service, a single process.

    Attributes:
        service: The service.
        requests: The number of completed requests.
        ids: The ids of the account's documents, by path parameter.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.requests = 0
        self.ids: dict[str, str] = {}
        self._connection = self._connect()
        self._person = UserCreateFactory.build()
        self._authorization = ""

    def join(self) -> None:
        """Register, sign in, and create a document of each kind."""
        person = {"username": self._person.username, "email": self._person.email, "password": self._person.password}
        self.ask("POST", "/v1/users", person)
        self.sign_in()
        self.ids = {
            "todo_id": self.ask("POST", "/v1/todos", {"title": "Water the plants"})["id"],
            "list_id": self.ask("POST", "/v1/lists", {"name": "Garden"})["id"],
            "key_id": self.ask("POST", "/v1/api-keys", {"name": "script", "scope": "read"})["id"],
            "session_id": "65f1a2b3c4d5e6f708192a3b",
        }

    def sign_in(self) -> None:
        """Start a session."""
        form = {"grant_type": "password", "username": self._person.username, "password": self._person.password}
        headers: dict[str, str | bytes] = {"Content-Type": "application/x-www-form-urlencoded"}
        status, body = self._exchange(Request("POST", "/v1/auth/token", headers, urlencode(form).encode()))
        assert status == 200, body
        self._authorization = f"Bearer {json.loads(body)['access_token']}"

    def ask(self, method: str, target: str, body: Any = None) -> Any:
        """Send a request that must succeed, and return the decoded body of the response."""
        headers: dict[str, str | bytes] = {"Content-Type": "application/json"}
        status, response = self._exchange(Request(method, target, headers, json.dumps(body).encode()))
        assert status < 300, response
        return json.loads(response)

    def send(self, request: Request) -> int:
        """Send a request and return the status of the response, or 0 if the service closes the connection without one.

        Raises:
            TimeoutError: The service sent nothing for `GIVE_UP_SECONDS`.
        """
        status, _ = self._exchange(request)
        if status == _SPENT_TOKEN and self._authorization:
            self.sign_in()
            status, _ = self._exchange(request)
        self.requests += 1
        if status == _RATE_LIMITED:
            self._connection.close()  # the service pauses before it reads the connection again
        return status

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        address = urlsplit(self.service.url)
        return http.client.HTTPConnection(str(address.hostname), address.port, timeout=GIVE_UP_SECONDS)

    def _exchange(self, request: Request) -> tuple[int, bytes]:
        """Send a request. If the service has closed the connection in the meantime, use a new one."""
        headers = request.headers | ({"Authorization": self._authorization} if self._authorization else {})
        for reused in (self._connection.sock is not None, False):
            with suppress(BrokenPipeError, ConnectionResetError):  # the service may respond before it has read the body
                self._connection.request(request.method, request.target, request.body, headers)
            try:
                response = self._connection.getresponse()
                if response.getheader("Content-Type") == "text/event-stream" and response.status == 200:
                    self._connection.close()  # it does not end
                    return response.status, b""
                return response.status, response.read()
            except (http.client.HTTPException, ConnectionError):
                self._connection.close()
                if not reused:
                    break
        return 0, b""


def find_faults(attacker: Attacker, location: Location, shape: AnyShape, limit: int) -> list[str]:
    """Send a shape to a location at 1, 10 and 100 % of its limit, and return the faults.

    A request that only took too long is sent again, and is a fault only if that takes too long as well. Otherwise,
    other work of the service, such as a periodic job, could be attributed to the request.
    """
    for _ in range(ATTEMPTS):
        found = _try(attacker, location, shape, limit)
        if not found or any(fault.startswith("status") for fault in found):
            break
    return [f"{location.title}, {shape.name}: {fault}" for fault in found]


def _try(attacker: Attacker, location: Location, shape: AnyShape, limit: int) -> list[str]:
    pid = attacker.service.process.pid
    costs: dict[int, float] = {}
    found: list[str] = []
    for percentage in PERCENTAGES:
        size = limit * percentage // 100
        request = location.request(shape, size)
        statuses: list[int] = []
        with probing(attacker.service.url, pid) as probe:
            costs[size] = cost(pid, lambda request=request, to=statuses: to.append(attacker.send(request)))  # type: ignore[misc]  # a lambda has no types
        (status,) = statuses
        if status >= 500 or status == 0:
            found.append(f"status {status} at {size} bytes")
        if probe.frozen > FROZEN_SECONDS:
            found.append(f"frozen {probe.frozen:.2f} s at {size} bytes")
        if percentage < 100 and (costs[size] > STOP_SECONDS or probe.frozen > FROZEN_SECONDS):
            return [*found, f"not sent larger: {costs[size]:.2f} s of processor time at {size} bytes"]
    if growth := find_growth(costs):
        found.append(growth)
    return found


@contextmanager
def attacked(folder: Path, **variables: str) -> Iterator[Attacker]:
    """Run a service with an attacker until the block ends. A service that hangs by then is killed."""
    settings = {"LOG_LEVEL": "warning", "ACCESS_TOKEN_SECONDS": "86400"} | variables
    with running_service(folder, settings) as service:
        attacker = Attacker(service)
        attacker.join()
        yield attacker
        attacker.close()
        kill_if_hung(service)


def kill_if_hung(service: Service) -> None:
    """Kill a service that does not respond, because it would not stop on SIGTERM either."""
    try:
        httpx.get(f"{service.url}/health/live", timeout=GIVE_UP_SECONDS)
    except httpx.TransportError:
        service.process.kill()
        service.process.wait()
