"""Rate limits."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import limits
import pytest
from litestar import Litestar

from tests.application import CHEAP_COST, running_app
from tests.mongod import fresh_database, running_mongod
from tests.people import Person, assert_problem
from tests.serving import SECRET_KEY
from todo_service.rate_limits.counters import SharedCounter
from todo_service.settings import Settings, load_settings
from todo_service.store.mongodb.counters import create_counter_storage
from todo_service.store.mongodb.store import RESOLVE_AFTER

pytestmark = pytest.mark.anyio
WRONG = "a wrong password"


def load_limits(folder: Path, store_url: str) -> Settings:
    """Return settings with windows so long that they rarely end during a test."""
    limited = {"RATE_LIMIT_API": "20/month", "RATE_LIMIT_AUTH": "4/month"}
    return load_settings({"DATA_DIR": str(folder), "STORE_URL": store_url} | limited)


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    return load_limits(tmp_path, store_url)


@pytest.fixture(scope="module", params=["embedded", "mongodb"])
async def common_app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Litestar]:
    """The application of tests whose clients have addresses of their own."""
    folder = tmp_path_factory.mktemp("common")
    with ExitStack() as stack:
        url = f"lmdb://{folder / 'store'}"
        if request.param == "mongodb":
            uri, client = request.getfixturevalue("mongodb_uri"), request.getfixturevalue("mongodb_client")
            url = stack.enter_context(fresh_database(uri, client))
        async with running_app(load_limits(folder, url), CHEAP_COST, RESOLVE_AFTER) as application:
            yield application


@pytest.fixture(scope="module")
def addresses() -> Iterator[str]:
    """Addresses that no other test uses."""
    return (f"198.51.100.{number}" for number in range(256))


async def test_response_headers_describe_the_limit(ada: Person) -> None:
    first = await ada.get("/v1/todos")
    second = await ada.get("/v1/todos")

    assert first.headers["ratelimit-policy"] == '"api";q=20;w=2592000'
    assert first.headers["ratelimit"].startswith('"api";r=19;t=')
    assert second.headers["ratelimit"].startswith('"api";r=18;t=')


async def test_exceeding_the_limit_affects_only_one_account(ada: Person, bob: Person) -> None:
    responses = [await ada.get("/v1/todos") for _ in range(21)]

    assert [response.status_code for response in responses] == [200] * 20 + [429]
    assert_problem(responses[-1], 429)
    assert 1 <= int(responses[-1].headers["retry-after"]) <= 2_592_000
    assert responses[-1].headers["ratelimit"].startswith('"api";r=0;t=')
    assert (await bob.get("/v1/todos")).status_code == 200
    assert (await ada.get("/health/live")).status_code == 200


async def test_invalid_tokens_count_against_the_address(client: httpx.AsyncClient) -> None:
    responses = [await client.get("/v1/todos", headers={"Authorization": "Bearer x"}) for _ in range(21)]

    assert [response.status_code for response in responses] == [401] * 20 + [429]


async def test_wrong_passwords_are_limited_but_refreshing_is_not(ada: Person) -> None:
    guesses = [await ada.grant(grant_type="password", username=ada.username, password="wrong") for _ in range(5)]

    assert [response.status_code for response in guesses] == [400, 400, 400, 400, 429]
    assert guesses[3].headers["ratelimit"].startswith('"auth-address";r=16;t=')
    assert guesses[4].headers["ratelimit"].startswith('"auth";r=0;t=')
    assert guesses[4].headers["ratelimit-policy"] == '"auth";q=4;w=2592000'
    right = await ada.grant(grant_type="password", username=ada.username, password=ada.password)
    assert_problem(right, 429)
    renewed = await ada.grant(grant_type="refresh_token", refresh_token=ada.refresh_token)
    assert renewed.status_code == 200


async def test_concurrent_guesses_do_not_exceed_the_limit(ada: Person) -> None:
    guesses = await asyncio.gather(
        *(ada.grant(grant_type="password", username=ada.username, password=f"wrong {n}") for n in range(12))
    )

    assert sorted(response.status_code for response in guesses) == [400] * 4 + [429] * 8


async def test_correct_passwords_are_refunded(ada: Person) -> None:
    for _ in range(6):
        response = await ada.grant(grant_type="password", username=ada.username, password=ada.password)
        assert response.status_code == 200
        assert response.headers["ratelimit"].startswith('"auth-address";r=20;t=')


async def test_ipv6_network_counts_as_one_address(app: Litestar) -> None:
    statuses = []
    for n in range(5):
        async with connection_from(app, f"2001:db8::{n:x}:1") as client:
            statuses.append((await guess(client, "nobody")).status_code)

    assert statuses == [400] * 4 + [429]


@pytest.mark.parametrize("form", ["198.51.100.{}", "::ffff:198.51.100.{}"])
async def test_each_ipv4_client_counts_separately_in_every_notation(app: Litestar, form: str) -> None:
    for n in range(2):
        for _ in range(20):
            async with connection_from(app, form.format(n)) as client:
                assert (await client.get("/v1/todos")).status_code == 401
        async with connection_from(app, f"198.51.100.{n}") as client:
            assert_problem(await client.get("/v1/todos"), 429)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nowhere"),
        ("POST", "/nowhere"),
        ("PUT", "/v1/todos"),
        ("OPTIONS", "/v1/todos"),
        ("OPTIONS", "/nowhere"),
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/docs/nothing.js"),
        ("GET", "/schema/openapi.json"),
        ("GET", "/metrics"),
        ("POST", "/v1/users"),
        ("POST", "/v1/auth/token"),
        ("POST", "/v1/auth/revoke"),
    ],
)
async def test_public_routes_are_limited_by_address(
    common_app: Litestar, addresses: Iterator[str], method: str, path: str
) -> None:
    async with connection_from(common_app, next(addresses)) as client:
        responses = [await client.request(method, path) for _ in range(21)]
    async with connection_from(common_app, next(addresses)) as client:
        other = await client.request(method, path)

    assert [response.status_code for response in responses] == [other.status_code] * 20 + [429]
    assert other.status_code != 429
    assert_problem(responses[20], 429)
    assert int(responses[20].headers["retry-after"]) > 0


async def test_health_checks_are_not_limited(client: httpx.AsyncClient) -> None:
    for path in ("/health/live", "/health/ready"):
        responses = [await client.get(path) for _ in range(30)]

        assert {response.status_code for response in responses} == {200}


async def test_wrong_passwords_of_a_signed_in_account_are_limited(ada: Person) -> None:
    body = {"current_password": "wrong", "new_password": "correct horse battery"}
    responses = [await ada.post("/v1/users/me/password", json=body) for _ in range(5)]

    assert [response.status_code for response in responses] == [403] * 4 + [429]


async def test_concurrent_requests_do_not_exceed_the_limit(ada: Person) -> None:
    responses = await asyncio.gather(*(ada.get("/v1/todos") for _ in range(50)))

    assert sorted(response.status_code for response in responses) == [200] * 20 + [429] * 30


async def test_replicas_on_mongodb_share_the_counts(tmp_path: Path, mongodb_url: str) -> None:
    settings = load_settings(
        {
            "DATA_DIR": str(tmp_path),
            "STORE_URL": mongodb_url,
            "SECRET_KEY": SECRET_KEY,
            "RATE_LIMIT_API": "200/month",
            "RATE_LIMIT_AUTH": "6/month",
        }
    )
    async with AsyncExitStack() as stack:
        replicas = []
        for _ in range(3):
            app = await stack.enter_async_context(running_app(settings, CHEAP_COST, RESOLVE_AFTER))
            replicas.append(await stack.enter_async_context(connection_from(app, "198.51.100.1")))
        ada = await Person.register(replicas[0])
        guesses = await asyncio.gather(*(guess(replicas[n % 3], ada.username) for n in range(18)))
        header = {"Authorization": f"Bearer {ada.access_token}"}
        reads: list[httpx.Response] = []
        for _ in range(11):
            reads += await asyncio.gather(*(replicas[n % 3].get("/v1/tags", headers=header) for n in range(30)))

    guessed, read = (Counter(response.status_code for response in responses) for responses in (guesses, reads))
    assert guessed == {400: 6, 429: 12}
    assert read == {200: 200, 429: 130}


async def test_limits_apply_in_each_process_while_the_shared_counter_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "mongod").mkdir()
    with running_mongod(tmp_path / "mongod") as (url, mongod):
        counter = SharedCounter(partial(create_counter_storage, f"{url}/todo"))
        item = limits.parse("5/month")
        first = await counter.take(item, "api", "somebody", exact=False)
        # on a busy machine, MongoDB may take too long to count the first one
        left = 4 if first.counted_in == "process" else 5
        mongod.send_signal(signal.SIGSTOP)

        taken = [(await counter.take(item, "api", "somebody", exact=False)).allowed for _ in range(7)]

        mongod.send_signal(signal.SIGCONT)
        counter.close()
    assert first.allowed
    assert taken == [True] * left + [False] * (7 - left)


async def guess(client: httpx.AsyncClient, name: str, password: str = WRONG) -> httpx.Response:
    return await client.post("/v1/auth/token", data={"grant_type": "password", "username": name, "password": password})


@asynccontextmanager
async def connection_from(app: Litestar, address: str) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client of the application that has this IP address."""
    transport = httpx.ASGITransport(app=app, client=(address, 50000))  # type: ignore[arg-type]  # as in tests.application
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as connection:
        yield connection
