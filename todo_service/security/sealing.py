"""Keys derived from the service's secret keys, and seals (HMAC-SHA256) made with them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from typing import Final

SEAL_BYTES: Final = 16
_KEY_ID_BYTES: Final = 8


def compute_mac(key: bytes, content: bytes) -> bytes:
    """Return the HMAC-SHA256 of the content, 32 bytes. Also derives keys and ids that nobody can guess."""
    return hmac.digest(key, content, "sha256")


def seal(key: bytes, content: bytes) -> bytes:
    """Return a seal of `SEAL_BYTES` bytes for the content."""
    return compute_mac(key, content)[:SEAL_BYTES]


class KeyRing:
    """The keys for one purpose, one derived from each secret key.

    The current key seals. The others come from secret keys in use before a rotation; they still verify. A seal for
    one purpose never verifies for another.

    Args:
        secret_keys: The secret keys, at least 32 bytes each, the current one first.
        purpose: The purpose of the keys, unique in the service.

    Attributes:
        by_id: The keys by their id, 8 bytes that reveal nothing about the key, the current one first.
        current: The current key.
        current_id: The id of the current key.
    """

    def __init__(self, secret_keys: Sequence[bytes], purpose: str) -> None:
        derived = [compute_mac(key, f"todo-service {purpose}".encode()) for key in secret_keys]
        self.by_id = {hashlib.sha256(key).digest()[:_KEY_ID_BYTES]: key for key in derived}
        self.current_id, self.current = next(iter(self.by_id.items()))

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the keys, the current one first."""
        return iter(self.by_id.values())

    def seal(self, content: bytes) -> bytes:
        """Return a seal for the content under the current key."""
        return seal(self.current, content)

    def seal_text(self, payload: bytes, context: bytes = b"") -> str:
        """Return a payload with a seal over the payload and its context, as URL-safe text."""
        return base64.urlsafe_b64encode(self.seal(_bind(payload, context)) + payload).rstrip(b"=").decode()

    def open_text(self, text: str, context: bytes = b"") -> bytes:
        """Return the payload of a text from `seal_text`.

        Raises:
            ValueError: The text is malformed, has been altered, or belongs to another context.
        """
        sealed = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        payload = sealed[SEAL_BYTES:]
        if not self.verify(_bind(payload, context), sealed[:SEAL_BYTES]):
            raise ValueError("the seal is not valid")
        return payload

    def verify(self, content: bytes, given: bytes) -> bool:
        """Return whether any of the keys sealed the content. Takes constant time for each key.

        Args:
            content: The content.
            given: The seal to verify.
        """
        return any(hmac.compare_digest(given, seal(key, content)) for key in self)


def _bind(payload: bytes, context: bytes) -> bytes:
    """Return the bytes to seal. The length prefix separates the context from the payload."""
    return len(context).to_bytes(4, "big") + context + payload
