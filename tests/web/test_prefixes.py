"""The service below a prefix: from the setting or from a trusted proxy, which removes it from the path or does not."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import pytest
import yaml
from litestar import Litestar

from tests.application import CHEAP_COST, build_variables, running_app
from tests.cost import resident_bytes
from tests.people import Person, UserCreateFactory
from tests.serving import PLAIN_HTTP, START_SECONDS, running_service
from todo_service.settings import load_settings
from todo_service.store.mongodb.store import RESOLVE_AFTER
from todo_service.url_prefix import RESERVED_SEGMENTS, parse_prefix

pytestmark = pytest.mark.anyio
ORIGIN = "http://testserver"
MIB = 2**20
HEADER = "X-Forwarded-Prefix"


class Proxy(NamedTuple):
    """How a proxy publishes the service below `/todo`.

    Attributes:
        setting: Whether the service has the prefix from `ROOT_PATH`, instead of the header.
        strips: Whether the proxy removes the prefix from the path.
    """

    setting: bool
    strips: bool


@pytest.fixture(
    params=[Proxy(True, True), Proxy(True, False), Proxy(False, True), Proxy(False, False)],
    ids=["setting, stripped", "setting", "header, stripped", "header"],
)
def proxy(request: pytest.FixtureRequest) -> Proxy:
    found: Proxy = request.param
    return found


@pytest.fixture(scope="module")
async def apps(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Litestar]]:
    """An application that takes the prefix from the header, and one that takes it from the setting."""
    async with AsyncExitStack() as stack:
        started = []
        for prefix in ({"TRUSTED_PROXIES": "127.0.0.1"}, {"ROOT_PATH": "/todo/"}):
            folder = tmp_path_factory.mktemp("prefixes")
            variables = build_variables(folder, f"lmdb://{folder / 'store'}") | {"ALLOWED_HOSTS": "testserver"}
            running = running_app(load_settings(variables | prefix), CHEAP_COST, RESOLVE_AFTER)
            started.append(await stack.enter_async_context(running))
        yield started


@pytest.fixture
def app(apps: list[Litestar], proxy: Proxy) -> Litestar:
    return apps[proxy.setting]


@pytest.fixture
async def client(app: Litestar, proxy: Proxy) -> AsyncIterator[httpx.AsyncClient]:
    """A client behind the proxy: as the service sees its requests."""
    headers = {} if proxy.setting else {HEADER: "/todo"}
    async with create_client(app, ORIGIN if proxy.strips else f"{ORIGIN}/todo", headers) as connection:
        yield connection


def create_client(
    app: Litestar, url: str, headers: dict[str, str] | None = None, address: str = "127.0.0.1"
) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, client=(address, 1))  # type: ignore[arg-type]  # httpx types scopes as plain dictionaries
    return httpx.AsyncClient(transport=transport, base_url=url, headers=headers)


async def follow(person: Person, proxy: Proxy, path: str) -> httpx.Response:
    """Request a path that a response contains, as the proxy would."""
    assert path.startswith("/todo/")
    return await person.get(ORIGIN + (path.removeprefix("/todo") if proxy.strips else path))


async def test_locations_and_links_have_the_prefix(ada: Person, proxy: Proxy) -> None:
    key = {"Idempotency-Key": "once"}
    user = UserCreateFactory.build()
    created = [
        await ada.post("/v1/todos", json={"title": "a"}, headers=key),
        await ada.post("/v1/todos", json={"title": "a"}, headers=key),
        await ada.post("/v1/todos", json={"title": "b"}),
        await ada.post("/v1/lists", json={"name": "a"}),
        await ada.post("/v1/lists", json={"name": "b"}),
        await ada.post("/v1/users", json={"username": user.username, "email": user.email, "password": user.password}),
    ]
    keys = await ada.post("/v1/api-keys", json={"name": "a", "scope": "read"})
    pages = [await ada.get(path, params={"limit": 1, "sort": "title"}) for path in ("/v1/todos",)]
    pages.append(await ada.get("/v1/lists", params={"limit": 1}))

    assert created[1].headers["idempotency-replayed"] == "true"
    for response in created:
        assert response.status_code == 201
        assert (await follow(ada, proxy, response.headers["location"])).status_code == 200
    assert keys.headers["location"] == f"/todo/v1/api-keys/{keys.json()['id']}"
    for page in pages:
        found = re.fullmatch(r'<(.*)>; rel="next"', page.headers["link"])
        assert found is not None
        following = await follow(ada, proxy, found[1])
        assert following.status_code == 200
        assert len(following.json()["items"]) == 1
        assert following.json()["items"] != page.json()["items"]


async def test_the_bodies_of_public_pages_lead_below_the_prefix(ada: Person, proxy: Proxy) -> None:
    service = (await ada.client.get("/")).json()
    page = await follow(ada, proxy, service["docs"])
    files = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    schema = await follow(ada, proxy, service["schema"])
    as_yaml = await ada.client.get("/schema/openapi.yaml")

    assert len(files) == 4
    for path in files:
        assert (await follow(ada, proxy, path)).status_code == 200
    assert (
        'new URL("../schema/openapi.json", document.currentScript.src)' in (await ada.client.get("/docs/init.js")).text
    )
    document = schema.json()
    assert [server["url"] for server in document["servers"]] == ["/todo"]
    assert yaml.safe_load(as_yaml.text) == document
    for scheme in document["components"]["securitySchemes"].values():
        for flow in scheme.get("flows", {}).values():
            assert flow["tokenUrl"].startswith("/todo/v1/")


async def test_problems_and_the_metrics_are_without_the_prefix(ada: Person) -> None:
    missing = "/v1/todos/65f1a2b3c4d5e6f708192a3b"
    problems = [
        await ada.get(missing),
        await ada.client.get("/v1/todos"),
        await ada.client.get("/nowhere"),
        await ada.client.get("/", headers={"Host": "another.example.com"}),
    ]
    metrics = await ada.client.get("/metrics")

    assert [problem.json()["instance"] for problem in problems] == [missing, "/v1/todos", "/nowhere", "/"]
    assert all(problem.headers["content-type"] == "application/problem+json" for problem in problems)
    assert 'route="/v1/todos/{todo_id}"' in metrics.text
    assert "/todo/" not in metrics.text


async def test_rules_for_paths_hold_below_the_prefix(ada: Person, proxy: Proxy) -> None:
    user = await ada.get("/v1/users/me")
    todos = await ada.get("/v1/todos")
    probe = await ada.client.get("/health/ready", headers={"Host": "10.0.0.7"})
    options = await ada.client.options("/v1/users/me")
    head = await ada.client.head("/docs")

    assert user.headers["cache-control"] == "private, no-cache"
    assert todos.headers["cache-control"] == "no-store"
    assert probe.status_code == head.status_code == 200
    assert options.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"
    for response in (user, todos, probe, options, head):
        assert response.headers.get_list("vary") == ([] if proxy.setting else [HEADER])


async def test_both_kinds_of_paths_work_at_the_same_time(app: Litestar, ada: Person, proxy: Proxy) -> None:
    headers = {"Authorization": f"Bearer {ada.access_token}"} | ({} if proxy.setting else {HEADER: "/todo"})
    async with create_client(app, ORIGIN, headers) as client:
        statuses = {
            path: (await client.get(path)).status_code
            for path in ("/v1/todos", "/todo/v1/todos", "/todo", "/todo/", "/", "/todo/todo/v1/todos", "/todos", "/tod")
        }

    assert statuses == {
        "/v1/todos": 200,
        "/todo/v1/todos": 200,
        "/todo": 200,
        "/todo/": 200,
        "/": 200,
        "/todo/todo/v1/todos": 404,
        "/todos": 404,
        "/tod": 404,
    }


async def get_docs_path(app: Litestar, *headers: str, address: str = "127.0.0.1") -> str:
    """Return the link to the docs page in the response to a request with these headers."""
    async with create_client(app, ORIGIN, address=address) as client:
        response = await client.get("/", headers=[(HEADER.encode(), value.encode()) for value in headers])
        path: str = response.json()["docs"]
        return path


@pytest.mark.parametrize("proxy", [Proxy(True, False)])
async def test_the_setting_takes_precedence_over_the_header(app: Litestar) -> None:
    assert await get_docs_path(app, "/other") == "/todo/docs"


HEADERS: Final = (
    (["/todo"], "/todo"),
    (["/todo/"], "/todo"),
    (["/a/b-c_d.e~f"], "/a/b-c_d.e~f"),
    (["/t%c3%b6do"], "/t%C3%B6do"),
    (["/%74odo"], "/todo"),
    (["/it's&a:b"], "/it%27s%26a%3Ab"),
    (["/" + "x" * 255], "/" + "x" * 255),
    ([""], ""),
    (["/"], ""),
    (["todo"], ""),
    (["//evil.example.com"], ""),
    (["/todo//x"], ""),
    (["https://evil.example.com/"], ""),
    (["/a/../b"], ""),
    (["/%2e%2e/b"], ""),
    (["/a%2Fb"], ""),
    (["/a%0d%0aX: y"], ""),
    (["/a%00"], ""),
    (["/a%FF"], ""),
    (["/a%zz"], ""),
    (["/a?b"], ""),
    (["/a#b"], ""),
    (["/a b"], ""),
    (["/a\\b"], ""),
    (['/a"><script>'], ""),
    (["/tödo"], ""),
    (["/a, /b"], ""),
    (["/a,/b"], ""),
    (["/a", "/b"], ""),
    (["/v1"], ""),
    (["/docs/todo"], ""),
    (["/" + "x" * 256], ""),
)
"""Values of the header, and the prefix that the service uses."""


@pytest.mark.parametrize("proxy", [Proxy(False, False)])
async def test_a_valid_header_sets_the_prefix_and_a_malformed_one_is_ignored(app: Litestar) -> None:
    for sent, prefix in HEADERS:
        assert await get_docs_path(app, *sent) == f"{prefix}/docs", sent


@pytest.mark.parametrize("proxy", [Proxy(False, False)])
async def test_the_header_of_an_untrusted_peer_is_ignored(app: Litestar) -> None:
    assert await get_docs_path(app, "/todo", address="127.0.0.2") == "/docs"
    assert await get_docs_path(app, "/todo", address="testclient") == "/docs"


@pytest.mark.parametrize("proxy", [Proxy(True, False)])
async def test_a_prefix_never_begins_like_a_path_of_the_service(app: Litestar) -> None:
    assert {route.path.split("/")[1] for route in app.routes} - {""} == set(RESERVED_SEGMENTS)
    for segment in RESERVED_SEGMENTS:
        with pytest.raises(ValueError, match="begins with a segment of the service's own paths"):
            parse_prefix(f"/{segment}/todo")


def test_an_encoded_prefix_is_found_in_decoded_paths(tmp_path: Path) -> None:
    with running_service(tmp_path, {"ROOT_PATH": "/my%20tödo".replace("ö", "%C3%B6")}) as service:
        found = [service.get(path).json()["docs"] for path in ("/", "/my%20t%C3%B6do/", "/%6dy%20t%c3%b6do")]

    assert found == ["/my%20t%C3%B6do/docs"] * 3


def test_many_prefixes_take_no_memory_and_stay_out_of_the_log(tmp_path: Path) -> None:
    with running_service(tmp_path, {"TRUSTED_PROXIES": "127.0.0.1", "LOG_FORMAT": "json"}) as service:
        with httpx.Client(base_url=service.url, verify=PLAIN_HTTP, timeout=START_SECONDS) as client:
            for path in ("/schema/openapi.json", "/schema/openapi.yaml"):
                client.get(path)
            before = resident_bytes(service.process.pid)
            for number in range(200):
                for path in ("/schema/openapi.json", "/schema/openapi.yaml", "/docs"):
                    response = client.get(f"/hidden{number}{path}", headers={HEADER: f"/hidden{number}"})
                    assert f"/hidden{number}".encode() in response.content
            after = resident_bytes(service.process.pid)
        service.stop()
        log = (tmp_path / "service.log").read_text()

    assert after < before + 16 * MIB
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {line["route"] for line in lines if "route" in line} >= {"/schema/openapi.json", "/docs"}
    assert "hidden" not in log
