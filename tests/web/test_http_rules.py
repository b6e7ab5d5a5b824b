"""The rules of every request and every response."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from litestar import Litestar, get

from tests.people import Person, assert_problem
from todo_service.web.route_options import PUBLIC

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


def nested(depth: int) -> bytes:
    return b'{"title": "x", "tags": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/schema/nothing", 404),
        ("GET", "/docs/nothing", 404),
        ("GET", "/v1/todos", 401),
        ("PUT", "/v1/todos", 405),
        ("POST", "/v1/users", 400),
        ("GET", "/health/live", 200),
        ("OPTIONS", "/v1/todos", 204),
    ],
)
async def test_every_response_has_a_request_id_and_security_headers(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await client.request(method, path)

    assert response.status_code == status
    assert len(response.headers["x-request-id"]) == 32
    assert {name: response.headers[name] for name in EVERYWHERE} == EVERYWHERE
    assert "server" not in response.headers
    if status >= 400:
        assert_problem(response, status)


@pytest.mark.parametrize(
    ("path", "instance"),
    [
        ("/v1/todos/a%20b", "/v1/todos/a%20b"),
        ("/v1/todos/%c3%a9%22%3c%3e", "/v1/todos/%C3%A9%22%3C%3E"),
        ("/v1/todos/100%25?limit=x", "/v1/todos/100%25"),
        ("/v1/todos/%3Fa%23b", "/v1/todos/%3Fa%23b"),
        ("/v1/todos/a@b:c;d=e,f", "/v1/todos/a@b:c;d=e,f"),
        ("/nowhere/%ff", "/nowhere/%EF%BF%BD"),
    ],
)
async def test_instance_of_a_problem_is_a_valid_uri_reference(ada: Person, path: str, instance: str) -> None:
    response = await ada.get(path)

    assert response.status_code in (404, 422)
    assert response.json()["instance"] == instance


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ("abc-123", True),
        ("!" * 128, True),
        ("!" * 129, False),
        ("", False),
        ("with space", False),
        ("t\u00e4g", False),
        ('{"a":1}', True),
    ],
)
async def test_a_request_id_of_visible_ascii_is_used(client: httpx.AsyncClient, sent: str, taken: bool) -> None:
    response = await client.get("/nowhere", headers=[(b"X-Request-ID", sent.encode())])

    assert (response.headers["x-request-id"] == sent) is taken
    assert assert_problem(response, 404)["request_id"] == response.headers["x-request-id"]


async def test_an_unsupported_method_gets_the_allowed_ones(client: httpx.AsyncClient) -> None:
    response = await client.put("/v1/todos/65f1a2b3c4d5e6f708192a3b")
    options = await client.options("/v1/todos/65f1a2b3c4d5e6f708192a3b")

    assert_problem(response, 405)
    assert options.status_code == 204
    assert response.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"
    assert options.headers["allow"] == response.headers["allow"]
    assert options.headers["accept-patch"] == "application/json, application/merge-patch+json"
    assert "accept-patch" not in (await client.options("/v1/todos")).headers


async def test_head_responds_like_get_without_a_body(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo())['id']}"

    head = await ada.ask("HEAD", path)
    read = await ada.get(path)

    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["etag"] == read.headers["etag"]
    assert head.headers["content-length"] == str(len(read.content))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"{",
        b'{"title": "x"',
        b'{"title": "x"} x',
        b"{'title': 'x'}",
        b'\xef\xbb\xbf{"title": "x"}',
        b'{"title": "\xff"}',
        b'{"title": "x", "description": "\xc3"}',
        b'{"title": "\xed\xa0\x80"}',
        b'{"title": "\\ud800"}',
        b'{"title": "\\udc00\\ud800"}',
        b'{"title": 7, "description": "\xff"}',
        b'["title',
        b'{"unknown": 1, ',
        '{"title": "x"}'.encode("utf-16"),
        b'{"title": NaN}',
        nested(65),
        nested(100_000),
        b'{"a":' * 5000,
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_a_body_that_is_not_json_is_malformed(ada: Person, body: bytes) -> None:
    response = await ada.post("/v1/todos", content=body, headers={"Content-Type": "application/json"})

    assert_problem(response, 400)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"[]", ""),
        (b"null", ""),
        (b'"title"', ""),
        (b"7", ""),
        (nested(64), "/tags/0"),
        (b'{"title": "x", "a/b~c": 1}', "/a~1b~0c"),
        (b'{"title": "x", "$where": "1"}', "/$where"),
        (b'{"title": "x", "a.b": 1}', "/a.b"),
        (b'{"title": "\\u0000"}', "/title"),
        (b'{"title": "x", "tags": ["a", "b\\u0000"]}', "/tags/1"),
        (b'{"title": "x", "position": 1e999}', None),
    ],
    ids=repr,
)
async def test_json_of_another_type_is_invalid(ada: Person, body: bytes, pointer: str | None) -> None:
    response = await ada.post("/v1/todos", content=body, headers={"Content-Type": "application/json"})

    if pointer is None:
        assert response.status_code in (400, 422)
    else:
        problem = assert_problem(response, 422)
        assert [error.get("pointer") for error in problem["errors"]] == [pointer]


async def test_brackets_in_strings_do_not_count_as_nesting(ada: Person) -> None:
    todo = await ada.todo(description="[{" * 1000)

    assert todo["description"] == "[{" * 1000


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/xml", "application/jsonx", "multipart/form-data", ""]
)
async def test_a_body_of_another_media_type_is_unsupported(ada: Person, media_type: str) -> None:
    response = await ada.post("/v1/todos", content=b'{"title": "x"}', headers={"Content-Type": media_type})

    assert_problem(response, 415)


async def test_a_body_over_the_limit_is_too_large(ada: Person) -> None:
    body = json.dumps({"title": "x", "description": "y" * 2**20}).encode()
    headers = {"Content-Type": "application/json"}

    async def chunks() -> Any:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    assert_problem(await ada.post("/v1/todos", content=body, headers=headers), 413)
    assert_problem(await ada.post("/v1/todos", content=chunks(), headers=headers), 413)


@pytest.mark.parametrize("path", ["/v1/users/me", "/", "/health/live"])
async def test_an_unknown_parameter_is_named(ada: Person, path: str) -> None:
    assert_problem(await ada.get(path, params={"verbose": "1"}), 422, "verbose")


async def test_a_query_with_invalid_utf_8_is_malformed(ada: Person) -> None:
    assert_problem(await ada.get("/v1/todos?tag=%ff"), 400)


async def test_data_of_an_account_is_not_cached(ada: Person) -> None:
    todo = await ada.todo()

    assert (await ada.get("/v1/todos")).headers["cache-control"] == "no-store"
    assert (await ada.get(f"/v1/todos/{todo['id']}")).headers["cache-control"] == "private, no-cache"
    assert (await ada.get("/v1/todos/nonsense")).headers["cache-control"] == "no-store"


@pytest.mark.own_app  # the test adds a route
async def test_the_response_to_an_unexpected_error_hides_its_text(app: Litestar, ada: Person) -> None:
    @get("/v1/crash", opt={PUBLIC: True})
    async def crash() -> None:
        raise RuntimeError("the secret inside")

    app.register(crash)

    response = await ada.get("/v1/crash")

    assert_problem(response, 500)
    assert "secret" not in response.text
    assert "RuntimeError" not in response.text
    assert (await ada.get("/v1/todos")).status_code == 200


async def test_odd_text_never_causes_a_500(ada: Person) -> None:
    """Odd text in paths, parameters and headers gets a response other than 500."""
    odd = ["%00", "%0d%0aX-Injected:%201", "..%2f..%2fetc", "%f0%9f%8c%b1", "'%22;--", "$ne", "[$gt]=", "a" * 4000]
    for text in odd:
        for path in (f"/v1/todos/{text}", f"/{text}", f"/v1/todos?{text}=1", f"/v1/todos?tag={text}", f"/docs/{text}"):
            response = await ada.get(path)
            assert response.status_code < 500, path
            assert "x-injected" not in response.headers
        for header in ("If-Match", "If-None-Match", "Accept", "X-Forwarded-For", "Cookie", "Accept-Encoding", "Range"):
            response = await ada.ask("GET", "/v1/todos", headers={header: text})
            assert response.status_code < 500, header
