"""Access to single request headers in the ASGI scope. Litestar's `headers` decodes all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litestar.types import Scope


def find_header(scope: Scope, name: bytes) -> bytes:
    """Return the first value of a request header, or an empty one if the header is missing.

    Args:
        scope: The ASGI scope of the request.
        name: The name, in lower case.
    """
    return next((value for other, value in scope["headers"] if other == name), b"")
