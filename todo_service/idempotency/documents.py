"""The stored records of requests with an `Idempotency-Key`."""

from __future__ import annotations

from datetime import datetime

from odmantic import Index, Model, ObjectId
from pymongo import IndexModel

from todo_service.api_types import redacted_repr


class IdempotentRequest(Model):
    """A request with an `Idempotency-Key`. Its id is derived from the account and the key; without an account, see
    `middleware`.

    Attributes:
        owner: The account that sent the request; None for an anonymous request.
        fingerprint: A keyed digest of the request; empty for an anonymous request.
        seed: Random bytes from which the ids of the request's effects are derived.
        secret_key_id: The id of the secret key from which the secrets of the request are derived.
        holder: The attempt that holds the lease; None while the lease is free.
        renewed_at: When the lease was taken or last renewed.
        status: The status of the response; None until an attempt has succeeded.
        headers: The stored headers of the response.
        body: The compressed body of the response; empty if it is not stored.
        expires_at: When the record expires.
    """

    owner: ObjectId | None
    fingerprint: bytes
    seed: bytes
    secret_key_id: bytes
    holder: ObjectId | None
    renewed_at: datetime
    status: int | None = None
    headers: list[str] = []
    body: bytes = b""
    expires_at: datetime

    model_config = {
        "collection": "idempotent_requests",
        "indexes": lambda: [
            Index(IdempotentRequest.owner, IdempotentRequest.id, name="owner"),
            IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0),
        ],
    }

    def __repr__(self) -> str:
        return redacted_repr(self, "seed", "headers", "body")

    __str__ = __repr__
