"""The access log: a log line, the metrics and the trace span of each request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from todo_service.observability.log_limit import LogLimit
from todo_service.web.client_address import get_client_network
from todo_service.web.route_options import LONG_LIVED

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Scope

    from todo_service.observability.metrics import Metrics
    from todo_service.observability.request_log import RequestLog
    from todo_service.observability.tracing import RequestSpan, Tracing

_LOG_LIMITED: Final = frozenset({"-", "/health/live", "/health/ready"})
"""The routes whose log lines `LogLimit` bounds, because rate limits do not cover all of their requests. `-` stands for
requests that reach no route."""


class AccessLog:
    """Records every request.

    Args:
        metrics: Counts and times requests.
        tracing: Creates a span for each request; None for no traces.
        log: Writes the log lines.
    """

    def __init__(self, metrics: Metrics, tracing: Tracing | None, log: RequestLog) -> None:
        self._metrics = metrics
        self._log = log
        self._tracing = tracing
        self._limit = LogLimit()

    def begin(self, scope: HTTPScope, request_id: str) -> RequestSpan | None:
        """Begin a request: bind its ids to every log line, and start its span."""
        structlog.contextvars.bind_contextvars(request_id=request_id)
        if self._tracing is None:
            return None
        span = self._tracing.begin(scope)
        structlog.contextvars.bind_contextvars(trace_id=span.trace_id)
        return span

    def end(self, scope: Scope, method: str, status: int, seconds: float, span: RequestSpan | None) -> None:
        """Record a request that has ended.

        Args:
            scope: The ASGI scope of the request.
            method: The HTTP method, as sent by the client.
            status: The status of the response, 0 if there was none.
            seconds: The duration of the request.
            span: The result of `begin`.
        """
        caller = scope.get("user")
        # the route's template: the path and the query may hold private data
        route = scope.get("path_template") or "-"
        handler = scope.get("route_handler")
        # such a response lasts as long as its client wants
        is_long_lived = status == 200 and handler is not None and handler.opt.get(LONG_LIVED)
        self._metrics.record_request(method, route, status, None if is_long_lived else seconds)
        limited = status == 429 or route in _LOG_LIMITED
        if not limited or self._limit.allows(get_client_network(scope)):
            values = {
                "method": method,
                "route": route,
                "status": status or None,
                "milliseconds": round(seconds * 1000, 2),
                "user": str(caller.user_id) if caller is not None else None,
            }
            ids = {"request_id": scope["state"]["request_id"]}
            self._log.write(values, ids if span is None else {**ids, "trace_id": span.trace_id})
        if span is not None:
            span.end(method, route, status)
        structlog.contextvars.unbind_contextvars("request_id", "trace_id")
