"""Compression of the responses stored for requests with an `Idempotency-Key`.

The response to a short batch can be two megabytes of JSON. Compression yields to the event loop between chunks.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

from todo_service.bounds.requests import COMPRESSED_RESPONSE_BYTES

_CHUNK_BYTES: Final = 64 * 1024
_LEVEL: Final = 1


async def compress_response(body: bytes, limit: int = COMPRESSED_RESPONSE_BYTES) -> bytes | None:
    """Return the compressed body, or None if it is larger than `limit` bytes."""
    compressor = zlib.compressobj(_LEVEL)
    compressed = bytearray()
    for start in range(0, len(body), _CHUNK_BYTES):
        if start:
            await asyncio.sleep(0)  # let other requests run
        compressed += compressor.compress(memoryview(body)[start : start + _CHUNK_BYTES])
        if len(compressed) > limit:
            return None
    compressed += compressor.flush()
    return bytes(compressed) if len(compressed) <= limit else None


def decompress_response(compressed: bytes) -> bytes:
    """Return the body of a stored response."""
    return zlib.decompress(compressed)
