"""Requests with an `Idempotency-Key`, and attempts of them that break off."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from litestar import Litestar
from odmantic import ObjectId

from todo_service.idempotency.documents import IdempotentRequest
from todo_service.store.base import DocumentStore
from todo_service.timestamps import now

KEY = {"Idempotency-Key": "a-key-of-the-tests"}
UNFINISHED: dict[str, Any] = {"status": None, "headers": [], "body": b""}
REGISTRATION = {"username": "eve", "email": "eve@example.com", "password": "correct horse battery"}
CREATING = [
    ("/v1/todos", {"title": "Water the plants"}),
    ("/v1/lists", {"name": "Garden"}),
    ("/v1/api-keys", {"name": "script", "scope": "read"}),
    ("/v1/todos/batch", {"operations": [{"op": "create", "todo": {"title": str(number)}} for number in range(3)]}),
]


async def crash_before_the_response(app: Litestar, **changes: Any) -> None:
    """Put the store into its state after a crash between the effect and storing the response."""
    store: DocumentStore = app.state.store
    for record in [found async for found in store.scan(IdempotentRequest)]:
        await store.update(
            IdempotentRequest,
            IdempotentRequest.id == record.id,
            changes=UNFINISHED | {"holder": ObjectId(), "renewed_at": now() - timedelta(minutes=2)} | changes,
        )
