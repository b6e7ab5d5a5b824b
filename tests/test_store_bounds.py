"""One account cannot delay others through the embedded store of a running service, and costs match the results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.cost import ATTEMPTS, FROZEN_SECONDS, Lowest, cost, probing
from tests.serving import Service, running_service
from todo_service.bounds.todos import QUERY_WORDS

People = Callable[[str], httpx.Client]
LETTERS = [chr(number) for number in range(0x0430, 0x0450)] + [chr(number) for number in range(0x4E00, 0x4E40)]
"""The first letters of the words, ninety-six in all."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def person(service: Service) -> Iterator[People]:
    """Returns a client for a new account."""
    with contextlib.ExitStack() as clients:

        def make(name: str) -> httpx.Client:
            client = clients.enter_context(httpx.Client(base_url=service.url, timeout=60))
            password = "a horse, a battery, a staple"
            client.post("/v1/users", json={"username": name, "email": f"{name}@example.com", "password": password})
            form = {"grant_type": "password", "username": name, "password": password}
            token = client.post("/v1/auth/token", data=form).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            return client

        yield make


def wordy_todo(number: int) -> dict[str, object]:
    """Return a todo of about 30 KB, with words that begin with each of the letters."""
    words = [f"{LETTERS[index % len(LETTERS)]}{index:03x}" for index in range(4000)]
    steps = [{"title": " ".join(words[start : start + 36])} for start in range(1500, 4000, 36)]
    return {"title": f"todo {number}", "description": " ".join(words[:1500]), "steps": steps}


def read_all(client: httpx.Client, q: str) -> list[str]:
    """Return the ids of all todos that a search finds, page by page."""
    found: list[str] = []
    parameters = {"q": q, "limit": "100"}
    while True:
        response = client.get("/v1/todos", params=parameters)
        assert response.status_code == 200
        page = response.json()
        found += [todo["id"] for todo in page["items"]]
        if page["next_cursor"] is None:
            return found
        parameters["cursor"] = page["next_cursor"]


def test_a_search_for_many_words_in_large_todos_delays_nobody(service: Service, person: People) -> None:
    ada = person("ada")
    for number in range(40):
        assert ada.post("/v1/todos", json=wordy_todo(number)).status_code == 201

    frozen = Lowest(FROZEN_SECONDS)
    for _ in frozen:
        with probing(service.url, service.process.pid) as probe:
            found = read_all(ada, " ".join(LETTERS[:QUERY_WORDS]))
            nothing = read_all(ada, " ".join([*LETTERS[1:QUERY_WORDS], "z"]))
        frozen.add(probe.frozen)
        assert (len(found), len(nothing)) == (40, 0)

    assert frozen.value <= FROZEN_SECONDS


def test_the_cost_of_a_page_of_similar_titles_does_not_grow_with_the_account(service: Service, person: People) -> None:
    pages = {}
    for size in (400, 1300, 4000):
        ben = person(f"ben{size}")
        todos = [{"title": "🌱" * 190 + f"{number:05}"} for number in range(size)]
        assert ben.post("/v1/todos/import", json=todos).json()["imported"] == size

        def read_pages(client: httpx.Client = ben) -> None:
            for _ in range(20):
                assert len(client.get("/v1/todos", params={"sort": "title", "limit": 50}).json()["items"]) == 50

        read_pages()
        pages[size] = min(cost(service.process.pid, read_pages) for _ in range(ATTEMPTS))

    assert pages[4000] < 2 * pages[400] + 0.05, pages


def test_others_can_write_during_an_import_of_large_todos(person: People) -> None:
    ada, ben = person("ada"), person("ben")
    records = [wordy_todo(number) for number in range(100)]

    with ThreadPoolExecutor(1) as thread:
        importing = thread.submit(ada.post, "/v1/todos/import", json=records)
        created = 0
        while not importing.done():
            assert ben.post("/v1/todos", json={"title": "a small one"}).status_code == 201
            created += 1

    assert importing.result().json()["imported"] == 100
    assert created > 5
