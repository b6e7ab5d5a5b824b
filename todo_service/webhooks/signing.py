"""Signs deliveries as Standard Webhooks 1.0.0 specifies, and creates the signing secrets.

A secret is `whsec_` and the base64 of 32 random bytes. It is shown once (see also `webhooks.secret_box`).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable
from typing import Final

from odmantic import ObjectId

from todo_service.security.sealing import compute_mac

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # not a secret
_SECRET_BYTES: Final = 32


def generate_secret(seed: bytes | None = None) -> bytes:
    """Return a new secret, derived from the seed if there is one, and random otherwise."""
    return secrets.token_bytes(_SECRET_BYTES) if seed is None else compute_mac(seed, b"signing secret")


def derive_hook_id(seed: bytes) -> ObjectId:
    """Return the id of the webhook that a repeatable request creates."""
    return ObjectId(hashlib.sha256(b"webhook" + seed).digest()[:12])


def format_secret(secret: bytes) -> str:
    """Return a secret as it is shown."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def sign(secrets: Iterable[bytes], delivery_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that identify and sign an attempt.

    Args:
        secrets: The secrets, the current one first. Each of them makes a signature.
        delivery_id: The id of the delivery, the same for each attempt.
        timestamp: When the attempt is made, in seconds since the epoch.
        body: The body.
    """
    content = f"{delivery_id}.{timestamp}.".encode() + body
    signatures = [f"v1,{base64.b64encode(compute_mac(secret, content)).decode()}" for secret in secrets]
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
