"""Digests that identify equal requests."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from todo_service.bounds.requests import CANONICAL_JSON_BYTES, CANONICAL_JSON_VALUES

if TYPE_CHECKING:
    from litestar.types import Scope

_CHUNK_BYTES: Final = 1024 * 1024
_COMPARED: Final = (b"if-match", b"content-type")


async def digest_request(scope: Scope, body: bytes) -> bytes:
    """Return the SHA-256 digest of a request's path, query, `Content-Type`, `If-Match` and decoded body.

    Args:
        scope: The ASGI scope of the request.
        body: The complete body.
    """
    headers = scope["headers"]
    if_match, content_type = (b",".join(value for name, value in headers if name == each) for each in _COMPARED)
    # the parameters of a media type do not change the meaning of a body here
    media_type = content_type.partition(b";")[0].strip().lower()
    digest = hashlib.sha256()
    for part in (scope["path"].encode(), scope["query_string"], media_type, if_match):
        digest.update(len(part).to_bytes(4, "big") + part)
    body = _canonicalize(body)
    for start in range(0, len(body), _CHUNK_BYTES):
        if start:
            await asyncio.sleep(0)  # let other requests run
        digest.update(memoryview(body)[start : start + _CHUNK_BYTES])
    return digest.digest()


def _canonicalize(body: bytes) -> bytes:
    """Return JSON with sorted keys and no whitespace. Other bodies, and large ones, are returned unchanged."""
    if len(body) > CANONICAL_JSON_BYTES or sum(map(body.count, b",[{")) > CANONICAL_JSON_VALUES:
        return body  # decoding it would take too long
    try:
        return msgspec.json.encode(msgspec.json.decode(body), order="deterministic")
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        return body
