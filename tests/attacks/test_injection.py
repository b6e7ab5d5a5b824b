"""Operators, line breaks, paths and patterns are plain text wherever a client can send text."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.people import Person, UserCreateFactory, assert_problem
from tests.serving import START_SECONDS, Service, running_service

pytestmark = pytest.mark.shared_app
OPERATORS: list[Any] = [
    {"$gt": ""},
    {"$ne": None},
    {"$regex": ".*"},
    {"$where": "sleep(9999)"},
    {"a.b": 1},
    [{"$gt": ""}],
]
DOTTED = ["$where", "$gt", "title.$gt", "owner.id", "steps.0.title", "__proto__", "constructor.prototype"]
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/users"): {
        "username": "mallory",
        "email": "mallory@example.com",
        "password": "correct horse battery",
        "display_name": "x",
        "time_zone": "UTC",
        "invitation": "x",
    },
    ("PATCH", "/v1/users/me"): {"email": "m@example.com", "display_name": "x", "time_zone": "UTC"},
    ("DELETE", "/v1/users/me"): {"password": "wrong"},
    ("POST", "/v1/users/me/password"): {"current_password": "wrong", "new_password": "correct horse battery"},
    ("POST", "/v1/api-keys"): {"name": "script", "scope": "read", "expires_at": "2099-01-01T00:00:00Z"},
    ("POST", "/v1/lists"): {"name": "x", "color": "#123456", "position": 1.5, "archived": False, "uid": "1"},
    ("POST", "/v1/todos"): {
        "title": "x",
        "description": "",
        "completed": False,
        "priority": "low",
        "due_at": "2027-01-31T09:00:00Z",
        "due_on": None,
        "start_at": "2027-01-30T09:00:00Z",
        "start_on": None,
        "time_zone": "UTC",
        "tags": [],
        "list_id": None,
        "steps": [],
        "recurrence": "FREQ=DAILY",
        "recurrence_from": "due",
        "recurrence_except": [],
        "reminders": [],
        "position": 1.5,
        "uid": "1",
    },
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("sockets"), {"LOG_FORMAT": "json"}) as running:
        yield running


@pytest.mark.anyio
async def test_an_operator_in_any_field_is_rejected(ada: Person) -> None:
    todo = await ada.todo()
    made = (await ada.post("/v1/lists", json={"name": "Garden"})).json()
    patches = {
        ("PATCH", f"/v1/todos/{todo['id']}"): BODIES["POST", "/v1/todos"].copy(),
        ("PATCH", f"/v1/lists/{made['id']}"): BODIES["POST", "/v1/lists"].copy(),
    }
    for body in patches.values():
        del body["uid"]  # it never changes
    for (method, path), body in (BODIES | patches).items():
        for field in body:
            for operator in OPERATORS:
                response = await ada.ask(method, path, json=body | {field: operator})
                problem = assert_problem(response, 422)
                assert problem["errors"][0]["pointer"].startswith(f"/{field}"), (path, field, operator)
        for key in DOTTED:
            response = await ada.ask(method, path, json=body | {key: "x"})
            assert_problem(response, 422, f"/{key}")
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json() == todo
    assert (await ada.get("/v1/users/me")).json()["email"] == ada.email


@pytest.mark.anyio
async def test_the_bodies_cover_every_field(client: httpx.AsyncClient) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    for (method, path), body in BODIES.items():
        content = document["paths"][path][method.lower()]["requestBody"]["content"]
        schema = next(iter(content.values()))["schema"]
        name = schema["$ref"].rpartition("/")[2]
        assert set(document["components"]["schemas"][name]["properties"]) == set(body), path


@pytest.mark.anyio
async def test_an_operator_in_a_batch_is_rejected(ada: Person) -> None:
    for field in ("op", "id", "todo", "if_match"):
        for operator in OPERATORS:
            operation = {"op": "update", "id": "x", "todo": {"title": "x"}} | {field: operator}
            response = await ada.post("/v1/todos/batch", json={"operations": [operation]})
            if response.status_code == 200:
                (result,) = response.json()["results"]
                assert result["status"] in (404, 422), (field, operator)
            else:
                assert_problem(response, 422)


@pytest.mark.anyio
async def test_an_operator_in_any_parameter_finds_nothing(ada: Person, bob: Person) -> None:
    await bob.todo(title="Bob's")
    await ada.todo(title="Ada's", tags=["home"])
    document = (await ada.client.get("/schema/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []) if isinstance(operation, dict) else []:
                if parameter.get("in") != "query":  # nor a header
                    continue
                name = parameter["name"]
                if name == "ticket":
                    continue  # ignored beside `Authorization`, and the response does not end
                filled = re.sub(r"\{\w+\}", "65f1a2b3c4d5e6f708192a3b", path)
                for sent in (f"{name}[$gt]=", f"{name}[$ne]=x", f"{name}.$gt=", f"%24where=1&{name}=x", f"{name}[]=x"):
                    assert_problem(await ada.ask(method.upper(), f"{filled}?{sent}"), 422)
                for operator in OPERATORS:
                    response = await ada.ask(method.upper(), f"{filled}?{name}={quote(json.dumps(operator))}")
                    assert response.status_code in (200, 404, 422), (path, name, operator)
                    assert "Bob" not in response.text
                    if response.status_code == 200 and "items" in response.json():
                        assert response.json()["items"] == []


@pytest.mark.anyio
async def test_an_operator_in_a_form_signs_nobody_in(ada: Person) -> None:
    for name in ("username", "password"):
        right = {"grant_type": "password", "username": ada.username, "password": ada.password}
        for text in ('{"$gt": ""}', "$gt", "' or '1'='1", ".*", "*", "\x00", "%00"):
            assert_problem(await ada.grant(**(right | {name: text})), 400)
        wrong = {f"{key}[$gt]" if key == name else key: "" if key == name else value for key, value in right.items()}
        assert_problem(await ada.grant(**wrong), 400)
    for text in ('{"$gt": ""}', "[$ne]=x", "a" * 80):
        assert_problem(await ada.grant(grant_type="refresh_token", refresh_token=text), 400)


@pytest.mark.anyio
async def test_an_operator_in_a_path_is_an_unknown_id(ada: Person) -> None:
    for text in ("{%22$gt%22:%22%22}", "[$ne]", "%24ne", "65f1a2b3c4d5e6f708192a3b%00", "65f1a2b3c4d5e6f708192a3g"):
        for path in ("todos", "lists", "sessions", "api-keys"):
            assert_problem(await ada.delete(f"/v1/{path}/{text}"), 404)


@pytest.mark.anyio
async def test_operators_are_stored_as_plain_text(ada: Person) -> None:
    text = '{"$gt": ""} $where a.b \\u0000 ${7*7} {{7*7}} <script>alert(1)</script> =cmd|x'
    todo = await ada.todo(title=text, tags=["$gt", "a.b", "__proto__"], steps=[{"title": "$set"}])

    assert todo["title"] == text
    assert await ada.titles(tag="$gt") == [text]
    assert {item["name"] for item in (await ada.get("/v1/tags")).json()["items"]} == {"$gt", "a.b", "__proto__"}


BOMBS = [
    "(a+)+$",
    "(a|a)*b",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(.*)*" * 50,
    "a" * 500,
    "[" * 200,
    "\\",
    ".*",
    "^",
    "$",
    "(?i)x",
    "a" * 100 + "\u0300" * 300,
]


@pytest.mark.anyio
async def test_patterns_in_a_search_are_text(ada: Person) -> None:
    for n in range(5):
        await ada.todo(title=f"{'a' * 190}{n}", description="a" * 9000 + "!", tags=["a" * 50])
    for bomb in BOMBS:
        for name in ("q", "tag"):
            response = await ada.get("/v1/todos", params={name: bomb})
            assert response.status_code in (200, 422), (name, bomb)
            if response.status_code == 200 and name == "tag":
                assert response.json()["items"] == []
    todo = await ada.todo(title="(a+)+$ .* [x]", tags=[".*", "(a+)+$"])
    assert [item["id"] for item in (await ada.get("/v1/todos", params={"tag": ".*"})).json()["items"]] == [todo["id"]]
    for bomb in BOMBS:
        response = await ada.post(
            "/v1/todos", json={"title": "x", "due_at": "2027-01-31T09:00:00Z", "recurrence": bomb}
        )
        assert_problem(response, 422)
        response = await ada.client.post(
            "/v1/users", json={"username": bomb, "email": f"{bomb}@{bomb}", "password": "correct horse battery"}
        )
        assert_problem(response, 422)


class TestOverSockets:
    """Requests that an HTTP client library would not send."""

    @staticmethod
    def exchange(service: Service, target: bytes, *headers: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
        host, port = service.url.removeprefix("http://").split(":")
        lines = [method + b" " + target + b" HTTP/1.1", b"Host: localhost", *headers, b"Connection: close"]
        if body:
            lines.append(b"Content-Length: %d" % len(body))
        with socket.create_connection((host, int(port)), timeout=START_SECONDS) as connection:
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
            return connection.makefile("rb").read()

    @pytest.mark.parametrize(
        "target",
        [
            b"//v1/todos",
            b"/v1//todos",
            b"/v1/./todos",
            b"/v1/../v1/todos",
            b"/%2e%2e/%2e%2e/etc/passwd",
            b"/docs/..%2f..%2f__init__.py",
            b"/docs/%2e%2e/metrics",
            b"/docs/init.js%00.html",
            b"/docs//etc/passwd",
            b"/v1%2ftodos",
            b"/v1/todos%2f65f1a2b3c4d5e6f708192a3b",
            b"/V1/todos",
            b"/v1/todos;a=b",
            b"/v1/todos%20",
            b"/v1/todos%0a",
            b"/v1/todos\xc3\xa4",
            b"/v1/todos/%ff%fe",
            b"/metrics/x",
            b"/schema/../metrics%2f",
            b"http://evil.example/v1/todos",
            b"*",
        ],
    )
    def test_an_unusual_path_reaches_no_other_resource(self, service: Service, target: bytes) -> None:
        head, _, body = self.exchange(service, target).partition(b"\r\n\r\n")

        status = int(head.split()[1])
        assert status in (400, 401, 404, 405), head
        assert b"application/problem+json" in head
        assert b"root:" not in body
        assert b"import" not in body

    def test_a_trailing_slash_grants_no_access(self, service: Service) -> None:
        for path in (b"/v1/todos/", b"/v1/users/me/", b"/v1/sessions/"):
            assert self.exchange(service, path).split()[1] in (b"401", b"404")

    @pytest.mark.parametrize(
        "header",
        [
            b"X-Request-ID: a\r\n X-Injected: 1",
            b"X-Request-ID: a\nX-Injected: 1",
            b"X-Request-ID: a\rX-Injected: 1",
            b"X-Request-ID: a\x00b",
            b"X-Request-ID: a\xc4\x8d\xc4\x8aX-Injected: 1",
            b"X-Request-ID: a%0d%0aX-Injected: 1",
            b"Origin: http://x\r\n X-Injected: 1",
            b'If-None-Match: "\r\n X-Injected: 1',
            b"Content-Length: 0\r\nContent-Length: 5",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding : chunked",
            b"Host: other",
        ],
    )
    def test_no_header_can_be_injected_into_a_response(self, service: Service, header: bytes) -> None:
        response = self.exchange(service, b"/v1/todos", header)

        assert int(response.split()[1]) in (400, 401, 405), response
        head = response.partition(b"\r\n\r\n")[0]
        assert not [line for line in head.splitlines() if line.lower().startswith(b"x-injected")]
        assert response.count(b"HTTP/1.1 ") == 1

    def test_no_log_line_can_be_forged(self, service: Service) -> None:
        forged = 'x\n{"event": "request", "route": "FORGED"}\r\x1b[31m\u2028\x85'
        user = UserCreateFactory.build()
        body = {"username": user.username, "email": user.email, "password": user.password}
        assert service.post("/v1/users", json=body).status_code == 201
        service.post("/v1/users", json=body | {"username": forged, "email": forged})
        for name in (forged, user.username):
            form = {"grant_type": "password", "username": name, "password": forged}
            service.post("/v1/auth/token", data=form)
        self.exchange(service, b"/" + quote(forged).encode(), b'User-Agent: x\r\n {"event": "FORGED"}')
        self.exchange(service, b"/v1/todos", b'X-Request-ID: {"event":"FORGED"}')
        self.exchange(service, b"/v1/todos", b'traceparent: 00-"FORGED"')
        self.exchange(service, b"\x00FORGED")

        lines = (service.folder / "service.log").read_text().split("\n")
        events = [json.loads(line) for line in lines if line.startswith("{")]
        assert events
        assert not [event for event in events if event.get("route") == "FORGED" or event.get("event") == "FORGED"]
        assert [event["request_id"] for event in events if "FORGED" in json.dumps(event)] == ['{"event":"FORGED"}']
        assert all(line.startswith(("{", "todo_service ", "documents in ")) or not line for line in lines)
