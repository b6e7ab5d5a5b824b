"""The request and response headers, as components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from todo_service.web.openapi.document import EXAMPLE_ID, Json

_TAG: Final = r'(W/)?"[!#-~]*"'


HEADERS: Final[Mapping[str, Json]] = {
    "ETag": {
        "description": "The strong entity tag of the document, for If-Match and If-None-Match.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+"$', "examples": ['"1"']},
    },
    "Location": {
        "description": "The path of the new document.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference", "examples": [f"/v1/todos/{EXAMPLE_ID}"]},
    },
    "Content-Disposition": {
        "description": "The name of the file (RFC 6266).",
        "required": True,
        "schema": {"type": "string", "examples": ['attachment; filename="todos.json"']},
    },
    "Link": {
        "description": 'A link to the next page with `rel="next"`, if there is one (RFC 8288).',
        "schema": {"type": "string", "examples": ['</v1/todos?cursor=3q2-7w>; rel="next"']},
    },
    "Idempotency-Replayed": {
        "description": "`true` if this is the stored response to an earlier request with the same Idempotency-Key.",
        "schema": {"type": "string", "const": "true"},
    },
    "Retry-After": {
        "description": "Seconds to wait before retrying.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "examples": [2]},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 6750).",
        "required": True,
        "schema": {"type": "string", "pattern": "^Bearer[ -~]*$", "examples": ["Bearer"]},
    },
    "Allow": {
        "description": "The methods that the path supports.",
        "required": True,
        "schema": {"type": "string", "examples": ["GET, HEAD, OPTIONS"]},
    },
    "Accept-Patch": {
        "description": "The media types that a PATCH accepts, in the response to a PATCH.",
        "schema": {"type": "string", "examples": ["application/json, application/merge-patch+json"]},
    },
    "X-Request-ID": {
        "description": "The id of the request: the one that the client sent, or a generated one.",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128, "examples": ["f3b1c9d2e4a5"]},
    },
    "RateLimit-Policy": {
        "description": "The rate limit: name, quota of requests and window in seconds. Absent without a limit.",
        "schema": {"type": "string", "examples": ['"api";q=600;w=60']},
    },
    "RateLimit": {
        "description": "The remaining requests, and the seconds until the quota resets.",
        "schema": {"type": "string", "examples": ['"api";r=599;t=60']},
    },
}
"""The response headers, by name."""

PARAMETERS: Final[Mapping[str, Json]] = {
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "Perform the request only if the document has one of these entity tags. `*` matches any.",
        "required": False,
        "schema": {"type": "string", "pattern": rf"^([*]|{_TAG}( *, *{_TAG})*)$", "examples": ['"1"']},
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": (
            "Perform the request only if the document has none of these entity tags. `*` matches any. Otherwise a GET "
            "gets 304, and other methods get 412."
        ),
        "required": False,
        "schema": {"type": "string", "pattern": rf"^([*]|{_TAG}( *, *{_TAG})*)$", "examples": ['"1"']},
    },
    "LastEventId": {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The `id` of the last event that was received: the stream resumes after it.",
        "required": False,
        "schema": {"type": "string", "maxLength": 4096},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A request that is repeated with the same key within 24 hours takes effect once.",
        "required": False,
        "schema": {
            "type": "string",
            "pattern": "^[!-~]{1,255}$",
            "minLength": 1,
            "maxLength": 255,
            "examples": ["7f9c24e5-3b0a-4d55-9d3e-2f0d1c6b8a90"],
        },
    },
}
