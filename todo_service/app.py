"""The application: the only module with all routes."""

from __future__ import annotations

import gc
import os
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import structlog
from litestar import Litestar, Router
from litestar.config.cors import CORSConfig

from todo_service.accounts.controllers import ApiKeysController, SessionsController, TokensController, UsersController
from todo_service.accounts.passwords import PRODUCTION_COST, Cost
from todo_service.bounds.requests import SMALL_BODY_BYTES
from todo_service.events.controllers import EventsController
from todo_service.exchange.controllers import ExchangeController
from todo_service.lists.controllers import ListsController
from todo_service.observability.controllers import MetricsController
from todo_service.observability.logs import configure_logging
from todo_service.rate_limits.counters import CALL_SECONDS
from todo_service.rate_limits.policies import count_unrouted
from todo_service.server.process import fix_mmap_threshold
from todo_service.server.shutdown import GracefulShutdown
from todo_service.services import Services
from todo_service.settings import Settings, load_settings
from todo_service.store.base import DocumentStore
from todo_service.store.registry import create_store
from todo_service.todos.controllers import TagsController, TodosController
from todo_service.todos.shared import SharedState
from todo_service.web.docs import DocsController
from todo_service.web.health import OperationsController
from todo_service.web.openapi.config import create_openapi_config, render_document
from todo_service.web.options import OptionsMiddleware
from todo_service.web.problems import create_exception_handlers
from todo_service.web.requests import QueryRequest, check_request
from todo_service.webhooks.controllers import WebhooksController

if TYPE_CHECKING:
    from litestar.types import ASGIApp, ControllerRouterHandler, Scope

    from todo_service.observability.tracing import Tracing

_GC_THRESHOLDS: Final = (20_000, 20, 20)
"""The thresholds of the garbage collector, by generation (`gc.set_threshold`)."""
logger = structlog.get_logger(__name__)


def create_app(
    settings: Settings,
    store: DocumentStore,
    tracing: Tracing | None = None,
    password_cost: Cost = PRODUCTION_COST,
    shared_state: SharedState | None = None,
    counter_timeout: float = CALL_SECONDS,
) -> Litestar:
    """Create the application.

    Args:
        settings: Validated settings.
        store: The store, not yet open. The application opens it at startup and closes it at shutdown.
        tracing: Creates spans; None for no traces. It is closed at shutdown.
        password_cost: The cost of hashing a password. Tests choose a cheap one.
        shared_state: The state that the todos of all accounts share; created from the settings by default. It is
            closed at shutdown.
        counter_timeout: The timeout of a call to the rate limits that replicas share, in seconds. Tests choose a long
            one, because a process whose call times out counts on its own for a while.

    Returns:
        The application. Its `state` holds the values of `Services.state`.
    """
    services = Services(settings, store, tracing, password_cost, shared_state, counter_timeout)

    async def after_exception(_: Exception, scope: Scope) -> None:
        await count_unrouted(services.rate_limits, scope)

    app = Litestar(
        route_handlers=_list_controllers(settings),
        lifespan=[services.lifespan],
        dependencies=services.dependencies(),
        middleware=services.middleware(),
        request_class=QueryRequest,
        before_request=check_request,
        exception_handlers=create_exception_handlers(),
        after_exception=[after_exception],
        request_max_body_size=settings.max_body_bytes,
        cors_config=_cors(settings),
        openapi_config=create_openapi_config(),
        logging_config=None,
    )
    app.state.update(services.state())
    app.asgi_handler = services.wrap(OptionsMiddleware(app.asgi_handler, app.cors_config))
    return app


def _list_controllers(settings: Settings) -> list[ControllerRouterHandler]:
    """Return the controllers. Those with small bodies share a router with a smaller body limit."""
    small = Router(
        "/",
        route_handlers=[
            UsersController,
            TokensController,
            SessionsController,
            ApiKeysController,
            WebhooksController,
        ],
        request_max_body_size=min(SMALL_BODY_BYTES, settings.max_body_bytes),
    )
    return [
        OperationsController,
        MetricsController,
        DocsController,
        small,
        TodosController,
        ExchangeController,
        ListsController,
        TagsController,
        EventsController,
    ]


def create_app_from_environment() -> ASGIApp:
    """Create the application from the environment. This is the entry point of the server's workers."""
    settings = load_settings()
    configure_logging(settings)
    fix_mmap_threshold()
    app = create_app(settings, create_store(settings.store_address), _create_tracing())
    # Freeze the objects that exist now, since a full collection of them blocks all requests for 50 ms. Collect the
    # older generations rarely: that takes 10 ms, and requests create hardly any reference cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    end_streams = app.state.events.stop
    delay, is_worker = settings.shutdown_delay, settings.workers > 1
    return GracefulShutdown(app, app.state.in_flight, end_streams, delay, is_worker=is_worker)


def _create_tracing() -> Tracing | None:
    """Return the tracing, or None if OpenTelemetry's variables do not enable it or the extra `otel` is missing."""
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or exporter == "none"
        or not (exporter or any(os.environ.get(name) for name in endpoints))
    ):
        return None
    try:
        from todo_service.observability.tracing import create_tracing  # it needs an extra
    except ModuleNotFoundError:
        logger.warning("tracing is disabled: OpenTelemetry is not installed, see the extra otel")
        return None
    return create_tracing()


def render_openapi_document(form: str) -> str:
    """Return the OpenAPI document as `json` or `yaml` text, without opening a store."""
    with TemporaryDirectory() as folder:
        settings = load_settings({"DATA_DIR": folder})
        return render_document(create_app(settings, create_store(settings.store_address)), form)


def _cors(settings: Settings) -> CORSConfig | None:
    if not settings.cors_origins:
        return None
    return CORSConfig(
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "If-Match",
            "If-None-Match",
            "Idempotency-Key",
            "X-Request-ID",
            "Last-Event-ID",
            "traceparent",
            "tracestate",
            "baggage",
        ],
        expose_headers=[
            "ETag",
            "Link",
            "Location",
            "Retry-After",
            "RateLimit",
            "RateLimit-Policy",
            "X-Request-ID",
            "Idempotency-Replayed",
            "Content-Disposition",
        ],
    )
