"""Digests of requests: two requests with one digest ask for the same."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from todo_service.bounds.requests import CANONICAL_JSON_BYTES

if TYPE_CHECKING:
    from litestar.types import Scope

_HASHED_AT_ONCE: Final = 1024 * 1024


async def digest_request(scope: Scope, body: bytes) -> bytes:
    """Return the SHA-256 digest of a request's path, query, `If-Match` and decoded body.

    Args:
        scope: The request.
        body: Its body, whole.
    """
    if_match = b",".join(value for name, value in scope["headers"] if name == b"if-match")
    digest = hashlib.sha256()
    for part in (scope["path"].encode(), scope["query_string"], if_match):
        digest.update(len(part).to_bytes(4, "big") + part)
    body = _canonical(body)
    for start in range(0, len(body), _HASHED_AT_ONCE):
        if start:
            await asyncio.sleep(0)  # other requests come in between
        digest.update(memoryview(body)[start : start + _HASHED_AT_ONCE])
    return digest.digest()


def _canonical(body: bytes) -> bytes:
    """Return JSON without spaces and with its keys in order; what is no JSON, or is too large, stays as it is."""
    if len(body) > CANONICAL_JSON_BYTES:
        return body
    try:
        return msgspec.json.encode(msgspec.json.decode(body), order="deterministic")
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        return body
