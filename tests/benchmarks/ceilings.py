"""What no service here can be faster than: an ASGI application that does nothing, and a Litestar handler that does."""

from __future__ import annotations

from litestar import Litestar, get
from litestar.types import Receive, Scope, Send


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every request with an empty 200: what the server itself costs."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@get("/")
async def _empty() -> None:
    """Do nothing."""


empty = Litestar([_empty], openapi_config=None, logging_config=None)
"""What the framework costs beside the server: routing, calling the handler, making its answer."""
