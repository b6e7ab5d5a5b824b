"""What a store holds, in one figure: two stores hold the same where their contents are equal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

_MODULUS: Final = 2**256


class Contents:
    """How many documents there are, and a hash of them all that does not depend on their order.

    The hash is the sum of the documents' SHA-256, modulo 2 to the power of 256.

    Attributes:
        documents: How many.
    """

    def __init__(self) -> None:
        self.documents = 0
        self._sum = 0

    def add(self, documents: Iterable[bytes]) -> None:
        """Add documents, as BSON."""
        for raw in documents:
            self.documents += 1
            self._sum = (self._sum + int.from_bytes(hashlib.sha256(raw).digest(), "big")) % _MODULUS

    @property
    def hash(self) -> str:
        """The hash, as 64 hex digits."""
        return f"{self._sum:064x}"

    def __eq__(self, other: object) -> bool:
        """Tell whether the documents are the same."""
        return isinstance(other, Contents) and (self.documents, self._sum) == (other.documents, other._sum)

    __hash__ = None  # type: ignore[assignment]  # it changes as documents are added


def hash_of(contents: Mapping[str, Contents]) -> str:
    """Return one hash of several collections, as 64 hex digits; one without documents is as one that is not there."""
    lines = (f"{name} {held.documents} {held.hash}\n" for name, held in sorted(contents.items()) if held.documents)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
