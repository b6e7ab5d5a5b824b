"""The headers that operations document, as components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from todo_service.web.openapi.document import EXAMPLE_ID, Json

_TAG: Final = r'(W/)?"[!#-~]*"'


HEADERS: Final[Mapping[str, Json]] = {
    "ETag": {
        "description": "The document's strong entity tag, for If-Match and If-None-Match.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+"$', "examples": ['"1"']},
    },
    "Location": {
        "description": "The path of the new document.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference", "examples": [f"/v1/todos/{EXAMPLE_ID}"]},
    },
    "Content-Disposition": {
        "description": "A name for the file (RFC 6266).",
        "required": True,
        "schema": {"type": "string", "examples": ['attachment; filename="todos.json"']},
    },
    "Link": {
        "description": 'The next page, with `rel="next"`, where there is one (RFC 8288).',
        "schema": {"type": "string", "examples": ['</v1/todos?cursor=3q2-7w>; rel="next"']},
    },
    "Idempotency-Replayed": {
        "description": "`true` where this is the answer to an earlier request with the same Idempotency-Key.",
        "schema": {"type": "string", "const": "true"},
    },
    "Retry-After": {
        "description": "Seconds to wait before the next try.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "examples": [2]},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 6750).",
        "required": True,
        "schema": {"type": "string", "pattern": "^Bearer", "examples": ["Bearer"]},
    },
    "Allow": {
        "description": "The methods that the path has.",
        "required": True,
        "schema": {"type": "string", "examples": ["GET, HEAD, OPTIONS"]},
    },
    "X-Request-ID": {
        "description": "The request's id: that which was sent, or a new one.",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128, "examples": ["f3b1c9d2e4a5"]},
    },
    "RateLimit-Policy": {
        "description": "The limit: its name, how many requests, in how many seconds; absent where nothing is limited.",
        "schema": {"type": "string", "examples": ['"api";q=600;w=60']},
    },
    "RateLimit": {
        "description": "How many requests are left, and in how many seconds there are more.",
        "schema": {"type": "string", "examples": ['"api";r=599;t=60']},
    },
}
"""Every response header that operations document, as a component."""

PARAMETERS: Final[Mapping[str, Json]] = {
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "Only if the document still has one of these entity tags; `*` for any.",
        "required": False,
        "schema": {"type": "string", "pattern": rf"^(\*|{_TAG}( *, *{_TAG})*)$", "examples": ['"1"']},
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "Only if the document has none of these entity tags any more; else the answer is 304.",
        "required": False,
        "schema": {"type": "string", "pattern": rf"^(\*|{_TAG}( *, *{_TAG})*)$", "examples": ['"1"']},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A request that is sent again with the same key has one effect, for 24 hours.",
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
