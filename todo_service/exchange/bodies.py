"""Request bodies that are too large to be joined from their chunks, which takes their size twice."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from todo_service.idempotency.middleware import identity_of

if TYPE_CHECKING:
    from todo_service.web.requests import ApiRequest


async def read_large_body(request: ApiRequest) -> memoryview:
    """Read a body into memory that is given back to the system as soon as the body is dropped.

    Address space is reserved for the largest body that the route allows; memory is used for what arrives.

    Raises:
        RequestEntityTooLarge: the body is larger.
        Unauthenticated: the caller's session or API key has ended meanwhile.
    """
    if identity_of(request) is not None:
        return memoryview(await request.body())  # it was read for the Idempotency-Key
    limit = request.route_handler.resolve_request_max_body_size()
    assert limit is not None  # every route has one
    room = mmap.mmap(-1, limit, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    size = 0
    async for chunk in request.stream():
        room[size : size + len(chunk)] = chunk
        size += len(chunk)
    await request.require_live_caller()
    return memoryview(room)[:size]
