"""The metrics over HTTP."""

from __future__ import annotations

import asyncio
import hmac
from typing import NamedTuple

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from todo_service.errors import Unauthenticated
from todo_service.fields import redacted_repr
from todo_service.observability.metrics import Metrics
from todo_service.rate_limits.policies import RateLimits, address_key, response_headers
from todo_service.web.bearer import bearer_token
from todo_service.web.requests import ApiRequest
from todo_service.web.route_options import LIMIT, PUBLIC


class MetricsAccess(NamedTuple):
    """Who may read the figures.

    Attributes:
        token: The bearer token that opens them, if there is one.
        open_to_all: Whether everyone may.
    """

    token: str | None
    open_to_all: bool

    def __repr__(self) -> str:
        return redacted_repr(self, "token")


class MetricsController(Controller):
    """The figures, for those who may see them."""

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
        """Answer all figures of this service."""
        if metrics_access.open_to_all:
            await limits.hit("api", address_key(request.scope, "metrics"), response_headers(request.scope))
        else:
            try:
                _require(bearer_token(request.scope), metrics_access.token)
            except Unauthenticated:
                await limits.hit("api", address_key(request.scope), response_headers(request.scope))
                raise
        accept = request.headers.get("accept", "")
        content, media_type = await asyncio.to_thread(metrics.render, accept)
        return Response(content, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


def _require(given: str, token: str | None) -> None:
    """Refuse any other token, in the same time whichever it is.

    Raises:
        Unauthenticated: it is another one, or there is none that opens the figures.
    """
    if token is None or not hmac.compare_digest(given.encode(), token.encode()):
        raise Unauthenticated("the token of the metrics is not valid", "invalid_token")
