"""Encryption of signing secrets, which are stored with their webhook.

Each secret is encrypted with XChaCha20-Poly1305, with a key derived from the service's secret key. The webhook's id is
the associated data, so a secret cannot be copied to another webhook.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

from nacl.exceptions import CryptoError
from nacl.secret import Aead
from odmantic import ObjectId

from todo_service.security.sealing import KeyRing
from todo_service.store.base import DocumentStore
from todo_service.webhooks.documents import SigningSecret, Webhook

_KEY_ID_BYTES: Final = 8


class SecretUnreadableError(Exception):
    """A secret was encrypted under a secret key that this process does not have."""


class SecretBox:
    """Encrypts and decrypts the secrets of webhooks.

    Args:
        secret_keys: The secret keys of the service, the current one first.
    """

    def __init__(self, secret_keys: Sequence[bytes]) -> None:
        self._keys = KeyRing(secret_keys, "signing secrets of webhooks")

    def encrypt(self, secret: bytes, hook_id: ObjectId) -> bytes:
        """Return the secret of a webhook, encrypted under the current key."""
        return self._keys.current_id + Aead(self._keys.current).encrypt(secret, hook_id.binary)

    def decrypt(self, ciphertext: bytes, hook_id: ObjectId) -> bytes:
        """Return an encrypted secret of a webhook.

        Raises:
            SecretUnreadableError: This process does not have the secret key.
        """
        key = self._keys.by_id.get(ciphertext[:_KEY_ID_BYTES])
        if key is None:
            raise SecretUnreadableError
        try:
            return Aead(key).decrypt(ciphertext[_KEY_ID_BYTES:], hook_id.binary)
        except CryptoError:
            raise SecretUnreadableError from None

    def is_current(self, ciphertext: bytes) -> bool:
        """Return whether a secret is encrypted under the current key."""
        return ciphertext[:_KEY_ID_BYTES] == self._keys.current_id


def decrypt_secrets(hook: Webhook, secret_box: SecretBox) -> list[bytes]:
    """Return the secrets of a webhook that can be decrypted, the current one first."""
    found: list[bytes] = []
    for each in hook.secrets:
        with contextlib.suppress(SecretUnreadableError):
            found.append(secret_box.decrypt(each.box, hook.id))
    return found


async def reencrypt_secrets(store: DocumentStore, secret_box: SecretBox) -> None:
    """Encrypt the secrets of all webhooks under the current key, so that earlier keys may be removed.

    Args:
        store: The store.
        secret_box: Encrypts and decrypts them.
    """
    async for hook in store.scan(Webhook):
        if all(secret_box.is_current(each.box) for each in hook.secrets):
            continue
        encrypted = []
        for each in hook.secrets:
            with contextlib.suppress(SecretUnreadableError):
                secret = secret_box.decrypt(each.box, hook.id)
                each = SigningSecret(box=secret_box.encrypt(secret, hook.id), until=each.until)
            encrypted.append(each)
        # a concurrent change has a new version, and the next run tries again
        await store.update(
            Webhook, Webhook.id == hook.id, Webhook.version == hook.version, changes={"secrets": encrypted}
        )
