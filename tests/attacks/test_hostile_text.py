"""Text of any shape costs linear time and does not delay other clients, up to the size limit of a body."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.cost import FROZEN_SECONDS, Lowest, assert_grows_linearly, cost, probing
from tests.serving import Service, running_service
from tests.test_serving import sign_in
from todo_service.bounds.texts import SEARCHED_WORDS
from todo_service.bounds.todos import QUERY_WORDS
from todo_service.todos.words import extract_words

LIMIT = 2**20
SIZES = (LIMIT // 100, LIMIT // 10, LIMIT)
ALLOWED_STATUSES = {200, 400, 413, 415, 422}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("hostile")) as running:
        yield running


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, headers=sign_in(service), timeout=60) as client:
        yield client


def filled(size: int, before: str, unit: str, after: str) -> bytes:
    """Return text of a given size: `before`, then `unit` as often as it fits, then `after`."""
    length = len(unit.encode())
    left = size - len((before + after).encode())
    return (before + unit * (left // length) + after).encode()


BODIES = {
    "open strings": ("[" * 65 + '"', '\\"', ""),
    "open strings of backslashes": ("[" * 65 + '"', "\\\\", ""),
    "closed strings": ("[" * 60 + "{" * 5, '"",', ""),
    "brackets": ("[", "[],", "0]"),
    "brackets as deep as may be": ("[" * 62, "[[]],", "0" + "]" * 62),
    "numbers": ("[", "0,", "0]"),
    "digits": ('{"title": "x", "position": ', "9", "}"),
    "decimals": ('{"title": "x", "position": 0.', "9", "x}"),
    "white space": ("{", " ", '"title": ""}'),
    "a long key": ('{"', "A", '": 0}'),
    "a long key of places": ('{"', " - at `$.title`", '": 0}'),
    "many keys": ('{"title": "x"', ', "tags": []', ', "x": 0}'),
    "a NUL after many elements": ('{"tags": [', '"a",', '"\\u0000"]}'),
    "a NUL in unknown numbers": ('{"title": "\\u0000", "x": [', "0,", "0]}"),
    "a NUL in unknown lists": ('{"title": "\\u0000", "x": [', "[],", "0]}"),
    "long text": ('{"title": "', "x", '"}'),
    "marks": ('{"title": "a', "\u0300\u0316", '"}'),
    "escaped marks": ('{"title": "a', "\\u0300\\u0316", '"}'),
    "marks in a description": ('{"title": "x", "description": "', "\u0316\u0300", '"}'),
    "marks in a tag": ('{"title": "x", "tags": ["a', "\u0300\u0316", '"]}'),
    "a ligature": ('{"title": "', "\ufdfa", '"}'),
    "a text without spaces": ('{"title": "', "\u725b", '"}'),
    "signs without a letter": ('{"title": "', "\u094d\u0e48", '"}'),
    "empty tags": ('{"title": "x", "tags": [', '"",', '""]}'),
    "steps": ('{"title": "x", "steps": [', '{"title": ""},', '{"title": ""}]}'),
    "a priority": ('{"title": "x", "priority": "', "x", '"}'),
    "a time": ('{"title": "x", "due_at": "2027-01-31T09:00:00.', "0", 'Z"}'),
    "a recurrence": ('{"title": "x", "due_at": "2027-01-31T09:00:00Z", "recurrence": "', "FREQ=", '"}'),
    "surrogates": ('{"title": "', "\\ud83d\\ude00", '\\ud800"}'),
}


def assert_cheap(service: Service, ask: Callable[[int], httpx.Response], sizes: tuple[int, ...] = SIZES) -> None:
    """Assert that the cost of a request is linear in its size, and that it does not delay other clients."""
    pid = service.process.pid

    def send(size: int) -> None:
        response = ask(size)
        assert response.status_code in ALLOWED_STATUSES, response.text[:500]
        assert len(response.content) < 10_000

    frozen = Lowest(FROZEN_SECONDS)
    for _ in frozen:
        with probing(service.url, pid) as probe:
            assert_grows_linearly(lambda size: cost(pid, lambda: send(size)), sizes)
        frozen.add(probe.frozen)
    assert frozen.value <= FROZEN_SECONDS


@pytest.mark.parametrize("shape", BODIES)
def test_a_body_of_any_shape_costs_linear_time(service: Service, client: httpx.Client, shape: str) -> None:
    headers = {"Content-Type": "application/json"}

    assert_cheap(service, lambda size: client.post("/v1/todos", content=filled(size, *BODIES[shape]), headers=headers))


ACCOUNT = '"username": "ada-lovelace", "password": "correct horse battery"'


@pytest.mark.parametrize(
    ("before", "unit", "after"),
    [
        BODIES["open strings"],
        ('{"', "A", '": 0}'),
        ('{"email": "a', "\u0300\u0316", '@example.com", ' + ACCOUNT + "}"),
        ('{"email": "a@', "\ufdfa", '.com", ' + ACCOUNT + "}"),
        ('{"email": "a@example.com", "username": "', "\u0130", '", "password": "correct horse battery"}'),
        ('{"email": "a@example.com", "username": "ada", "password": "', "\u0300\u0316", '"}'),
    ],
)
def test_a_registration_costs_linear_time(service: Service, before: str, unit: str, after: str) -> None:
    headers = {"Content-Type": "application/json"}

    with httpx.Client(base_url=service.url, timeout=60) as anyone:
        assert_cheap(
            service, lambda size: anyone.post("/v1/users", content=filled(size, before, unit, after), headers=headers)
        )


@pytest.mark.parametrize("unit", ["u=1&", "%00", "x", "%CC%80%CC%96", "%EF%B7%BA"])
def test_a_form_costs_linear_time(service: Service, unit: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    with httpx.Client(base_url=service.url, timeout=60) as anyone:
        assert_cheap(
            service,
            lambda size: anyone.post(
                "/v1/auth/token", content=filled(size, "grant_type=password&username=", unit, ""), headers=headers
            ),
        )


HEADER_SIZES = (1000, 4000, 16_000)


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "Idempotency-Key", "Content-Type", "Accept"])
@pytest.mark.parametrize("unit", [" ", '"",', '"a" ', '"', '\\"', '; x="', ";a=b", ",", "W/", "a"])
def test_a_header_costs_linear_time(service: Service, client: httpx.Client, name: str, unit: str) -> None:
    def ask(size: int) -> httpx.Response:
        headers = {"Content-Type": "application/json"} | {name: filled(size, "a/b;", unit, "x").decode()}
        return client.patch("/v1/todos/nonsense", content=b"[", headers=headers)

    assert_cheap(service, ask, HEADER_SIZES)


@pytest.mark.parametrize("parameter", ["q", "tag", "priority", "list_id", "due_after", "cursor", "limit", "sort", "x"])
@pytest.mark.parametrize("unit", ["x", "9", "%CC%80%CC%96", "%EF%B7%BA", "%E7%89%9B", "%E0%A5%8D", "%00"])
def test_a_query_costs_linear_time(service: Service, client: httpx.Client, parameter: str, unit: str) -> None:
    assert_cheap(
        service,
        lambda size: client.get("/v1/todos?" + filled(size, f"{parameter}=", unit, "").decode()),
        (700, 2000, 7000),
    )


EXPENSIVE_TEXTS = {
    "ligatures": "\ufdfa" * 10_000,
    "words": "x " * 5000,
    "different words": " ".join(f"{number:x}" for number in range(2000)),
    "one letter of a script without spaces": "\u725b" * 10_000,
    "different letters of a script without spaces": "".join(map(chr, range(0x4E00, 0x4E00 + 10_000))),
    "letters outside the basic plane": "".join(map(chr, range(0x20000, 0x20000 + 10_000))),
    "letters of both kinds": "\u725ba" * 5000,
    "letters with strokes": "\u0142\u00e6" * 5000,
    "signs": "\u0915\u093f" * 5000,
    "signs without a letter": "\u093f" * 10_000,
    "signs in a script without spaces": "\u0e01\u0e31" * 5000,
}


@pytest.mark.parametrize("text", EXPENSIVE_TEXTS.values(), ids=EXPENSIVE_TEXTS)
def test_a_todo_full_of_text_delays_no_other_request(service: Service, client: httpx.Client, text: str) -> None:
    title, description = text[:200], text[:10_000]
    todo = {"title": title, "description": description, "steps": [{"title": title}] * 100}

    frozen = Lowest(FROZEN_SECONDS)
    for _ in frozen:
        with probing(service.url, service.process.pid) as probe:
            response = client.post("/v1/todos", json=todo)
            found = client.get("/v1/todos", params={"q": title, "sort": "title"})
        frozen.add(probe.frozen)
        assert response.status_code == 201, response.text
        assert found.status_code in ALLOWED_STATUSES, found.text
    assert len(extract_words(title, description)) <= SEARCHED_WORDS
    assert frozen.value <= FROZEN_SECONDS


def test_a_description_of_marks_is_rejected(client: httpx.Client) -> None:
    marks = client.post("/v1/todos", json={"title": "x", "description": "\u0316\u0300" * 5000})

    assert marks.json()["errors"] == [
        {"detail": "Expected at most 30 combining marks in a row", "pointer": "/description"}
    ]


def test_a_page_sorted_by_titles_of_ligatures_has_a_next_page(client: httpx.Client) -> None:
    for _ in range(3):
        assert client.post("/v1/todos", json={"title": "\ufdfa" * 200}).status_code == 201

    page = client.get("/v1/todos", params={"sort": "-title", "limit": 1}).json()
    following = client.get("/v1/todos", params={"sort": "-title", "limit": 1, "cursor": page["next_cursor"]})

    assert following.status_code == 200, following.text
    assert following.json()["items"][0]["id"] != page["items"][0]["id"]


def test_a_batch_of_invalid_operations_gets_a_short_response(client: httpx.Client) -> None:
    faulty = {"op": "create", "todo": {"title": "", "tags": [""] * 100, "steps": [{"title": ""}] * 100}}

    response = client.post("/v1/todos/batch", json={"operations": [faulty] * 100})

    assert response.status_code == 200
    problem = response.json()["results"][0]["problem"]
    assert len(problem["errors"]) == 20
    assert problem["detail"] == "the input is invalid; 181 more errors are omitted"
    assert len(response.content) < 300_000


def test_a_query_of_too_many_words_is_rejected(client: httpx.Client) -> None:
    words = " ".join(f"{number:02x}" for number in range(QUERY_WORDS + 1))

    response = client.get("/v1/todos", params={"q": words})

    assert response.status_code == 422
    assert response.json()["errors"] == [
        {"detail": f"Expected at most {QUERY_WORDS} different words", "parameter": "q"}
    ]
