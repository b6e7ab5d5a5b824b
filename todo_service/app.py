"""The application: the only module that knows every route."""

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
from todo_service.exchange.controllers import ExchangeController
from todo_service.lists.controllers import ListsController
from todo_service.observability.controllers import MetricsController
from todo_service.observability.logs import configure_logging
from todo_service.rate_limits.policies import count_unrouted
from todo_service.server.run import GracefulShutdown, return_large_memory
from todo_service.services import Services
from todo_service.settings import Settings, load_settings
from todo_service.store.base import DocumentStore
from todo_service.store.registry import create_store
from todo_service.todos.controllers import TagsController, TodosController
from todo_service.todos.shared import SharedState
from todo_service.web.docs import DocsController
from todo_service.web.health import OperationsController
from todo_service.web.openapi.config import create_openapi_config, render_document
from todo_service.web.problems import create_exception_handlers
from todo_service.web.requests import ApiRequest, refuse_unknown_parameters

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Scope

    from todo_service.observability.tracing import Tracing

_COLLECTED_AFTER: Final = (20_000, 20, 20)
"""How many objects that others may refer to are made before each collection of garbage, by generation (`gc`)."""
logger = structlog.get_logger(__name__)


def create_app(
    settings: Settings,
    store: DocumentStore,
    tracing: Tracing | None = None,
    password_cost: Cost = PRODUCTION_COST,
    shared_state: SharedState | None = None,
) -> Litestar:
    """Create the application.

    Args:
        settings: Validated settings.
        store: The store, not yet open. The application opens it at startup and closes it at shutdown.
        tracing: Creates spans; None for no traces. It is closed at shutdown.
        password_cost: The cost of hashing a password. Tests choose a cheap one.
        shared_state: The state that the todos of all accounts share; by default it follows from the settings. It is
            closed at shutdown.

    Returns:
        The application. Its `state` holds the store, the cursors, the budget of stored responses, and the requests
        in flight, which drain at shutdown.
    """
    services = Services(settings, store, tracing, password_cost, shared_state)

    async def after_exception(_: Exception, scope: Scope) -> None:
        await count_unrouted(services.rate_limits, scope)

    app = Litestar(
        route_handlers=[
            OperationsController,
            MetricsController,
            DocsController,
            Router(
                "/",
                route_handlers=[UsersController, TokensController, SessionsController, ApiKeysController],
                request_max_body_size=min(SMALL_BODY_BYTES, settings.max_body_bytes),
            ),
            TodosController,
            ExchangeController,
            ListsController,
            TagsController,
        ],
        lifespan=[services.lifespan],
        dependencies=services.dependencies(),
        middleware=services.middleware(),
        request_class=ApiRequest,
        before_request=refuse_unknown_parameters,
        exception_handlers=create_exception_handlers(),
        after_exception=[after_exception],
        request_max_body_size=settings.max_body_bytes,
        cors_config=_cors(settings),
        openapi_config=create_openapi_config(),
        logging_config=None,
    )
    app.state.update(services.state())
    app.asgi_handler = services.wrap(app.asgi_handler)
    return app


def create_app_from_environment() -> ASGIApp:
    """Wire the service as the environment says; the server's workers start from here."""
    settings = load_settings()
    configure_logging(settings)
    return_large_memory()
    app = create_app(settings, create_store(settings.store_address), _tracing())
    # what is there now stays there: a full collection, which looks at it all, would hold up every request for 50 ms;
    # so would one of what is remembered, for 10 ms, and hardly anything that a request leaves behind needs one
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AFTER)
    return GracefulShutdown(app, app.state.in_flight)


def _tracing() -> Tracing | None:
    """Return what makes spans, where the environment asks for traces by OpenTelemetry's own variables."""
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or exporter == "none"
        or not (exporter or any(os.environ.get(name) for name in endpoints))
    ):
        return None
    try:
        from todo_service.observability.tracing import (
            create_tracing,  # an extra: most have neither wish nor need for it
        )
    except ModuleNotFoundError:
        logger.warning("no traces are sent: OpenTelemetry is not installed, see the extra otel")
        return None
    return create_tracing()


def render_openapi_document(form: str) -> str:
    """Return the OpenAPI document as `json` or `yaml` text. No store is opened."""
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
        ],
    )
