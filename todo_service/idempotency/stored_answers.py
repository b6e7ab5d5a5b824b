"""The answers that are kept for repeats with an `Idempotency-Key`, compressed.

A short batch can have an answer of many megabytes. So an answer is kept only within bounds; every answer that consists
of one todo fits. Compressing goes on in pieces, and lets other requests have their turn between them.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

from todo_service.bounds.requests import COMPRESSED_ANSWER_BYTES, KEPT_ANSWER_BYTES

_PIECE_BYTES: Final = 64 * 1024
_LEVEL: Final = 1


async def compress_answer(body: bytes) -> bytes | None:
    """Return the body of an answer as it is kept; None if it is too large to be kept."""
    if len(body) > KEPT_ANSWER_BYTES:
        return None
    compressor = zlib.compressobj(_LEVEL)
    kept = b""
    for start in range(0, len(body), _PIECE_BYTES):
        if start:
            await asyncio.sleep(0)  # other requests come in between
        kept += compressor.compress(memoryview(body)[start : start + _PIECE_BYTES])
        if len(kept) > COMPRESSED_ANSWER_BYTES:
            return None
    kept += compressor.flush()
    return kept if len(kept) <= COMPRESSED_ANSWER_BYTES else None


def decompress_answer(kept: bytes) -> bytes:
    """Return the body of a kept answer."""
    return zlib.decompress(kept)
