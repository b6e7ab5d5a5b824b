"""Upper bounds for any service here: an ASGI application and a Litestar handler that do nothing."""

from __future__ import annotations

from litestar import Litestar, get
from litestar.types import Receive, Scope, Send


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond to every request with an empty 200. This is the cost of the server alone."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@get("/")
async def _empty() -> None:
    """Do nothing."""


empty = Litestar([_empty], openapi_config=None, logging_config=None)
"""The cost of the framework: routing, calling the handler and building the response."""
