"""The host names that the service responds to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from todo_service.web.raw_headers import find_header

if TYPE_CHECKING:
    from litestar.types import Scope


class AllowedHosts:
    """Checks the `Host` header of requests.

    Args:
        names: The allowed names. `*.example.com` allows every subdomain; an empty sequence allows every host.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [name.lower() for name in names]

    def allows(self, scope: Scope) -> bool:
        """Return whether the `Host` of a request is allowed. Health checks may use any host."""
        if not self._names or scope["path"].startswith("/health/"):
            return True  # monitors address the machine, not the service's name
        header = find_header(scope, b"host").decode("latin-1").lower()
        host = header if header.endswith("]") else header.rpartition(":")[0] or header
        return any(name == host or (name.startswith("*.") and host.endswith(name[1:])) for name in self._names)
