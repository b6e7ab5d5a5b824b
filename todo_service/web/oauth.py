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


def is_oauth_endpoint(path: str) -> bool:
    """Return whether a path is that of an OAuth 2 endpoint, with or without a prefix and a trailing slash."""
    return path.removesuffix("/").endswith((TOKEN_PATH, REVOCATION_PATH))
