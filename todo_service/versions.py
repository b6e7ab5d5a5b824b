"""The versions of a document that a conditional request accepts (RFC 9110, section 13.1)."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from todo_service.errors import Stale


@dataclass(frozen=True)
class AcceptedVersions:
    """The versions that a request with `If-None-Match`, and perhaps `If-Match`, accepts: a container of them.

    Attributes:
        matching: The versions that `If-Match` accepts; None for any.
        excluded: The versions that `If-None-Match` rejects.
    """

    matching: Container[int] | None
    excluded: frozenset[int]

    def __contains__(self, version: object) -> bool:
        """Return whether the document may have this version."""
        return version not in self.excluded and (self.matching is None or version in self.matching)


def check_version(version: int, accepted: Container[int] | None) -> None:
    """Check the version of a document before it is changed.

    Args:
        version: The version.
        accepted: The versions that the caller accepts, or None for any.

    Raises:
        Stale: The caller does not accept the version.
    """
    if accepted is not None and version not in accepted:
        raise Stale
