"""The responses of an operation: its success, and its problems."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from todo_service.web.oauth import is_oauth_endpoint
from todo_service.web.openapi.document import EXAMPLE_ID, NULL, REF_PREFIX, Json, build_content
from todo_service.web.openapi.headers import HEADERS
from todo_service.web.problems import OAUTH_PROBLEMS, PROBLEMS, FieldError, Problem, create_problem
from todo_service.web.requests import find_query_struct
from todo_service.web.route_options import (
    BODIES,
    FORM,
    IDEMPOTENT,
    LIMIT,
    PUBLIC,
    RESPONSE_BODIES,
    SESSION_ONLY,
)


def describe_status(status: int, path: str = "") -> str:
    """Return the titles of all problems with a status on a path."""
    return "; ".join(PROBLEMS[name].title for name in _list_problems(status, path))


def name_failure(status: int, path: str) -> str:
    """Return the name of the response for all problems with a status, such as `NotFound`."""
    name = "Or".join(name.title().replace("-", "") for name in _list_problems(status, path))
    return f"Token{name}" if is_oauth_endpoint(path) else name


def _list_problems(status: int, path: str) -> list[str]:
    """Return the names of all problems with a status on a path."""
    oauth = is_oauth_endpoint(path)
    return [name for name, kind in PROBLEMS.items() if kind.status == status and (oauth or name not in OAUTH_PROBLEMS)]


def build_responses(
    path: str, operation: Json, handler: HTTPRouteHandler, schemas: dict[str, Json], failures: set[int]
) -> dict[str, Json]:
    """Return the responses of an operation, by status.

    Args:
        path: Its path.
        operation: The operation, as Litestar built it.
        handler: Its handler.
        schemas: The component schemas, by name.
        failures: The statuses of errors that follow from the route, besides the declared ones.
    """
    everywhere = ["X-Request-ID", *(("RateLimit-Policy", "RateLimit") if handler.opt.get(LIMIT, "api") else ())]
    found: dict[str, Json] = {}
    for status, response in operation["responses"].items():
        if status[0] not in "23":
            continue
        headers = [*response.get("headers", {}), *everywhere]
        if handler.opt.get(IDEMPOTENT):
            headers.append("Idempotency-Replayed")
        content = build_content(handler.opt.get(RESPONSE_BODIES, {})) or {
            kind: media
            for kind, media in response.get("content", {}).items()
            if media.get("schema") not in (None, NULL)
        }
        found[status] = {"description": _describe_success(content, schemas), "headers": _refer_to_headers(headers)}
        if content:
            found[status]["content"] = content
        if HttpMethod.GET in handler.http_methods and "ETag" in headers:
            found["304"] = {
                "description": "The document has not changed.",
                "headers": _refer_to_headers(["ETag", *everywhere]),
            }
    declared = {
        int(status)
        for status, response in operation["responses"].items()
        if Problem.media_type in response.get("content", {})
    }
    for status in sorted(declared | failures):
        found[str(status)] = _build_failure(status, path)
    return found


def _describe_success(content: Json, schemas: dict[str, Json]) -> str:
    for media in content.values():
        name = media["schema"].get("$ref", "").removeprefix(REF_PREFIX)
        if name in schemas and "description" in schemas[name]:
            return str(schemas[name]["description"])
    return "Success."


def _refer_to_headers(names: Iterable[str]) -> Json:
    found = set(names)
    return {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS if name in found}


def infer_failures(path: str, handler: HTTPRouteHandler, paths: Iterable[str]) -> set[int]:
    """Return the statuses of errors that follow from the route: its authentication, its rate limit and its input."""
    found = {400} if is_oauth_endpoint(path) else {400, 422}  # a malformed query, an unknown parameter
    if not handler.opt.get(PUBLIC):
        found |= {401, 431, 503}
        if handler.opt.get(SESSION_ONLY) or not handler.http_methods <= {HttpMethod.GET}:
            found.add(403)  # an API key may lack the permission
    if handler.opt.get(LIMIT, "api"):
        found.add(429)
    if handler.parsed_data_field is not None or handler.opt.keys() & {FORM, BODIES}:
        found |= {408, 413, 415}
    if handler.opt.get(IDEMPOTENT):
        found |= {408, 409, 413, 431}  # the body is read for the fingerprint
    if find_query_struct(handler) is not None:
        found.add(414)
    if "{" in path:
        found.add(404)
        pattern = re.sub(r"\\{\w+\\}", "[^/{]+", re.escape(path))
        if any(re.fullmatch(pattern, other) for other in paths):
            found.add(405)  # an id can equal a segment of another path, which lacks this method
    return found


def _build_failure(status: int, path: str) -> Json:
    """Return the response for all problems with a status on a path."""
    headers = ["X-Request-ID", "RateLimit-Policy", "RateLimit"]
    headers += {
        401: ["WWW-Authenticate"],
        405: ["Allow"],
        415: ["Accept-Patch"],
        429: ["Retry-After"],
        503: ["Retry-After"],
    }.get(status, [])
    examples = {}
    instance = path if is_oauth_endpoint(path) else f"/v1/todos/{EXAMPLE_ID}"
    for name in _list_problems(status, path):
        problem = create_problem(name, f"{PROBLEMS[name].title}.", instance, "f3b1c9d2e4a5")
        if name == "invalid":
            problem.errors = [FieldError("this field is required", "/title")]
        examples[name] = {"summary": problem.title, "value": msgspec.to_builtins(problem)}
    references = _refer_to_headers(headers)
    if status == 403:
        # sent only if an API key lacks a permission
        references["WWW-Authenticate"] = HEADERS["WWW-Authenticate"] | {"required": False}
    return {
        "description": describe_status(status, path) + ".",
        "headers": references,
        "content": {
            problem.media_type: {"schema": {"$ref": REF_PREFIX + type(problem).__name__}, "examples": examples}
        },
    }
