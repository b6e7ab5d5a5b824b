"""Codings of requests and media types of responses, on the wire: over a raw socket to the running service."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.serving import Service, running_service
from tests.test_serving import sign_in
from tests.web.test_connections import send_and_read

TODO = b'{"title": "x"}'
ACCEPT_PATCH = "application/json, application/merge-patch+json"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("codings")) as running:
        yield running


@pytest.fixture(scope="module")
def token(service: Service) -> str:
    return sign_in(service)["Authorization"]


def send(service: Service, method: str, path: str, *lines: str, body: bytes = b"") -> tuple[int, list[str], bytes]:
    """Send a request, and return the status, the header lines and the body of the response."""
    head = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *lines]
    response = send_and_read(service, "\r\n".join(head).encode() + b"\r\n\r\n" + body)
    received, _, content = response.partition(b"\r\n\r\n")
    status, *headers = received.decode().split("\r\n")
    return int(status.split()[1]), headers, content


def get_values(headers: list[str], name: str) -> list[str]:
    pairs = [line.partition(": ") for line in headers]
    return [value for found, _, value in pairs if found.lower() == name]


@pytest.mark.parametrize(
    ("codings", "accepted"),
    [
        (["gzip"], False),
        (["br"], False),
        (["identity, gzip"], False),
        (["gzip, identity"], False),
        (["identity", "gzip"], False),
        (["x"], False),
        (["identity"], True),
        (["Identity"], True),
        ([""], True),
        (["identity", " , identity"], True),
    ],
    ids=repr,
)
def test_only_uncompressed_bodies_are_accepted(
    service: Service, token: str, codings: list[str], accepted: bool
) -> None:
    sent = [f"Content-Encoding: {coding}" for coding in codings]
    credential = f"Authorization: {token}"
    requests = [
        ("POST", "/v1/todos", "application/json", TODO),
        ("PATCH", "/v1/users/me", "application/merge-patch+json", b"{}"),
        ("POST", "/v1/todos/import", "text/csv", b"title\nx\n"),
        ("POST", "/v1/todos/import?format=csv", "application/octet-stream", b"title\nx\n"),
        ("POST", "/v1/auth/revoke", "application/x-www-form-urlencoded", b"token=x"),
        ("GET", "/v1/todos", "application/json", b"a body that the service does not read"),
    ]
    for method, path, media_type, body in requests:
        status, headers, content = send(
            service, method, path, credential, f"Content-Type: {media_type}", *sent, body=body
        )

        if accepted:
            assert status in (200, 201), content
            continue
        assert status == 415
        assert get_values(headers, "accept-encoding") == ["identity"]
        assert get_values(headers, "accept-patch") == ([ACCEPT_PATCH] if method == "PATCH" else [])
        problem = json.loads(content)
        assert get_values(headers, "x-request-id") == [problem["request_id"]]
        assert problem["instance"] == path.partition("?")[0]


def test_a_coding_without_a_body_is_ignored(service: Service, token: str) -> None:
    status, _, _ = send(service, "GET", "/v1/todos", f"Authorization: {token}", "Content-Encoding: gzip")

    assert status == 200


def test_options_and_a_rejected_patch_name_the_media_types_of_patches(service: Service, token: str) -> None:
    for path in ("/v1/users/me", "/v1/todos/65f1a2b3c4d5e6f708192a3b", "/v1/lists/65f1a2b3c4d5e6f708192a3b"):
        status, headers, _ = send(service, "OPTIONS", path)
        assert (status, get_values(headers, "accept-patch")) == (204, [ACCEPT_PATCH])
        status, headers, _ = send(
            service, "PATCH", path, f"Authorization: {token}", "Content-Type: text/plain", body=b"x"
        )
        assert (status, get_values(headers, "accept-patch")) == (415, [ACCEPT_PATCH])
    _, headers, _ = send(service, "OPTIONS", "/v1/todos")
    assert get_values(headers, "accept-patch") == []


def test_options_of_the_server_name_all_methods(service: Service) -> None:
    status, headers, content = send(service, "OPTIONS", "*")

    assert (status, content) == (204, b"")
    assert get_values(headers, "allow") == ["DELETE, GET, HEAD, OPTIONS, PATCH, POST"]
    status, _, _ = send(service, "GET", "*")
    assert status == 404


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/init.js", "text/javascript; charset=utf-8"),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
        ("/docs/favicon-32x32.png", "image/png"),
        ("/schema/openapi.json", "application/json"),
        ("/schema/openapi.yaml", "application/yaml"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/health/ready", "application/json"),
        ("/v1/todos", "application/json"),
        ("/v1/todos/export?format=json", "application/json"),
        ("/v1/todos/export?format=csv", "text/csv; header=present; charset=utf-8"),
        ("/v1/todos/export?format=ics", "text/calendar; component=VTODO; charset=utf-8"),
        ("/v1/todos/nonsense", "application/problem+json"),
        ("/nowhere", "application/problem+json"),
    ],
)
def test_each_response_has_one_media_type_with_one_charset_at_most(
    service: Service, token: str, path: str, media_type: str
) -> None:
    for method in ("GET", "HEAD"):
        _, headers, _ = send(service, method, path, f"Authorization: {token}")
        [found] = get_values(headers, "content-type")
        assert found == media_type


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text; version=1.0.0; charset=utf-8", "text/plain; charset=utf-8"]
)
def test_metrics_have_one_charset_in_every_format(service: Service, accept: str) -> None:
    _, headers, _ = send(service, "GET", "/metrics", f"Accept: {accept}")

    [found] = get_values(headers, "content-type")
    assert found.count("charset=") == 1
