"""The paths of the OAuth 2 endpoints.

Errors of these endpoints are JSON objects with an `error` (RFC 6749, section 5.2), because OAuth clients read no other
media type. `web.problems` builds them.
"""

from __future__ import annotations

from typing import Final

TOKEN_PATH: Final = "/v1/auth/token"  # noqa: S105  # a path
"""The token endpoint (RFC 6749)."""
REVOCATION_PATH: Final = "/v1/auth/revoke"
"""The revocation endpoint (RFC 7009)."""


def find_oauth_endpoint(target: str) -> str | None:
    """Return the path of the OAuth 2 endpoint that a path leads to, with or without a prefix and a trailing slash."""
    path = target.removesuffix("/")
    return next((endpoint for endpoint in (TOKEN_PATH, REVOCATION_PATH) if path.endswith(endpoint)), None)


def is_oauth_endpoint(path: str) -> bool:
    """Return whether `find_oauth_endpoint` finds one."""
    return find_oauth_endpoint(path) is not None
