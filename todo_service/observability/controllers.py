"""The metrics endpoint."""

from __future__ import annotations

import asyncio
import hmac
from typing import NamedTuple

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from todo_service.api_types import redacted_repr
from todo_service.errors import Unauthenticated
from todo_service.observability.metrics import Metrics
from todo_service.rate_limits.policies import RateLimits, address_key, response_headers
from todo_service.web.bearer import read_bearer_token
from todo_service.web.requests import ApiRequest
from todo_service.web.route_options import LIMIT, PUBLIC


class MetricsAccess(NamedTuple):
    """Access to the metrics.

    Attributes:
        token: The bearer token that grants access, if any.
        open_to_all: Whether access needs no token.
    """

    token: str | None
    open_to_all: bool

    def __repr__(self) -> str:
        return redacted_repr(self, "token")


class MetricsController(Controller):
    """Serves the metrics."""

    path = "/metrics"
    opt = {PUBLIC: True, LIMIT: None}
    include_in_schema = False

    @get("/")
    async def read(
        self,
        request: ApiRequest,
        metrics: NamedDependency[Metrics],
        metrics_access: NamedDependency[MetricsAccess],
        limits: NamedDependency[RateLimits],
    ) -> Response[bytes]:
        """Return all metrics of the service."""
        if metrics_access.open_to_all:
            await limits.hit("api", address_key(request.scope, "metrics"), response_headers(request.scope))
        else:
            try:
                _require_token(read_bearer_token(request.scope), metrics_access.token)
            except Unauthenticated:
                await limits.hit("api", address_key(request.scope), response_headers(request.scope))
                raise
        accept = request.headers.get("accept", "")
        content, media_type = await asyncio.to_thread(metrics.render, accept)
        return Response(content, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


def _require_token(given: str, token: str | None) -> None:
    """Compare a token to the expected one in constant time.

    Raises:
        Unauthenticated: The tokens differ, or no token grants access.
    """
    if token is None or not hmac.compare_digest(given.encode(), token.encode()):
        raise Unauthenticated("the metrics token is invalid", "invalid_token")
