"""Tracing with OpenTelemetry: a span for each request, with a child span for each call to the store.

This module needs the extra `otel`. `app.py` imports it only if the environment enables tracing. OpenTelemetry's own
`OTEL_*` variables configure it. Spans carry the route's template, never a path, a query or a body. A `traceparent` (W3C
Trace Context) is continued.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

import structlog
from opentelemetry import context, propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from todo_service import __version__

if TYPE_CHECKING:
    from litestar.types import HTTPScope

_EXPORTERS: Final = "opentelemetry_traces_exporter"
"""The entry point group of OpenTelemetry's exporters."""
_FLUSH_SECONDS: Final = 3.0
logger = structlog.get_logger(__name__)


class Tracing:
    """Creates spans.

    Args:
        provider: Exports the spans.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("todo_service", __version__)

    def begin(self, scope: HTTPScope) -> RequestSpan:
        """Start the span of a request, and make it the current span until it ends."""
        parent = propagate.extract(scope["headers"], getter=_HEADERS)
        span = self._tracer.start_span(
            scope["method"],
            parent,
            SpanKind.SERVER,
            {"http.request.method": scope["method"], "url.scheme": str(scope.get("scheme", "http"))},
        )
        return RequestSpan(span)

    def record_store_call(self, operation: str, seconds: float, available: bool) -> None:
        """Create the span of a completed call to the store (a `store.instrumentation.Observer`)."""
        if not trace.get_current_span().is_recording():
            return
        end = time.time_ns()
        span = self._tracer.start_span(
            f"store {operation}",
            kind=SpanKind.CLIENT,
            attributes={"db.operation.name": operation},
            start_time=end - int(seconds * 1e9),
        )
        if not available:
            span.set_status(Status(StatusCode.ERROR, "the store did not respond"))
        span.end(end)

    def close(self) -> None:
        """Flush the remaining spans, within `_FLUSH_SECONDS`."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(_FLUSH_SECONDS)


class RequestSpan:
    """The span of one request.

    Attributes:
        trace_id: The id of its trace, as 32 hex digits.
    """

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token = context.attach(trace.set_span_in_context(span))
        self.trace_id = trace.format_trace_id(span.get_span_context().trace_id)

    def end(self, method: str, route: str, status: int) -> None:
        """End the span.

        Args:
            method: The HTTP method.
            route: The template of the path.
            status: The status of the response, 0 if there was none.
        """
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes({"http.route": route, "http.response.status_code": status})
        if status >= 500 or not status:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
        context.detach(self._token)


class _Headers(Getter[Any]):
    """Reads the headers of an ASGI scope."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        wanted = key.lower().encode()
        return [value.decode("latin-1") for name, value in carrier if name == wanted] or None

    def keys(self, carrier: Any) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier]


_HEADERS: Final = _Headers()


def create_tracing(environ: Mapping[str, str] = os.environ) -> Tracing | None:
    """Return the tracing that the `OTEL_*` variables configure, or None if no exporter is available."""
    resource = {SERVICE_VERSION: __version__}
    if not environ.get("OTEL_SERVICE_NAME") and f"{SERVICE_NAME}=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        resource[SERVICE_NAME] = "todo_service"
    provider = TracerProvider(resource=Resource.create(resource), shutdown_on_exit=False)
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or ""
    has_exporter = False
    for name in (part.strip() for part in (environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")):
        entry = f"otlp_proto_{'grpc' if protocol == 'grpc' else 'http'}" if name == "otlp" else name
        found = next(iter(entry_points(group=_EXPORTERS, name=entry)), None)
        if found is None:
            logger.warning("unknown trace exporter", exporter=name)
            continue
        provider.add_span_processor(BatchSpanProcessor(found.load()()))
        has_exporter = True
    return Tracing(provider) if has_exporter else None
