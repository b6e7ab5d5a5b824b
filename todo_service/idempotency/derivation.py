"""The ids and secrets that handlers derive for a request, the same in every attempt."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final, NamedTuple

from odmantic import ObjectId

from todo_service.web.problems import ProblemError
from todo_service.web.requests import ApiRequest

ID_BYTES: Final = 12
SCOPE_STATE: Final = "idempotency"
"""The key of the seeds in the state of the ASGI scope."""


class Seeds(NamedTuple):
    """The seeds of a request.

    Attributes:
        ids: The seed of its ids.
        secrets: The seed of its secrets; None if this process does not have the secret key.
        first_attempt: When the first attempt began, if this is a later one; the first may have taken effect.
    """

    ids: bytes
    secrets: bytes | None
    first_attempt: datetime | None


def derive_secret(request: ApiRequest) -> bytes | None:
    """Return 32 secret bytes, the same in every attempt; None without an `Idempotency-Key`.

    Raises:
        ProblemError: 503, the first attempt used a secret key that this process does not have.
    """
    seeds: Seeds | None = request.scope["state"].get(SCOPE_STATE)
    if seeds is None:
        return None
    if seeds.secrets is None:
        raise create_unknown_key_problem()
    return seeds.secrets


def get_first_attempt(request: ApiRequest) -> datetime | None:
    """Return when the first attempt of the request began, if this is a later one, otherwise None."""
    seeds: Seeds | None = request.scope["state"].get(SCOPE_STATE)
    return seeds.first_attempt if seeds is not None else None


def create_unknown_key_problem() -> ProblemError:
    """Return the error for a request whose first attempt used a secret key that this process does not have."""
    return ProblemError(
        "unavailable",
        "the first attempt of this request used a secret key that this server does not have",
        headers={"Retry-After": "1"},
    )


def derive_idempotent_id(request: ApiRequest, index: int = 0) -> ObjectId | None:
    """Return the id of an effect of the request, the same in every attempt; None without an `Idempotency-Key`.

    Args:
        request: The request.
        index: The index of the effect.
    """
    seeds: Seeds | None = request.scope["state"].get(SCOPE_STATE)
    return derive_id_from_seed(seeds.ids, index) if seeds is not None else None


def derive_id_from_seed(seed: bytes, index: int) -> ObjectId:
    """Return the id of the effect with this index."""
    return ObjectId(hashlib.sha256(seed + index.to_bytes(4, "big")).digest()[:ID_BYTES])
