"""Digests of collections: two stores hold the same documents if their digests are equal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

_MODULUS: Final = 2**256


class Digest:
    """The number of documents in a collection, and a hash that does not depend on their order.

    The hash is the sum of the SHA-256 hashes of the documents, modulo 2**256.

    Attributes:
        documents: The number of documents.
    """

    def __init__(self) -> None:
        self.documents = 0
        self._sum = 0

    def add(self, documents: Iterable[bytes]) -> None:
        """Add BSON documents."""
        for raw in documents:
            self.documents += 1
            self._sum = (self._sum + int.from_bytes(hashlib.sha256(raw).digest(), "big")) % _MODULUS

    @property
    def hash(self) -> str:
        """The hash as 64 hexadecimal digits."""
        return f"{self._sum:064x}"

    def __eq__(self, other: object) -> bool:
        """Compare the documents of two collections."""
        return isinstance(other, Digest) and (self.documents, self._sum) == (other.documents, other._sum)

    __hash__ = None  # type: ignore[assignment]  # a digest is mutable


def hash_collections(digests: Mapping[str, Digest]) -> str:
    """Return one hash of several collections as 64 hexadecimal digits. Empty collections do not affect it."""
    lines = (
        f"{name} {digest.documents} {digest.hash}\n" for name, digest in sorted(digests.items()) if digest.documents
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
