"""A normal user, who sends typical requests at a steady rate and records their durations."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from tests.people import UserCreateFactory

REQUESTS_A_SECOND: Final = 8.0
"""Below the default rate limit of 600 a minute."""
_GIVE_UP_SECONDS: Final = 30


class NormalUser:
    """A user of a service, in a thread.

    Args:
        url: The address of the service.

    Attributes:
        seconds: The duration of each request.
        statuses: The statuses of the responses; `none` if the connection was closed.
    """

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=_GIVE_UP_SECONDS)
        self._headers: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self.username = ""
        self.seconds: list[float] = []
        self.statuses: Counter[str] = Counter()

    def join(self) -> str:
        """Register and sign in, and return the access token."""
        person = UserCreateFactory.build()
        self.username = person.username
        body = {"username": person.username, "email": person.email, "password": person.password}
        assert self.ask("POST", "/v1/users", body)[0] == 201
        form = urlencode({"grant_type": "password", "username": person.username, "password": person.password})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request("POST", "/v1/auth/token", form, headers)
        token: str = json.loads(self._connection.getresponse().read())["access_token"]
        self._headers = {"Authorization": f"Bearer {token}"}
        self._connection.close()  # reconnect at the next request: the service may be another process by then
        return token

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request, and return the status and the decoded body of the response."""
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({} if data is None else {"Content-Type": "application/json"})
        self._connection.request(method, path, data, headers)
        response = self._connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None

    def start(self) -> None:
        """Start to use the service."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the current request."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._connection.close()

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latencies, in seconds."""
        latencies = sorted(self.seconds)
        return latencies[min(len(latencies) - 1, int(len(latencies) * percent / 100))]

    def _live(self) -> None:
        requests = self._requests()
        response: Any = None
        while not self._stop.wait(1 / REQUESTS_A_SECOND):
            method, path, body = requests.send(response)
            begun = time.monotonic()
            try:
                status, response = self.ask(method, path, body)
            except (OSError, http.client.HTTPException):
                self._connection.close()
                status, response = 0, None
            self.seconds.append(time.monotonic() - begun)
            self.statuses[str(status or "none")] += 1

    def _requests(self) -> Any:
        """Yield typical requests. Each receives the response to the one before."""

        def generate() -> Iterator[tuple[str, str, Any]]:
            since = ""
            for number in cycle(range(1000)):
                created: Any = yield "POST", "/v1/todos", {"title": f"Water plant {number}", "tags": ["home"]}
                path = f"/v1/todos/{created['id']}" if created and "id" in created else "/v1/todos"
                yield "GET", "/v1/todos?limit=20&sort=-created_at", None
                yield "GET", "/v1/todos?q=water&limit=20", None
                if path != "/v1/todos":
                    yield "PATCH", path, {"priority": "high"}
                    yield "POST", f"{path}/complete", None
                changes: Any = yield "GET", f"/v1/todos/changes{since}", None
                since = f"?since={changes['next']}" if changes and changes.get("next") else since
                yield "GET", "/v1/todos/summary", None
                if path != "/v1/todos":
                    yield "DELETE", path, None

        return generate()
