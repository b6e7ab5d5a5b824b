"""Tests of the service behind each proxy, once with the prefix stripped and once with it kept.

They try README's calls, entity tags, links, transfers and the docs page.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from httpx_sse import EventSource
from prometheus_client.parser import text_string_to_metric_families
from selenium.webdriver import Chrome

from tests.chromium import running_chromium
from tests.people import UserCreateFactory
from tests.proxies.programs import PROGRAMS, Program, running_proxy
from tests.sdk.test_docs_page import Page
from tests.serving import PLAIN_HTTP, START_SECONDS, Service, running_service
from tests.test_readme import README, read_commands
from tests.waiting import wait_until

CLIENT: Final = "127.0.0.2"
LARGE: Final = 3_000
"""The number of todos with the longest description: 30 MB, more than a proxy and the sockets buffer."""


class Published(NamedTuple):
    """A service behind a proxy.

    Attributes:
        service: The service.
        program: The proxy.
        url: The URL below which the proxy publishes the service.
    """

    service: Service
    program: Program
    url: str

    @property
    def origin(self) -> str:
        """The URL without the prefix, for the paths in responses."""
        return self.url.removesuffix("/todo")

    def follow(self, client: httpx.Client, path: str) -> httpx.Response:
        """Request a path from a response."""
        assert path.startswith("/todo/")
        return client.get(self.origin + path)


@pytest.fixture(
    scope="module",
    params=[(program, keep) for program in PROGRAMS for keep in (False, True)],
    ids=lambda param: f"{param[0].command}{', prefix kept' if param[1] else ''}",
)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    program, keep_prefix = request.param
    folder = tmp_path_factory.mktemp("proxies", numbered=True)
    variables = {"TRUSTED_PROXIES": "127.0.0.1", "ALLOWED_HOSTS": "127.0.0.1"}
    if keep_prefix:
        variables["ROOT_PATH"] = "/todo"
    (folder / "proxy").mkdir()
    with (
        running_service(folder, variables) as service,
        running_proxy(program, service, folder / "proxy", keep_prefix=keep_prefix) as url,
    ):
        yield Published(service, program, url)


@pytest.fixture
def client(published: Published) -> Iterator[httpx.Client]:
    """A client with an account, which accepts compressed responses."""
    transport = httpx.HTTPTransport(local_address=CLIENT, verify=PLAIN_HTTP)
    headers = {"Accept-Encoding": "gzip"}
    with httpx.Client(base_url=published.url, transport=transport, headers=headers, timeout=START_SECONDS) as client:
        user = UserCreateFactory.build()
        body = {"username": user.username, "email": user.email, "password": user.password}
        assert client.post("/v1/users", json=body).headers["location"] == "/todo/v1/users/me"
        form = {"grant_type": "password", "username": user.username, "password": user.password}
        client.headers["Authorization"] = f"Bearer {client.post('/v1/auth/token', data=form).json()['access_token']}"
        yield client


def test_the_calls_of_the_readme_work(published: Published) -> None:
    script = read_commands(README, "Your first todo")
    script = script.replace("http://127.0.0.1:8000$TODO", f"{published.origin}$TODO")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace("http://127.0.0.1:8000", published.url)],  # noqa: S607  # the page is written for a shell
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=True,
    )

    registered, listed, changed, completed = re.findall(r"\{(?:[^{}]|\{[^{}]*\})*\}", done.stdout)
    assert '"username":"ada"' in registered
    assert '"title":"Water the plants"' in listed
    assert '"title":"Water all the plants"' in changed
    assert '"completed":true' in completed
    assert done.stdout.endswith("204\n")


def test_an_entity_tag_from_a_compressed_response_is_accepted(published: Published, client: httpx.Client) -> None:
    created = client.post("/v1/todos", json={"title": "a", "description": "b " * 2000})
    path = f"/v1/todos/{created.json()['id']}"
    read = client.get(path)
    tag = read.headers["etag"]

    unchanged = client.get(path, headers={"If-None-Match": tag})
    changed = client.patch(path, json={"title": "c"}, headers={"If-Match": tag})
    stale = client.patch(path, json={"title": "d"}, headers={"If-Match": tag})

    assert read.headers["content-encoding"] == "gzip"
    assert tag in published.program.etags
    assert [response.status_code for response in (unchanged, changed, stale)] == [304, 200, 412]
    assert changed.json()["title"] == "c"


def test_locations_and_links_lead_back_through_the_proxy(published: Published, client: httpx.Client) -> None:
    created = [client.post("/v1/todos", json={"title": title}) for title in "ab"]
    page = client.get("/v1/todos", params={"limit": 1, "sort": "title"})
    link = re.fullmatch(r'<(.*)>; rel="next"', page.headers["link"])
    assert link is not None

    for response in created:
        assert published.follow(client, response.headers["location"]).json()["id"] == response.json()["id"]
    assert [todo["title"] for todo in published.follow(client, link[1]).json()["items"]] == ["b"]
    service = client.get("/").json()
    assert published.follow(client, service["docs"]).status_code == 200
    document = published.follow(client, service["schema"]).json()
    assert published.follow(client, f"{document['servers'][0]['url']}/health/ready").status_code == 200


def test_a_problem_passes_unchanged(client: httpx.Client) -> None:
    response = client.get("/v1/todos/nonsense", headers={"X-Request-ID": "mine"})

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["instance"] == "/v1/todos/nonsense"
    assert response.json()["request_id"] == response.headers["x-request-id"] == "mine"


def test_the_address_of_the_client_is_known_and_cannot_be_forged(published: Published, client: httpx.Client) -> None:
    forged = {"X-Forwarded-For": "203.0.113.1", "Forwarded": "for=203.0.113.1", "X-Forwarded-Prefix": "/forged"}
    user = UserCreateFactory.build()
    body = {"username": user.username, "email": user.email, "password": user.password}

    location = client.post("/v1/users", json=body, headers=forged).headers["location"]
    form = {"grant_type": "password", "username": user.username, "password": user.password}
    token = client.post("/v1/auth/token", data=form, headers=forged).json()["access_token"]
    sessions = client.get("/v1/sessions", headers={"Authorization": f"Bearer {token}"}).json()

    assert location == "/todo/v1/users/me"
    assert [session["address"] for session in sessions["items"]] == [CLIENT]


def count_exports(published: Published) -> float:
    """Return the number of exports that have ended."""
    families = text_string_to_metric_families(published.service.get("/metrics").text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "todo_service_http_requests_total" and sample.labels["route"] == "/v1/todos/export"
    )


def test_large_files_are_imported_and_streamed_back(published: Published, client: httpx.Client) -> None:
    todos = [{"title": f"todo {number}", "description": "x" * 10_000} for number in range(LARGE)]
    imported = client.post("/v1/todos/import", content=json.dumps(todos), headers={"Content-Type": "application/json"})
    before = count_exports(published)

    with client.stream("GET", "/v1/todos/export", headers={"Accept-Encoding": "identity"}) as response:
        chunks = response.iter_raw()
        first = next(chunks)
        during = count_exports(published)
        plain = b"".join([first, *chunks])
    with client.stream("GET", "/v1/todos/export") as response:
        compressed = response.read()
        encoding = response.headers["content-encoding"]
    complete = count_exports(published)
    with client.stream("GET", "/v1/todos/export", headers={"Accept-Encoding": "identity"}) as response:
        next(response.iter_raw())

    async def ended() -> bool:
        return count_exports(published) == complete + 1

    asyncio.run(wait_until(ended))  # the proxy disconnects from the service when its client has gone
    assert imported.json()["imported"] == LARGE
    assert (before, during, complete) == (0, 0, 2)
    assert encoding == "gzip"
    assert json.loads(plain)["todos"] == json.loads(compressed)["todos"]
    assert len(json.loads(plain)["todos"]) == LARGE


def test_events_arrive_while_the_stream_is_open(published: Published, client: httpx.Client) -> None:
    with client.stream("GET", "/v1/events") as response:
        events = EventSource(response).iter_sse()
        first = next(events).event
        created = [client.post("/v1/todos", json={"title": title}).json() for title in "ab"]
        received = [next(events) for _ in created]

    def write_and_check() -> bool:
        client.post("/v1/todos", json={"title": "c"})  # Apache notices a client that has gone when it sends something
        return "todo_service_event_streams 0.0" in published.service.get("/metrics").text

    async def ended() -> bool:
        return write_and_check()

    asyncio.run(wait_until(ended))
    assert first == "ready"
    assert [(event.event, event.json()) for event in received] == [("todo", todo) for todo in created]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with running_chromium() as browser:
        yield browser


def read_responses(browser: Chrome) -> dict[str, int]:
    """Return the status of each response that the browser has received since the last call, by its path."""
    messages: list[dict[str, Any]] = [
        json.loads(entry["message"])["message"]
        for entry in browser.get_log("performance")  # type: ignore[no-untyped-call]  # selenium has no annotation
    ]
    assert [message for message in messages if message["method"] == "Network.loadingFailed"] == []
    received = [
        message["params"]["response"] for message in messages if message["method"] == "Network.responseReceived"
    ]
    return {
        urlsplit(response["url"]).path: response["status"]
        for response in received
        if urlsplit(response["url"]).scheme == "http"
    }


def test_the_docs_page_loads_and_creates_a_todo(published: Published, client: httpx.Client, browser: Chrome) -> None:
    page = Page(browser, published.url)
    read_responses(browser)
    token = client.headers["Authorization"].removeprefix("Bearer ")
    operation = "#operations-Todos-createTodo"

    page.open("#/Todos/createTodo")
    browser.execute_script("window.ui.preauthorizeApiKey('bearer', arguments[0])", token)
    page.click(f"{operation} .try-out__btn")
    page.click(f"{operation} .execute")
    response = page.see(f"{operation} .live-responses-table .response").text

    assert response.split()[0] == "201"
    assert "location: /todo/v1/todos/" in response
    assert read_responses(browser) == {
        "/todo/docs": 200,
        "/todo/docs/favicon-32x32.png": 200,
        "/todo/docs/init.js": 200,
        "/todo/docs/swagger-ui-bundle.js": 200,
        "/todo/docs/swagger-ui.css": 200,
        "/todo/schema/openapi.json": 200,
        "/todo/v1/todos": 201,
    }
    complaints = browser.get_log("browser")  # type: ignore[no-untyped-call]  # as above
    assert [entry for entry in complaints if entry["level"] != "DEBUG"] == []
